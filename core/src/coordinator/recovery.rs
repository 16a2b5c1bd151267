//! Recovery from records: makes a coordinator of what a server has stored.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::machine::Coordinator;
use super::phases::Stage;
use super::settings::{InvalidSettings, Settings};
use super::snapshot::{Saved, Snapshot};
use super::state::State;
use super::{EndedRound, GlobalModel, Large, LargePiece, Phase, Record};
use crate::crypto::{Blake2b, RootSeed};
use crate::time::Timestamp;

/// What the records of a coordinator add up to. It is told the coordinator's root seed, the latest
/// global model if it is known, and the records since a round began, in order; then
/// [`Coordinator::resume`] makes the coordinator that had put out just these records.
///
/// Messages whose record is there are in it, each once; nothing is in it of any other message.
#[derive(Clone)]
pub struct Recovery {
    root: RootSeed,
    model: Option<GlobalModel>,
    /// Nothing before the first record.
    state: Option<State>,
    /// Records are taken without their large pieces: see [`Follower`](super::Follower).
    without_large: bool,
}

/// Shows how far it is, and nothing that was collected.
impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("round_id", &self.round_id())
            .field("stage", &self.state.as_ref().map(State::stage))
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
    /// A part does not follow the one of its shard before, or there are too many of them.
    #[error("a part of the aggregate does not follow the one before")]
    WrongPart,
    /// A vote is for a mask that is not there.
    #[error("a mask is missing, or is not the one that was voted for")]
    WrongMask,
    /// The model is another round's.
    #[error("the global model is not the one of its round")]
    WrongModel,
}

/// Why a coordinator cannot go on from records.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The records are not what one coordinator has put out.
    #[error(transparent)]
    Records(#[from] RecoveryError),
    /// The settings break a rule.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
}

/// The root seed, and the global model that the first round begins with, if it begins with one.
type Beginning = (RootSeed, Option<GlobalModel>);

impl Recovery {
    /// The recovery of a coordinator that has put out no record yet.
    pub fn new(root: RootSeed) -> Self {
        Self { root, model: None, state: None, without_large: false }
    }

    /// Has records taken without their large pieces, but for global models.
    pub(super) fn without_large(self) -> Self {
        Self { without_large: true, state: self.state.map(State::without_large), ..self }
    }

    /// Has no record taken without its large piece from now on.
    pub(super) fn with_large(self) -> Self {
        Self { without_large: false, state: self.state.map(State::with_large), ..self }
    }

    pub(super) fn supply(&mut self, piece: &LargePiece, large: Large) -> Result<(), RecoveryError> {
        self.state.as_mut().map_or(Ok(()), |state| state.supply(piece, large))
    }

    /// Sets the latest global model, if its record is not among those to come; or the one that the first round begins with
    /// ([`GlobalModel::initial`]).
    #[must_use]
    pub fn with_model(self, model: Option<GlobalModel>) -> Self {
        let state = self.state.map(|state| state.with_model(model.clone()));
        Self { model, state, ..self }
    }

    /// The root seed.
    pub fn root(&self) -> &RootSeed {
        &self.root
    }

    /// The round that the records are about; nothing before the first one.
    pub fn round_id(&self) -> Option<u64> {
        self.state.as_ref().map(|state| state.round().id)
    }

    /// The phase that the records lead to.
    pub fn phase(&self) -> Phase {
        self.state.as_ref().map_or(Phase::Idle, |state| state.stage().phase())
    }

    /// How many messages the current phase has accepted.
    pub fn accepted(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.stage().collected().accepted())
    }

    /// The round that the records are about, as if it were over; nothing before the first one.
    pub fn ended_round(&self) -> Option<EndedRound> {
        let round = self.state.as_ref()?.round();
        Some(EndedRound { round_id: round.id, parameters: round.parameters.clone() })
    }

    /// How many bytes it keeps of multipart messages that are not accepted yet, with what each chunk costs
    /// beside its data.
    pub fn incomplete_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.reassembly().bytes())
    }

    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Applies the next record. After an error the recovery is unusable.
    ///
    /// # Errors
    /// If no coordinator could have put it out.
    pub fn apply(&mut self, record: Record) -> Result<(), RecoveryError> {
        match &mut self.state {
            Some(state) => {
                state.apply(&record)?;
                check_content(&record)
            }
            None => {
                let (root, model) = (self.root.clone(), self.model.take());
                let state = State::first(root, model, &record)?;
                self.state = Some(match self.without_large {
                    true => state.without_large(),
                    false => state,
                });
                Ok(())
            }
        }
    }

    /// What is there, as a coordinator is saved; what the first round begins with if none has begun.
    fn finish(self, elapsed: Duration) -> Result<Result<Saved, Beginning>, RecoveryError> {
        let Some(state) = self.state else { return Ok(Err((self.root, self.model))) };
        match state.stage() {
            Stage::Update(update) => {
                update.check_aggregate(state.round(), state.parts())?;
            }
            Stage::Sum2(sum2) if !sum2.has_all_models(state.parts()) => {
                return Err(RecoveryError::WrongAggregate);
            }
            Stage::Unmask(unmask) if !unmask.has_all_models(state.parts()) => {
                return Err(RecoveryError::WrongAggregate);
            }
            _ => {}
        }
        let saved = state.saved(elapsed);
        Ok(Ok(Saved { reassembly: saved.reassembly.renumbered(), ..saved }))
    }
}

/// What takes long to look at, and is right in the machine that puts the record out.
fn check_content(record: &Record) -> Result<(), RecoveryError> {
    match record {
        Record::Sum2 { digest, mask: Some(mask), .. } if Blake2b::hash(&[mask]) != *digest => {
            Err(RecoveryError::WrongMask)
        }
        _ => Ok(()),
    }
}

impl Coordinator {
    /// Resumes the coordinator that put out these records, `elapsed` into its phase: in the same round,
    /// with every message that a record tells of and no other. Without records it is a
    /// [new](Coordinator::new) one, whose first round begins with the model of [`Recovery::with_model`]. What is published is put out again.
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
            Err((root, model)) => Self::begin(settings, root, model, now),
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
