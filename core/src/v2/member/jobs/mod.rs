//! A member's long work: checking what the coordinator shows, and adding up masks.

mod announcements;
mod entries;
mod mask;
mod roster;
mod set;
mod votes;

use std::sync::Arc;

pub(super) use announcements::CheckAnnouncements;
pub(super) use entries::{CheckEntries, Expected};
pub(super) use mask::{noise_of, AddMasks};
pub(super) use roster::CheckRoster;
pub(super) use set::CheckSet;
pub(super) use votes::CheckVotes;

use super::round::{Agreed, Checked, GroupMask};
use super::Refusal;
use crate::crypto::EncryptKeyPair;
use crate::v2::{Announcements, Context, DecisionHash, MemberId, Roster, Terms};

/// How many signatures are verified in a step.
const SIGNATURES_PER_STEP: usize = 8;

/// How many updates are checked in a step: two signatures and a box each.
const ENTRIES_PER_STEP: usize = 4;

/// How many updates are hashed in a step.
const HASHES_PER_STEP: usize = 512;

/// What a member's job has done. Opaque: it is handed back to the machine.
#[derive(Debug)]
pub enum Outcome {
    #[doc(hidden)]
    Roster(Result<(Arc<Roster>, MemberId), Refusal>),
    #[doc(hidden)]
    Announcements(Result<Arc<Announcements>, Refusal>),
    #[doc(hidden)]
    Entries(Result<CheckedPage, Refusal>),
    #[doc(hidden)]
    EntriesPart(Vec<Checked>),
    #[doc(hidden)]
    Set(Result<Agreed, Refusal>),
    #[doc(hidden)]
    Votes(Result<DecisionHash, Refusal>),
    #[doc(hidden)]
    Mask(Result<GroupMask, Refusal>),
    #[doc(hidden)]
    MaskPart(Box<crate::mask::GroupMaskPart>),
    #[doc(hidden)]
    Released,
}

impl Outcome {
    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Entries(Ok(page)) => page.entries.len() * 200,
            Self::Mask(Ok(mask)) => mask.bytes.len(),
            Self::MaskPart(part) => part.bytes(),
            _ => 0,
        }
    }
}

/// A page of updates that was checked.
#[derive(Debug)]
pub struct CheckedPage {
    pub(super) total: u64,
    pub(super) entries: Vec<Checked>,
}

/// What all jobs of a round need.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) roster: Arc<Roster>,
    pub(super) terms: Arc<Terms>,
    pub(super) context: Context,
    pub(super) member: MemberId,
    pub(super) keys: Arc<EncryptKeyPair>,
    /// The checked list; nothing before there is one.
    pub(super) list: Option<Arc<Announcements>>,
}

/// A job that does one thing after another: each step gives the next, until there is a result.
enum Steps<S, T> {
    Next(S),
    Done(Result<T, Refusal>),
    /// While a step is taken.
    Between,
}

impl<S, T> Steps<S, T> {
    /// Takes a step; whether there is a result.
    fn step(&mut self, next: impl FnOnce(S) -> Result<Steps<S, T>, Refusal>) -> bool {
        *self = match std::mem::replace(self, Self::Between) {
            Self::Next(stage) => next(stage).unwrap_or_else(|refusal| Self::Done(Err(refusal))),
            done => done,
        };
        matches!(self, Self::Done(_))
    }

    fn finish(self) -> Result<T, Refusal> {
        match self {
            Self::Done(result) => result,
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}
