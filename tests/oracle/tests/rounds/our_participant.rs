//! Our participant's state machine, driven; saved and restored before every turn.

use pet_core::{
    crypto::{RootSeed, Seed, SigningKeyPair},
    message::MessageSize,
    model::{Model, Scalar},
    participant::{Event, Input, Output, Participant, Settings},
    time::Timestamp,
};
use pet_oracle::ours;

use crate::{Member, Received, Serve, TakePart};

pub struct OurParticipant {
    machine: Participant,
    model: Model,
    received: Option<Received>,
}

impl OurParticipant {
    pub fn new(member: &Member) -> Self {
        let size = member
            .max_message_size
            .map_or(MessageSize::UNLIMITED, |size| MessageSize::at_most(size).unwrap());
        let settings = Settings::default()
            .with_scalar(Scalar::from_f64(member.scalar).expect("a legal scalar"))
            .with_max_message_size(size);
        let keys = SigningKeyPair::from_seed(&Seed::new(member.seed));
        Self {
            machine: Participant::new(keys, RootSeed::new(member.seed), settings),
            model: ours::model(&member.weights).expect("a typed model"),
            received: None,
        }
    }

    fn input(&mut self, now: Timestamp, input: Input, coordinator: &mut dyn Serve) {
        let mut next = Some(input);
        loop {
            if let Some(input) = next.take() {
                self.machine.handle_input(now, input).expect("an input that is waited for");
            }
            match self.machine.poll_output() {
                Output::Request { id, call } => {
                    next = Some(Input::Response { id, response: coordinator.call(now, &call) });
                }
                Output::Job(job) => next = Some(Input::JobDone(job.finish())),
                Output::Event(event) => next = self.event(event),
                Output::Idle(_) => return,
                other => panic!("{other:?}"),
            }
        }
    }

    fn event(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::ModelNeeded { .. } => return Some(Input::SetModel(self.model.clone())),
            Event::GlobalModel(model) => {
                let model = model.expect("there is a global model");
                self.received = Some(Received::Typed(Ok((*model).clone())));
            }
            Event::GlobalModelFailed(error) => {
                self.received = Some(Received::Typed(Err(error.to_string())));
            }
            Event::ModelRejected(_) | Event::GaveUp(_) | Event::Trouble(_) => panic!("{event:?}"),
            _ => {}
        }
        None
    }
}

impl TakePart for OurParticipant {
    fn turn(&mut self, now: Timestamp, coordinator: &mut dyn Serve) {
        let settings = self.machine.settings().clone();
        let saved = self.machine.snapshot().to_bytes();
        self.machine = Participant::restore(&saved, settings).expect("its own snapshot");
        self.input(now, Input::Tick, coordinator);
    }

    fn global_model(&mut self, now: Timestamp, coordinator: &mut dyn Serve) -> Received {
        self.input(now, Input::FetchModel, coordinator);
        self.received.take().expect("an answer to the question for the model")
    }
}
