//! A replica's own sum of masked models.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{part, MaskedModel, PartDone, PartId, Shard, MOST_IN_PART};
use crate::coordinator::jobs::{Aggregate, Outcome};
use crate::coordinator::{Front, Job, JobResult};
use crate::job::JobId;
use crate::mask::{Aggregation, MaskConfigPair, MaskObjectView};

/// The sum of the masked models that a shard has taken in one round. It is a value: adding models makes another one, so
/// that the one before is still there if the part is not recorded. Cheap to clone.
#[derive(Clone)]
pub struct ShardSum {
    round_id: u64,
    shard: Shard,
    config: MaskConfigPair,
    length: usize,
    /// Nothing before the first models.
    sum: Option<Arc<Aggregation>>,
}

/// Why models cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShardSumError {
    /// None, or more than a part takes.
    #[error("a part adds 1 to {MOST_IN_PART} models to the one before, not {0}")]
    Count(usize),
    /// A participant's model is there twice.
    #[error("a participant's model is there twice")]
    Twice,
    /// A model is another round's.
    #[error("a masked model is of another round, or has another shape")]
    OtherRound,
    /// More models than the mask config allows.
    #[error("the mask config allows no more models in one aggregate")]
    TooManyModels,
    /// The result is not of the job that adds to this sum.
    #[error("the result is of another job")]
    OtherJob,
}

/// Shows its shape.
impl fmt::Debug for ShardSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardSum")
            .field("round_id", &self.round_id)
            .field("shard", &self.shard)
            .field("models", &self.models())
            .finish_non_exhaustive()
    }
}

impl ShardSum {
    /// The sum of no models, in the round of this front; nothing before the first round.
    pub fn new(shard: Shard, front: &Front) -> Option<Self> {
        let (round_id, parameters) = (front.round_id()?, front.parameters()?);
        let length = usize::try_from(parameters.model_length).ok()?;
        Some(Self { round_id, shard, config: parameters.mask_config, length, sum: None })
    }

    /// Whose sum it is.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// The round that it is of.
    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// How many models it is of.
    pub fn models(&self) -> u64 {
        self.sum.as_ref().map_or(0, |sum| sum.nb_models())
    }

    /// The job that adds these models, in bounded steps, and split over threads where it is long. Give its result to
    /// [`ShardSum::added`]. The id is the caller's own.
    ///
    /// # Errors
    /// If the models do not fit.
    pub fn add(&self, id: JobId, models: &[MaskedModel]) -> Result<Job, ShardSumError> {
        if models.is_empty() || models.len() > MOST_IN_PART {
            return Err(ShardSumError::Count(models.len()));
        }
        let senders: BTreeSet<_> = models.iter().map(|model| model.participant).collect();
        if senders.len() < models.len() {
            return Err(ShardSumError::Twice);
        }
        let fits = |model: &MaskedModel| {
            let view = MaskObjectView::parse_exact(&model.object);
            model.round_id == self.round_id
                && view.is_ok_and(|view| view.matches(self.config, self.length))
        };
        if !models.iter().all(fits) {
            return Err(ShardSumError::OtherRound);
        }
        if self.models() + models.len() as u64 > self.config.max_nb_models() {
            return Err(ShardSumError::TooManyModels);
        }
        let objects = models.iter().map(|model| model.object.clone()).collect();
        let work = Aggregate::new(self.config, self.length, self.sum.clone(), objects);
        Ok(Job::new(id, work))
    }

    /// This sum and the models that the job has added to it.
    ///
    /// # Errors
    /// If the job was another one. (Two jobs of the same sum cannot be told apart: use the result of one of them.)
    pub fn added(&self, result: JobResult) -> Result<Self, ShardSumError> {
        match result.handed_in().1 {
            Outcome::Aggregated(sum)
                if sum.config() == self.config
                    && sum.len() == self.length
                    && sum.nb_models() > self.models() =>
            {
                Ok(Self { sum: Some(sum), ..self.clone() })
            }
            _ => Err(ShardSumError::OtherJob),
        }
    }

    /// The bytes of the part, to be stored under its name. Takes as long as the model is.
    pub fn to_bytes(&self) -> Vec<u8> {
        let nothing;
        let sum = match &self.sum {
            Some(sum) => sum,
            None => {
                nothing = Aggregation::new(self.config, self.length);
                &nothing
            }
        };
        part::write(self.round_id, self.shard, sum)
    }

    /// What the machine is told once the part is stored: `added` are the models that are not in the part before.
    pub fn part(
        &self,
        part: PartId,
        predecessor: Option<PartId>,
        added: &[MaskedModel],
    ) -> PartDone {
        let participants = added.iter().map(|model| model.participant).collect();
        let Self { round_id, shard, .. } = *self;
        PartDone { round_id, shard, part, predecessor, participants, models: self.models() }
    }
}
