//! Saved coordinators.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::io::PersistId;
use super::phases::Stage;
use super::settings::InvalidSettings;
use super::state::Round;
use super::GlobalModel;
use crate::crypto::{RootSeed, SnapshotKey};
use crate::message::Reassembly;
use crate::snapshot::{Envelope, EnvelopeError};

/// What a coordinator's snapshots begin with.
const ENVELOPE: Envelope = Envelope { magic: *b"PETc", sealed_magic: *b"PETd", version: 1 };

/// All of a coordinator that outlives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) root: RootSeed,
    pub(super) round: Round,
    pub(super) stage: Stage,
    /// For how long the phase has been going on.
    pub(super) elapsed: Duration,
    pub(super) reassembly: Reassembly,
    /// The latest global model.
    pub(super) model: Option<GlobalModel>,
}

/// A coordinator's saved state: taken in little time, written when it suits. It holds the keys of all
/// rounds: keep it secret, or [`Snapshot::seal`] it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    saved: Saved,
}

/// Why a saved coordinator cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are not a coordinator's snapshot that this program can read.
    #[error(transparent)]
    Snapshot(#[from] EnvelopeError),
    /// The settings break a rule.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
}

impl Snapshot {
    pub(super) fn new(saved: Saved) -> Self {
        Self { saved }
    }

    /// Versioned bytes, secrets in the clear; wiped from memory when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        ENVELOPE.write(&self.saved)
    }

    /// Versioned bytes that only the key opens.
    pub fn seal(&self, key: &SnapshotKey) -> Vec<u8> {
        ENVELOPE.seal(&self.saved, key)
    }
}

impl Saved {
    /// Whether nothing is to be stored before the next round. Only the failure of a round can be.
    pub(super) fn is_failure_stored(&self) -> bool {
        !matches!(&self.stage, Stage::Failure(failure) if failure.record > PersistId(0))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        ENVELOPE.read(bytes)
    }

    pub(super) fn unseal(bytes: &[u8], key: &SnapshotKey) -> Result<Self, EnvelopeError> {
        ENVELOPE.unseal(bytes, key)
    }
}
