//! Saved coordinators, and machines that go on from them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::clock::Clock;
use super::io::PersistId;
use super::machine::{Coordinator, Standing};
use super::phases::Stage;
use super::settings::{InvalidSettings, Settings};
use super::shards::Parts;
use super::state::{Round, State};
use super::underway::Split;
use super::{GlobalModel, OptimizerState, Record};
use crate::crypto::{RootSeed, SnapshotKey};
use crate::message::Reassembly;
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};
use crate::time::Timestamp;

/// What a coordinator's snapshots begin with. Without parts of other replicas they have the form that they always
/// had.
const ENVELOPE: Envelope<Saved> = Envelope {
    magic: *b"PETc",
    sealed_magic: *b"PETd",
    readers: &[read_bincode, read_with_parts, read_with_optimizer],
    writes: 1,
};

/// With parts.
const WITH_PARTS: Envelope<(Saved, Parts)> =
    Envelope { magic: *b"PETc", sealed_magic: *b"PETd", readers: &[], writes: 2 };

fn read_with_parts(body: &[u8]) -> Result<Saved, EnvelopeError> {
    let (saved, parts) = read_bincode(body)?;
    Ok(Saved { parts, ..saved })
}

/// With what the optimiser remembers that has made the global model, too.
const WITH_OPTIMIZER: Envelope<(Saved, Parts, Arc<OptimizerState>)> =
    Envelope { magic: *b"PETc", sealed_magic: *b"PETd", readers: &[], writes: 3 };

fn read_with_optimizer(body: &[u8]) -> Result<Saved, EnvelopeError> {
    let (saved, parts, state): (Saved, _, Arc<OptimizerState>) = read_bincode(body)?;
    if !state.is_sound() {
        let why = "what the optimizer remembers is not of its kind";
        return Err(EnvelopeError::Damaged(why.to_owned()));
    }
    let state = Some(state);
    let model = saved.model.map(|model| GlobalModel { optimizer: state, ..model });
    Ok(Saved { parts, model, ..saved })
}

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
    /// In a form of its own, if there are any.
    #[serde(skip)]
    pub(super) parts: Parts,
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
        match (self.with_optimizer(), self.with_parts()) {
            (Some(saved), _) => WITH_OPTIMIZER.write(&saved),
            (None, Some(saved)) => WITH_PARTS.write(&saved),
            (None, None) => ENVELOPE.write(&self.saved),
        }
    }

    /// Versioned bytes that only the key opens.
    pub fn seal(&self, key: &SnapshotKey) -> Vec<u8> {
        match (self.with_optimizer(), self.with_parts()) {
            (Some(saved), _) => WITH_OPTIMIZER.seal(&saved, key),
            (None, Some(saved)) => WITH_PARTS.seal(&saved, key),
            (None, None) => ENVELOPE.seal(&self.saved, key),
        }
    }

    fn with_optimizer(&self) -> Option<(Saved, Parts, Arc<OptimizerState>)> {
        let state = self.saved.model.as_ref()?.optimizer.clone()?;
        Some((self.saved.clone(), self.saved.parts.clone(), state))
    }

    fn with_parts(&self) -> Option<(Saved, Parts)> {
        let parts = &self.saved.parts;
        (!parts.is_empty()).then(|| (self.saved.clone(), parts.clone()))
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

impl Coordinator {
    /// Restores a saved coordinator: in the same round and phase, with the phase's clock where it
    /// stood. What is published is put out again. Messages that were in the middle of being
    /// processed are gone: they were not acknowledged.
    ///
    /// Settings that are part of the round's parameters hold from the next round on. Always restore the
    /// latest snapshot: an older one repeats rounds, with the same keys.
    ///
    /// # Errors
    /// If the bytes are not a coordinator's snapshot or of a version that is not known, or the
    /// settings break a rule.
    pub fn restore(
        snapshot: &[u8],
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        settings.validate()?;
        Ok(Self::from_saved(Saved::from_bytes(snapshot)?, settings, now))
    }

    /// Like [`Coordinator::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Coordinator::restore`], and if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        settings.validate()?;
        Ok(Self::from_saved(Saved::unseal(snapshot, key)?, settings, now))
    }

    /// The settings are valid.
    pub(super) fn from_saved(saved: Saved, settings: Settings, now: Timestamp) -> Self {
        let (elapsed, is_failure_stored) = (saved.elapsed, saved.is_failure_stored());
        let state = State::restored(saved);
        let mut machine = Self::with(state, settings, Clock::new(now, elapsed));
        machine.state.restart(now);
        if let Stage::Idle = machine.state.stage() {
            machine.begin_round();
        }
        machine.assemble_again();
        // Nobody knows what was seen before.
        machine.show();
        machine.unmask();
        machine.merge();
        if !is_failure_stored {
            // The confirmation was for the machine that was saved.
            machine.record(Record::RoundFailed { round_id: machine.round_id() });
        }
        machine.advance();
        machine
    }

    /// Takes a snapshot: all that is needed to go on later (take it before
    /// [`Input::Stop`](super::Input::Stop)). The aggregate, masks and models are shared; what is copied is small
    /// for each participant: keys, and references to their seeds.
    pub fn snapshot(&self) -> Snapshot {
        let mut saved = self.state.saved(self.elapsed());
        match (self.standing, &mut saved.stage) {
            (Standing::Stopped, stage) => {
                *stage = Stage::Shutdown;
                saved.parts = Parts::default();
            }
            (Standing::BetweenRounds, stage) => *stage = Stage::Idle,
            (Standing::InRound, Stage::Failure(failure)) => {
                failure.record = self.outbox.last_record();
            }
            (Standing::InRound, _) => {}
        }
        // Split messages that are not accepted yet: all but their last chunks were acknowledged.
        for (participant, Split { round_id, message_id, complete }) in self.under_way.splits() {
            let is_due = self.phase().accepts() == Some(complete.tag);
            if is_due && *round_id == self.round_id() {
                saved.reassembly.keep_complete(*participant, *message_id, complete);
            }
        }
        Snapshot::new(saved)
    }
}
