//! The coordinator's long work.

use std::sync::Arc;

use bytes::Bytes;

use super::{Rejection, RoundContext, Verified};
use crate::crypto::PublicSigningKey;
use crate::job::{Progress, Work};
use crate::mask::{Aggregation, MaskObjectView, UnmaskError, Unmasked, Unmasker};
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
}

/// Adds masked models to a copy of an aggregate. The aggregate itself stays as it is until the
/// machine replaces it, so that a lost job loses nothing and a snapshot can be taken at any time.
pub(super) struct Aggregate {
    base: Arc<Aggregation>,
    /// Mask objects in wire form, all checked against the round before.
    updates: Vec<Bytes>,
    sum: Option<Aggregation>,
    done: usize,
}

impl Aggregate {
    pub(super) fn new(base: Arc<Aggregation>, updates: Vec<Bytes>) -> Self {
        Self {
            base,
            updates,
            sum: None,
            done: 0,
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
        let Some(sum) = &mut self.sum else {
            self.sum = Some(Aggregation::clone(&self.base));
            return false;
        };
        let length = sum.len();
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
        Progress {
            done: self.done as u64,
            total: self.base.len() as u64,
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Aggregated(self.sum.map_or(self.base, Arc::new))
    }
}

/// Takes the mask off the aggregate.
pub(super) struct Unmask {
    unmasker: Result<Unmasker, UnmaskError>,
}

impl Unmask {
    pub(super) fn new(aggregation: Arc<Aggregation>, mask: Bytes) -> Self {
        Self {
            unmasker: Unmasker::new(aggregation, mask),
        }
    }
}

impl Work<Outcome> for Unmask {
    fn name(&self) -> &'static str {
        "unmask global model"
    }

    fn step(&mut self) -> bool {
        self.unmasker
            .as_mut()
            .map_or(true, |unmasker| unmasker.step(UNMASKED_PER_STEP))
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.unmasker.as_ref().map_or((0, 0), Unmasker::progress);
        Progress {
            done: done as u64,
            total: total as u64,
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Unmasked(self.unmasker.and_then(Unmasker::finish))
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
        let Self {
            context,
            participant,
            complete,
        } = *self;
        let payload = complete.payload().into();
        Outcome::Assembled(context.check_payload(participant, complete.tag, false, payload))
    }
}
