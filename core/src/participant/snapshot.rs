//! Saved participants.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::stage::{Round, Stage};
use crate::crypto::{RootSeed, SecretSigningKey, SnapshotKey};
use crate::model::Model;
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};

/// What a participant's snapshots begin with.
const ENVELOPE: Envelope<State> =
    Envelope { magic: *b"PETp", sealed_magic: *b"PETs", readers: &[read_bincode], writes: 1 };

/// All of a participant that outlives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) secret: SecretSigningKey,
    pub(super) root: RootSeed,
    pub(super) round: Option<Round>,
    pub(super) stage: Stage,
    pub(super) model: Option<Arc<Model>>,
}

/// A participant's saved state: taken in no time, written when it suits.
///
/// It holds the participant's secret keys, and a local model that was not yet used: keep it secret,
/// or [`Snapshot::seal`] it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    state: State,
}

impl Snapshot {
    pub(super) fn new(state: State) -> Self {
        Self { state }
    }

    /// Versioned bytes, secrets in the clear; wiped from memory when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        ENVELOPE.write(&self.state)
    }

    /// Versioned bytes that only the key opens.
    pub fn seal(&self, key: &SnapshotKey) -> Vec<u8> {
        ENVELOPE.seal(&self.state, key)
    }
}

impl State {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        ENVELOPE.read(bytes)
    }

    pub(super) fn unseal(bytes: &[u8], key: &SnapshotKey) -> Result<Self, EnvelopeError> {
        ENVELOPE.unseal(bytes, key)
    }
}
