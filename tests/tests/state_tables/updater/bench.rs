//! An updater's machine, and what it waits for.

use pet_core::model::Model;
use pet_core::participant::{
    Event, Idle, Input, Job, Output, Reject, Settings, TransportFault, Why,
};
use pet_core::request::{Call, RequestId, Response};
use pet_core::time::Timestamp;
use pet_core::v2::member::PersistId;
use pet_core::v2::updater::Updater;
use pet_core::v2::{self, Phase, Pin, RoundView};
use pet_testing::v2::by_hand::{root, OPENED_AT};

use super::looks::Shown;
use super::world::{World, LENGTH, ROUND};
use super::{Stage, Then};

/// An updater, and what it waits for.
pub struct Bench {
    pub machine: Updater,
    pub now: Timestamp,
    pub request: Option<(RequestId, v2::Call)>,
    pub job: Option<Job>,
    pub store: Option<PersistId>,
    pub events: Vec<Event>,
    pub idle: Option<Idle>,
    pub answered: RequestId,
    /// What the coordinator shows.
    pub view: RoundView,
}

/// A local model.
pub fn model() -> Model {
    Model::F32(vec![0.5; LENGTH])
}

impl Bench {
    /// An updater that looks at its coordinator for the first time.
    pub fn new(world: &World) -> Self {
        let (committee, pin) = (&world.committee, world.committee.pin());
        let settings = Settings::default().with_credential(committee.credential(0));
        let machine = Updater::new(committee.updaters[0].clone(), root(30, 0), pin, settings);
        let now = Timestamp::from_millis(OPENED_AT * 1000 + 1000);
        Self::begin(machine, now, world.shown(Shown::Announce))
    }

    fn begin(mut machine: Updater, now: Timestamp, view: RoundView) -> Self {
        machine.store_promises();
        let mut bench = Self {
            machine,
            now,
            request: None,
            job: None,
            store: None,
            events: Vec::new(),
            idle: None,
            answered: RequestId(u64::MAX),
            view,
        };
        bench.act(Input::Tick).expect("it runs");
        bench
    }

    /// It is killed, and started anew from what was saved a moment before.
    pub fn restart(&mut self, pin: Pin, settings: Settings) {
        let saved = self.machine.snapshot().to_bytes();
        let machine = Updater::restore(&saved, pin, settings).expect("a state");
        *self = Self::begin(machine, self.now, self.view.clone());
    }

    /// A second one in the same state. A job is there once.
    pub fn fork(&self) -> Self {
        Self {
            machine: self.machine.fork().expect("all its outputs were taken"),
            now: self.now,
            request: self.request.clone(),
            job: None,
            store: self.store,
            events: self.events.clone(),
            idle: self.idle,
            answered: self.answered,
            view: self.view.clone(),
        }
    }

    // Inputs.

    pub fn act(&mut self, input: Input) -> Result<(), Reject> {
        let result = self.machine.handle_input(self.now, input);
        self.drain();
        result
    }

    /// Takes all that comes out. What was waited for before is waited for still if nothing else is.
    fn drain(&mut self) {
        loop {
            match self.machine.poll_output() {
                Output::Request { id, call: Call::V2(call) } => self.request = Some((id, call)),
                Output::Job(job) => self.job = Some(job),
                Output::Persist { id, .. } => self.store = Some(id),
                Output::Event(event) => self.events.push(event),
                Output::Idle(idle) => {
                    self.request.take_if(|_| idle.why != Why::Answer);
                    self.job.take_if(|_| !matches!(idle.why, Why::Job | Why::LostJob));
                    self.store.take_if(|_| idle.why != Why::Storage);
                    let has_all = match idle.why {
                        Why::Answer => self.request.is_some(),
                        Why::Storage => self.store.is_some(),
                        Why::Stopped => true,
                        _ => idle.wake_at.is_some_and(|at| at > self.now),
                    };
                    assert!(has_all, "stuck: {idle:?}");
                    self.idle = Some(idle);
                    return;
                }
                other => panic!("unknown output {other:?}"),
            }
        }
    }

    pub fn respond(&mut self, response: Response) -> Result<(), Reject> {
        let id = self.request.as_ref().map_or(self.answered, |(id, _)| *id);
        self.answered = id;
        self.act(Input::Response { id, response })
    }

    /// Answers as it should be.
    pub fn good(&mut self, world: &World) {
        let response = self.good_response(world);
        self.respond(response).expect("awaited");
    }

    pub fn good_response(&self, world: &World) -> Response {
        let call = self.request.as_ref().map(|(_, call)| call);
        call.map_or_else(|| Response::ok(""), |call| world.answer(&self.view, call))
    }

    pub fn fault(&mut self) {
        let id = self.request.as_ref().expect("it asks").0;
        self.answered = id;
        self.act(Input::Fault { id, fault: TransportFault::TimedOut }).expect("awaited");
    }

    pub fn job_done(&mut self) {
        let job = self.job.take().expect("a job runs");
        self.act(Input::JobDone(job.finish())).expect("awaited");
    }

    pub fn persisted(&mut self) {
        let id = self.store.expect("something is to be stored");
        self.act(Input::Persisted(id)).expect("awaited");
    }

    /// To the end of the pause.
    pub fn pause(&mut self) {
        self.now = self.idle.as_ref().and_then(|idle| idle.wake_at).expect("a pause");
        self.act(Input::Tick).expect("it runs");
        assert!(self.looks());
    }

    /// Answers a look, after a pause if need be.
    pub fn look(&mut self, world: &World, view: RoundView) {
        if !self.looks() {
            self.pause();
        }
        self.view = view;
        self.good(world);
    }

    /// Shows something, and does all that is asked, until it does one of these or pauses.
    pub fn run(&mut self, world: &World, view: RoundView, until: &[&str]) {
        self.look(world, view);
        self.go_on(world, until);
    }

    /// Does all that is asked, until it does one of these or pauses.
    pub fn go_on(&mut self, world: &World, until: &[&str]) {
        loop {
            match self.does() {
                does if does == "pause" || until.contains(&does.as_str()) => return,
                does if does.starts_with("check") => self.job_done(),
                does if does == "store" => self.persisted(),
                _ => self.good(world),
            }
        }
    }

    // What it does.

    pub fn looks(&self) -> bool {
        matches!(self.request, Some((_, v2::Call::Round)))
    }

    /// What it does, in words.
    pub fn does(&self) -> String {
        let why = self.idle.as_ref().map(|idle| idle.why);
        match (&self.request, &self.store, why) {
            (_, _, Some(Why::Stopped)) => "stopped".to_owned(),
            (Some((_, v2::Call::Round)), ..) => "look".to_owned(),
            (Some((_, v2::Call::Update(_))), ..) => "post update".to_owned(),
            (Some((_, v2::Call::UpdateChunk { .. })), ..) => "post chunk".to_owned(),
            (Some((_, call)), ..) => format!("get {}", path(call)),
            (None, Some(_), _) => "store".to_owned(),
            (None, None, Some(Why::Job | Why::LostJob)) => format!("check {}", self.checks()),
            _ => "pause".to_owned(),
        }
    }

    /// What the job that runs checks. A fork has no job, and is not asked.
    fn checks(&self) -> &'static str {
        use pet_core::job::JobKind;
        match self.job.as_ref().map(Job::kind) {
            Some(JobKind::CheckRoster) => "roster",
            Some(JobKind::CheckAnnouncements) => "announcements",
            Some(JobKind::CheckCertificate) => "certificate",
            Some(JobKind::ReadModel) => "model",
            Some(JobKind::MaskModel) => "mask",
            other => panic!("an unexpected job: {other:?}"),
        }
    }

    /// What comes next.
    pub fn then(&self, world: &World) -> Then {
        let does = self.does();
        let does = does.as_str();
        if does == "stopped" {
            return Then::Stops;
        }
        let stage = self.stage(world);
        match (does.split_once(' '), does) {
            (Some(("get", _)), _) => {
                Then::Gets(stage, self.request.as_ref().map_or("", |(_, call)| path(call)))
            }
            (Some(("check", _)), _) => Then::Checks(stage, self.checks()),
            (Some((_, "update")), _) => Then::Posts(stage, "update"),
            (Some(_), _) => Then::Posts(stage, "chunk"),
            (None, "look") => Then::Looks(stage),
            (None, "store") => Then::Stores(stage),
            (None, _) => {
                let why = self.idle.as_ref().map(|idle| idle.why);
                let needs_model = why == Some(Why::LocalModel);
                assert_eq!(needs_model, self.machine.needs_model());
                Then::Waits(stage)
            }
        }
    }

    /// How far it is: what a copy of it does next tells.
    pub fn stage(&self, world: &World) -> Stage {
        if self.job.is_some() && self.checks() == "mask" {
            return Stage::Masking;
        }
        let mut copy = self.fork();
        if let Some(id) = copy.store {
            let reason = "a test".to_owned();
            copy.act(Input::NotPersisted { id, reason }).expect("awaited");
        }
        if let Some(job) = &self.job {
            copy.act(Input::JobLost(job.id())).expect("awaited");
        }
        if copy.request.is_some() && !copy.looks() {
            copy.fault();
        }
        if !copy.looks() {
            copy.pause();
        }
        // The round that it knows, over and on.
        let terms = copy.machine.terms().map_or(&world.terms, |terms| terms).clone();
        let mut on = world.in_phase(&terms, Phase::Update);
        on.completed = self.view.completed.filter(|round| *round < terms.round).or(on.completed);
        let mut over = world.in_phase(&terms, Phase::Idle);
        over.completed = Some(ROUND.max(terms.round));
        let shown = |view: RoundView| {
            let mut copy = copy.fork();
            copy.look(world, view);
            copy
        };
        // Whether it has yet to learn what became of an update.
        let failed = shown(world.in_phase(&terms, Phase::Failed));
        let not_certified = |event: &Event| matches!(event, Event::NotCertified { .. });
        let is_promised = failed.events[self.events.len()..].iter().any(not_certified);
        match shown(over).does().as_str() {
            "get roster" => return Stage::First,
            "get proof" => return Stage::Certified,
            _ if is_promised => {
                let mut copy = shown(on);
                copy.go_on(world, &["store", "post update", "post chunk"]);
                return match copy.does().as_str() {
                    "store" => Stage::Made,
                    "post update" => Stage::Sending,
                    "post chunk" => Stage::Halfway,
                    _ => Stage::Sent,
                };
            }
            _ if copy.machine.terms().is_none() => return Stage::NoRound,
            _ => {}
        }
        let mut copy = shown(on);
        let (first, events) = (copy.does(), self.events.len());
        copy.go_on(world, &["get announcements"]);
        let asks = |event: &Event| matches!(event, Event::ModelNeeded { .. });
        let goes_on = copy.does() == "get announcements"
            || copy.machine.needs_model()
            || copy.events[events..].iter().any(asks);
        match first.as_str() {
            _ if !goes_on => Stage::Done,
            "get certificate" => Stage::Begun,
            "get model" => Stage::Proven,
            "get announcements" => Stage::Ready,
            _ => Stage::Training,
        }
    }
}

fn path(call: &v2::Call) -> &'static str {
    match call {
        v2::Call::Roster => "roster",
        v2::Call::Announcements => "announcements",
        v2::Call::Certificate { .. } => "certificate",
        v2::Call::Proof { .. } => "proof",
        v2::Call::Model { .. } => "model",
        other => panic!("an updater does not ask for {other:?}"),
    }
}
