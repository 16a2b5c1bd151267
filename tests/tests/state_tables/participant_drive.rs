//! Brings a real participant into each state, and tries each input on it.

use std::time::Duration;

use pet_core::coordinator::{Phase, Rejection};
use pet_core::crypto::{
    EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RootSeed, RoundSeed, Seed, SigningKeyPair,
    Task,
};
use pet_core::job::{JobId, JobKind};
use pet_core::mask::{MaskConfig, MaskSeed};
use pet_core::message::{EncryptedMaskSeed, MessageSize, MessageView, Tag};
use pet_core::model::{ratio, Model};
use pet_core::participant::{
    Event, Idle, Input, Job, JobResult, Output, Participant, Reject, Settings, TransportFault, Why,
};
use pet_core::request::{Call, RequestId, Response};
use pet_core::round::{RoundParameters, SumDict, UpdateSeedDict};
use pet_core::time::Timestamp;

use super::participant_table::{
    Cell, Doing, FetchCell, FetchStimulus, Fetching, Stage, State, Stimulus,
};

const LENGTH: usize = 3;

fn coordinator() -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&Seed::new([1; 32]))
}

/// A round in which everyone has a certain task.
fn parameters(round: u8, task: Task) -> RoundParameters {
    let probability = |of| if task == of { 1.0 } else { 0.0 };
    let config: MaskConfig = "Prime/F32/B0/M3".parse().expect("a known config");
    RoundParameters {
        pk: coordinator().public(),
        sum: probability(Task::Sum),
        update: probability(Task::Update),
        seed: RoundSeed::new([round; 32]),
        mask_config: config.into(),
        model_length: LENGTH as u64,
    }
}

fn sums() -> SumDict {
    let summer = |byte| {
        let keys = EncryptKeyPair::from_seed(&Seed::new([byte; 32]));
        (PublicSigningKey::new([byte; 32]), keys.public())
    };
    [7, 8].map(summer).into_iter().collect()
}

fn seeds(count: u8, recipient: &PublicEncryptKey) -> UpdateSeedDict {
    let seal = |byte| {
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([byte + 100; 32]));
        let seed = MaskSeed::new([byte; 32]);
        let sealed = EncryptedMaskSeed::seal(&seed, recipient, &ephemeral).expect("a good key");
        (PublicSigningKey::new([byte; 32]), sealed)
    };
    (1..=count).map(seal).collect()
}

fn model(weight: f32) -> Model {
    Model::F32(vec![weight; LENGTH])
}

/// A participant, and what it waits for.
pub struct Bench {
    machine: Participant,
    settings: Settings,
    now: Timestamp,
    request: Option<(RequestId, Call)>,
    job: Option<Job>,
    /// The same of getting the global model.
    fetch_request: Option<(RequestId, Call)>,
    fetch_job: Option<Job>,
    events: Vec<Event>,
    idle: Idle,
    outputs: usize,
    answered: RequestId,
    /// The ephemeral key that it has sent.
    ephemeral: Option<PublicEncryptKey>,
    round: RoundParameters,
    /// What is to go wrong on the way.
    flaw: Option<Stimulus>,
    fetching: bool,
    /// The global model was requested in this fetch, and asked for again since.
    requested: bool,
    late: bool,
    /// It has seen a round before the one that it is in.
    has_old: bool,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let keys = SigningKeyPair::from_seed(&Seed::new([5; 32]));
        let mut bench = Self {
            machine: Participant::new(keys, RootSeed::new([6; 32]), settings.clone()),
            settings,
            now: Timestamp::ZERO,
            request: None,
            job: None,
            fetch_request: None,
            fetch_job: None,
            events: Vec::new(),
            idle: Idle::new(None, Why::Answer),
            outputs: 0,
            answered: RequestId(1000),
            ephemeral: None,
            round: parameters(1, Task::None),
            flaw: None,
            fetching: false,
            requested: false,
            late: false,
            has_old: false,
        };
        bench.drain();
        bench
    }

    /// A participant in a state, in which a flaw shows as soon as there is a job.
    pub fn at(state: State, flaw: Stimulus) -> Self {
        let State::At(stage, doing) = state else {
            let mut bench = Self::at(State::At(Stage::Idle, Doing::Pause), flaw);
            bench.act(Input::Stop).expect("it runs");
            return bench;
        };
        let mut settings = Settings::default();
        if matches!(doing, Doing::Seal | Doing::PostPart) {
            settings.max_message_size = MessageSize::at_most(240).expect("large enough");
        }
        if (flaw, doing) == (Stimulus::JobGivesUp, Doing::Job) && stage != Stage::Sum2 {
            // No room for a chunk.
            settings.max_message_size = MessageSize::at_most(185).expect("large enough");
        }
        let mut bench = Self::new(settings);
        if flaw == Stimulus::OldRound && stage != Stage::First {
            bench.see_old();
        }
        bench.flaw = Some(flaw);
        bench.go_to(stage);
        match doing {
            Doing::Look => {}
            Doing::Pause => bench.fault(),
            Doing::Get | Doing::Job | Doing::Seal | Doing::Post => {
                bench.good();
                // The seeds come before the job.
                if (stage, doing) == (Stage::Sum2, Doing::Job) {
                    bench.good();
                }
            }
            Doing::PostPart => {
                bench.good();
                bench.job_done();
            }
        }
        bench
    }

    /// A round before the one that it is brought into.
    fn see_old(&mut self) {
        self.answer(parameters(0, Task::None));
        self.pause();
        self.has_old = true;
    }

    /// To where it looks at the parameters.
    fn go_to(&mut self, stage: Stage) {
        match stage {
            Stage::First => {}
            Stage::Idle => {
                self.answer(parameters(1, Task::None));
                self.pause();
            }
            Stage::Sum => {
                self.answer(parameters(1, Task::Sum));
                let job = self.job.as_ref().expect("it makes its message").id();
                self.act(Input::JobLost(job)).expect("awaited");
            }
            Stage::SumSend => {
                self.answer(parameters(1, Task::Sum));
                self.job_done();
            }
            Stage::Sum2 => {
                self.go_to(Stage::SumSend);
                self.deliver();
                self.pause();
            }
            Stage::Sum2Send => {
                self.flaw = None;
                self.go_to(Stage::Sum2);
                self.good();
                self.good();
                self.job_done();
            }
            Stage::Fetch => {
                self.answer(parameters(1, Task::Update));
                self.fault();
                self.pause();
            }
            Stage::Model => {
                self.answer(parameters(1, Task::Update));
                self.good();
                self.pause();
            }
            Stage::Mask => {
                self.go_to(Stage::Model);
                let weight = if self.flaw == Some(Stimulus::JobBadModel) { f32::NAN } else { 0.5 };
                self.act(Input::SetModel(model(weight))).expect("it fits");
            }
            Stage::UpdateSend => {
                self.flaw = None;
                self.go_to(Stage::Mask);
                self.good();
                self.job_done();
            }
        }
    }

    fn answer(&mut self, parameters: RoundParameters) {
        self.round = parameters;
        self.good();
    }

    /// Answers as it should be.
    fn good(&mut self) {
        let response = self.good_response();
        self.respond(response).expect("awaited");
    }

    fn good_response(&self) -> Response {
        let flawed = self.flaw == Some(Stimulus::JobBadAnswer);
        match self.request.as_ref().map(|(_, call)| call) {
            Some(Call::Params) | None => Response::ok(self.round.to_bytes()),
            Some(Call::SumsOf(_) | Call::SeedsOf(..)) if flawed => Response::ok("nonsense"),
            Some(Call::SumsOf(_)) => Response::ok(sums().to_bytes()),
            Some(Call::SeedsOf(..)) => {
                let count = if self.flaw == Some(Stimulus::JobGivesUp) { 2 } else { 3 };
                let recipient = self.ephemeral.expect("it has sent its key");
                Response::ok(seeds(count, &recipient).to_bytes())
            }
            Some(_) => Response::ok(""),
        }
    }

    fn fault(&mut self) {
        let (id, _) = self.request.clone().expect("it asks");
        self.act(Input::Fault { id, fault: TransportFault::TimedOut }).expect("awaited");
    }

    fn job_done(&mut self) {
        let job = self.job.take().expect("a job runs");
        self.act(Input::JobDone(job.finish())).expect("awaited");
    }

    /// Sends all of a message.
    fn deliver(&mut self) {
        while self.events.last() != Some(&Event::Sent(Tag::Sum)) {
            match self.job {
                Some(_) => self.job_done(),
                None => self.good(),
            }
        }
    }

    fn pause(&mut self) {
        self.now = self.idle.wake_at.expect("a pause");
        self.act(Input::Tick).expect("it runs");
    }

    fn respond(&mut self, response: Response) -> Result<(), Reject> {
        let id = self.request.as_ref().map_or(self.answered, |(id, _)| *id);
        self.act(Input::Response { id, response })
    }

    fn act(&mut self, input: Input) -> Result<(), Reject> {
        match &input {
            Input::Response { id, .. } | Input::Fault { id, .. } => {
                self.answered = *id;
                self.request.take_if(|(open, _)| open == id);
                self.fetch_request.take_if(|(open, _)| open == id);
            }
            Input::JobLost(id) => {
                self.job.take_if(|job| job.id() == *id);
                self.fetch_job.take_if(|job| job.id() == *id);
            }
            Input::FetchModel => {
                self.fetching = true;
                let underway = self.fetch_job.is_some()
                    || matches!(self.fetch_request, Some((_, Call::Model(_))));
                self.late |= underway;
            }
            _ => {}
        }
        let result = self.machine.handle_input(self.now, input);
        self.drain();
        result
    }

    fn drain(&mut self) {
        loop {
            match self.machine.poll_output() {
                Output::Request { id, call } => self.note_request(id, call),
                Output::Job(job) if job.kind() == JobKind::ReadModel => self.fetch_job = Some(job),
                Output::Job(job) => self.job = Some(job),
                Output::Event(event) => {
                    self.late &=
                        !matches!(event, Event::GlobalModel(_) | Event::GlobalModelFailed(_));
                    self.events.push(event);
                }
                Output::Idle(idle) => {
                    self.idle = idle;
                    let waits = match idle.why {
                        Why::Answer => self.request.is_some(),
                        Why::Job | Why::LostJob => self.job.is_some(),
                        Why::Stopped => true,
                        _ => idle.wake_at.is_some_and(|at| at > self.now),
                    };
                    assert!(waits, "stuck: {idle:?}");
                    return;
                }
                other => panic!("unknown output {other:?}"),
            }
            self.outputs += 1;
        }
    }

    fn note_request(&mut self, id: RequestId, call: Call) {
        if let Call::Message(body) = &call {
            let opened = coordinator().open(body).expect("sealed for it");
            let view = MessageView::parse(&opened).expect("well-formed");
            if view.tag == Tag::Sum && !view.is_multipart {
                let key = view.payload[64..].try_into().expect("32 bytes");
                self.ephemeral = Some(PublicEncryptKey::new(key));
            } else if view.tag == Tag::Sum {
                // A split sum message: the same key as in a whole one.
                let mut whole = Bench::new(Settings::default());
                if self.has_old {
                    whole.see_old();
                }
                whole.go_to(Stage::SumSend);
                whole.good();
                self.ephemeral = whole.ephemeral;
            }
        }
        let waited_for = matches!(self.idle.why, Why::Poll | Why::LocalModel) || self.fetching;
        let beside =
            matches!(call, Call::Model(_)) || (self.fetching && call == Call::Params && waited_for);
        if matches!(call, Call::Model(_)) {
            (self.requested, self.late) = (true, false);
        }
        match beside {
            true => self.fetch_request = Some((id, call)),
            false => self.request = Some((id, call)),
        }
    }

    /// The state that it is in.
    pub fn state(&self) -> State {
        if self.idle.why == Why::Stopped {
            return State::Stopped;
        }
        let doing = match (&self.request, &self.job) {
            (Some((_, Call::Params)), _) => Doing::Look,
            (Some((_, Call::Message(body))), _) => {
                let opened = coordinator().open(body).expect("sealed for it");
                let view = MessageView::parse(&opened).expect("well-formed");
                match view.is_multipart && view.payload[4] & 1 == 0 {
                    true => Doing::PostPart,
                    false => Doing::Post,
                }
            }
            (Some(_), _) => Doing::Get,
            (None, Some(job)) if job.kind() == JobKind::SealChunk => Doing::Seal,
            (None, Some(_)) => Doing::Job,
            (None, None) => Doing::Pause,
        };
        State::At(self.stage(), doing)
    }

    /// What a restored copy does after a look at the parameters tells how far it is.
    fn stage(&self) -> Stage {
        let saved = self.machine.snapshot().to_bytes();
        let mut copy = Participant::restore(&saved, self.settings.clone()).expect("good");
        let Some(current) = copy.parameters().cloned() else { return Stage::First };
        let Output::Request { id, call: Call::Params } = copy.poll_output() else {
            panic!("every step begins with a look")
        };
        let response = Response::ok(current.to_bytes());
        copy.handle_input(self.now, Input::Response { id, response }).expect("awaited");
        loop {
            match copy.poll_output() {
                Output::Request { call: Call::SumsOf(_), .. } => return Stage::Fetch,
                Output::Request { call: Call::SeedsOf(..), .. } => return Stage::Sum2,
                Output::Request { call: Call::Message(body), .. } => {
                    let opened = coordinator().open(&body).expect("sealed for it");
                    return match MessageView::parse(&opened).expect("well-formed").tag {
                        Tag::Sum => Stage::SumSend,
                        Tag::Update => Stage::UpdateSend,
                        Tag::Sum2 => Stage::Sum2Send,
                        other => panic!("an unknown message: {other}"),
                    };
                }
                Output::Job(job) => match job.kind() {
                    JobKind::MakeSum => return Stage::Sum,
                    JobKind::MaskModel => return Stage::Mask,
                    JobKind::SealChunk => {
                        copy.handle_input(self.now, Input::JobDone(job.finish())).expect("awaited");
                    }
                    other => panic!("an unexpected job: {other}"),
                },
                Output::Event(Event::ModelNeeded { .. }) => return Stage::Model,
                Output::Idle(_) => return Stage::Idle,
                other => panic!("unknown output {other:?}"),
            }
        }
    }
}

/// Some result of another machine.
fn foreign_job() -> JobResult {
    let mut bench = Bench::at(State::At(Stage::Sum, Doing::Job), Stimulus::Tick);
    bench.job.take().expect("it makes its message").finish()
}

fn refused(reject: Reject) -> &'static str {
    match reject {
        Reject::UnknownRequest(_) => "unknown request",
        Reject::UnknownJob(_) => "unknown job",
        Reject::Model(_) => "model",
        Reject::Stopped => "stopped",
        other => panic!("unknown reject {other:?}"),
    }
}

/// What really becomes of an input.
pub fn observed(state: State, stimulus: Stimulus) -> Cell {
    use Stimulus as I;
    let mut bench = Bench::at(state, stimulus);
    assert_eq!(bench.state(), state, "the bench does not bring the machine where it should");
    let respond = |bench: &Bench, response| {
        let id = bench.request.as_ref().map_or(bench.answered, |(id, _)| *id);
        Input::Response { id, response }
    };
    let of_round = |task| Response::ok(parameters(2, task).to_bytes());
    let input = match stimulus {
        I::Tick => Input::Tick,
        I::Later => {
            bench.now = bench.now + Duration::from_secs(3600);
            Input::Tick
        }
        I::Good => respond(&bench, bench.good_response()),
        I::NewIdle => respond(&bench, of_round(Task::None)),
        I::NewSum => respond(&bench, of_round(Task::Sum)),
        I::NewUpdate => respond(&bench, of_round(Task::Update)),
        I::OldRound => respond(&bench, Response::ok(parameters(0, Task::None).to_bytes())),
        I::NoContent => respond(&bench, Response::no_content()),
        I::Nonsense => respond(&bench, Response::ok("nonsense")),
        I::ServerError => respond(&bench, Response::new(500, "")),
        I::Busy => {
            let pause = Some(Duration::from_secs(7));
            respond(&bench, Response::new(503, "").retry_after(pause))
        }
        I::Rejected => {
            let (tag, phase) = (Tag::Update, Phase::Sum2);
            respond(&bench, told(&Rejection::WrongPhase { tag, phase }))
        }
        I::Duplicate => respond(
            &bench,
            told(&match bench.state() {
                State::At(Stage::SumSend, _) => Rejection::DuplicateSum,
                State::At(Stage::Sum2Send, _) => Rejection::DuplicateSum2,
                _ => Rejection::DuplicateUpdate,
            }),
        ),
        I::TooLong => respond(&bench, Response::new(413, "<html>")),
        I::Fault => {
            let id = bench.request.as_ref().map_or(bench.answered, |(id, _)| *id);
            Input::Fault { id, fault: TransportFault::TimedOut }
        }
        I::StaleAnswer => Input::Response { id: bench.answered, response: Response::ok("") },
        I::JobDone | I::JobBadAnswer | I::JobBadModel | I::JobGivesUp => {
            Input::JobDone(bench.job.take().map_or_else(foreign_job, Job::finish))
        }
        I::JobStale => match bench.job.take() {
            Some(job) => {
                bench.act(Input::JobLost(job.id())).expect("awaited");
                bench.good();
                if bench.job.is_none() {
                    bench.good();
                }
                assert!(bench.job.is_some(), "the job is given out again");
                Input::JobDone(job.finish())
            }
            None => Input::JobDone(foreign_job()),
        },
        I::JobLost => Input::JobLost(bench.job.as_ref().map_or(JobId(1000), Job::id)),
        I::SetModel => Input::SetModel(model(0.25)),
        I::SetModelLength => Input::SetModel(Model::F32(vec![0.5; LENGTH + 1])),
        I::SetModelType => Input::SetModel(Model::F64(vec![0.5; LENGTH])),
        I::FetchModel => Input::FetchModel,
        I::Stop => Input::Stop,
        I::Restore => {
            let saved = bench.machine.snapshot().to_bytes();
            bench.machine = Participant::restore(&saved, bench.settings.clone()).expect("good");
            (bench.request, bench.job) = (None, None);
            bench.drain();
            let State::At(stage, doing) = bench.state() else { panic!("a stopped one is back") };
            return Cell::To(stage, doing);
        }
    };
    let (before, from) = (bench.machine.snapshot().to_bytes(), bench.state());
    let (outputs, events) = (bench.outputs, bench.events.len());
    if let Err(reject) = bench.act(input) {
        let unchanged = bench.machine.snapshot().to_bytes() == before && bench.outputs == outputs;
        assert!(unchanged, "{state:?} x {stimulus:?}: something has changed");
        return Cell::Refused(refused(reject));
    }
    let State::At(stage, doing) = bench.state() else { return Cell::Stops };
    let to = State::At(stage, doing);
    match (stimulus, bench.events[events..].first()) {
        (_, Some(event)) => Cell::Says(name(event), stage, doing),
        (I::FetchModel, None) => {
            assert_eq!((from, bench.outputs), (to, outputs + 1));
            Cell::Beside
        }
        _ if bench.outputs > outputs => Cell::To(stage, doing),
        // A pause is no output.
        _ if from != to => Cell::To(stage, doing),
        (I::SetModel | I::SetModelLength | I::SetModelType, None) => {
            assert!(bench.machine.has_model());
            Cell::Kept
        }
        _ => {
            assert!(bench.machine.snapshot().to_bytes() == before);
            Cell::Ignored
        }
    }
}

/// What a coordinator answers to a message that it rejects.
fn told(rejection: &Rejection) -> Response {
    let problem = rejection.problem(1);
    Response::new(problem.status, problem.to_json())
}

/// The event's name: clippy, which CI runs with all warnings as errors, complains when there is one
/// that is not listed.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn name(event: &Event) -> &'static str {
    match event {
        Event::NewRound { .. } => "NewRound",
        Event::ModelNeeded { .. } => "ModelNeeded",
        Event::ModelRejected(_) => "ModelRejected",
        Event::ModelMasked(_) => "ModelMasked",
        Event::ModelOutdated => "ModelOutdated",
        Event::Progress { .. } => "Progress",
        Event::Sent(_) => "Sent",
        Event::Rejected { .. } => "Rejected",
        Event::GaveUp(_) => "GaveUp",
        Event::Trouble(_) => "Trouble",
        Event::GlobalModel(_) => "GlobalModel",
        Event::GlobalModelFailed(_) => "GlobalModelFailed",
        Event::Refused(_)
        | Event::Certified { .. }
        | Event::NotCertified { .. }
        | Event::BudgetSpent { .. } => unreachable!("only version 2 says that"),
        _ => unreachable!("clippy has told"),
    }
}

/// The inputs that try each kind of the machine's own inputs, in the same way.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn tried_by(input: &Input) -> &'static [Stimulus] {
    use Stimulus as I;
    match input {
        Input::Tick => &[I::Tick, I::Later],
        Input::Response { .. } => &[
            I::Good,
            I::NewSum,
            I::NoContent,
            I::Nonsense,
            I::Busy,
            I::Rejected,
            I::Duplicate,
            I::TooLong,
            I::StaleAnswer,
        ],
        Input::Fault { .. } => &[I::Fault],
        Input::JobDone(_) => &[I::JobDone, I::JobBadAnswer, I::JobGivesUp, I::JobStale],
        Input::JobLost(_) => &[I::JobLost],
        Input::SetModel(_) => &[I::SetModel, I::SetModelLength, I::SetModelType],
        Input::FetchModel => &[I::FetchModel],
        Input::Stop => &[I::Stop],
        // Only about when answers come; `core/src/participant/tests/holding.rs` tries it.
        Input::Patience(_) => &[],
        // Only version 2 asks for that.
        Input::Persisted(_) | Input::NotPersisted { .. } => &[],
        _ => unreachable!("clippy has told"),
    }
}

/// What really becomes of an input while the global model is being got.
pub fn fetch_observed(fetching: Fetching, stimulus: FetchStimulus) -> FetchCell {
    use FetchStimulus as I;
    let mut bench = match fetching {
        Fetching::Params => Bench::at(State::At(Stage::First, Doing::Pause), Stimulus::Tick),
        _ => Bench::at(State::At(Stage::Idle, Doing::Pause), Stimulus::Tick),
    };
    let body = match stimulus {
        I::JobBadAnswer if fetching != Fetching::Check => Response::ok("nonsense"),
        _ => Response::ok(ratio::encode_model(&model(0.5)).expect("finite")),
    };
    if fetching != Fetching::No {
        bench.act(Input::FetchModel).expect("it runs");
    }
    if matches!(fetching, Fetching::Late | Fetching::ReadingLate | Fetching::Check) {
        bench.act(Input::FetchModel).expect("it runs");
    }
    if matches!(fetching, Fetching::Reading | Fetching::ReadingLate | Fetching::Check) {
        let (id, _) = bench.fetch_request.clone().expect("it asks");
        bench.act(Input::Response { id, response: body.clone() }).expect("awaited");
    }
    if fetching == Fetching::Check {
        let job = bench.fetch_job.take().expect("it reads");
        bench.act(Input::JobDone(job.finish())).expect("awaited");
    }
    assert_eq!(bench.fetching(), fetching);
    let id = bench.fetch_request.as_ref().map_or(RequestId(1000), |(id, _)| *id);
    let respond = |response| Input::Response { id, response };
    let input = match stimulus {
        I::FetchModel => Input::FetchModel,
        I::Good if fetching == Fetching::Params => {
            respond(Response::ok(parameters(1, Task::None).to_bytes()))
        }
        I::Good if fetching == Fetching::Check => {
            respond(Response::ok(bench.machine.parameters().expect("known").to_bytes()))
        }
        I::Good => respond(body),
        I::NewRound => respond(Response::ok(parameters(2, Task::None).to_bytes())),
        I::NoContent => respond(Response::no_content()),
        I::Nonsense => respond(Response::ok("nonsense")),
        I::ServerError => respond(Response::new(500, "")),
        I::Fault => Input::Fault { id, fault: TransportFault::TimedOut },
        I::JobDone | I::JobBadAnswer => {
            Input::JobDone(bench.fetch_job.take().map_or_else(foreign_job, Job::finish))
        }
        I::JobLost => Input::JobLost(bench.fetch_job.as_ref().map_or(JobId(1000), Job::id)),
        I::Restore => {
            let saved = bench.machine.snapshot().to_bytes();
            bench.machine = Participant::restore(&saved, bench.settings.clone()).expect("good");
            (bench.fetch_request, bench.fetch_job, bench.fetching) = (None, None, false);
            (bench.requested, bench.late) = (false, false);
            bench.drain();
            return FetchCell::To(bench.fetching());
        }
    };
    let (events, main_line) = (bench.events.len(), bench.state());
    if let Err(reject) = bench.act(input) {
        return FetchCell::Refused(refused(reject));
    }
    assert_eq!(bench.state(), main_line, "the main line does not care");
    match bench.events[events..].first() {
        Some(event) => {
            let answered = bench.events.len() - events;
            assert_eq!(answered, 1, "those who have asked in time");
            FetchCell::Answers(name(event), bench.fetching())
        }
        None => FetchCell::To(bench.fetching()),
    }
}

impl Bench {
    fn fetching(&self) -> Fetching {
        match (&self.fetch_request, &self.fetch_job) {
            (Some((_, Call::Params)), _) if self.requested => Fetching::Check,
            (Some((_, Call::Params)), _) => Fetching::Params,
            (Some(_), _) if self.late => Fetching::Late,
            (Some(_), _) => Fetching::Model,
            (None, Some(_)) if self.late => Fetching::ReadingLate,
            (None, Some(_)) => Fetching::Reading,
            (None, None) => Fetching::No,
        }
    }
}
