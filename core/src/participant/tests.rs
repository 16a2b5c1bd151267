//! The machine, step by step: what it asks, when, and what it says.

mod let_through;

use std::time::Duration;

use proptest::prelude::*;

use super::snapshot::State;
use super::stage::{Round, Stage};
use super::*;
use crate::crypto::{
    EncryptKeyPair, PublicEncryptKey, Purpose, RootSeed, RoundSeed, Seed, SigningKeyPair,
    SnapshotKey, Task, TaskSignatures,
};
use crate::job::JobId;
use crate::mask::{DataType, MaskConfig, MaskError};
use crate::message::{MessageSize, MessageView, Tag};
use crate::model::{array, ratio, ArrayError, Model};
use crate::problem::Problem;
use crate::request::{Call, ModelForm, RequestId, Response};
use crate::round::{RoundParameters, SumDict};
use crate::time::Timestamp;

/// A machine, its clock, and what it has said.
struct Fixture {
    machine: Participant,
    now: Timestamp,
    events: Vec<Event>,
}

impl Fixture {
    fn new() -> Self {
        let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        Self::with(Participant::new(keys, RootSeed::new([2; 32]), Settings::default()))
    }

    fn with(machine: Participant) -> Self {
        Self { machine, now: Timestamp::from_millis(5000), events: Vec::new() }
    }

    fn input(&mut self, input: Input) -> Result<(), Reject> {
        self.machine.handle_input(self.now, input)
    }

    /// The next output that is no event.
    fn next(&mut self) -> Output {
        loop {
            match self.machine.poll_output() {
                Output::Event(event) => self.events.push(event),
                output => return output,
            }
        }
    }

    fn request(&mut self) -> (RequestId, Call) {
        match self.next() {
            Output::Request { id, call } => (id, call),
            output => panic!("no request but {output:?}"),
        }
    }

    fn idle(&mut self) -> Idle {
        match self.next() {
            Output::Idle(idle) => idle,
            output => panic!("not idle but {output:?}"),
        }
    }

    fn job(&mut self) -> Job {
        match self.next() {
            Output::Job(job) => job,
            output => panic!("no job but {output:?}"),
        }
    }

    /// Expects a call and answers it.
    fn answer(&mut self, expected: &Call, response: Response) {
        let (id, call) = self.request();
        assert_eq!(&call, expected);
        self.input(Input::Response { id, response }).unwrap();
    }

    fn params(&mut self, parameters: &RoundParameters) {
        self.answer(&Call::Params, Response::ok(parameters.to_bytes()));
    }

    /// Lets the pause pass that the machine asks for; gives its length.
    fn pause(&mut self) -> Duration {
        let wake_at = self.idle().wake_at.expect("it wants to be woken");
        let pause = wake_at.saturating_since(self.now);
        self.now = wake_at;
        self.input(Input::Tick).unwrap();
        pause
    }

    fn run_job(&mut self) {
        let result = self.job().finish();
        self.input(Input::JobDone(result)).unwrap();
    }
}

fn coordinator() -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&Seed::new([7; 32]))
}

/// A round in which everyone has the task.
fn parameters(task: Task) -> RoundParameters {
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

fn sums() -> Response {
    let recipient = EncryptKeyPair::from_seed(&Seed::new([8; 32]));
    let summer = SigningKeyPair::from_seed(&Seed::new([9; 32]));
    let dict: SumDict = [(summer.public(), recipient.public())].into_iter().collect();
    Response::ok(dict.to_bytes())
}

fn model(weight: f32) -> Model {
    Model::F32(vec![weight; 3])
}

/// An update participant that has the sum dictionary and waits for a model.
fn waiting_for_model() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    assert_eq!(fixture.idle().why, Why::LocalModel);
    fixture
}

/// The payload of a message that the machine wants to send.
fn payload_of(fixture: &mut Fixture) -> (Tag, Vec<u8>) {
    let (id, call) = fixture.request();
    let opened = coordinator().open(&call.body()).unwrap();
    let view = MessageView::parse(&opened).unwrap();
    assert_eq!(view.verify_signature(), Ok(()));
    fixture.input(Input::Response { id, response: Response::ok("") }).unwrap();
    (view.tag, view.payload.to_vec())
}

#[test]
fn without_a_task_it_only_looks_for_the_next_round() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    assert_eq!(fixture.idle().why, Why::Poll);
    let expected = Event::NewRound { task: Task::None, parameters: parameters(Task::None).into() };
    assert_eq!(fixture.events, [expected]);
    // 100 ms * 1.2^n, up to 10 s.
    let mut pauses = Vec::new();
    for _ in 0..40 {
        pauses.push(fixture.pause().as_millis());
        fixture.params(&parameters(Task::None));
    }
    assert_eq!(pauses[..4], [100, 120, 144, 173]);
    assert_eq!(pauses[35..], [10_000; 5]);
    assert_eq!(fixture.events.len(), 1);
}

#[test]
fn faults_and_wrong_answers_are_told_and_asked_again() {
    let mut fixture = Fixture::new();
    let (id, _) = fixture.request();
    fixture.input(Input::Fault { id, fault: TransportFault::TimedOut }).unwrap();
    fixture.pause();
    fixture.answer(&Call::Params, Response::no_content());
    fixture.pause();
    fixture.answer(&Call::Params, Response::ok("nonsense"));
    fixture.pause();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    let reasons: Vec<_> = fixture
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Trouble(trouble) => Some(trouble.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].contains("in time") && reasons[1].contains("204"), "{reasons:?}");
    assert!(reasons[2].contains("136"), "{reasons:?}");
}

#[test]
fn a_sum_participant_sends_its_key_and_waits_for_seeds() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    // A look at the parameters comes before every step.
    fixture.params(&parameters(Task::Sum));
    let (tag, payload) = payload_of(&mut fixture);
    assert_eq!((tag, payload.len()), (Tag::Sum, 96));
    assert_eq!(fixture.pause(), Duration::from_millis(100));
    assert_eq!(fixture.events.last(), Some(&Event::Sent(Tag::Sum)));
    fixture.params(&parameters(Task::Sum));
    let seeds = Call::Seeds(fixture.machine.keys().public());
    fixture.answer(&seeds, Response::no_content());
    assert_eq!(fixture.idle().why, Why::Poll);
}

#[test]
fn a_failed_send_is_repeated_with_the_same_bytes() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    let mut bodies = Vec::new();
    for status in [500, 404, 302] {
        fixture.params(&parameters(Task::Sum));
        let (id, call) = fixture.request();
        bodies.push(call.body());
        let response = Response::new(status, "");
        fixture.input(Input::Response { id, response }).unwrap();
        fixture.pause();
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    // Also after being restored.
    let saved = fixture.machine.snapshot().to_bytes();
    let mut restored = Fixture::with(Participant::restore(&saved, Settings::default()).unwrap());
    restored.params(&parameters(Task::Sum));
    assert_eq!(restored.request().1.body(), bodies[0]);
}

/// What a coordinator answers that says why.
fn told(name: &'static str, status: u16) -> Response {
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
fn posting() -> (Fixture, RequestId) {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    fixture.params(&parameters(Task::Sum));
    let (id, call) = fixture.request();
    assert_eq!(call.headers()[1], ("accept", "application/problem+json"));
    (fixture, id)
}

#[test]
fn a_rejected_message_ends_the_round_and_is_told() {
    for (name, status) in [("wrong_phase", 409), ("not_authentic", 400), ("duplicate_update", 409)]
    {
        let (mut fixture, id) = posting();
        fixture.input(Input::Response { id, response: told(name, status) }).unwrap();
        assert_eq!(fixture.idle().why, Why::Poll);
        match fixture.events.last() {
            Some(Event::Rejected { tag: Tag::Sum, problem }) => assert_eq!(problem.name, name),
            other => panic!("{other:?}"),
        }
        // It is not sent again in this round.
        fixture.pause();
        fixture.params(&parameters(Task::Sum));
        assert_eq!(fixture.idle().why, Why::Poll);
        // The next round is another matter.
        fixture.pause();
        fixture.params(&RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Sum) });
        fixture.run_job();
    }
}

#[test]
fn a_message_that_was_accepted_before_is_sent() {
    let (mut fixture, id) = posting();
    fixture.input(Input::Response { id, response: told("duplicate_sum", 409) }).unwrap();
    fixture.idle();
    assert_eq!(fixture.events.last(), Some(&Event::Sent(Tag::Sum)));
    fixture.pause();
    fixture.params(&parameters(Task::Sum));
    assert!(matches!(fixture.request().1, Call::Seeds(_)));
}

/// All of it: the coordinator looks at a part only as long as it does not have the whole.
#[test]
fn a_split_message_that_was_accepted_before_is_sent() {
    let settings =
        Settings { max_message_size: MessageSize::at_most(300).unwrap(), ..Settings::default() };
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let mut fixture = Fixture::with(Participant::new(keys, RootSeed::new([2; 32]), settings));
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    let (id, _) = fixture.request();
    fixture.input(Input::Response { id, response: told("duplicate_update", 409) }).unwrap();
    fixture.idle();
    assert_eq!(fixture.events.last(), Some(&Event::Sent(Tag::Update)));
    assert!(!fixture.events.iter().any(|event| matches!(event, Event::Progress { .. })));
}

#[test]
fn a_problem_that_may_pass_is_no_reason_to_give_up() {
    for response in [
        told("chunks_no_room", 503),
        told("rate", 429),
        told("stalled", 408),
        Response::new(409, "no problem document"),
    ] {
        let (mut fixture, id) = posting();
        let status = response.status;
        fixture.input(Input::Response { id, response }).unwrap();
        fixture.pause();
        let trouble = Trouble { call: "message", reason: TroubleReason::Status(status) };
        assert_eq!(fixture.events.last(), Some(&Event::Trouble(trouble)));
        fixture.params(&parameters(Task::Sum));
        assert!(matches!(fixture.request().1, Call::Message(_)));
    }
}

#[test]
fn a_coordinator_that_asks_for_a_pause_gets_it_within_reason() {
    let seconds = Duration::from_secs;
    for (status, said, pause) in [
        (503, Some(seconds(7)), seconds(7)),
        (429, Some(seconds(7)), seconds(7)),
        (503, Some(Duration::MAX), seconds(60)),
        // Shorter than it would be anyway.
        (503, Some(Duration::ZERO), Duration::from_millis(100)),
        (503, None, Duration::from_millis(100)),
        // It means something else there.
        (500, Some(seconds(7)), Duration::from_millis(100)),
    ] {
        let response = Response::new(status, "").retry_after(said);
        let (mut fixture, id) = posting();
        fixture.input(Input::Response { id, response: response.clone() }).unwrap();
        assert_eq!(fixture.idle().wake_at, Some(fixture.now + pause), "{status} {said:?}");
        // The same for a look at the parameters; and the pause after that is an ordinary one.
        let mut fixture = Fixture::new();
        let (id, _) = fixture.request();
        fixture.input(Input::Response { id, response }).unwrap();
        assert_eq!(fixture.idle().wake_at, Some(fixture.now + pause), "{status} {said:?}");
        fixture.pause();
        let (id, _) = fixture.request();
        fixture.input(Input::Response { id, response: Response::new(503, "") }).unwrap();
        let ordinary = Duration::from_millis(120);
        assert_eq!(fixture.idle().wake_at, Some(fixture.now + ordinary));
    }
}

#[test]
fn a_model_is_asked_for_once_a_round() {
    let mut fixture = waiting_for_model();
    for _ in 0..5 {
        fixture.pause();
        fixture.params(&parameters(Task::Update));
    }
    fixture.idle();
    let needed = Event::ModelNeeded { data_type: DataType::F32, length: 3 };
    assert_eq!(fixture.events.iter().filter(|event| **event == needed).count(), 1);
    assert!(fixture.machine.needs_model());

    // A new round: once more.
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Update) };
    fixture.pause();
    fixture.params(&next);
    fixture.answer(&Call::Sums, sums());
    fixture.idle();
    assert_eq!(fixture.events.iter().filter(|event| **event == needed).count(), 2);
}

#[test]
fn a_model_is_used_up_by_one_round_and_the_latest_counts() {
    let mut fixture = Fixture::new();
    // Before the first contact, and replaced.
    fixture.input(Input::SetModel(model(0.1))).unwrap();
    fixture.input(Input::SetModel(model(0.2))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.answer(&Call::Sums, sums());
    let job = fixture.job();
    // Set while the other one is being masked: for the next round.
    fixture.input(Input::SetModel(model(0.3))).unwrap();
    fixture.input(Input::JobDone(job.finish())).unwrap();
    assert!(fixture.machine.has_model());
    fixture.params(&parameters(Task::Update));
    assert_eq!(payload_of(&mut fixture).0, Tag::Update);
    fixture.pause();
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Update) };
    fixture.params(&next);
    fixture.answer(&Call::Sums, sums());
    fixture.run_job();
    assert!(!fixture.machine.has_model());
}

/// Python's classes have it so: what was trained on one global model must not count as an answer to another.
#[test]
fn a_model_for_one_round_never_serves_in_a_later_one() {
    let settings = Settings { keep_models: false, ..Settings::default() };
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Update) };
    let begin = || {
        let machine = Participant::new(keys.clone(), RootSeed::new([2; 32]), settings.clone());
        let mut fixture = Fixture::with(machine);
        // Before the first contact: it is for the first round.
        fixture.input(Input::SetModel(model(0.1))).unwrap();
        fixture.params(&parameters(Task::Update));
        assert!(fixture.machine.has_model());
        fixture
    };
    let expect_dropped = |fixture: &mut Fixture| {
        fixture.params(&next);
        fixture.answer(&Call::Sums, sums());
        assert_eq!(fixture.idle().why, Why::LocalModel);
        assert!(fixture.events.contains(&Event::ModelOutdated));
        assert!(!fixture.machine.has_model());
    };
    // The round changes at the last look before it is masked.
    let mut fixture = begin();
    let (id, _) = fixture.request();
    fixture.input(Input::Response { id, response: Response::no_content() }).unwrap();
    fixture.pause();
    expect_dropped(&mut fixture);
    // Also where that happens while the participant is a saved state.
    let saved = begin().machine.snapshot().to_bytes();
    let restored = Participant::restore(&saved, settings.clone()).unwrap();
    expect_dropped(&mut Fixture::with(restored));
    // In the same round it is as good as ever.
    let mut restored = Fixture::with(Participant::restore(&saved, settings.clone()).unwrap());
    restored.params(&parameters(Task::Update));
    restored.answer(&Call::Sums, sums());
    restored.run_job();
    assert!(!restored.events.contains(&Event::ModelOutdated));
}

#[test]
fn a_bad_model_is_dropped_and_told() {
    let mut fixture = waiting_for_model();
    let wrong = fixture.input(Input::SetModel(Model::F32(vec![0.0; 4])));
    let length = ModelMismatch::Length { expected: 3, actual: 4 };
    assert_eq!(wrong, Err(Reject::Model(length)));
    // That a weight is not finite is found only in the job.
    fixture.input(Input::SetModel(Model::F32(vec![0.0, f32::NAN, 0.0]))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    fixture.idle();
    let not_finite = ModelMismatch::Mask(MaskError::NotFinite { index: 1 });
    assert_eq!(fixture.events.last(), Some(&Event::ModelRejected(not_finite)));
    assert!(!fixture.machine.has_model());
    // A better one is taken in the same round.
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    fixture.params(&parameters(Task::Update));
    assert_eq!(payload_of(&mut fixture).0, Tag::Update);
}

#[test]
fn a_new_round_ends_what_was_being_done() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&parameters(Task::Update));
    fixture.run_job();
    let next = RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::Sum) };
    fixture.params(&next);
    fixture.run_job();
    fixture.params(&next);
    assert_eq!(payload_of(&mut fixture).0, Tag::Sum);
}

/// A machine that is restored from an old snapshot masks another model with another seed.
#[test]
fn no_two_models_are_masked_with_one_seed() {
    // Restored in the round itself, and before it began: then the root seed has to go on once more.
    let in_round = waiting_for_model().machine.snapshot().to_bytes();
    let before = Fixture::new().machine.snapshot().to_bytes();
    no_two_models_share_a_seed(&|| Fixture::with(restored(&in_round)), 0.25);
    no_two_models_share_a_seed(&|| Fixture::with(restored(&before)), 0.25);
    // One that has gone on in the meantime, and one that was restored from before.
    let states = [in_round, before];
    let turn = std::cell::Cell::new(0);
    no_two_models_share_a_seed(
        &|| {
            turn.set(turn.get() + 1);
            Fixture::with(restored(&states[turn.get() % 2]))
        },
        0.25,
    );
}

fn restored(saved: &[u8]) -> Participant {
    Participant::restore(saved, Settings::default()).unwrap()
}

fn no_two_models_share_a_seed(new: &dyn Fn() -> Fixture, weight: f32) {
    let masked = |weight: f32, scalar: f64| {
        let scalar = crate::model::Scalar::from_f64(scalar).unwrap();
        let settings = Settings { scalar, ..Settings::default() };
        let saved = new().machine.snapshot().to_bytes();
        let mut fixture = Fixture::with(Participant::restore(&saved, settings).unwrap());
        fixture.input(Input::SetModel(model(weight))).unwrap();
        fixture.params(&parameters(Task::Update));
        let mut output = fixture.next();
        if let Output::Request { id, call: Call::Sums } = output {
            fixture.input(Input::Response { id, response: sums() }).unwrap();
            output = fixture.next();
        }
        let Output::Job(job) = output else { panic!("{output:?}") };
        fixture.input(Input::JobDone(job.finish())).unwrap();
        fixture.params(&parameters(Task::Update));
        let (_, payload) = payload_of(&mut fixture);
        // The first masked number, after two signatures and the vector's header.
        payload[128 + 8..][..6].to_vec()
    };
    let number = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..6].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    assert_eq!(masked(weight, 1.0), masked(weight, 1.0));
    // With one seed, numbers would differ by exactly the difference of the weights.
    let order = u64::try_from(parameters(Task::Update).mask_config.vect.order()).unwrap();
    let difference = |a: &[u8], b: &[u8]| (number(a) + order - number(b)) % order;
    assert_ne!(difference(&masked(0.5, 1.0), &masked(weight, 1.0)), 2_500_000_000);
    assert_ne!(difference(&masked(0.5, 1.0), &masked(0.5, 0.5)), 2_500_000_000);
}

/// The ephemeral key that a sum participant sends in a round.
fn ephemeral_key(fixture: &mut Fixture, round: &RoundParameters) -> PublicEncryptKey {
    fixture.params(round);
    fixture.run_job();
    fixture.params(round);
    let (tag, payload) = payload_of(fixture);
    assert_eq!(tag, Tag::Sum);
    PublicEncryptKey::from_slice(&payload[64..96]).unwrap()
}

fn sum_round(seed: u8) -> RoundParameters {
    RoundParameters { seed: RoundSeed::new([seed; 32]), ..parameters(Task::Sum) }
}

/// Which of the first rounds' ephemeral keys of these parameters follow from a state.
fn keys_of(state: &State, round: &RoundParameters) -> Vec<PublicEncryptKey> {
    let key = |number: u64| {
        let context: [&[u8]; 2] = [&round.to_bytes(), &number.to_le_bytes()];
        EncryptKeyPair::from_seed(&state.root.derive(Purpose::EphemeralKey, &context)).public()
    };
    (0..10).map(key).collect()
}

/// The root seed goes on with each round, and nobody gets back from a later one to an earlier.
#[test]
fn a_later_state_opens_no_earlier_round() {
    let mut fixture = Fixture::new();
    let rounds = [1, 2, 3].map(sum_round);
    let mut keys = Vec::new();
    let mut states = Vec::new();
    for round in &rounds {
        keys.push(ephemeral_key(&mut fixture, round));
        states.push(State::from_bytes(&fixture.machine.snapshot().to_bytes()).unwrap());
        fixture.pause();
    }
    for (state_of, state) in states.iter().enumerate() {
        for (of, round) in rounds.iter().enumerate() {
            let found = keys_of(state, round).contains(&keys[of]);
            assert_eq!(found, of == state_of, "state of round {state_of}, key of round {of}");
        }
    }
    // Nor is an earlier root kept anywhere in what is saved.
    let last = fixture.machine.snapshot().to_bytes();
    for state in &states[..2] {
        assert!(!last.windows(32).any(|window| window == state.root.as_bytes()));
    }
    assert!(!last.windows(32).any(|window| window == [2; 32]), "the seed that it began with");
}

/// What was lost in a crash comes out the same again, in whatever round the state was saved.
#[test]
fn a_restored_participant_goes_on_with_the_same_keys() {
    let mut fixture = Fixture::new();
    let mut saved = vec![fixture.machine.snapshot().to_bytes()];
    let rounds = [1, 2, 3].map(sum_round);
    let mut keys = Vec::new();
    for round in &rounds {
        keys.push(ephemeral_key(&mut fixture, round));
        saved.push(fixture.machine.snapshot().to_bytes());
        fixture.pause();
    }
    for (first, saved) in saved.iter().enumerate() {
        let restored = Participant::restore(saved, Settings::default()).unwrap();
        let mut fixture = Fixture::with(restored);
        for (round, key) in rounds.iter().zip(&keys).skip(first) {
            assert_eq!(ephemeral_key(&mut fixture, round), *key);
            fixture.pause();
        }
    }
}

/// States that were saved in the middle of a round before root seeds went on: the form is the same, and the round
/// is finished with what it was begun with.
#[test]
fn a_state_from_before_root_seeds_went_on_finishes_its_round() {
    let round = sum_round(1);
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let signatures = TaskSignatures::sign(&keys, &round.seed);
    let state = State {
        secret: keys.secret().clone(),
        root: RootSeed::new([2; 32]),
        round: Some(Round {
            parameters: round.clone().into(),
            number: 7,
            signatures,
            task: Task::Sum,
        }),
        stage: Stage::Sum(None),
        model: None,
    };
    let expected = keys_of(&state, &round)[7];
    let saved = Snapshot::new(state).to_bytes();
    let mut fixture = Fixture::with(Participant::restore(&saved, Settings::default()).unwrap());
    assert_eq!(ephemeral_key(&mut fixture, &round), expected);
    fixture.pause();
    ephemeral_key(&mut fixture, &sum_round(2));
    let state = State::from_bytes(&fixture.machine.snapshot().to_bytes()).unwrap();
    assert!(state.root != RootSeed::new([2; 32]));
    assert!(!keys_of(&state, &round).contains(&expected));
}

#[test]
fn a_fork_goes_on_in_the_same_way() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    assert!(fixture.machine.fork().is_some());
    fixture.params(&parameters(Task::Update));
    let job = fixture.job();
    let mut fork = Fixture::with(fixture.machine.fork().unwrap());
    for fixture in [&mut fork, &mut fixture] {
        fixture.input(Input::JobLost(job.id())).unwrap();
        fixture.params(&parameters(Task::Update));
        fixture.run_job();
        fixture.params(&parameters(Task::Update));
    }
    assert_eq!(payload_of(&mut fork), payload_of(&mut fixture));
    assert_eq!(fork.machine.snapshot().to_bytes(), fixture.machine.snapshot().to_bytes());
}

#[test]
fn lost_jobs_are_given_out_again_and_stale_results_turned_down() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    let job = fixture.job();
    fixture.input(Input::JobLost(job.id())).unwrap();
    fixture.params(&parameters(Task::Sum));
    let again = fixture.job();
    assert_ne!(job.id(), again.id());
    let stale = job.id();
    assert_eq!(fixture.input(Input::JobDone(job.finish())), Err(Reject::UnknownJob(stale)));
    fixture.input(Input::JobDone(again.finish())).unwrap();
    let unknown = JobId(99);
    assert_eq!(fixture.input(Input::JobLost(unknown)), Err(Reject::UnknownJob(unknown)));
    let (id, _) = fixture.request();
    fixture.input(Input::Fault { id, fault: TransportFault::TimedOut }).unwrap();
    let late = Input::Response { id, response: Response::ok("") };
    assert_eq!(fixture.input(late), Err(Reject::UnknownRequest(id)));
}

/// A coordinator that announces a giant model gets nobody to compute with it, and no sum participant that could not.
#[test]
fn models_longer_than_the_settings_allow_are_refused() {
    for (task, length, max_model_length) in
        [(Task::Sum, 1 << 40, 1 << 28), (Task::Update, 1 << 40, 1 << 28), (Task::Update, 3, 2)]
    {
        let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        let settings = Settings { max_model_length, ..Settings::default() };
        let mut fixture = Fixture::with(Participant::new(keys, RootSeed::new([2; 32]), settings));
        let long = RoundParameters { model_length: length, ..parameters(task) };
        fixture.params(&long);
        // Neither a job nor another request, and nobody is asked for a model.
        fixture.idle();
        let given_up = Event::GaveUp(ComposeError::TooLong(length));
        assert_eq!(fixture.events[1..], [given_up], "{task:?}");
        // The next round is another matter.
        fixture.pause();
        fixture.params(&RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(task) });
        if max_model_length > 3 {
            assert!(!matches!(fixture.next(), Output::Idle(_)), "{task:?}");
        }
    }
}

/// Also who is restored with other settings after having announced itself.
#[test]
fn a_restored_participant_refuses_models_longer_than_its_settings_allow() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    fixture.params(&parameters(Task::Sum));
    payload_of(&mut fixture);
    let settings = Settings { max_model_length: 2, ..Settings::default() };
    let saved = fixture.machine.snapshot().to_bytes();
    let mut fixture = Fixture::with(Participant::restore(&saved, settings).unwrap());
    fixture.params(&parameters(Task::Sum));
    fixture.idle();
    assert_eq!(fixture.events, [Event::GaveUp(ComposeError::TooLong(3))]);
}

#[test]
fn sums_of_few_masks_are_refused() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    fixture.run_job();
    fixture.params(&parameters(Task::Sum));
    payload_of(&mut fixture);
    fixture.pause();
    fixture.params(&parameters(Task::Sum));
    let seeds = Call::Seeds(fixture.machine.keys().public());
    let two: crate::round::UpdateSeedDict = [1, 2]
        .map(|byte| {
            let seed = crate::message::EncryptedMaskSeed::new([byte; 80]);
            (crate::crypto::PublicSigningKey::new([byte; 32]), seed)
        })
        .into_iter()
        .collect();
    fixture.answer(&seeds, Response::ok(two.to_bytes()));
    fixture.run_job();
    fixture.idle();
    assert_eq!(fixture.events.last(), Some(&Event::GaveUp(ComposeError::TooFewSeeds(2))));
}

#[test]
fn every_wish_for_the_global_model_is_answered() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    for _ in 0..3 {
        fixture.input(Input::FetchModel).unwrap();
    }
    let bytes = ratio::encode_model(&model(0.5)).unwrap();
    fixture.answer(&Call::Model(DataType::F32), Response::ok(bytes));
    fixture.run_job();
    fixture.idle();
    let answer = Event::GlobalModel(Some(model(0.5).into()));
    assert_eq!(fixture.events.iter().filter(|event| **event == answer).count(), 3);
}

fn encoded(weight: f32) -> Response {
    Response::ok(ratio::encode_model(&model(weight)).unwrap())
}

fn global_models(fixture: &Fixture) -> Vec<f32> {
    let weight = |event: &Event| match event {
        Event::GlobalModel(Some(model)) => match &**model {
            Model::F32(weights) => Some(weights[0]),
            _ => None,
        },
        _ => None,
    };
    fixture.events.iter().filter_map(weight).collect()
}

/// One that has asked for the model and whose request is under way, and what is to be answered.
fn fetching() -> (Fixture, RequestId) {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    fixture.input(Input::FetchModel).unwrap();
    let (id, call) = fixture.request();
    assert_eq!(call, Call::Model(DataType::F32));
    (fixture, id)
}

fn next_round() -> RoundParameters {
    RoundParameters { seed: RoundSeed::new([4; 32]), ..parameters(Task::None) }
}

/// The old round's request is under way when a new round is seen: a wish does not join it.
#[test]
fn a_wish_after_a_new_round_gets_no_older_model() {
    let (mut fixture, id) = fetching();
    fixture.pause();
    fixture.params(&next_round());
    fixture.idle();
    fixture.input(Input::FetchModel).unwrap();
    fixture.idle();
    fixture.input(Input::Response { id, response: encoded(0.25) }).unwrap();
    fixture.run_job();
    assert!(global_models(&fixture).is_empty());
    fixture.answer(&Call::Model(DataType::F32), encoded(0.5));
    assert_eq!(global_models(&fixture), [0.25], "the first wish is content with the first answer");
    fixture.run_job();
    fixture.idle();
    assert_eq!(global_models(&fixture), [0.25, 0.5]);
}

/// Nobody has driven the machine meanwhile, so that it does not know of a new round.
#[test]
fn a_wish_after_a_round_that_nobody_has_seen_gets_no_older_model() {
    let (mut fixture, id) = fetching();
    fixture.input(Input::FetchModel).unwrap();
    fixture.input(Input::Response { id, response: encoded(0.25) }).unwrap();
    fixture.run_job();
    fixture.params(&next_round());
    fixture.answer(&Call::Model(DataType::F32), encoded(0.5));
    fixture.run_job();
    fixture.idle();
    assert_eq!(global_models(&fixture), [0.25, 0.5]);
}

/// In the same round the model is got once, however many ask for it, and whenever they do.
#[test]
fn late_wishes_of_the_same_round_cost_a_look_at_the_parameters() {
    let (mut fixture, id) = fetching();
    for _ in 0..5 {
        fixture.input(Input::FetchModel).unwrap();
    }
    fixture.input(Input::Response { id, response: encoded(0.25) }).unwrap();
    fixture.input(Input::FetchModel).unwrap();
    fixture.run_job();
    let (id, call) = fixture.request();
    assert_eq!(call, Call::Params);
    assert_eq!(global_models(&fixture).len(), 1);
    fixture.input(Input::FetchModel).unwrap();
    fixture
        .input(Input::Response { id, response: Response::ok(parameters(Task::None).to_bytes()) })
        .unwrap();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    assert_eq!(global_models(&fixture), [0.25; 8]);
}

/// Whatever fails and however often rounds change, each wish is answered once.
#[test]
fn wishes_are_answered_whatever_happens() {
    for failing in 0..5 {
        let (mut fixture, mut id) = fetching();
        for step in 0..10 {
            fixture.input(Input::FetchModel).unwrap();
            let response = match (step + failing) % 5 {
                0 => Response::new(500, ""),
                1 => Response::no_content(),
                2 => Response::ok("nonsense"),
                3 => Response::ok(next_round().to_bytes()),
                _ => encoded(0.5),
            };
            fixture.input(Input::Response { id, response }).unwrap();
            id = loop {
                match fixture.next() {
                    Output::Job(job) => fixture.input(Input::JobDone(job.finish())).unwrap(),
                    Output::Request { id, .. } => break id,
                    output => panic!("{output:?}"),
                }
            };
        }
        let fault = || TransportFault::TimedOut;
        fixture.input(Input::Fault { id, fault: fault() }).unwrap();
        while let Output::Request { id, .. } = fixture.next() {
            fixture.input(Input::Fault { id, fault: fault() }).unwrap();
        }
        let is_answer =
            |event: &&Event| matches!(event, Event::GlobalModel(_) | Event::GlobalModelFailed(_));
        assert_eq!(fixture.events.iter().filter(is_answer).count(), 11);
    }
}

#[test]
fn the_global_model_is_read_in_the_form_that_it_comes_in() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::None));
    fixture.idle();
    let data_type = model(0.5).data_type();
    let mut bytes = Vec::new();
    array::write_weights(&model(0.5), &mut bytes);
    let mut fetch = |bytes: &[u8], form| {
        fixture.input(Input::FetchModel).unwrap();
        let response = Response::ok(bytes.to_vec()).model_form(form);
        fixture.answer(&Call::Model(data_type), response);
        fixture.run_job();
        fixture.idle();
        fixture.events.pop().unwrap()
    };
    let answer = Event::GlobalModel(Some(model(0.5).into()));
    assert_eq!(fetch(&bytes, ModelForm::Array(data_type)), answer);
    let rationals = fetch(&bytes, ModelForm::Rationals);
    assert!(matches!(rationals, Event::GlobalModelFailed(FetchError::Model(_))), "{rationals:?}");
    let other = fetch(&bytes, ModelForm::Array(DataType::I64));
    let expected = ArrayError::DataType { expected: data_type, actual: DataType::I64 };
    assert_eq!(other, Event::GlobalModelFailed(expected.into()));
}

#[test]
fn a_global_model_of_another_length_is_none_of_this_round() {
    for weights in [vec![], vec![0.5; 2], vec![0.5; 4]] {
        let mut fixture = Fixture::new();
        fixture.params(&parameters(Task::None));
        fixture.idle();
        fixture.input(Input::FetchModel).unwrap();
        let actual = weights.len() as u64;
        let bytes = ratio::encode_model(&Model::F32(weights)).unwrap();
        fixture.answer(&Call::Model(DataType::F32), Response::ok(bytes));
        fixture.run_job();
        fixture.idle();
        let error = FetchError::Length { expected: 3, actual };
        assert_eq!(fixture.events.last(), Some(&Event::GlobalModelFailed(error)));
    }
}

#[test]
fn after_the_end_nothing_happens() {
    let mut fixture = Fixture::new();
    fixture.input(Input::Stop).unwrap();
    assert_eq!(fixture.idle(), Idle { wake_at: None, why: Why::Stopped });
    assert_eq!(fixture.input(Input::Tick), Err(Reject::Stopped));
}

#[test]
fn snapshots_have_a_kind_and_a_version_and_can_be_sealed() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    let snapshot = fixture.machine.snapshot();
    let bytes = snapshot.to_bytes();
    let restore = |bytes: &[u8]| Participant::restore(bytes, Settings::default());
    let restored = restore(&bytes).unwrap();
    assert!(restored.has_model());
    assert_eq!(restored.keys(), fixture.machine.keys());
    assert_eq!(restored.snapshot().to_bytes(), bytes);

    assert_eq!(restore(b"").err(), Some(RestoreError::NotASnapshot));
    let mut newer = bytes.to_vec();
    newer[4] = 200;
    assert_eq!(restore(&newer).err(), Some(RestoreError::Version { found: 200, known: 1 }));
    assert!(matches!(restore(&bytes[..40]).err(), Some(RestoreError::Damaged(_))));

    let key = SnapshotKey::new([5; 32]);
    let sealed = snapshot.seal(&key);
    assert_eq!(restore(&sealed).err(), Some(RestoreError::Sealed));
    let unseal = |bytes: &[u8], key| Participant::restore_sealed(bytes, &key, Settings::default());
    assert!(unseal(&sealed, key).is_ok());
    let wrong = SnapshotKey::new([6; 32]);
    assert_eq!(unseal(&sealed, wrong.clone()).err(), Some(RestoreError::DoesNotOpen));
    assert_eq!(unseal(&bytes, wrong).err(), Some(RestoreError::NotSealed));
}

#[test]
fn nothing_secret_is_shown() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.123))).unwrap();
    let shown = format!("{:?} {:?}", fixture.machine, fixture.machine.snapshot());
    assert!(!shown.contains("0.123"), "{shown}");
    assert!(shown.contains("(secret)"), "{shown}");
}

proptest! {
    /// Whatever comes, in whatever order: no panic, and the machine comes to rest.
    #[test]
    fn any_inputs_are_survived(steps in proptest::collection::vec((0u8..9, any::<u16>(), 0u64..20_000), 0..60)) {
        let mut fixture = Fixture::new();
        let mut jobs = Vec::new();
        let mut open = Vec::new();
        for (kind, status, millis) in steps {
            fixture.now = fixture.now + Duration::from_millis(millis);
            let id = open.last().copied().unwrap_or(RequestId(u64::from(status)));
            let task = [Task::None, Task::Sum, Task::Update][usize::from(status) % 3];
            let _ = fixture.input(match kind {
                0 => Input::Tick,
                1 => Input::Response { id, response: Response::ok(parameters(task).to_bytes()) },
                2 => Input::Response { id, response: Response::new(status, vec![kind; 40]) },
                3 => Input::Fault { id, fault: TransportFault::TooLarge },
                4 => match jobs.pop() {
                    Some(job) => Input::JobDone(Job::finish(job)),
                    None => Input::JobLost(JobId(u64::from(status))),
                },
                5 => Input::SetModel(Model::F32(vec![f32::from(status); usize::from(status % 5)])),
                6 => Input::FetchModel,
                7 => Input::Response { id, response: sums() },
                _ => Input::JobLost(jobs.pop().map_or(JobId(0), |job: Job| job.id())),
            });
            for _ in 0..100 {
                match fixture.next() {
                    Output::Request { id, .. } => open.push(id),
                    Output::Job(job) => jobs.push(job),
                    Output::Idle(idle) => {
                        // Something is always due or waited for.
                        prop_assert!(idle.wake_at.is_some() || matches!(idle.why, Why::Answer | Why::Job));
                        break;
                    }
                    Output::Event(_) => {}
                }
            }
            let saved = fixture.machine.snapshot().to_bytes();
            prop_assert!(Participant::restore(&saved, Settings::default()).is_ok());
        }
    }
}
