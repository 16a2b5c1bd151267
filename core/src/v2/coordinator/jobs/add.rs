//! Adds masked models to the sum so far: the work of version 1.

use std::sync::Arc;

use bytes::Bytes;

use super::Outcome;
use crate::coordinator::{self, jobs::Aggregate};
use crate::job::{JobKind, Progress, Work};
use crate::mask::Aggregation;
use crate::v2::coordinator::shape::Shape;

/// Adds masked models to a copy of a sum. The sum itself stays as it is, so that a lost job loses nothing.
pub(in crate::v2::coordinator) struct Add(Box<dyn Work<coordinator::Outcome>>);

impl Add {
    pub(in crate::v2::coordinator) fn new(
        shape: &Shape,
        sum: Option<Arc<Aggregation>>,
        models: Vec<Bytes>,
    ) -> Self {
        Self(Box::new(Aggregate::new(shape.mask, shape.length, sum, models)))
    }
}

impl Work<Outcome> for Add {
    fn kind(&self) -> JobKind {
        self.0.kind()
    }

    fn step(&mut self) -> bool {
        self.0.step()
    }

    fn progress(&self) -> Progress {
        self.0.progress()
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let parts = self.0.split(parts).into_iter();
        parts.map(|part| -> Box<dyn Work<Outcome>> { Box::new(Self(part)) }).collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let Outcome::Part(part) = part {
            self.0.absorb(part);
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.0.finish() {
            coordinator::Outcome::Aggregated(sum) => Outcome::Added(sum),
            part => Outcome::Part(part),
        }
    }
}
