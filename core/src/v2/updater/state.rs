//! What is saved of an updater.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::Ledger;
use crate::crypto::{Digest, RootSeed, SecretSigningKey};
use crate::model::Model;
use crate::snapshot::{read_bincode, Envelope};
use crate::v2::{AnnouncementsHash, Context, ModelHash, RosterHash, Terms};

/// What an updater's snapshots begin with.
pub(crate) const ENVELOPE: Envelope<State> =
    Envelope { magic: *b"PETu", sealed_magic: *b"PETv", readers: &[read_bincode], writes: 1 };

/// Whether these bytes are an updater's snapshot, sealed or not.
pub(crate) fn is_snapshot(bytes: &[u8]) -> bool {
    bytes.starts_with(&ENVELOPE.magic) || bytes.starts_with(&ENVELOPE.sealed_magic)
}

/// All of an updater that outlives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(super) secret: SecretSigningKey,
    pub(super) root: RootSeed,
    pub(super) round: Option<Round>,
    pub(super) stage: Stage,
    pub(super) promise: Option<Promise>,
    /// The latest round whose certificate was told of.
    pub(super) certified: Option<u64>,
    /// What the user was given last as the global model, by its hash, or that there is none.
    pub(super) given: Option<Given>,
    pub(super) local: Option<Local>,
    pub(super) ledger: Ledger,
}

/// The round that an updater takes part in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) terms: Arc<Terms>,
    pub(super) context: Context,
}

/// A local model that was not yet used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Local {
    pub(super) model: Arc<Model>,
    /// What its user had been given when it was set; nothing if it never asked.
    pub(super) trained_on: Option<Given>,
}

/// The answer to a wish for the global model: its hash, or that there is none yet.
pub(super) type Given = Option<ModelHash>;

/// What an updater has to do next in its round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Nothing until the next one.
    Idle,
    /// Mask the local model, once there is one.
    Train,
    /// Send the update.
    Deliver(Delivery),
}

/// The latest statement that was made: there is no second one in its round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Promise {
    pub(super) roster: RosterHash,
    pub(super) round: u64,
    pub(super) context: Context,
    pub(super) list: AnnouncementsHash,
    pub(super) statement: Digest,
    /// Whether it is known, and was told, what became of it.
    pub(super) settled: bool,
}

impl Stage {
    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Idle | Self::Train => 0,
            Self::Deliver(delivery) => delivery.bytes(),
        }
    }
}
