//! The mask is taken off the sum of the models: a job does that.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{aggregate_bytes, merged, unexpected, Around, Collected, Facts, Stage, NO_MESSAGES};
use crate::coordinator::jobs;
use crate::coordinator::optimizer::{Optimized, Plan};
use crate::coordinator::shards::Parts;
use crate::coordinator::state::Round;
use crate::coordinator::{GlobalModel, Phase, Record, RecoveryError};
use crate::mask::{Aggregation, Unmasked};

pub(super) const FACTS: Facts = Facts { name: "unmask", is_in_round: true, ..NO_MESSAGES };

/// What is taken off what.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::coordinator) struct Unmask {
    /// Nothing while it is somewhere else.
    #[serde(with = "super::optional_sum")]
    aggregation: Option<Arc<Aggregation>>,
    /// Empty while it is somewhere else.
    mask: Bytes,
    votes: u64,
    /// How many updates there are; not known of a saved one.
    #[serde(skip)]
    models: Option<u64>,
}

impl Unmask {
    pub(super) fn new(
        aggregation: Option<Arc<Aggregation>>,
        mask: Bytes,
        votes: u64,
        models: u64,
    ) -> Self {
        Self { aggregation, mask, votes, models: Some(models) }
    }

    /// The job that takes the mask off, and makes the optimiser's step if there is one; nothing while there is nothing to take it off.
    pub(in crate::coordinator) fn work(&self, plan: Option<Plan>) -> Option<jobs::Unmask> {
        Some(jobs::Unmask::new(self.aggregation.clone()?, self.mask.clone(), plan))
    }

    /// The aggregate without the parts; nothing if all is in those.
    pub(in crate::coordinator) fn aggregation(&self) -> Option<&Arc<Aggregation>> {
        self.aggregation.as_ref()
    }

    /// Whether the aggregate is the one of all updates, together with the parts, as far as that is known.
    pub(in crate::coordinator) fn has_all_models(&self, parts: &Parts) -> bool {
        let sum = self.models().checked_add(parts.models());
        self.models.is_none_or(|models| sum == Some(models))
    }

    /// Whether the aggregate is somewhere else.
    pub(super) fn lacks_aggregation(&self, parts: &Parts) -> bool {
        self.aggregation.is_none() && self.models != Some(parts.models())
    }

    /// Whether the mask is somewhere else.
    pub(super) fn lacks_mask(&self) -> bool {
        self.mask.is_empty()
    }

    pub(super) fn supply_aggregation(&mut self, aggregation: Arc<Aggregation>) {
        self.aggregation = Some(aggregation);
    }

    pub(super) fn supply_mask(&mut self, mask: Bytes) {
        self.mask = mask;
    }

    /// How many models the global model is made of.
    pub(in crate::coordinator) fn models(&self) -> u64 {
        self.aggregation.as_ref().map_or(0, |sum| sum.nb_models())
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
            optimizer: None,
        }
    }

    /// The same where an optimiser has made a step.
    pub(in crate::coordinator) fn end_with_step(
        &self,
        optimized: Optimized,
        round: &Round,
    ) -> GlobalModel {
        GlobalModel {
            round_id: round.id,
            seed: round.parameters.seed,
            models: self.models(),
            rationals: optimized.ratios.into(),
            weights: Some(Arc::new(optimized.model)),
            optimizer: Some(Arc::new(optimized.state)),
        }
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Merged { aggregation } => {
                self.aggregation = merged(self.aggregation, aggregation.as_ref(), around)?;
                Ok(Stage::Unmask(self))
            }
            // With nothing but the model the round is over.
            Record::Model(model) if around.parts.is_empty() => {
                let Round { id, parameters } = around.round;
                if (model.round_id, model.seed) != (*id, parameters.seed) {
                    return Err(RecoveryError::WrongModel);
                }
                let old = around.model.replace(model.clone());
                let bytes = old.as_ref().map_or(0, |old| {
                    let state = old.optimizer.as_ref().map_or(0, |state| state.bytes());
                    old.rationals.len() + state
                });
                around.garbage.add(bytes, old);
                around.garbage.add(self.bytes(), self);
                Ok(Stage::Idle)
            }
            _ => Err(unexpected(record, Phase::Unmask)),
        }
    }
}

impl Collected for Unmask {
    fn bytes(&self) -> usize {
        self.aggregation.as_deref().map_or(0, aggregate_bytes) + self.mask.len()
    }

    fn is_sound(&self, round: &Round, parts: &Parts) -> bool {
        self.aggregation.as_deref().map_or(!parts.is_empty(), |sum| round.fits(sum))
    }
}
