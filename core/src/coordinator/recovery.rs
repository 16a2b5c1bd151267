//! Going on from records: what a server has stored makes a coordinator again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::io::PersistId;
use super::machine::Coordinator;
use super::settings::{InvalidSettings, Settings};
use super::snapshot::{Saved, Snapshot};
use super::state::{Round, Stage, Vote};
use super::{GlobalModel, Phase, Record};
use crate::crypto::{Blake2b, Digest, RootSeed};
use crate::mask::Aggregation;
use crate::message::Reassembly;
use crate::round::{SeedDict, SumDict};
use crate::time::Timestamp;

/// What the records of a coordinator add up to. It is told the coordinator's root seed, the latest
/// global model if it is known, and the records since a round began, in order; then
/// [`Coordinator::resume`] makes the coordinator that had put out just these records.
///
/// Messages whose record is there are in it, each once; nothing is in it of any other message.
#[derive(Clone)]
pub struct Recovery {
    root: RootSeed,
    round: Option<Round>,
    stage: Stage,
    reassembly: Reassembly,
    model: Option<GlobalModel>,
}

/// Shows how far it is, and nothing that was collected.
impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("round_id", &self.round_id())
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Why records do not make a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// No coordinator puts out this record at this point.
    #[error("there is a record \"{record}\" that cannot follow in the {phase} phase")]
    Unexpected {
        /// What kind of record it is.
        record: &'static str,
        /// The phase so far.
        phase: Phase,
    },
    /// Somebody would count twice.
    #[error("a participant is there twice in the {0} phase")]
    Twice(Phase),
    /// The round's keys do not follow from the root seed.
    #[error("the records are of a coordinator with another root seed")]
    OtherRoot,
    /// There is no aggregate, or one of another shape or number of models.
    #[error("the aggregate is missing, or is not the one of the accepted updates")]
    WrongAggregate,
    /// A vote is for a mask that is not there.
    #[error("a mask is missing, or is not the one that was voted for")]
    WrongMask,
    /// The model is another round's.
    #[error("the global model is not the one of its round")]
    WrongModel,
}

/// Why a coordinator cannot go on from records.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResumeError {
    /// The records are not what one coordinator has put out.
    #[error(transparent)]
    Records(#[from] RecoveryError),
    /// The settings break a rule.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
}

impl Recovery {
    /// A coordinator that has put out no record yet.
    pub fn new(root: RootSeed) -> Self {
        let reassembly = Reassembly::default();
        Self { root, round: None, stage: Stage::Idle, reassembly, model: None }
    }

    /// With the latest global model, if its record is not among those to come.
    #[must_use]
    pub fn with_model(self, model: Option<GlobalModel>) -> Self {
        Self { model, ..self }
    }

    /// The root seed.
    pub fn root(&self) -> &RootSeed {
        &self.root
    }

    /// The round that the records are about; nothing before the first one.
    pub fn round_id(&self) -> Option<u64> {
        self.round.as_ref().map(|round| round.id)
    }

    /// The phase that they lead to.
    pub fn phase(&self) -> Phase {
        self.stage.phase()
    }

    /// How many bytes it keeps of multipart messages that are not accepted yet, with what each chunk costs
    /// beside its data.
    pub fn incomplete_bytes(&self) -> usize {
        self.reassembly.bytes()
    }

    /// Takes the next record. After an error this is worth nothing any more.
    ///
    /// # Errors
    /// If no coordinator could have put it out.
    pub fn apply(&mut self, record: Record) -> Result<(), RecoveryError> {
        let unexpected = RecoveryError::Unexpected { record: record.name(), phase: self.phase() };
        if record.begins_phase() {
            self.reassembly = Reassembly::default();
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        self.stage = match (record, stage) {
            (
                Record::RoundBegan { round_id, parameters, secret },
                Stage::Idle | Stage::Failure { .. },
            ) => {
                if self.round_id().is_some_and(|id| round_id != id.wrapping_add(1)) {
                    return Err(unexpected);
                }
                let round = Round { id: round_id, parameters };
                let keys = round.keys(&self.root);
                if *keys.secret() != secret || keys.public() != round.parameters.pk {
                    return Err(RecoveryError::OtherRoot);
                }
                self.round = Some(round);
                Stage::Sum { dict: SumDict::new() }
            }
            (Record::Sum { participant, ephemeral_key }, Stage::Sum { mut dict }) => {
                once(dict.insert(participant, ephemeral_key), Phase::Sum)?;
                self.reassembly.forget(&participant);
                Stage::Sum { dict }
            }
            (Record::Chunk { participant, tag, chunk, reserved }, stage) => {
                if stage.phase().accepts() != Some(tag) {
                    return Err(unexpected);
                }
                self.reassembly.keep_chunk(participant, tag, chunk, reserved);
                stage
            }
            (Record::ChunksDropped { participants }, stage) => {
                for participant in &participants {
                    self.reassembly.forget(participant);
                }
                stage
            }
            (Record::SumEnded, Stage::Sum { dict }) => Stage::Update {
                sum_dict: Arc::new(dict),
                seeds: SeedDict::new(),
                aggregation: None,
            },
            (
                Record::Updates { seeds: new, aggregation },
                Stage::Update { sum_dict, mut seeds, .. },
            ) => {
                for (participant, column) in new {
                    once(!seeds.contains(&participant), Phase::Update)?;
                    seeds.insert(participant, column);
                    self.reassembly.forget(&participant);
                }
                Stage::Update { sum_dict, seeds, aggregation }
            }
            (Record::UpdateEnded, Stage::Update { sum_dict, seeds, aggregation }) => {
                let aggregation = self.check_aggregate(&seeds, aggregation)?;
                Stage::Sum2 {
                    sum_dict,
                    seeds: Arc::new(seeds),
                    aggregation: aggregation.ok_or(RecoveryError::WrongAggregate)?,
                    voters: BTreeSet::new(),
                    votes: BTreeMap::new(),
                }
            }
            (
                Record::Sum2 { participant, digest, mask },
                Stage::Sum2 { sum_dict, seeds, aggregation, mut voters, mut votes },
            ) => {
                once(voters.insert(participant), Phase::Sum2)?;
                match (votes.get_mut(&digest), mask) {
                    (Some(vote), None) => vote.count += 1,
                    (None, Some(mask)) if Blake2b::hash(&[&mask]) == digest => {
                        votes.insert(digest, Vote { mask, count: 1 });
                    }
                    _ => return Err(RecoveryError::WrongMask),
                }
                self.reassembly.forget(&participant);
                Stage::Sum2 { sum_dict, seeds, aggregation, voters, votes }
            }
            (Record::Sum2Ended { digest }, Stage::Sum2 { aggregation, votes, .. }) => {
                let Vote { mask, count } = winner(votes, &digest)?;
                Stage::Unmask { aggregation, mask, votes: count }
            }
            // With nothing but the model the round is over.
            (Record::Model(model), Stage::Unmask { .. }) => {
                let round = self.round.as_ref();
                if !round.is_some_and(|round| {
                    round.id == model.round_id && round.parameters.seed == model.seed
                }) {
                    return Err(RecoveryError::WrongModel);
                }
                self.model = Some(model);
                Stage::Idle
            }
            (Record::RoundFailed { round_id }, stage)
                if self.round_id() == Some(round_id) && stage.phase() != Phase::Idle =>
            {
                Stage::Failure { record: PersistId(0) }
            }
            _ => return Err(unexpected),
        };
        Ok(())
    }

    /// The aggregate of the accepted updates; nothing if there are none.
    fn check_aggregate(
        &self,
        seeds: &SeedDict,
        aggregation: Option<Arc<Aggregation>>,
    ) -> Result<Option<Arc<Aggregation>>, RecoveryError> {
        let models = aggregation.as_ref().map_or(0, |sum| sum.nb_models());
        let fits = aggregation.as_ref().is_none_or(|sum| {
            self.round.as_ref().is_some_and(|round| {
                sum.config() == round.parameters.mask_config && sum.len() == round.model_length()
            })
        });
        match fits && models == seeds.len() as u64 {
            true => Ok(aggregation),
            false => Err(RecoveryError::WrongAggregate),
        }
    }

    /// What is there, as a coordinator is saved; the root seed alone if no round has begun.
    fn finish(self, elapsed: Duration) -> Result<Result<Saved, RootSeed>, RecoveryError> {
        if let Stage::Update { seeds, aggregation, .. } = &self.stage {
            self.check_aggregate(seeds, aggregation.clone())?;
        }
        let Self { root, round, stage, reassembly, model } = self;
        let reassembly = reassembly.renumbered();
        Ok(match round {
            Some(round) => Ok(Saved { root, round, stage, elapsed, reassembly, model }),
            None => Err(root),
        })
    }
}

fn once(is_new: bool, phase: Phase) -> Result<(), RecoveryError> {
    match is_new {
        true => Ok(()),
        false => Err(RecoveryError::Twice(phase)),
    }
}

fn winner(mut votes: BTreeMap<Digest, Vote>, digest: &Digest) -> Result<Vote, RecoveryError> {
    votes.remove(digest).ok_or(RecoveryError::WrongMask)
}

impl Coordinator {
    /// Goes on where the coordinator was that put out these records, `elapsed` into its phase: in the same
    /// round, with every message that a record tells of and no other. Without records it is a
    /// [new](Coordinator::new) one. What is published is put out again.
    ///
    /// Settings that are part of the round's parameters hold from the next round on. The records must be
    /// the latest: with older ones rounds are repeated, with the same keys.
    ///
    /// # Errors
    /// If the records are not what one coordinator has put out, or the settings break a rule.
    pub fn resume(
        recovery: Recovery,
        elapsed: Duration,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, ResumeError> {
        settings.validate()?;
        Ok(match recovery.finish(elapsed)? {
            Ok(saved) => Self::from_saved(saved, settings, now),
            Err(root) => Self::new(settings, root, now)?,
        })
    }
}

impl Snapshot {
    /// What these records add up to, `elapsed` into the phase; nothing if no round has begun.
    ///
    /// # Errors
    /// If the records are not what one coordinator has put out.
    pub fn of_records(
        recovery: Recovery,
        elapsed: Duration,
    ) -> Result<Option<Self>, RecoveryError> {
        Ok(recovery.finish(elapsed)?.ok().map(Self::new))
    }
}
