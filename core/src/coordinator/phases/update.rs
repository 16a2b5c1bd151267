//! Update participants send masked models, and the seeds of their masks sealed for each sum participant.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{aggregate_bytes, once, unexpected, Around, Collected, Facts, Stage, Sum2};
use crate::coordinator::settings::Settings;
use crate::coordinator::shards::Parts;
use crate::coordinator::state::Round;
use crate::coordinator::{Phase, Record, RecoveryError, Rejection, RoundFailure};
use crate::crypto::PublicSigningKey;
use crate::mask::Aggregation;
use crate::message::{LocalSeedDict, Tag, SEED_ENTRY_LENGTH};
use crate::round::{SeedDict, SumDict};

pub(super) const FACTS: Facts = Facts {
    name: "update",
    accepts: Some(Tag::Update),
    limits: |settings| Some((settings.update.count, settings.update.time)),
    is_in_round: true,
    too_few: "too_few_update",
};

/// The seed dictionary and the sum of the masked models so far.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::coordinator) struct Update {
    sum_dict: Arc<SumDict>,
    seeds: SeedDict,
    /// Nothing before the first update.
    aggregation: Option<Arc<Aggregation>>,
}

impl Update {
    pub(super) fn new(sum_dict: SumDict) -> Self {
        Self { sum_dict: Arc::new(sum_dict), seeds: SeedDict::new(), aggregation: None }
    }

    /// Whether an update may be worked on, so late in the phase and while so many of others are, here and at other
    /// replicas: it takes a job to add it up, or another replica does it, and the record comes after that.
    ///
    /// What is under way turns nobody away for good: no record tells of it, and a replica that dies, this one too, takes it
    /// along.
    pub(in crate::coordinator) fn admit(
        &self,
        participant: &PublicSigningKey,
        is_under_way: bool,
        under_way: u64,
        elapsed: Duration,
        round: &Round,
        settings: &Settings,
    ) -> Result<(), Rejection> {
        if let Some(duplicate) = self.duplicate(participant) {
            return Err(duplicate);
        }
        if is_under_way {
            return Err(Rejection::InProgress(Tag::Update));
        }
        let accepted = self.accepted();
        if accepted >= settings.update.count.max {
            return Err(Rejection::Full(Phase::Update));
        }
        let config = round.parameters.mask_config;
        let most_models = config.vect.max_nb_models().min(config.unit.max_nb_models());
        if accepted >= most_models {
            return Err(Rejection::TooManyModels);
        }
        if elapsed >= settings.update.time.max {
            return Err(Rejection::TooLate(Phase::Update));
        }
        if accepted + under_way >= most_models.min(settings.update.count.max) {
            return Err(Rejection::ShardFull);
        }
        Ok(())
    }

    /// Whether the participant's update is accepted.
    pub(in crate::coordinator) fn counts(&self, participant: &PublicSigningKey) -> bool {
        self.seeds.contains(participant)
    }

    /// Whether there are as many seeds as sum participants. Whose they are was checked when the message was opened.
    pub(in crate::coordinator) fn has_seed_for_each(&self, seeds: &LocalSeedDict) -> bool {
        seeds.sum_participants().len() == self.sum_dict.len()
    }

    /// How many of the accepted updates are in no part: they are in the aggregate.
    fn own(&self, parts: &Parts) -> Option<u64> {
        self.accepted().checked_sub(parts.models())
    }

    /// The sum of the accepted updates that are in no part; nothing before the first.
    pub(in crate::coordinator) fn aggregation(&self) -> Option<&Arc<Aggregation>> {
        self.aggregation.as_ref()
    }

    /// Whether there is an aggregate that is somewhere else.
    pub(super) fn lacks_aggregation(&self, parts: &Parts) -> bool {
        self.aggregation.is_none() && self.own(parts) != Some(0)
    }

    pub(super) fn supply_aggregation(&mut self, aggregation: Arc<Aggregation>) {
        self.aggregation = Some(aggregation);
    }

    /// As if a disk had made something else of it.
    #[cfg(test)]
    pub(in crate::coordinator) fn damage(&mut self, length: usize, models: u64) {
        if let Some(aggregation) = &mut self.aggregation {
            let nothing = Aggregation::new(aggregation.config(), length).object().clone();
            *aggregation = Arc::new(Aggregation::with_nb_models(nothing, models));
        }
    }

    /// The aggregate, if it is the one of the accepted updates that are in no part; nothing if there are none.
    pub(in crate::coordinator) fn check_aggregate(
        &self,
        round: &Round,
        parts: &Parts,
    ) -> Result<Option<&Arc<Aggregation>>, RecoveryError> {
        let aggregation = self.aggregation();
        let models = aggregation.map_or(0, |sum| sum.nb_models());
        let fits = aggregation.is_none_or(|sum| round.fits(sum));
        match fits && Some(models) == self.own(parts) {
            true => Ok(aggregation),
            false => Err(RecoveryError::WrongAggregate),
        }
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Updates { seeds, aggregation } => {
                for (participant, column) in seeds {
                    once(self.seeds.insert(*participant, column.clone()), Phase::Update)?;
                    around.accepted(participant);
                }
                let old = std::mem::replace(&mut self.aggregation, aggregation.clone());
                around.garbage.add(old.as_deref().map_or(0, aggregate_bytes), old);
                Ok(Stage::Update(self))
            }
            Record::Part { shard, part, predecessor, seeds } => {
                around.parts.replace(*shard, *predecessor, *part, seeds.len() as u64)?;
                for (participant, column) in seeds {
                    once(self.seeds.insert(*participant, column.clone()), Phase::Update)?;
                    around.accepted(participant);
                }
                Ok(Stage::Update(self))
            }
            Record::UpdateEnded => {
                if !around.without_large {
                    let own = self.check_aggregate(around.round, around.parts)?;
                    if own.is_none() && around.parts.is_empty() {
                        return Err(RecoveryError::WrongAggregate);
                    }
                }
                Ok(Stage::Sum2(Sum2::new(self.sum_dict, self.seeds, self.aggregation)))
            }
            _ => Err(unexpected(record, Phase::Update)),
        }
    }
}

impl Collected for Update {
    fn accepted(&self) -> u64 {
        self.seeds.len() as u64
    }

    fn bytes(&self) -> usize {
        self.seeds.len() * self.sum_dict.len() * SEED_ENTRY_LENGTH
            + self.aggregation.as_deref().map_or(0, aggregate_bytes)
    }

    fn sum_dict(&self) -> Option<&Arc<SumDict>> {
        Some(&self.sum_dict)
    }

    fn duplicate(&self, participant: &PublicSigningKey) -> Option<Rejection> {
        self.seeds.contains(participant).then_some(Rejection::DuplicateUpdate)
    }

    fn is_sound(&self, round: &Round, parts: &Parts) -> bool {
        self.check_aggregate(round, parts).is_ok()
    }

    fn end(&self, _: &Settings) -> Option<Result<Record, RoundFailure>> {
        Some(Ok(Record::UpdateEnded))
    }
}
