//! The phases of a round, each in a file of its own: what a record makes of it, when it ends, and how it fails.
//!
//! What is decided and what is changed are apart. A phase looks at a message and gives a record of what is to be; only
//! [`Stage::apply`] changes anything, and it reads nothing but the record. So a coordinator that goes on from its
//! records is the one that has put them out.

mod agree;
mod announce;
mod check;
mod sum2;
mod unmask;
mod update;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) use agree::{Agree, Agreed};
pub(super) use announce::{known_announcement, Announce};
pub(super) use check::{Check, Reports};
pub(super) use sum2::{mask_of, Masks, Sum2};
pub(super) use unmask::Unmask;
pub(super) use update::{known_statement, Admission, Update, Upload, Uploads};

use super::garbage::Garbage;
use super::recovery::RecoveryError;
use super::settings::{Settings, TimeRange};
use super::state::Round;
use super::{Completed, Phase, Record, RoundFailure};
use crate::v2::{MemberId, Roster};

/// A phase and what was collected in it.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Stage {
    /// Between two rounds.
    Idle,
    Announce(Announce),
    Update(Update),
    Check(Check),
    Agree(Agree),
    Sum2(Sum2),
    Unmask(Unmask),
    Failed,
}

/// Whether a phase may end, must, or has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Not before something more comes.
    NotYet,
    /// Enough has come: once the minimal time is over.
    AfterMinTime,
    /// All has come that can.
    Now,
}

impl Stage {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Announce(_) => Phase::Announce,
            Self::Update(_) => Phase::Update,
            Self::Check(_) => Phase::Check,
            Self::Agree(_) => Phase::Agree,
            Self::Sum2(_) => Phase::Sum2,
            Self::Unmask(_) => Phase::Unmask,
            Self::Failed => Phase::Failed,
        }
    }

    /// How many messages were accepted in it.
    pub(super) fn accepted(&self) -> u64 {
        match self {
            Self::Announce(stage) => stage.accepted(),
            Self::Update(stage) => stage.accepted(),
            Self::Check(stage) => stage.accepted(),
            Self::Agree(stage) => stage.accepted(),
            Self::Sum2(stage) => stage.accepted(),
            Self::Idle | Self::Unmask(_) | Self::Failed => 0,
        }
    }

    /// How long it takes; nothing if something else than the time ends it.
    pub(super) fn time(&self, settings: &Settings) -> Option<TimeRange> {
        let times = &settings.times;
        match self {
            Self::Announce(_) => Some(times.announce),
            Self::Update(_) => Some(times.update),
            Self::Check(_) => Some(times.check),
            Self::Agree(_) => Some(times.agree),
            Self::Sum2(_) => Some(times.sum2),
            Self::Idle | Self::Unmask(_) | Self::Failed => None,
        }
    }

    /// Whether it may end.
    pub(super) fn end(&self, round: &Round, settings: &Settings) -> End {
        match self {
            Self::Announce(stage) => stage.end(round),
            Self::Update(stage) => stage.end(settings),
            Self::Check(stage) => stage.end(round),
            Self::Agree(stage) => stage.end(round),
            Self::Sum2(stage) => stage.end(round),
            Self::Idle | Self::Unmask(_) | Self::Failed => End::NotYet,
        }
    }

    /// Why the round fails if the phase's time is over and it may not end.
    pub(super) fn failure(&self, round: &Round, settings: &Settings) -> RoundFailure {
        match self {
            Self::Announce(stage) => stage.failure(round),
            Self::Update(stage) => stage.failure(settings),
            Self::Check(stage) => stage.failure(round),
            Self::Agree(stage) => stage.failure(round),
            Self::Sum2(stage) => stage.failure(round),
            Self::Idle | Self::Unmask(_) | Self::Failed => RoundFailure::Skipped,
        }
    }

    /// Whom it has not heard of.
    pub(super) fn absent(&self, round: &Round) -> Vec<MemberId> {
        match self {
            Self::Announce(stage) => stage.absent(round),
            Self::Check(stage) => stage.absent(),
            Self::Agree(stage) => stage.absent(),
            Self::Sum2(stage) => stage.absent(),
            _ => Vec::new(),
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
            Self::Announce(stage) => stage.apply(record, around),
            Self::Update(stage) => stage.apply(record, around),
            Self::Check(stage) => stage.apply(record, around),
            Self::Agree(stage) => stage.apply(record, around),
            Self::Sum2(stage) => stage.apply(record, around),
            Self::Unmask(stage) => stage.apply(record, around),
            Self::Idle | Self::Failed => Err(unexpected(record, self.phase())),
        }
    }
}

/// What is around a phase, and changes with it.
pub(super) struct Around<'a> {
    pub(super) round: &'a Round,
    pub(super) last: &'a mut Option<Arc<Completed>>,
    pub(super) garbage: &'a mut Garbage,
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

/// Whether the members that were heard of are all there can be, or a majority of every group.
fn heard(roster: &Roster, heard: impl Iterator<Item = MemberId> + Clone, all: usize) -> End {
    if roster.lacking(heard.clone()).is_some() {
        End::NotYet
    } else if heard.count() >= all {
        End::Now
    } else {
        End::AfterMinTime
    }
}

/// That a group has no majority.
fn too_few(roster: &Roster, phase: Phase, heard: impl Iterator<Item = MemberId>) -> RoundFailure {
    // Asked for only where one lacks something.
    let (group, have, need) = roster
        .lacking(heard)
        .map_or((0, 0, 0), |lacking| (lacking.group, lacking.have, lacking.need));
    let name = roster.group_name(group).to_owned();
    RoundFailure::TooFewMembers { phase, group, name, have, need }
}

/// Those of `all` that are not among these.
fn absent(
    all: impl Iterator<Item = MemberId>,
    heard: impl Iterator<Item = MemberId>,
) -> Vec<MemberId> {
    let heard: BTreeSet<_> = heard.collect();
    all.filter(|member| !heard.contains(member)).collect()
}
