//! The phases of a round, each in a file of its own: which messages it takes and what it makes of them, how a
//! record changes it, when it ends, and what is published while it goes on.
//!
//! What is decided and what is changed are apart. A phase looks at a message and [gives a
//! record](sum::Sum::take) of what is to be; only [`Stage::apply`] changes anything, and it reads nothing but
//! the record. So a coordinator that goes on from its records is the one that has put them out.

mod failure;
mod idle;
mod shutdown;
mod sum;
mod sum2;
mod unmask;
mod update;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::garbage::Garbage;
use super::phase::Phase;
use super::recovery::RecoveryError;
use super::settings::{CountRange, Settings, TimeRange};
use super::state::Round;
use super::{GlobalModel, Record, Rejection, RoundFailure};
use crate::crypto::PublicSigningKey;
use crate::mask::Aggregation;
use crate::message::{Reassembly, Tag};
use crate::round::{SeedDict, SumDict};
pub(super) use failure::Failure;
pub(super) use sum::Sum;
pub(super) use sum2::Sum2;
pub(super) use unmask::Unmask;
pub(super) use update::Update;

/// What is known of a phase without a look at what was collected in it.
pub(super) struct Facts {
    /// Its name in messages for people.
    pub(super) name: &'static str,
    /// The only messages that are accepted in it, if any are.
    pub(super) accepts: Option<Tag>,
    /// How many messages it takes, and how long. It ends by itself if there is nothing here.
    pub(super) limits: fn(&Settings) -> Option<(CountRange, TimeRange)>,
    /// Whether the operator can end the round in it.
    pub(super) is_in_round: bool,
    /// The stable name of [`RoundFailure::TooFewMessages`] in it.
    pub(super) too_few: &'static str,
}

/// Of a phase that takes no messages.
const NO_MESSAGES: Facts = Facts {
    name: "",
    accepts: None,
    limits: |_| None,
    is_in_round: false,
    too_few: "too_few_messages",
};

/// What is known of a phase.
pub(super) fn facts(phase: Phase) -> &'static Facts {
    match phase {
        Phase::Idle => &idle::FACTS,
        Phase::Sum => &sum::FACTS,
        Phase::Update => &update::FACTS,
        Phase::Sum2 => &sum2::FACTS,
        Phase::Unmask => &unmask::FACTS,
        Phase::Failure => &failure::FACTS,
        Phase::Shutdown => &shutdown::FACTS,
    }
}

/// A phase and what was collected in it. In snapshots, too: the order of variants and fields is their form.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Between two rounds.
    Idle,
    Sum(Sum),
    Update(Update),
    Sum2(Sum2),
    Unmask(Unmask),
    Failure(Failure),
    /// Only in the snapshot of a machine that was stopped.
    Shutdown,
}

/// What a phase has collected, and what follows from it.
pub(super) trait Collected {
    /// How many messages were accepted.
    fn accepted(&self) -> u64 {
        0
    }

    /// About how much memory it holds. A few words for each number and each participant: only the order of
    /// magnitude counts.
    fn bytes(&self) -> usize {
        0
    }

    /// The sum dictionary, if it is published: once it is complete, and as long as it is needed.
    fn sum_dict(&self) -> Option<&Arc<SumDict>> {
        None
    }

    /// The seed dictionary, if it is published.
    fn seeds(&self) -> Option<&Arc<SeedDict>> {
        None
    }

    /// Why a message of this participant could only be a second one, if it could.
    fn duplicate(&self, participant: &PublicSigningKey) -> Option<Rejection> {
        let _ = participant;
        None
    }

    /// Whether what was saved of it is of the round's shape.
    fn is_sound(&self, round: &Round) -> bool {
        let _ = round;
        true
    }

    /// How it ends, when it is time: by a record, unless the round fails. Nothing if only something else than
    /// the time ends it.
    fn end(&self, settings: &Settings) -> Option<Result<Record, RoundFailure>> {
        let _ = settings;
        None
    }
}

/// What is around a phase, and changes with it.
pub(super) struct Around<'a> {
    pub(super) round: &'a Round,
    pub(super) reassembly: &'a mut Reassembly,
    pub(super) model: &'a mut Option<GlobalModel>,
    pub(super) garbage: &'a mut Garbage,
}

impl Around<'_> {
    /// The participant's message is accepted: nothing else of it is kept, as a second one never is.
    fn accepted(&mut self, participant: &PublicSigningKey) {
        if let Some((bytes, chunks)) = self.reassembly.forget(participant) {
            self.garbage.add(bytes, chunks);
        }
    }
}

impl Stage {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Sum(_) => Phase::Sum,
            Self::Update(_) => Phase::Update,
            Self::Sum2(_) => Phase::Sum2,
            Self::Unmask(_) => Phase::Unmask,
            Self::Failure(_) => Phase::Failure,
            Self::Shutdown => Phase::Shutdown,
        }
    }

    /// What was collected in it.
    pub(super) fn collected(&self) -> &dyn Collected {
        match self {
            Self::Idle => &idle::Idle,
            Self::Sum(sum) => sum,
            Self::Update(update) => update,
            Self::Sum2(sum2) => sum2,
            Self::Unmask(unmask) => unmask,
            Self::Failure(failure) => failure,
            Self::Shutdown => &shutdown::Shutdown,
        }
    }

    /// The phase after a record that is about this one.
    ///
    /// # Errors
    /// If no coordinator could have put the record out.
    pub(super) fn apply(
        self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Self, RecoveryError> {
        match self {
            Self::Sum(sum) => sum.apply(record, around),
            Self::Update(update) => update.apply(record, around),
            Self::Sum2(sum2) => sum2.apply(record, around),
            Self::Unmask(unmask) => unmask.apply(record, around),
            Self::Idle | Self::Failure(_) | Self::Shutdown => Err(unexpected(record, self.phase())),
        }
    }
}

/// Shows how much was collected, and nothing of it.
impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({}, {} accepted)", self.phase(), self.collected().accepted())
    }
}

pub(super) fn unexpected(record: &Record, phase: Phase) -> RecoveryError {
    RecoveryError::Unexpected { record: record.name(), phase }
}

fn once(is_new: bool, phase: Phase) -> Result<(), RecoveryError> {
    match is_new {
        true => Ok(()),
        false => Err(RecoveryError::Twice(phase)),
    }
}

/// About how much memory an aggregate takes.
fn aggregate_bytes(aggregation: &Aggregation) -> usize {
    aggregation.len() * 8
}
