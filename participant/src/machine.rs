//! The machine for bindings that drive it themselves: as core's, but a local model may be set whatever is known of
//! the round, and its sender learns what is wrong with it.

use std::collections::VecDeque;

use pet_transport_blocking::core::crypto::RootSeed;
use pet_transport_blocking::core::model::Model;
use pet_transport_blocking::core::participant::{
    Event, Input, Output, Participant, Reject, Settings, Snapshot,
};
use pet_transport_blocking::core::time::Timestamp;
use zeroize::Zeroizing;

use crate::cast::cast;
use crate::findings::Findings;
use crate::local::{CheckedModel, LocalModelError, ModelCheck, Shape};
use crate::saved::{self, StateError};

/// A participant without a thread. Times never run backwards in it, whatever it is told.
#[derive(Debug)]
pub struct Machine {
    machine: Participant,
    now: Timestamp,
    /// A local model that was set before it was known of which type it has to be.
    waiting: Option<Model>,
    /// What has become of such models, to be told.
    rejected: VecDeque<LocalModelError>,
    foreseen: Option<Findings>,
}

/// What should happen next.
#[derive(Debug)]
#[must_use]
pub enum Polled {
    /// An output of core's machine.
    Output(Output),
    /// A local model that was set earlier cannot be used, and was dropped.
    ModelRejected(LocalModelError),
}

/// Why a local model was not set.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The local model cannot be used.
    #[error(transparent)]
    Model(#[from] LocalModelError),
    /// The machine takes none.
    #[error(transparent)]
    Reject(Reject),
}

impl From<Reject> for Refused {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Model(mismatch) => Self::Model(mismatch.into()),
            reject => Self::Reject(reject),
        }
    }
}

/// A saved machine, as cheap to make as core's [`Snapshot`].
#[derive(Debug, Clone)]
pub struct Saved {
    snapshot: Snapshot,
    waiting: Option<Model>,
}

impl Saved {
    /// The state's bytes, secrets in the clear; wiped from memory when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        saved::write(&self.snapshot, self.waiting.as_ref())
    }
}

impl Machine {
    /// A new participant, of which everything random follows from the seed.
    pub fn new(seed: RootSeed, settings: Settings) -> Self {
        Self::begin(Participant::from_seed(seed, settings), None)
    }

    /// Restores a saved participant.
    ///
    /// # Errors
    /// If the bytes are no saved state.
    pub fn restore(state: &[u8], settings: Settings) -> Result<Self, StateError> {
        let (core, waiting) = saved::read(state)?;
        Ok(Self::begin(Participant::restore(core, settings)?, waiting))
    }

    fn begin(machine: Participant, waiting: Option<Model>) -> Self {
        let (now, rejected, foreseen) = (Timestamp::ZERO, VecDeque::new(), None);
        Self { machine, now, waiting, rejected, foreseen }
    }

    /// Core's machine.
    pub fn core(&self) -> &Participant {
        &self.machine
    }

    /// Tells the machine what happened. Local models go to [`Machine::set_model`].
    ///
    /// # Errors
    /// As core's.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.now = self.now.max(now);
        self.machine.handle_input(self.now, input)
    }

    /// The check for local models, as of now.
    pub fn model_check(&self) -> ModelCheck {
        ModelCheck { shape: self.shape(), scalar: self.machine.settings().scalar.clone() }
    }

    /// Sets the local model.
    ///
    /// # Errors
    /// If it does not fit the round, or the machine was stopped.
    pub fn set_model(&mut self, now: Timestamp, checked: CheckedModel) -> Result<(), Refused> {
        let CheckedModel { mut model, findings } = checked;
        let Some(shape) = self.shape() else {
            // Refused if it was stopped.
            self.handle_input(now, Input::Tick)?;
            self.waiting = Some(model);
            return Ok(());
        };
        if model.data_type() != shape.data_type() {
            // Another round has begun meanwhile, perhaps the first.
            model = cast(model, shape.data_type()).map_err(LocalModelError::from)?;
        }
        if findings.is_none() {
            self.foreseen = Some(shape.findings(&model, &self.machine.settings().scalar));
        }
        self.waiting = None;
        Ok(self.handle_input(now, Input::SetModel(model))?)
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll(&mut self) -> Polled {
        if let Some(error) = self.rejected.pop_front() {
            return Polled::ModelRejected(error);
        }
        match self.machine.poll_output() {
            Output::Event(Event::ModelRejected(mismatch)) => Polled::ModelRejected(mismatch.into()),
            output => {
                if matches!(output, Output::Event(Event::NewRound { .. })) {
                    self.begin_round();
                }
                Polled::Output(output)
            }
        }
    }

    /// Now it is known of which type a model that was set earlier has to be.
    fn begin_round(&mut self) {
        let Some((shape, model)) = self.shape().zip(self.waiting.take()) else { return };
        let taken = cast(model, shape.data_type()).map_err(LocalModelError::from);
        let scalar = &self.machine.settings().scalar;
        self.foreseen = taken.as_ref().ok().map(|model| shape.findings(model, scalar));
        let taken = taken.and_then(|model| {
            match self.machine.handle_input(self.now, Input::SetModel(model)) {
                Err(Reject::Model(mismatch)) => Err(mismatch.into()),
                _ => Ok(()),
            }
        });
        self.rejected.extend(taken.err());
    }

    /// What masking will do to a model that was set before the round was known, once.
    pub fn take_foreseen(&mut self) -> Option<Findings> {
        self.foreseen.take()
    }

    /// Whether the participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        self.machine.needs_model() && self.waiting.is_none()
    }

    /// Whether there is a local model that was not yet used.
    pub fn has_model(&self) -> bool {
        self.machine.has_model() || self.waiting.is_some()
    }

    /// Takes a snapshot: all that is needed to go on later.
    pub fn snapshot(&self) -> Saved {
        Saved { snapshot: self.machine.snapshot(), waiting: self.waiting.clone() }
    }

    fn shape(&self) -> Option<Shape> {
        self.machine.parameters().map(|parameters| Shape::from(&**parameters))
    }
}
