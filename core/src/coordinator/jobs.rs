//! The coordinator's long work.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Rejection, RoundContext, Verified};
use crate::crypto::PublicSigningKey;
use crate::job::{Progress, Work};
use crate::mask::{
    Aggregation, MaskConfigPair, MaskObjectView, RangeSum, UnmaskError, Unmasked, Unmasker,
};
use crate::message::Complete;

/// How many numbers are added in a step: about a millisecond's work.
const ADDED_PER_STEP: usize = 1 << 20;
/// How many numbers are at least added by a part of a job: handing it to another thread must be worth it.
const ADDED_PER_PART: usize = 1 << 16;
/// How many weights are unmasked in a step.
const UNMASKED_PER_STEP: usize = 4096;

/// What a coordinator's job has done. Opaque: it is handed back to the machine.
pub enum Outcome {
    #[doc(hidden)]
    Summed(RangeSum),
    #[doc(hidden)]
    Aggregated(Arc<Aggregation>),
    #[doc(hidden)]
    Unmasked(Result<Unmasked, UnmaskError>),
    #[doc(hidden)]
    Assembled(Result<Verified, Rejection>),
    #[doc(hidden)]
    Released,
}

/// Adds masked models to a copy of an aggregate. The aggregate itself stays as it is until the
/// machine replaces it, so that a lost job loses nothing and a snapshot can be taken at any time.
pub(super) struct Aggregate {
    models: Models,
    sum: RangeSum,
}

/// What is added up.
#[derive(Clone)]
struct Models {
    config: MaskConfigPair,
    length: usize,
    /// What there is already; nothing before the first update.
    base: Option<Arc<Aggregation>>,
    /// Mask objects in wire form, all checked against the round before.
    updates: Arc<[Bytes]>,
}

impl Models {
    fn views(&self) -> impl Iterator<Item = MaskObjectView<'_>> + Clone {
        self.updates.iter().filter_map(|bytes| {
            let view = MaskObjectView::parse_exact(bytes);
            debug_assert!(view.is_ok(), "only verified objects get here");
            view.ok()
        })
    }

    /// Adds the next numbers; true once there are no more.
    fn step(&self, sum: &mut RangeSum) -> bool {
        let max = (ADDED_PER_STEP / self.updates.len().max(1)).max(1024);
        sum.step(self.base.as_deref(), self.views(), max);
        sum.rest().is_empty()
    }

    /// How many numbers are added where there are so many sums.
    fn work(&self, sums: usize) -> usize {
        sums.saturating_mul(self.updates.len())
    }
}

impl Aggregate {
    pub(super) fn new(
        config: MaskConfigPair,
        length: usize,
        base: Option<Arc<Aggregation>>,
        updates: Vec<Bytes>,
    ) -> Self {
        let models = Models { config, length, base, updates: updates.into() };
        // Room for the sums is made by whoever does the first of them.
        Self { models, sum: RangeSum::new(config, 0..length, 0) }
    }
}

impl Work<Outcome> for Aggregate {
    fn name(&self) -> &'static str {
        "aggregate updates"
    }

    fn step(&mut self) -> bool {
        let length = self.models.length;
        if self.sum.rest() == (0..length) {
            self.sum = RangeSum::new(self.models.config, 0..length, length);
        }
        self.models.step(&mut self.sum)
    }

    fn progress(&self) -> Progress {
        progress(&self.sum, self.models.length)
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let Range { start, end } = self.sum.rest();
        let parts = parts.min(self.models.work(end - start) / ADDED_PER_PART);
        if parts < 2 {
            return Vec::new();
        }
        let at =
            |part: usize| start + ((end - start) as u128 * part as u128 / parts as u128) as usize;
        (0..parts)
            .map(|part| -> Box<dyn Work<Outcome>> {
                let range = at(part)..at(part + 1);
                // The others' sums are put behind the first's.
                let capacity = if range.start == 0 { self.models.length } else { range.len() };
                let len = range.len();
                let sum = RangeSum::new(self.models.config, range, capacity);
                Box::new(AggregateRange { models: self.models.clone(), len, sum })
            })
            .collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let Outcome::Summed(sum) = part {
            self.sum.append(sum);
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let Self { models, sum } = *self;
        let mut sum = sum.finish(models.base.as_deref());
        models.views().for_each(|view| sum.add_unit(&view));
        Outcome::Aggregated(Arc::new(sum))
    }
}

fn progress(sum: &RangeSum, total: usize) -> Progress {
    Progress { done: (total - sum.rest().len()) as u64, total: total as u64 }
}

/// Does that for a range of the weights.
struct AggregateRange {
    models: Models,
    len: usize,
    sum: RangeSum,
}

impl Work<Outcome> for AggregateRange {
    fn name(&self) -> &'static str {
        "aggregate updates"
    }

    fn step(&mut self) -> bool {
        self.models.step(&mut self.sum)
    }

    fn progress(&self) -> Progress {
        progress(&self.sum, self.len)
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Summed(self.sum)
    }
}

/// Takes the mask off the aggregate.
pub(super) enum Unmask {
    Begin { aggregation: Arc<Aggregation>, mask: Bytes },
    Run(Box<Unmasker>),
    Failed(UnmaskError),
}

impl Unmask {
    pub(super) fn new(aggregation: Arc<Aggregation>, mask: Bytes) -> Self {
        Self::Begin { aggregation, mask }
    }
}

impl Work<Outcome> for Unmask {
    fn name(&self) -> &'static str {
        "unmask global model"
    }

    fn step(&mut self) -> bool {
        match self {
            Self::Begin { aggregation, mask } => {
                match Unmasker::new(aggregation.clone(), mask.clone()) {
                    Ok(unmasker) => *self = Self::Run(Box::new(unmasker)),
                    Err(error) => *self = Self::Failed(error),
                }
            }
            Self::Run(unmasker) => return unmasker.step(UNMASKED_PER_STEP),
            Self::Failed(_) => {}
        }
        matches!(self, Self::Failed(_))
    }

    fn progress(&self) -> Progress {
        let (done, total) = match self {
            Self::Begin { aggregation, .. } => (0, aggregation.len()),
            Self::Run(unmasker) => unmasker.progress(),
            Self::Failed(_) => (1, 1),
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        Outcome::Unmasked(match *self {
            Self::Run(unmasker) => unmasker.finish(),
            Self::Failed(error) => Err(error),
            // `step` leaves this stage.
            Self::Begin { .. } => unreachable!("the job is not done"),
        })
    }
}

/// Puts a multipart message together and checks its payload.
pub(super) struct Assemble {
    pub(super) context: Arc<RoundContext>,
    pub(super) participant: PublicSigningKey,
    pub(super) complete: Complete,
}

impl Work<Outcome> for Assemble {
    fn name(&self) -> &'static str {
        "assemble multipart message"
    }

    fn step(&mut self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let Self { context, participant, complete } = *self;
        let payload = complete.payload().into();
        Outcome::Assembled(context.check_payload(participant, complete.tag, false, payload))
    }
}
