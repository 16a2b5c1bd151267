//! Which updates are added up.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::{Blame, DecodeError};
use super::hash::{hash, AnnouncementsHash, Context, DecisionHash, Label};
use super::merkle::{InclusionProof, RootHasher};
use super::wire::{serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey};

/// The set of updates that is added up (`U`), as members vote for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Of which round.
    pub context: Context,
    /// With which announcements.
    pub announcements: AnnouncementsHash,
    /// How many updates there are.
    pub count: u64,
    /// The Merkle root over the updates, sorted by updater: see [`decision_leaf`].
    pub root: Digest,
}

/// The leaf for an update: its updater's key and the digest of its statement.
pub fn decision_leaf(updater: &PublicSigningKey, statement_digest: &Digest) -> [u8; 64] {
    let mut leaf = [0; 64];
    leaf[..32].copy_from_slice(updater.as_bytes());
    leaf[32..].copy_from_slice(statement_digest.as_bytes());
    leaf
}

/// An updater that is not above the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("updater {0} comes twice, or the updates are not sorted: the coordinator may admit each once only")]
pub struct NotSorted(pub PublicSigningKey);

impl NotSorted {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        Blame::Coordinator
    }
}

/// A decision in the making: updates come one by one, in the memory of a few hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionHasher {
    context: Context,
    announcements: AnnouncementsHash,
    last: Option<PublicSigningKey>,
    updates: RootHasher,
}

impl DecisionHasher {
    /// No update yet.
    pub fn new(context: Context, announcements: AnnouncementsHash) -> Self {
        Self { context, announcements, last: None, updates: RootHasher::new() }
    }

    /// One update more. They must come sorted by updater.
    ///
    /// # Errors
    /// If this one is not above the last.
    pub fn push(
        &mut self,
        updater: &PublicSigningKey,
        statement_digest: &Digest,
    ) -> Result<(), NotSorted> {
        if self.last.is_some_and(|last| last >= *updater) {
            return Err(NotSorted(*updater));
        }
        self.last = Some(*updater);
        self.updates.push(&decision_leaf(updater, statement_digest));
        Ok(())
    }

    /// How many updates there are.
    pub fn count(&self) -> u64 {
        self.updates.count()
    }

    /// The decision for these updates.
    pub fn finish(&self) -> Decision {
        Decision {
            context: self.context,
            announcements: self.announcements,
            count: self.updates.count(),
            root: self.updates.root(),
        }
    }
}

impl Decision {
    /// The decision for these updates, which come as updaters with the digests of their statements, sorted by updater.
    ///
    /// # Errors
    /// If an updater is there twice, or they are not sorted.
    pub fn of(
        context: Context,
        announcements: AnnouncementsHash,
        updates: impl IntoIterator<Item = (PublicSigningKey, Digest)>,
    ) -> Result<Self, NotSorted> {
        let mut hasher = DecisionHasher::new(context, announcements);
        for (updater, digest) in updates {
            hasher.push(&updater, &digest)?;
        }
        Ok(hasher.finish())
    }

    /// What is voted for: `D`.
    pub fn digest(&self) -> DecisionHash {
        let count = self.count.to_le_bytes();
        let parts: [&[u8]; 4] =
            [self.context.as_bytes(), self.announcements.as_bytes(), &count, self.root.as_bytes()];
        DecisionHash::new(*hash(Label::Decision, &parts).as_bytes())
    }

    /// Whether the proof shows that the update is one of these.
    #[must_use]
    pub fn includes(
        &self,
        updater: &PublicSigningKey,
        statement_digest: &Digest,
        proof: &InclusionProof,
    ) -> bool {
        let leaf = decision_leaf(updater, statement_digest);
        proof.count == self.count && proof.verify(&self.root, &leaf)
    }

    pub(super) const LENGTH: usize = 1 + 32 + 32 + 8 + 32;

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(Self::LENGTH - 1);
        writer.raw(self.context.as_bytes());
        writer.raw(self.announcements.as_bytes());
        writer.u64(self.count);
        writer.raw(self.root.as_bytes());
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a decision.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("decision", bytes)?;
        let decision = Self {
            context: Context::new(reader.array("context")?),
            announcements: AnnouncementsHash::new(reader.array("announcements")?),
            count: reader.u64("number of updates")?,
            root: Digest::new(reader.array("root")?),
        };
        reader.end()?;
        Ok(decision)
    }
}

serde_as_bytes!(Decision);
