//! A member's machine, and what it waits for.

use std::time::Duration;

use pet_core::crypto::SigningKeyPair;
use pet_core::participant::TransportFault;
use pet_core::request::{Call, RequestId, Response};
use pet_core::time::Timestamp;
use pet_core::v2::member::{
    Event, Idle, Input, Job, Member, Output, PersistId, Reject, Settings, Why,
};
use pet_core::v2::{self, Context, Phase, Pin, RoundView};
use pet_testing::v2::by_hand::{root, OPENED_AT};
use pet_testing::v2::stage;

use super::looks::Shown;
use super::world::World;
use super::{Stage, Then};

/// A member, and what it waits for.
pub struct Bench {
    pub machine: Member,
    pub now: Timestamp,
    pub request: Option<(RequestId, v2::Call)>,
    pub job: Option<Job>,
    pub store: Option<PersistId>,
    pub events: Vec<Event>,
    pub idle: Option<Idle>,
    pub answered: RequestId,
    /// What was stored last, or was there at the beginning.
    pub stored: Vec<u8>,
    /// What the coordinator shows.
    pub shown: stage::Shown,
    seen: Option<(Context, Phase)>,
}

impl Bench {
    /// A member with these keys, which looks at its coordinator for the first time.
    pub fn new(world: &World, keys: &SigningKeyPair, settings: Settings) -> Self {
        Self::with_pin(world, keys, world.committee.pin(), settings)
    }

    /// The same with another pin.
    pub fn with_pin(world: &World, keys: &SigningKeyPair, pin: Pin, settings: Settings) -> Self {
        let machine = Member::new(keys.clone(), root(20, 0), root(21, 0), pin, settings);
        let now = Timestamp::from_millis(OPENED_AT * 1000 + 1000);
        Self::begin(machine, now, world.shown(Shown::Announce))
    }

    fn begin(machine: Member, now: Timestamp, shown: stage::Shown) -> Self {
        let stored = machine.snapshot().to_bytes().to_vec();
        let mut bench = Self {
            machine,
            now,
            request: None,
            job: None,
            store: None,
            events: Vec::new(),
            idle: None,
            answered: RequestId(u64::MAX),
            stored,
            shown,
            seen: None,
        };
        bench.act(Input::Tick).expect("it runs");
        bench
    }

    /// It is killed, and started anew from what was stored last.
    pub fn restart(&mut self) {
        let settings = self.machine.settings().clone();
        let machine = Member::restore(&self.stored, root(22, 0), settings).expect("a state");
        *self = Self::begin(machine, self.now, self.shown.clone());
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
            idle: self.idle.clone(),
            answered: self.answered,
            stored: self.stored.clone(),
            shown: self.shown.clone(),
            seen: self.seen,
        }
    }

    // Inputs.

    pub fn act(&mut self, input: Input) -> Result<(), Reject> {
        let view = match &input {
            Input::Response { response, .. } if self.looks() => {
                RoundView::from_bytes(&response.body).ok()
            }
            _ => None,
        };
        let events = self.events.len();
        let result = self.machine.handle_input(self.now, input);
        self.drain();
        self.check_told(events, view);
        result
    }

    /// Takes all that comes out. What was waited for before is waited for still if nothing else is.
    fn drain(&mut self) {
        loop {
            match self.machine.poll_output() {
                Output::Request { id, call: Call::V2(call) } => self.request = Some((id, call)),
                Output::Job(job) => self.job = Some(job),
                Output::Persist { id, snapshot } => {
                    self.store = Some(id);
                    self.stored = snapshot.to_bytes().to_vec();
                }
                Output::Event(event) => self.events.push(event),
                Output::Idle(idle) => {
                    self.request.take_if(|_| idle.why != Why::Answer);
                    self.job.take_if(|_| !matches!(idle.why, Why::Job | Why::LostJob));
                    self.store.take_if(|_| idle.why != Why::Storage);
                    let has_all = match idle.why {
                        Why::Answer => self.request.is_some() || idle.wake_at.is_some(),
                        Why::Storage => self.store.is_some(),
                        Why::Stopped => true,
                        _ => idle.wake_at.is_some_and(|at| at > self.now),
                    };
                    assert!(has_all, "stuck: {idle:?}");
                    // Also after trouble it waits for an answer: to the next look.
                    self.request.take_if(|_| idle.wake_at.is_some());
                    self.idle = Some(idle);
                    return;
                }
                other => panic!("unknown output {other:?}"),
            }
        }
    }

    /// Each new round, and each new phase, is told once.
    fn check_told(&mut self, events: usize, view: Option<RoundView>) {
        let told = &self.events[events..];
        let rounds = told.iter().filter(|event| matches!(event, Event::NewRound { .. })).count();
        let phases = told.iter().filter(|event| matches!(event, Event::Phase { .. })).count();
        let Some(view) = view else { return assert_eq!((rounds, phases), (0, 0)) };
        let Some(terms) = view.terms else {
            // What comes after it is told again.
            self.seen = self.seen.map(|(context, _)| (context, Phase::Idle));
            return assert_eq!((rounds, phases), (0, 0));
        };
        let now = (terms.context(), view.phase);
        let is_new = self.seen.is_none_or(|(context, _)| context != now.0);
        assert_eq!((rounds, phases), (is_new.into(), (self.seen != Some(now)).into()), "{told:?}");
        self.seen = Some(now);
    }

    pub fn respond(&mut self, response: Response) -> Result<(), Reject> {
        let id = self.request.as_ref().map_or(self.answered, |(id, _)| *id);
        self.answered = id;
        self.act(Input::Response { id, response })
    }

    /// Answers as it should be.
    pub fn good(&mut self) {
        let response = self.good_response();
        self.respond(response).expect("awaited");
    }

    pub fn good_response(&self) -> Response {
        let call = self.request.as_ref().map(|(_, call)| call);
        Response::ok(call.and_then(|call| self.shown.answer(call)).unwrap_or_default())
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

    pub fn later(&mut self, time: Duration) {
        self.now = self.now + time;
        self.act(Input::Tick).expect("it runs");
    }

    /// To the end of the pause.
    pub fn pause(&mut self) {
        self.now = self.idle.as_ref().and_then(|idle| idle.wake_at).expect("a pause");
        self.act(Input::Tick).expect("it runs");
        assert!(self.looks());
    }

    /// Answers a look, after a pause if need be.
    pub fn look(&mut self, shown: stage::Shown) {
        if !self.looks() {
            self.pause();
        }
        self.shown = shown;
        self.good();
    }

    /// Shows something, and does all that is asked, until it does this or pauses.
    pub fn run(&mut self, shown: stage::Shown, until: &str) {
        self.look(shown);
        loop {
            match self.does() {
                does if does == until || does == "pause" => return,
                does if does.starts_with("check") => self.job_done(),
                does if does == "store" => self.persisted(),
                _ => self.good(),
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
            (Some((_, call)), ..) if call.post().is_some() => {
                let name = match call {
                    v2::Call::Announce(_) => "announcement",
                    v2::Call::Report(_) => "report",
                    v2::Call::Vote(_) => "vote",
                    v2::Call::Mask(_) => "mask",
                    _ => "mask_chunk",
                };
                format!("post {name}")
            }
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
            Some(JobKind::CheckEntries) => "entries",
            Some(JobKind::CheckSet) => "set",
            Some(JobKind::CheckVotes) => "votes",
            Some(JobKind::AddGroupMasks) => "mask",
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
        let idle = self.idle.as_ref().expect("it was asked");
        match (does.split_once(' '), does) {
            (Some(("get", what)), _) => Then::Gets(stage, known(what)),
            (Some(("check", _)), _) => Then::Checks(stage, self.checks()),
            (Some((_, what)), _) => Then::Posts(stage, known(what)),
            (None, "look") => Then::Looks(stage),
            (None, "store") => Then::Stores(stage),
            (None, _) => Then::Waits(stage, idle.why.label()),
        }
    }

    /// How far it is: what a copy of it does next tells.
    pub fn stage(&self, world: &World) -> Stage {
        if self.job.is_some() && matches!(self.checks(), "mask" | "roster") {
            return if self.checks() == "mask" { Stage::Certified } else { Stage::First };
        }
        let mut copy = self.fork();
        if copy.store.is_some() {
            copy.persisted();
            return match copy.does().as_str() {
                "post announcement" => Stage::Promised,
                "post vote" => Stage::Agreed,
                _ => Stage::Over,
            };
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
        let status = copy.machine.status();
        if !status.takes_part {
            return match (status.member, status.sits_out) {
                (None, _) => Stage::First,
                (_, Some(_)) => Stage::Out,
                _ => Stage::Idle,
            };
        }
        let does = |shown| {
            let mut copy = copy.fork();
            copy.look(world.shown(shown));
            copy.does()
        };
        match does(Shown::Sum2).as_str() {
            "get announcements" => match does(Shown::Announce).as_str() {
                "post announcement" => Stage::Promised,
                _ if status.may_vote => Stage::Announced,
                _ => Stage::Restarted,
            },
            "get entries" => Stage::Listed,
            "get set" => match does(Shown::Check).as_str() {
                "post report" => Stage::Checked,
                _ => Stage::Reported,
            },
            "get votes" => match does(Shown::Agree).as_str() {
                "store" => Stage::Agreed,
                "post vote" => Stage::Pledged,
                _ if status.may_vote => Stage::Voted,
                _ => Stage::Voteless,
            },
            "check mask" => Stage::Certified,
            "post mask" => Stage::Summed,
            "post mask_chunk" => Stage::Signed,
            _ => Stage::Sent,
        }
    }
}

fn path(call: &v2::Call) -> &'static str {
    match call {
        v2::Call::Roster => "roster",
        v2::Call::Announcements => "announcements",
        v2::Call::Entries { .. } => "entries",
        v2::Call::Set => "set",
        v2::Call::Votes => "votes",
        other => panic!("a member does not ask for {other:?}"),
    }
}

fn known(what: &str) -> &'static str {
    let all = [
        "roster",
        "announcements",
        "entries",
        "set",
        "votes",
        "announcement",
        "report",
        "vote",
        "mask",
        "mask_chunk",
    ];
    all.into_iter().find(|known| *known == what).expect("a name")
}
