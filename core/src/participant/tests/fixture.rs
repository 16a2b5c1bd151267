//! A participant alone, with a clock, and a round for it.

use std::time::Duration;

use crate::crypto::{EncryptKeyPair, RootSeed, RoundSeed, Seed, SigningKeyPair, Task};
use crate::mask::MaskConfig;
use crate::message::{MessageView, Tag};
use crate::model::Model;
use crate::participant::*;
use crate::problem::Problem;
use crate::request::{Call, RequestId, Response};
use crate::round::{RoundParameters, SumDict};
use crate::time::Timestamp;

/// A machine, its clock, and what it has said.
pub(super) struct Fixture {
    pub(super) machine: Participant,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Event>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        Self::with(Participant::new(keys, RootSeed::new([2; 32]), Settings::default()))
    }

    pub(super) fn with(machine: Participant) -> Self {
        Self { machine, now: Timestamp::from_millis(5000), events: Vec::new() }
    }

    pub(super) fn input(&mut self, input: Input) -> Result<(), Reject> {
        self.machine.handle_input(self.now, input)
    }

    /// The next output that is no event.
    pub(super) fn next(&mut self) -> Output {
        loop {
            match self.machine.poll_output() {
                Output::Event(event) => self.events.push(event),
                output => return output,
            }
        }
    }

    pub(super) fn request(&mut self) -> (RequestId, Call) {
        match self.next() {
            Output::Request { id, call } => (id, call),
            output => panic!("no request but {output:?}"),
        }
    }

    pub(super) fn idle(&mut self) -> Idle {
        match self.next() {
            Output::Idle(idle) => idle,
            output => panic!("not idle but {output:?}"),
        }
    }

    pub(super) fn job(&mut self) -> Job {
        match self.next() {
            Output::Job(job) => job,
            output => panic!("no job but {output:?}"),
        }
    }

    /// Expects a call and answers it.
    pub(super) fn answer(&mut self, expected: &Call, response: Response) {
        let (id, call) = self.request();
        let expected = match self.machine.parameters() {
            Some(parameters) => expected.clone().of_round(parameters.tag()),
            None => expected.clone(),
        };
        assert_eq!(call, expected);
        self.input(Input::Response { id, response }).unwrap();
    }

    pub(super) fn params(&mut self, parameters: &RoundParameters) {
        self.answer(&Call::Params, Response::ok(parameters.to_bytes()));
    }

    /// Lets the pause pass that the machine asks for; gives its length.
    pub(super) fn pause(&mut self) -> Duration {
        let wake_at = self.idle().wake_at.expect("it wants to be woken");
        let pause = wake_at.saturating_since(self.now);
        self.now = wake_at;
        self.input(Input::Tick).unwrap();
        pause
    }

    pub(super) fn run_job(&mut self) {
        let result = self.job().finish();
        self.input(Input::JobDone(result)).unwrap();
    }
}

pub(super) fn coordinator() -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&Seed::new([7; 32]))
}

/// A round in which everyone has the task.
pub(super) fn parameters(task: Task) -> RoundParameters {
    let (sum, update) = match task {
        Task::Sum => (2.0, 0.0),
        Task::Update => (0.0, 2.0),
        Task::None => (0.0, 0.0),
    };
    RoundParameters {
        pk: coordinator().public(),
        sum,
        update,
        seed: RoundSeed::new([3; 32]),
        mask_config: "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
        model_length: 3,
    }
}

pub(super) fn sums() -> Response {
    let recipient = EncryptKeyPair::from_seed(&Seed::new([8; 32]));
    let summer = SigningKeyPair::from_seed(&Seed::new([9; 32]));
    let dict: SumDict = [(summer.public(), recipient.public())].into_iter().collect();
    Response::ok(dict.to_bytes())
}

pub(super) fn model(weight: f32) -> Model {
    Model::F32(vec![weight; 3])
}

/// An update participant that has the sum dictionary and waits for a model.
pub(super) fn waiting_for_model() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    assert_eq!(fixture.idle().why, Why::LocalModel);
    fixture
}

/// The payload of a message that the machine wants to send.
pub(super) fn payload_of(fixture: &mut Fixture) -> (Tag, Vec<u8>) {
    let (id, call) = fixture.request();
    let opened = coordinator().open(&call.body()).unwrap();
    let view = MessageView::parse(&opened).unwrap();
    assert_eq!(view.verify_signature(), Ok(()));
    fixture.input(Input::Response { id, response: Response::ok("") }).unwrap();
    (view.tag, view.payload.to_vec())
}

/// What a coordinator answers that says why.
pub(super) fn told(name: &'static str, status: u16) -> Response {
    let problem = Problem {
        name: name.into(),
        status,
        title: "No".into(),
        detail: "no".into(),
        round: Some(1),
    };
    Response::new(status, problem.to_json())
}

/// A sum participant that has just sent its message.
pub(super) fn posting() -> (Fixture, RequestId) {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    fixture.params(&parameters(Task::Sum));
    let (id, call) = fixture.request();
    assert_eq!(call.headers()[1], ("accept", "application/problem+json".into()));
    (fixture, id)
}
