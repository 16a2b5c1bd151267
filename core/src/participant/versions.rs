//! A participant of whichever version of the protocol its settings say.

use std::sync::Arc;

use super::{Input, Output, Participant, Reject, Settings, Snapshot};
use crate::crypto::{RootSeed, SigningKeyPair, SnapshotKey, Task};
use crate::model::Model;
use crate::record::{Recorded, Sink};
use crate::request::{Patience, RequestId};
use crate::round::RoundParameters;
use crate::snapshot::EnvelopeError;
use crate::time::Timestamp;
use crate::v2::updater::Ledger;
use crate::v2::{Terms, Updater};

/// A participant, of one version of the protocol or the other: what drivers drive. Both take the same inputs and
/// give the same outputs.
///
/// Without a pin in the settings it is a [`Participant`] of v1 and behaves exactly as that. It may be recorded:
/// see [`crate::record`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Machine {
    /// v1: the deployed protocol.
    V1(Box<Recorded<Participant>>),
    /// v2: sealed groups.
    V2(Box<Recorded<Updater>>),
}

/// Does the same with the machine of either version.
macro_rules! either {
    ($this:expr, $machine:ident => $action:expr) => {
        match $this {
            Machine::V1($machine) => $action,
            Machine::V2($machine) => $action,
        }
    };
}

impl From<Participant> for Machine {
    fn from(machine: Participant) -> Self {
        Self::V1(Box::new(machine.into()))
    }
}

impl From<Updater> for Machine {
    fn from(machine: Updater) -> Self {
        Self::V2(Box::new(machine.into()))
    }
}

impl Machine {
    /// A participant with an identity and a seed for everything random that it makes. The seed must be
    /// unpredictable, and no other participant may have it.
    pub fn new(keys: SigningKeyPair, root: RootSeed, settings: Settings) -> Self {
        match settings.pin {
            None => Participant::new(keys, root, settings).into(),
            Some(pin) => Updater::new(keys, root, pin, settings).into(),
        }
    }

    /// A participant whose identity, too, follows from the seed. The seed must be unpredictable, and no other
    /// participant may have it.
    pub fn from_seed(root: RootSeed, settings: Settings) -> Self {
        match settings.pin {
            None => Participant::from_seed(root, settings).into(),
            Some(pin) => Updater::from_seed(root, pin, settings).into(),
        }
    }

    /// The driver stores states: an updater of version 2 has what it promises and spends stored, with
    /// [`Output::Persist`], before its update leaves. A participant of v1 promises nothing.
    pub fn store_promises(&mut self) {
        if let Self::V2(updater) = self {
            updater.set_up().store_promises();
        }
    }

    /// Goes on where a saved participant was, with other settings if need be.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of a participant, or of a version that is not known;
    /// [`EnvelopeError::OtherProtocol`] if it was one of v1 and the settings have a pin, or the other way round.
    pub fn restore(snapshot: &[u8], settings: Settings) -> Result<Self, EnvelopeError> {
        match settings.pin {
            None => Participant::restore(snapshot, settings).map(Self::from),
            Some(pin) => Updater::restore(snapshot, pin, settings).map(Self::from),
        }
    }

    /// Like [`Machine::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Machine::restore`]; [`EnvelopeError::DoesNotOpen`] if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        settings: Settings,
    ) -> Result<Self, EnvelopeError> {
        match settings.pin {
            None => Participant::restore_sealed(snapshot, key, settings).map(Self::from),
            Some(pin) => Updater::restore_sealed(snapshot, key, pin, settings).map(Self::from),
        }
    }

    /// Records from now on all that the participant is told, **its secrets included**. It goes on from its saved
    /// state, as after a restart: call this before it is told anything.
    pub fn record(&mut self, sink: Sink) {
        either!(self, machine => machine.record(sink));
    }

    /// The machine's `handle_input`: takes in what happened. Afterwards [`Machine::poll_output`] is to be called
    /// until it is idle.
    ///
    /// # Errors
    /// [`Reject`] if the input means nothing now; the machine is as it was.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        either!(self, machine => machine.handle_input(now, input))
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        either!(self, machine => machine.poll_output())
    }

    /// How long the answer to a request may be held back, from when it is polled until it is answered; nothing if it
    /// is wanted at once. Only for drivers that have said that they know of this, with [`Input::Patience`].
    pub fn patience(&self, id: RequestId) -> Option<&Patience> {
        match self {
            Self::V1(machine) => machine.patience(id),
            Self::V2(machine) => machine.patience(id),
        }
    }

    /// Whether the machine's time is the time of day, in milliseconds since 1970: it compares that with what others
    /// have signed. Otherwise any epoch will do.
    pub fn needs_time_of_day(&self) -> bool {
        match self {
            Self::V1(_) => false,
            Self::V2(_) => true,
        }
    }

    /// What a participant of v2 has spent of its privacy; `None` for one of v1.
    pub fn ledger(&self) -> Option<&Ledger> {
        match self {
            Self::V1(_) => None,
            Self::V2(machine) => Some(machine.ledger()),
        }
    }

    /// The terms of the round that a participant of v2 is in; `None` before the first, and for one of v1.
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        match self {
            Self::V1(_) => None,
            Self::V2(machine) => machine.terms(),
        }
    }

    /// All that is needed to go on later.
    pub fn snapshot(&self) -> Snapshot {
        either!(self, machine => machine.snapshot())
    }

    /// This participant's identity.
    pub fn keys(&self) -> &SigningKeyPair {
        either!(self, machine => machine.keys())
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        either!(self, machine => machine.settings())
    }

    /// What this participant does in the current round; [`Task::None`] before the first.
    pub fn task(&self) -> Task {
        either!(self, machine => machine.task())
    }

    /// The parameters of the current round; `None` before the first.
    pub fn parameters(&self) -> Option<&Arc<RoundParameters>> {
        either!(self, machine => machine.parameters())
    }

    /// Whether a local model is there that was not yet used.
    pub fn has_model(&self) -> bool {
        either!(self, machine => machine.has_model())
    }

    /// The local model that was not yet used, as it was set.
    pub fn local_model(&self) -> Option<&Arc<Model>> {
        either!(self, machine => machine.local_model())
    }

    /// Whether this participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        either!(self, machine => machine.needs_model())
    }
}
