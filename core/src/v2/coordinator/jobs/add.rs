//! Adds masked models to the sum so far: the work of version 1, once they are seen to be what was stored.

use std::sync::Arc;

use super::intact::{Intact, Stored};
use super::Outcome;
use crate::coordinator::{self, jobs::Aggregate};
use crate::job::{JobKind, Progress, Work};
use crate::mask::Aggregation;
use crate::v2::coordinator::shape::Shape;
use crate::v2::coordinator::ObjectKind;

/// Adds masked models to a copy of a sum. The sum itself stays as it is, so that a lost job loses nothing.
pub(in crate::v2::coordinator) struct Add {
    shape: Shape,
    sum: Option<Arc<Aggregation>>,
    stage: Stage,
}

enum Stage {
    Check(Intact),
    Add(Part),
    Damaged(ObjectKind),
}

impl Add {
    pub(in crate::v2::coordinator) fn new(
        shape: Shape,
        sum: Option<Arc<Aggregation>>,
        models: Vec<Stored>,
    ) -> Self {
        Self { shape, sum, stage: Stage::Check(Intact::new(models)) }
    }
}

impl Work<Outcome> for Add {
    fn kind(&self) -> JobKind {
        JobKind::Aggregate
    }

    fn step(&mut self) -> bool {
        match &mut self.stage {
            Stage::Check(intact) => {
                if !intact.step() {
                    return false;
                }
                self.stage = match intact.damaged() {
                    Some(kind) => Stage::Damaged(kind),
                    None => {
                        let models = intact.objects().iter().map(|model| model.bytes.clone());
                        let Shape { mask, length, .. } = self.shape;
                        let work = Aggregate::new(mask, length, self.sum.clone(), models.collect());
                        Stage::Add(Part(Box::new(work)))
                    }
                };
                false
            }
            Stage::Add(work) => work.step(),
            Stage::Damaged(_) => true,
        }
    }

    fn progress(&self) -> Progress {
        match &self.stage {
            Stage::Check(_) => Progress { done: 0, total: self.shape.length as u64 },
            Stage::Add(work) => work.progress(),
            Stage::Damaged(_) => Progress::default(),
        }
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        match &mut self.stage {
            Stage::Check(intact) => intact.split(parts, JobKind::Aggregate),
            Stage::Add(work) => work.split(parts),
            Stage::Damaged(_) => Vec::new(),
        }
    }

    fn absorb(&mut self, part: Outcome) {
        match (&mut self.stage, part) {
            (Stage::Check(intact), Outcome::Intact(damaged)) => intact.absorb(damaged),
            (Stage::Add(work), part) => work.absorb(part),
            _ => {}
        }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        match self.stage {
            Stage::Add(work) => Box::new(work).finish(),
            Stage::Damaged(kind) => Outcome::Damaged(kind),
            // `step` leaves this stage.
            Stage::Check(_) => unreachable!("the job is not done"),
        }
    }
}

/// Work of version 1.
struct Part(Box<dyn Work<coordinator::Outcome>>);

impl Work<Outcome> for Part {
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
