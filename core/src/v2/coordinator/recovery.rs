//! Recovery from records: makes a coordinator of what a server has stored.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::clock::Clock;
use super::machine::Coordinator;
use super::phases::Stage;
use super::settings::{InvalidSettings, Settings};
use super::state::{Round, State};
use super::{Completed, Phase, Record, Ruling};
use crate::crypto::RootSeed;
use crate::time::Timestamp;

/// What the records of a coordinator add up to. It is told the coordinator's root seed, the round that was
/// completed last if it is known, and the records since a round began, in order; then
/// [`Coordinator::resume`] makes the coordinator that had put out just these records.
///
/// Messages whose record is there are in it, each once; nothing is in it of any other message.
#[derive(Clone)]
pub struct Recovery {
    root: RootSeed,
    last: Option<Arc<Completed>>,
    /// Nothing before the first record.
    state: Option<State>,
}

/// Shows how far it is, and nothing that was collected.
impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("round", &self.round())
            .field("phase", &self.phase())
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
    #[error("somebody or something is there twice in the {0} phase")]
    Twice(Phase),
    /// The round's keys do not follow from the root seed.
    #[error("the records are of a coordinator with another root seed")]
    OtherRoot,
    /// The terms are of another roster, or of a shape that cannot be.
    #[error("the terms of the round and its roster do not fit together")]
    WrongTerms,
    /// A record is about an upload that has not begun.
    #[error("there is a record of an update whose header is missing")]
    NoUpload,
    /// The decision is not about the updates that are there.
    #[error("the decision is not the one about the accepted updates")]
    WrongDecision,
    /// A mask is not there, or not whole.
    #[error("a mask is missing, or is not complete")]
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

impl Recovery {
    /// The recovery of a coordinator that has put out no record yet.
    pub fn new(root: RootSeed) -> Self {
        Self { root, last: None, state: None }
    }

    /// Sets the round that was completed last, if its record is not among those to come.
    #[must_use]
    pub fn with_completed(self, last: Option<Arc<Completed>>) -> Self {
        let state = self.state.map(|state| state.with_completed(last.clone()));
        Self { last, state, ..self }
    }

    /// The root seed.
    pub fn root(&self) -> &RootSeed {
        &self.root
    }

    /// The round that the records are about; nothing before the first one.
    pub fn round(&self) -> Option<u64> {
        self.state.as_ref().map(|state| state.round().terms.round)
    }

    /// The phase that the records lead to.
    pub fn phase(&self) -> Phase {
        self.state.as_ref().map_or(Phase::Idle, |state| state.stage().phase())
    }

    /// The round that was completed last.
    pub fn completed(&self) -> Option<&Arc<Completed>> {
        self.state.as_ref().map_or(self.last.as_ref(), State::last)
    }

    #[cfg(test)]
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
                check_content(state, &record)?;
                state.apply(&record).map(drop)
            }
            None => {
                let (root, last) = (self.root.clone(), self.last.take());
                self.state = Some(State::first(root, last, &record)?);
                Ok(())
            }
        }
    }
}

/// What takes long to look at, and is right in the machine that puts the record out.
fn check_content(state: &State, record: &Record) -> Result<(), RecoveryError> {
    match (state.stage(), record) {
        (Stage::Check(check), Record::CheckEnded { ruling }) => {
            let Round { context, roster, .. } = &**state.round();
            match Ruling::of(context, roster, check.entries(), check.reports()) == **ruling {
                true => Ok(()),
                false => Err(RecoveryError::WrongDecision),
            }
        }
        _ => Ok(()),
    }
}

impl Coordinator {
    /// Resumes the coordinator that put out these records, `elapsed` into its phase: in the same round,
    /// with every message that a record tells of and no other. Without records it is a
    /// [new](Coordinator::new) one. What is published is put out again; what was being added up is read back and
    /// added again.
    ///
    /// Settings that are part of the round's terms hold from the next round on. The records must be the
    /// latest: with older ones rounds are repeated, and members refuse to announce themselves in them a second time.
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
        let Recovery { root, last, state } = recovery;
        Ok(match state {
            Some(state) => Self::go_on(state, settings, Clock::new(now, elapsed)),
            None => Self::start(settings, root, last, now),
        })
    }
}
