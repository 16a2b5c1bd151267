//! The coordinator's long work.

use std::sync::Arc;

use bytes::Bytes;

use super::{Rejection, RoundContext, Verified};
use crate::crypto::PublicSigningKey;
use crate::job::{Progress, Work};
use crate::mask::{Aggregation, MaskConfigPair, MaskObjectView, UnmaskError, Unmasked, Unmasker};
use crate::message::Complete;

/// How many numbers are added in a step: about a millisecond's work.
const ADDED_PER_STEP: usize = 1 << 17;
/// How many weights are unmasked in a step.
const UNMASKED_PER_STEP: usize = 4096;

/// What a coordinator's job has done. Opaque: it is handed back to the machine.
pub enum Outcome {
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
    config: MaskConfigPair,
    length: usize,
    /// What there is already; nothing before the first update.
    base: Option<Arc<Aggregation>>,
    /// Mask objects in wire form, all checked against the round before.
    updates: Vec<Bytes>,
    sum: Option<Aggregation>,
    done: usize,
}

impl Aggregate {
    pub(super) fn new(
        config: MaskConfigPair,
        length: usize,
        base: Option<Arc<Aggregation>>,
        updates: Vec<Bytes>,
    ) -> Self {
        Self { config, length, base, updates, sum: None, done: 0 }
    }

    fn copy(&mut self) -> Aggregation {
        match self.base.take() {
            Some(base) => Aggregation::clone(&base),
            None => Aggregation::new(self.config, self.length),
        }
    }
}

fn views(updates: &[Bytes]) -> impl Iterator<Item = MaskObjectView<'_>> {
    updates.iter().filter_map(|bytes| {
        let view = MaskObjectView::parse_exact(bytes);
        debug_assert!(view.is_ok(), "only verified objects get here");
        view.ok()
    })
}

impl Work<Outcome> for Aggregate {
    fn name(&self) -> &'static str {
        "aggregate updates"
    }

    fn step(&mut self) -> bool {
        let length = self.length;
        let Some(sum) = &mut self.sum else {
            self.sum = Some(self.copy());
            return false;
        };
        let numbers = (ADDED_PER_STEP / self.updates.len().max(1)).max(1024);
        let range = self.done..length.min(self.done + numbers);
        self.done = range.end;
        for view in views(&self.updates) {
            sum.add_range(&view, range.clone());
        }
        if self.done < length {
            return false;
        }
        // The units come last and only once: afterwards there is nothing left to add.
        for update in std::mem::take(&mut self.updates) {
            views(&[update]).for_each(|view| sum.add_unit(&view));
        }
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: self.done as u64, total: self.length as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        let sum = self.sum.take();
        Outcome::Aggregated(Arc::new(sum.unwrap_or_else(|| self.copy())))
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
