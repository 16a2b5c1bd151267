//! The machine for bindings that drive it themselves: as core's, but a local model may be set whatever is known of
//! the round, and its sender learns what is wrong with it.

use pet_transport_blocking::core::crypto::{RootSeed, SigningKeyPair};
use pet_transport_blocking::core::participant::{
    self as core, Event, Input, ModelMismatch, Output, Reject, Settings, Snapshot,
};
use pet_transport_blocking::core::time::Timestamp;

use crate::findings::Findings;
use crate::local::{CheckedModel, LocalModelError, ModelCheck, Shape, Unchecked};
use crate::saved::{self, StateError};

/// A participant without a thread. Times never run backwards in it, whatever it is told.
#[derive(Debug)]
pub struct Machine {
    machine: core::Machine,
    now: Timestamp,
    /// A local model that was set before its round was known.
    unchecked: Unchecked,
    /// What was wrong with it, to be told.
    rejected: Option<LocalModelError>,
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

impl Machine {
    /// A new participant, of which everything random follows from the seed.
    pub fn new(seed: RootSeed, settings: Settings) -> Self {
        Self::of(core::Machine::from_seed(seed, settings))
    }

    /// A new participant with an identity that it was given, of which all else that is random follows from the seed.
    pub fn with_keys(keys: SigningKeyPair, seed: RootSeed, settings: Settings) -> Self {
        Self::of(core::Machine::new(keys, seed, settings))
    }

    /// Restores a saved participant.
    ///
    /// # Errors
    /// If the bytes are no saved state.
    pub fn restore(state: &[u8], settings: Settings) -> Result<Self, StateError> {
        let (core, waiting) = saved::read(state)?;
        let mut this = Self::of(core::Machine::restore(core, settings)?);
        if let Some(model) = waiting {
            // Before a look at the coordinator any model is taken.
            let _ = this.machine.handle_input(this.now, Input::SetModel(model));
            this.unchecked.set(false);
        }
        Ok(this)
    }

    fn of(machine: core::Machine) -> Self {
        let mut unchecked = Unchecked::default();
        unchecked.set(machine.parameters().is_some() || !machine.has_model());
        Self { machine, now: Timestamp::ZERO, unchecked, rejected: None, foreseen: None }
    }

    /// Core's machine.
    pub fn core(&self) -> &core::Machine {
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
    pub fn set_model(&mut self, now: Timestamp, mut checked: CheckedModel) -> Result<(), Refused> {
        if let Some(shape) = self.shape() {
            if checked.wanted != Some(shape.data_type()) {
                // Another round has begun meanwhile, perhaps the first.
                let was_unknown = checked.wanted.is_none();
                checked = self.model_check().check(checked.model)?;
                self.foreseen = checked.findings.take().filter(|_| was_unknown);
            }
            // A restored machine would only tell later.
            shape.check_length(&checked.model).map_err(LocalModelError::from)?;
        }
        self.handle_input(now, Input::SetModel(checked.model))?;
        self.unchecked.set(self.shape().is_some());
        Ok(())
    }

    /// Says what should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll(&mut self) -> Polled {
        loop {
            if let Some(error) = self.rejected.take() {
                return Polled::ModelRejected(error);
            }
            match self.machine.poll_output() {
                // What is wrong with its weights was told when it was looked over.
                Output::Event(Event::ModelRejected(ModelMismatch::Mask(_)))
                    if self.unchecked.was_told() => {}
                Output::Event(Event::ModelRejected(mismatch)) => {
                    return Polled::ModelRejected(mismatch.into());
                }
                output => {
                    if matches!(output, Output::Event(Event::NewRound { .. })) {
                        self.look_over();
                    }
                    return Polled::Output(output);
                }
            }
        }
    }

    /// Now that the round is known, a local model of before can be looked over.
    fn look_over(&mut self) {
        let check = self.model_check();
        let model = self.machine.local_model().map(|model| &**model);
        match self.unchecked.look_over(model, &check) {
            None => {}
            Some(Ok(findings)) => self.foreseen = Some(findings),
            Some(Err(error)) => self.rejected = Some(error),
        }
    }

    /// What masking will do to a model that was set before the round was known, once.
    pub fn take_foreseen(&mut self) -> Option<Findings> {
        self.foreseen.take()
    }

    /// Whether the participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        self.machine.needs_model()
    }

    /// Whether there is a local model that was not yet used.
    pub fn has_model(&self) -> bool {
        self.machine.has_model() && !self.unchecked.is_bad()
    }

    /// Takes a snapshot: all that is needed to go on later.
    pub fn snapshot(&self) -> Snapshot {
        self.machine.snapshot()
    }

    fn shape(&self) -> Option<Shape> {
        let has_noise = self.machine.terms().is_some_and(|terms| terms.noise.is_some());
        let parameters = self.machine.parameters();
        parameters.map(|parameters| Shape::from(&**parameters).with_noise(has_noise))
    }
}

#[cfg(test)]
mod tests {
    use pet_transport_blocking::core::crypto::{PublicEncryptKey, RoundSeed};
    use pet_transport_blocking::core::mask::MaskConfig;
    use pet_transport_blocking::core::model::Model;
    use pet_transport_blocking::core::request::{Call, Response};
    use pet_transport_blocking::core::round::RoundParameters;

    use super::*;

    /// Of a round in which everyone updates.
    fn parameters(config: &str, length: u64) -> RoundParameters {
        let mask: MaskConfig = config.parse().unwrap();
        RoundParameters {
            pk: PublicEncryptKey::new([1; 32]),
            sum: 0.0,
            update: 1.0,
            seed: RoundSeed::new([2; 32]),
            mask_config: mask.into(),
            model_length: length,
        }
    }

    fn machine() -> Machine {
        Machine::new(RootSeed::new([1; 32]), Settings::default())
    }

    /// Polls until it is idle, with a sum dictionary of nobody, and gives all rejections and events.
    fn run(machine: &mut Machine, parameters: &RoundParameters) -> (Vec<String>, Vec<Event>) {
        let (mut rejections, mut events) = (Vec::new(), Vec::new());
        let now = machine.now;
        for later in 0..20u64 {
            let now = Timestamp::from_millis(now.as_millis() + 10_000 * later);
            machine.handle_input(now, Input::Tick).unwrap();
            loop {
                match machine.poll() {
                    Polled::ModelRejected(error) => rejections.push(error.to_string()),
                    Polled::Output(Output::Request { id, call }) => {
                        let response = match call {
                            Call::Params => Response::ok(parameters.to_bytes()),
                            Call::SumsOf(_) => Response::ok(vec![0; 8]),
                            _ => Response::ok(""),
                        };
                        machine.handle_input(now, Input::Response { id, response }).unwrap();
                    }
                    Polled::Output(Output::Job(job)) => {
                        machine.handle_input(now, Input::JobDone(job.finish())).unwrap();
                    }
                    Polled::Output(Output::Event(event)) => events.push(event),
                    Polled::Output(_) => break,
                }
            }
        }
        (rejections, events)
    }

    fn set(machine: &mut Machine, model: impl Into<Model>) -> Result<(), Refused> {
        let checked = machine.model_check().check(model.into()).map_err(Refused::Model)?;
        machine.set_model(machine.now, checked)
    }

    const F32: &str = "Prime/F32/B0/M3";

    #[test]
    fn a_model_of_another_type_is_taken_whatever_is_known() {
        for before in [true, false] {
            let mut machine = machine();
            if !before {
                run(&mut machine, &parameters(F32, 2));
                assert!(machine.needs_model());
            }
            set(&mut machine, vec![0.1f64, 0.2]).unwrap();
            assert!(machine.has_model() && !machine.needs_model());
            let (rejections, events) = run(&mut machine, &parameters(F32, 2));
            assert!(rejections.is_empty(), "{rejections:?}");
            assert!(events.iter().any(|event| matches!(event, Event::ModelMasked(_))));
            assert!(machine.take_foreseen().is_some() == before);
        }
    }

    #[test]
    fn a_weight_that_the_round_does_not_have_is_told_once_when_the_round_is_known() {
        let mut machine = machine();
        set(&mut machine, vec![0.1f64, 1e39]).unwrap();
        let (rejections, events) = run(&mut machine, &parameters(F32, 2));
        let beyond = "weight 1 of the local model is 1e39, beyond the range of this coordinator's F32 weights";
        assert_eq!(rejections, [beyond]);
        assert!(!machine.has_model());
        // And it is asked for another one.
        assert!(events.iter().any(|event| matches!(event, Event::ModelNeeded { .. })));
        assert_eq!(set(&mut machine, vec![0.1f64, 1e39]).unwrap_err().to_string(), beyond);
        set(&mut machine, vec![0.1f64, 0.2]).unwrap();
        let (rejections, events) = run(&mut machine, &parameters(F32, 2));
        assert!(rejections.is_empty(), "{rejections:?}");
        assert!(events.iter().any(|event| matches!(event, Event::ModelMasked(_))));
    }

    #[test]
    fn type_and_length_are_told_once_when_the_round_is_known() {
        for (config, model, told) in [
            (F32, Model::F32(vec![0.5; 3]), "has 3 weights, but this coordinator's models have 2"),
            ("Prime/I32/B0/M3", Model::F32(vec![0.5; 2]), "round them yourself"),
        ] {
            let mut machine = machine();
            set(&mut machine, model.clone()).unwrap();
            let (rejections, _) = run(&mut machine, &parameters(config, 2));
            assert!(rejections.len() == 1 && rejections[0].contains(told), "{rejections:?}");
            let refused = set(&mut machine, model).unwrap_err().to_string();
            assert_eq!(refused, rejections[0]);
        }
    }

    #[test]
    fn a_model_checked_before_the_round_was_known_is_checked_again_when_it_is_set() {
        let mut machine = machine();
        let checks = [vec![0.1, 1e39], vec![0.1, 0.2]]
            .map(|weights| machine.model_check().check(Model::F64(weights)).unwrap());
        run(&mut machine, &parameters(F32, 2));
        let [beyond, good] = checks;
        assert!(machine.set_model(machine.now, beyond).is_err());
        machine.set_model(machine.now, good).unwrap();
        // Nobody was told of it before.
        assert!(machine.take_foreseen().is_some());
    }

    #[test]
    fn models_in_states_of_the_version_before_are_used() {
        let settings = Settings::default;
        for state in [
            &include_bytes!("../tests/states/waiting_float64")[..],
            include_bytes!("../tests/states/waiting_int64"),
        ] {
            let machine = Machine::restore(state, settings()).unwrap();
            assert!(machine.has_model());
            // Saved again, in core's own form.
            let saved = machine.snapshot().to_bytes();
            assert!(saved.starts_with(b"PETp"));
            for mut machine in [machine, Machine::restore(&saved, settings()).unwrap()] {
                let (rejections, events) = run(&mut machine, &parameters(F32, 4));
                assert!(rejections.is_empty(), "{rejections:?}");
                assert!(events.iter().any(|event| matches!(event, Event::ModelMasked(_))));
                assert!(machine.take_foreseen().is_some());
            }
        }
        // The round that it was saved in is over: the next one has models of five weights.
        let state = include_bytes!("../tests/states/waiting_in_a_round");
        let mut machine = Machine::restore(state, settings()).unwrap();
        let (rejections, events) = run(&mut machine, &parameters("Prime/F64/Bmax/M3", 5));
        assert!(rejections.is_empty(), "{rejections:?}");
        assert!(events.iter().any(|event| matches!(event, Event::ModelMasked(_))));
    }

    #[test]
    fn a_stopped_machine_takes_no_model() {
        let mut machine = machine();
        machine.handle_input(Timestamp::ZERO, Input::Stop).unwrap();
        assert_eq!(set(&mut machine, vec![0.5f32]), Err(Refused::Reject(Reject::Stopped)));
    }
}
