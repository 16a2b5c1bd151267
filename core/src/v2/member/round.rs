//! What a member keeps of the round that it takes part in: in memory only, wiped when it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::event::Post;
use super::Refusal;
use crate::crypto::{Digest, EncryptKeyPair, PublicSigningKey, SigningKeyPair};
use crate::time::Timestamp;
use crate::v2::{
    Accusation, Announcements, Context, DecisionHash, GroupMaskHeader, GroupSeed, MemberId, Terms,
    TREE_LEAF,
};

/// After this time what the coordinator should have, and says that it has not, is posted again.
const POST_AGAIN: Duration = Duration::from_secs(10);

/// A round.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) terms: Arc<Terms>,
    pub(super) context: Context,
    pub(super) member: MemberId,
    /// What boxes are opened with (`E`).
    pub(super) keys: Arc<EncryptKeyPair>,
    /// What is voted with (`V`); nothing if the member was started anew since it has announced itself.
    pub(super) vote_keys: Option<SigningKeyPair>,
    /// The list `l`, once it is checked.
    pub(super) list: Option<Arc<Announcements>>,
    pub(super) entries: Entries,
    /// The set, once it is checked.
    pub(super) agreed: Option<Agreed>,
    /// The decision that was certified: whatever else is shown afterwards, nothing is added up for another.
    pub(super) certified: Option<DecisionHash>,
    pub(super) mask: Option<GroupMask>,
    /// What was delivered, or is not sent again: it was rejected.
    pub(super) settled: BTreeMap<Post, Settled>,
    /// Why it does nothing more in this round.
    pub(super) out: Option<Refusal>,
}

/// The updates, as far as they are fetched and checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    /// How many there are, once that is fixed.
    pub(super) total: Option<u64>,
    pub(super) checked: u64,
    /// How many of them are bad.
    pub(super) bad: u64,
    pub(super) last: Option<PublicSigningKey>,
    pages: Vec<Arc<Vec<Checked>>>,
    /// All of them.
    pub(super) all: Option<Arc<Vec<Arc<Vec<Checked>>>>>,
    /// Those that are reported.
    pub(super) accused: Vec<(PublicSigningKey, Accusation)>,
}

/// An update that was checked.
#[derive(Debug)]
pub struct Checked {
    pub(super) updater: PublicSigningKey,
    pub(super) statement: Digest,
    pub(super) seed: Result<GroupSeed, Accusation>,
}

/// A set that follows from what was shown to this member; all in it are good.
#[derive(Debug, Clone)]
pub struct Agreed {
    pub(super) decision: DecisionHash,
    /// How many updates are in it.
    pub(super) count: u64,
    /// The updaters that are not, sorted.
    pub(super) excluded: Arc<Vec<PublicSigningKey>>,
}

/// The sum of the masks of this member's group.
#[derive(Debug, Clone)]
pub struct GroupMask {
    pub(super) header: Arc<GroupMaskHeader>,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    /// How many chunks are delivered.
    pub(super) sent: u32,
}

/// What became of something that was posted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    /// When it was delivered; nothing if it was rejected.
    pub(super) delivered_at: Option<Timestamp>,
}

impl Round {
    /// Whether it need not be posted (again): it was rejected, or it was delivered, and a look after that, which
    /// has `listed` those whose it has, does not say otherwise. (A coordinator may have lost it.)
    pub(super) fn is_settled(&self, post: Post, looked_at: Timestamp, listed: &[MemberId]) -> bool {
        let is_there = listed.binary_search(&self.member).is_ok();
        match self.settled.get(&post) {
            Some(Settled { delivered_at: Some(at) }) => is_there || looked_at < *at + POST_AGAIN,
            Some(_) => true,
            None => false,
        }
    }

    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let mask = self.mask.as_ref().map_or(0, |mask| mask.bytes.len());
        let entries = usize::try_from(self.entries.checked).unwrap_or(usize::MAX);
        mask.saturating_add(entries.saturating_mul(200))
    }
}

impl Entries {
    /// Takes in the page that comes next.
    pub(super) fn take(&mut self, page: Vec<Checked>) {
        self.checked += page.len() as u64;
        self.last = page.last().map(|entry| entry.updater).or(self.last);
        self.pages.push(Arc::new(page));
        if self.total == Some(self.checked) {
            self.all = Some(Arc::new(std::mem::take(&mut self.pages)));
        }
    }
}

impl GroupMask {
    pub(super) fn chunks(&self) -> u32 {
        u32::try_from(self.header.leaves.len()).unwrap_or(u32::MAX)
    }

    /// A chunk, in the clear.
    pub(super) fn chunk(&self, index: u32) -> Bytes {
        let length = self.bytes.len();
        let start = usize::try_from(index).map_or(length, |at| at.saturating_mul(TREE_LEAF));
        let start = start.min(length);
        self.bytes.slice(start..start.saturating_add(TREE_LEAF).min(length))
    }
}
