//! Adding parts up: a job.

use std::sync::Arc;

use bytes::Bytes;

use super::merging::FetchedPart;
use super::{PartFault, PartId};
use crate::coordinator::jobs::Outcome;
use crate::job::{JobKind, Progress, Work};
use crate::mask::{Aggregation, MaskConfigPair, MaskObjectView, RangeSum};

/// How many numbers are checked and added in a step: about a millisecond's work.
const PER_STEP: usize = 1 << 19;

/// Adds parts to a sum.
pub(super) struct Merge {
    config: MaskConfigPair,
    length: usize,
    base: Option<Arc<Aggregation>>,
    parts: Vec<Object>,
    sum: RangeSum,
    fault: Option<(PartId, PartFault)>,
}

/// The sum in a part.
struct Object {
    part: PartId,
    models: u64,
    /// In its wire form, of the round's shape.
    bytes: Bytes,
}

impl Merge {
    pub(super) fn new(
        (config, length): (MaskConfigPair, usize),
        base: Option<Arc<Aggregation>>,
        fetched: &[FetchedPart],
    ) -> Self {
        let object = |fetched: &FetchedPart| {
            let FetchedPart { part, expected, bytes } = fetched;
            let bytes = expected.object(bytes).map_err(|fault| (*part, fault))?;
            Ok(Object { part: *part, models: expected.models, bytes })
        };
        let (parts, fault) = match fetched.iter().map(object).collect() {
            Ok(parts) => (parts, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        // Room for the sums is made by whoever does the first of them.
        Self { config, length, base, parts, sum: RangeSum::new(config, 0..length, 0), fault }
    }

    fn views(&self) -> impl Iterator<Item = (&Object, MaskObjectView<'_>)> + Clone {
        // All of them were read before.
        self.parts.iter().filter_map(|part| {
            MaskObjectView::parse_exact(&part.bytes).ok().map(|view| (part, view))
        })
    }

    fn check(&self, numbers: std::ops::Range<usize>) -> Option<(PartId, PartFault)> {
        let is_last = numbers.end >= self.length;
        let mut faults = self.views().filter(|(_, view)| {
            view.check_range(numbers.clone()).is_err() || is_last && view.check_unit().is_err()
        });
        faults.next().map(|(object, _)| (object.part, PartFault::Damaged))
    }
}

impl Work<Outcome> for Merge {
    fn kind(&self) -> JobKind {
        JobKind::Merge
    }

    fn step(&mut self) -> bool {
        let from = self.sum.rest().start;
        if self.fault.is_none() {
            let max = (PER_STEP / self.parts.len().max(1)).max(1024);
            self.fault = self.check(from..from.saturating_add(max).min(self.length));
            if self.fault.is_none() {
                let nothing = RangeSum::new(self.config, 0..0, 0);
                let mut sum = std::mem::replace(&mut self.sum, nothing);
                if from == 0 {
                    sum = RangeSum::new(self.config, 0..self.length, self.length);
                }
                sum.step(self.base.as_deref(), self.views().map(|(_, view)| view), max);
                self.sum = sum;
            }
        }
        self.fault.is_some() || self.sum.rest().is_empty()
    }

    fn progress(&self) -> Progress {
        let done = self.length - self.sum.rest().len();
        Progress { done: done as u64, total: self.length as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        if let Some(fault) = self.fault {
            return Outcome::Merged(Err(fault));
        }
        let Self { base, parts, sum, .. } = *self;
        let mut sum = sum.finish(base.as_deref());
        for Object { models, bytes, .. } in &parts {
            if let Ok(view) = MaskObjectView::parse_exact(bytes) {
                sum.add_unit_of(&view, *models);
            }
        }
        Outcome::Merged(Ok(Arc::new(sum)))
    }
}
