//! Sum participants announce themselves, each with an ephemeral key: they make up the sum dictionary.

use serde::{Deserialize, Serialize};

use super::{once, unexpected, Around, Collected, Facts, Stage, Update};
use crate::coordinator::settings::{most_summers, Settings};
use crate::coordinator::state::Round;
use crate::coordinator::{Phase, Record, RecoveryError, Rejection, RoundFailure};
use crate::crypto::{PublicEncryptKey, PublicSigningKey};
use crate::message::Tag;
use crate::round::{RoundParameters, SumDict};

pub(super) const FACTS: Facts = Facts {
    name: "sum",
    accepts: Some(Tag::Sum),
    limits: |settings| Some((settings.sum.count, settings.sum.time)),
    is_in_round: true,
    too_few: "too_few_sum",
};

/// The sum dictionary so far.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::coordinator) struct Sum {
    dict: SumDict,
}

impl Sum {
    /// What is made of a sum message.
    pub(in crate::coordinator) fn take(
        &self,
        participant: PublicSigningKey,
        ephemeral_key: PublicEncryptKey,
        round: &Round,
        settings: &Settings,
    ) -> Result<Record, Rejection> {
        if let Some(duplicate) = self.duplicate(&participant) {
            return Err(duplicate);
        }
        let RoundParameters { mask_config, model_length, .. } = *round.parameters;
        let fitting = most_summers(mask_config, model_length).unwrap_or(0);
        if self.accepted() >= settings.sum.count.max.min(fitting) {
            return Err(Rejection::Full(Phase::Sum));
        }
        Ok(Record::Sum { participant, ephemeral_key })
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Sum { participant, ephemeral_key } => {
                once(self.dict.insert(*participant, *ephemeral_key), Phase::Sum)?;
                around.accepted(participant);
                Ok(Stage::Sum(self))
            }
            Record::SumEnded => Ok(Stage::Update(Update::new(self.dict))),
            _ => Err(unexpected(record, Phase::Sum)),
        }
    }
}

impl Collected for Sum {
    fn accepted(&self) -> u64 {
        self.dict.len() as u64
    }

    fn bytes(&self) -> usize {
        self.dict.len() * SumDict::ENTRY_LENGTH
    }

    fn duplicate(&self, participant: &PublicSigningKey) -> Option<Rejection> {
        self.dict.contains(participant).then_some(Rejection::DuplicateSum)
    }

    fn end(&self, _: &Settings) -> Option<Result<Record, RoundFailure>> {
        Some(Ok(Record::SumEnded))
    }
}
