//! Saved participants.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::passed::Passed;
use super::stage::{Round, Stage};
use crate::crypto::{RootSeed, SecretSigningKey, SnapshotKey};
use crate::model::Model;
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};
use crate::v2::updater;

/// What a participant's snapshots begin with. Before its second round they have the form that they always had.
const ENVELOPE: Envelope<State> = Envelope {
    magic: *b"PETp",
    sealed_magic: *b"PETs",
    readers: &[read_bincode, read_with_passed],
    writes: 1,
};

/// With the rounds that it has seen pass.
const WITH_PASSED: Envelope<(State, Passed)> =
    Envelope { magic: *b"PETp", sealed_magic: *b"PETs", readers: &[], writes: 2 };

fn read_with_passed(body: &[u8]) -> Result<State, EnvelopeError> {
    let (state, passed) = read_bincode(body)?;
    Ok(State { passed, ..state })
}

/// All of a participant that outlives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) secret: SecretSigningKey,
    pub(super) root: RootSeed,
    pub(super) round: Option<Round>,
    pub(super) stage: Stage,
    pub(super) model: Option<Arc<Model>>,
    /// In a form of its own, if there are any.
    #[serde(skip)]
    pub(super) passed: Passed,
}

/// A participant's saved state: taken in no time, written when it suits.
///
/// It holds the participant's secret keys, and a local model that was not yet used, or with
/// [`Settings::hand_over`](super::Settings::hand_over) its update with the mask seed in the clear: keep it secret,
/// or [`Snapshot::seal`] it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    kept: Kept,
}

/// What is kept, of either version.
#[derive(Debug, Clone)]
enum Kept {
    V1(Box<State>),
    V2(Box<updater::State>),
}

impl Snapshot {
    pub(super) fn new(state: State) -> Self {
        Self { kept: Kept::V1(Box::new(state)) }
    }

    pub(crate) fn of_updater(state: updater::State) -> Self {
        Self { kept: Kept::V2(Box::new(state)) }
    }

    /// Versioned bytes, secrets in the clear; wiped from memory when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match &self.kept {
            Kept::V1(state) if state.passed.is_empty() => ENVELOPE.write(state),
            Kept::V1(state) => WITH_PASSED.write(&state.with_passed()),
            Kept::V2(state) => updater::ENVELOPE.write(state),
        }
    }

    /// Versioned bytes that only the key opens.
    pub fn seal(&self, key: &SnapshotKey) -> Vec<u8> {
        match &self.kept {
            Kept::V1(state) if state.passed.is_empty() => ENVELOPE.seal(state, key),
            Kept::V1(state) => WITH_PASSED.seal(&state.with_passed(), key),
            Kept::V2(state) => updater::ENVELOPE.seal(state, key),
        }
    }
}

impl State {
    fn with_passed(&self) -> (Self, Passed) {
        (self.clone(), self.passed.clone())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        is_v1(bytes)?;
        ENVELOPE.read(bytes)
    }

    pub(super) fn unseal(bytes: &[u8], key: &SnapshotKey) -> Result<Self, EnvelopeError> {
        is_v1(bytes)?;
        ENVELOPE.unseal(bytes, key)
    }
}

fn is_v1(bytes: &[u8]) -> Result<(), EnvelopeError> {
    match updater::is_snapshot(bytes) {
        true => Err(EnvelopeError::OtherProtocol { found: 2, wanted: 1 }),
        false => Ok(()),
    }
}

/// Whether these bytes are a participant's snapshot of version 1, sealed or not.
pub(crate) fn is_snapshot(bytes: &[u8]) -> bool {
    bytes.starts_with(&ENVELOPE.magic) || bytes.starts_with(&ENVELOPE.sealed_magic)
}
