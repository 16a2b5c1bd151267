//! The mask is taken off the sum of the models: a job does that.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{aggregate_bytes, unexpected, Around, Collected, Facts, Stage, NO_MESSAGES};
use crate::coordinator::jobs;
use crate::coordinator::state::Round;
use crate::coordinator::{GlobalModel, Phase, Record, RecoveryError};
use crate::mask::{Aggregation, Unmasked};

pub(super) const FACTS: Facts = Facts { name: "unmask", is_in_round: true, ..NO_MESSAGES };

/// What is taken off what.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::coordinator) struct Unmask {
    aggregation: Arc<Aggregation>,
    mask: Bytes,
    votes: u64,
}

impl Unmask {
    pub(super) fn new(aggregation: Arc<Aggregation>, mask: Bytes, votes: u64) -> Self {
        Self { aggregation, mask, votes }
    }

    /// The job that takes the mask off.
    pub(in crate::coordinator) fn work(&self) -> jobs::Unmask {
        jobs::Unmask::new(self.aggregation.clone(), self.mask.clone())
    }

    /// How many models the global model is made of.
    pub(in crate::coordinator) fn models(&self) -> u64 {
        self.aggregation.nb_models()
    }

    /// How many sum participants have voted for the mask.
    pub(in crate::coordinator) fn votes(&self) -> u64 {
        self.votes
    }

    /// What is made of the job's result.
    pub(in crate::coordinator) fn end_with(
        &self,
        unmasked: Unmasked,
        round: &Round,
    ) -> GlobalModel {
        GlobalModel {
            round_id: round.id,
            seed: round.parameters.seed,
            models: self.models(),
            rationals: unmasked.ratios.into(),
            weights: unmasked.model.ok().map(Arc::new),
        }
    }

    pub(super) fn apply(
        self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            // With nothing but the model the round is over.
            Record::Model(model) => {
                let Round { id, parameters } = around.round;
                if (model.round_id, model.seed) != (*id, parameters.seed) {
                    return Err(RecoveryError::WrongModel);
                }
                let old = around.model.replace(model.clone());
                around.garbage.add(old.as_ref().map_or(0, |old| old.rationals.len()), old);
                around.garbage.add(self.bytes(), self);
                Ok(Stage::Idle)
            }
            _ => Err(unexpected(record, Phase::Unmask)),
        }
    }
}

impl Collected for Unmask {
    fn bytes(&self) -> usize {
        aggregate_bytes(&self.aggregation) + self.mask.len()
    }

    fn is_sound(&self, round: &Round) -> bool {
        round.fits(&self.aggregation)
    }
}
