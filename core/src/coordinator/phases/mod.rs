//! The phases of a round, each in a file of its own: which messages it takes and what it makes of them, how a
//! record changes it, when it ends, and what is published while it goes on.
//!
//! What is decided and what is changed are apart. A phase looks at a message and [gives a
//! record](sum::Sum::take) of what is to be; only [`Stage::apply`] changes anything, and it reads nothing but
//! the record. So a coordinator that goes on from its records is the one that has put them out.

mod failure;
mod idle;
mod optional_sum;
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
use super::shards::Parts;
use super::state::Round;
use super::{GlobalModel, Large, LargePiece, Record, Rejection, RoundFailure};
use crate::crypto::{Blake2b, Digest, PublicSigningKey};
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

    /// Whether what was saved of it is of the round's shape, and goes together with the parts.
    fn is_sound(&self, round: &Round, parts: &Parts) -> bool {
        let _ = round;
        parts.is_empty()
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
    /// Sums of other replicas that are not in the aggregate yet.
    pub(super) parts: &'a mut Parts,
    /// The aggregate and masks may be somewhere else: see [`State::without_large`](super::state::State::without_large).
    pub(super) without_large: bool,
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

    /// What of it is somewhere else; `winner` is the mask that was chosen.
    pub(super) fn lacks(&self, winner: Option<Digest>, parts: &Parts) -> Vec<LargePiece> {
        let (aggregation, masks) = match self {
            Self::Update(update) => (update.lacks_aggregation(parts), Vec::new()),
            Self::Sum2(sum2) => (sum2.lacks_aggregation(parts), sum2.lacks_masks().collect()),
            Self::Unmask(unmask) => {
                let mask = winner.filter(|_| unmask.lacks_mask());
                (unmask.lacks_aggregation(parts), mask.into_iter().collect())
            }
            Self::Idle | Self::Sum(_) | Self::Failure(_) | Self::Shutdown => (false, Vec::new()),
        };
        let aggregation = aggregation.then_some(LargePiece::Aggregation);
        aggregation.into_iter().chain(masks.into_iter().map(LargePiece::Mask)).collect()
    }

    /// Puts in what was somewhere else.
    ///
    /// # Errors
    /// If it is something else.
    pub(super) fn supply(
        &mut self,
        piece: &LargePiece,
        large: Large,
        round: &Round,
    ) -> Result<(), RecoveryError> {
        match (piece, large) {
            (LargePiece::Aggregation, Large::Aggregation(sum)) if round.fits(&sum) => match self {
                Self::Update(update) => update.supply_aggregation(sum),
                Self::Sum2(sum2) => sum2.supply_aggregation(sum),
                Self::Unmask(unmask) => unmask.supply_aggregation(sum),
                Self::Idle | Self::Sum(_) | Self::Failure(_) | Self::Shutdown => {}
            },
            (LargePiece::Aggregation, _) => return Err(RecoveryError::WrongAggregate),
            (LargePiece::Mask(digest), Large::Mask(mask)) if Blake2b::hash(&[&mask]) == *digest => {
                match self {
                    Self::Sum2(sum2) => sum2.supply_mask(digest, mask),
                    Self::Unmask(unmask) => unmask.supply_mask(mask),
                    Self::Idle
                    | Self::Sum(_)
                    | Self::Update(_)
                    | Self::Failure(_)
                    | Self::Shutdown => {}
                }
            }
            (LargePiece::Mask(_), _) => return Err(RecoveryError::WrongMask),
        }
        Ok(())
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

/// The aggregate once the parts are in it.
fn merged(
    own: Option<Arc<Aggregation>>,
    merged: Option<&Arc<Aggregation>>,
    around: &mut Around<'_>,
) -> Result<Option<Arc<Aggregation>>, RecoveryError> {
    let parts = std::mem::take(around.parts);
    let models = own.as_deref().map_or(0, Aggregation::nb_models).saturating_add(parts.models());
    let fits = match merged {
        // How many of its own the coordinator had is not known without its own sum.
        Some(sum) if around.without_large => around.round.fits(sum),
        Some(sum) => around.round.fits(sum) && sum.nb_models() == models,
        None => around.without_large,
    };
    if parts.is_empty() || !fits {
        return Err(RecoveryError::WrongAggregate);
    }
    around.garbage.add(own.as_deref().map_or(0, aggregate_bytes), own);
    Ok(merged.cloned())
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
