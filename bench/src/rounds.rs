//! Whole rounds of both versions of the protocol, in one process and on one thread: what all participants, members and
//! the coordinator do together, without any network or disk. What counts is the thread's processor time, the least of a
//! few runs: others may use the machine, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pet_core::coordinator::{self, CountRange, Ticket, TimeRange};
use pet_core::crypto::{RootSeed, Seed, SigningKeyPair, Task, TaskSignatures};
use pet_core::job::JobKind;
use pet_core::mask::{MaskConfig, MaskObjectView};
use pet_core::model::Model;
use pet_core::participant::{self, Machine};
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;
use pet_core::v2::coordinator::{self as groups, Object};
use pet_core::v2::member::{self, Member};
use pet_core::v2::{self, Admission, Credential, Group, MemberId, Pin, Roster};

use crate::ours::weights;
use crate::runner::{id, Row, Runner, Target};

const ROUND: &str = "whole round";
const CONFIG: &str = "Word32/F32/B0/M3";
const WEIGHTS: usize = 1_000_000;
const GROUPS: u8 = 3;
const MEMBERS: u8 = 3;

/// For how many updates and weights what a member does is computed from what is measured.
const CROWD: f64 = 1e4;

/// Measures whole rounds.
pub fn measure(runner: &mut Runner) {
    let length = if runner.is_quick() { 10_000 } else { WEIGHTS };
    let (v1, v2) = (
        |count: usize| format!("v1, {count} updates"),
        |count: usize| format!("v2, {count} updates"),
    );
    // With few updates at most twice its time, with many less.
    let many = if runner.is_quick() { 10 } else { 100 };
    for (count, wanted, runs) in [(3, 2.0, 5), (many, 1.0, 1)] {
        let row = Row::new(ROUND, v1(count), length);
        runner.once(row, runs, || round_of_v1(count, length));
        let id = id(ROUND, &v1(count), length, 1);
        let row = Row::new(ROUND, v2(count), length);
        let row = row.target(Target::TimesRow { wanted, id, count: 1.0 });
        let mut found = None;
        runner.once(row, runs, || {
            let (took, work) = round_of_v2(count, length);
            found = Some(work);
            took
        });
        if let Some(work) = found {
            work.tell(count, length);
        }
    }
}

/// What the members of a round have done, together.
#[derive(Default)]
struct Work {
    /// Processor time by kind of job, and how many bytes came by call.
    jobs: BTreeMap<JobKind, Duration>,
    received: BTreeMap<&'static str, usize>,
    /// The machines' own calls.
    calls: Duration,
    /// What a member has refused last.
    trouble: String,
}

impl Work {
    /// What one member does, and what it would do with a crowd.
    fn tell(&self, updates: usize, length: usize) {
        let members = f64::from(GROUPS) * f64::from(MEMBERS);
        let a_member = |time: Duration| time.as_secs_f64() / members;
        let job = |kind| a_member(self.jobs.get(&kind).copied().unwrap_or_default());
        let (check, add) = (job(JobKind::CheckEntries), job(JobKind::AddGroupMasks));
        let entries =
            self.received.get("/v2/entries").copied().unwrap_or_default() as f64 / members;
        let n = updates as f64;
        crate::tell(&format!(
            "a member with {updates} updates of {length} weights: {:.3} s in all, of which checks {:.3} ms and the sum {:.3} ms \
             an update; {:.0} bytes an update received",
            self.jobs.values().map(|time| a_member(*time)).sum::<f64>() + a_member(self.calls),
            1e3 * check / n,
            1e3 * add / n,
            entries / n,
        ));
        if length == WEIGHTS && updates >= 100 {
            crate::tell(&format!(
                "computed from that for {CROWD} updates: {:.1} s of one core, {:.2} MB received",
                CROWD * (check + add) / n,
                CROWD * entries / n / 1e6,
            ));
        }
    }
}

fn keys(kind: u8, number: u64) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new(bytes(kind, number)))
}

fn bytes(kind: u8, number: u64) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn time() -> TimeRange {
    TimeRange { min: Duration::ZERO, max: Duration::from_secs(3600) }
}

fn exactly(count: usize) -> CountRange {
    CountRange { min: count as u64, max: count as u64 }
}

/// What answers participants.
trait Server {
    fn answer(&mut self, now: Timestamp, call: Call) -> Response;
    fn tick(&mut self, now: Timestamp);
    fn is_done(&self) -> bool;
}

/// A participant that trains at once.
struct Trainer {
    machine: Machine,
    model: Arc<Model>,
    wake_at: Timestamp,
    /// What it has refused last.
    trouble: String,
}

impl Trainer {
    fn new(machine: Machine, model: &Arc<Model>) -> Self {
        Self { machine, model: model.clone(), wake_at: START, trouble: String::new() }
    }

    fn run(&mut self, now: Timestamp, server: &mut dyn Server) {
        use participant::{Event, Input, Output};
        if self.wake_at > now {
            return;
        }
        let mut input = Input::Tick;
        loop {
            let _ = self.machine.handle_input(now, input);
            input = loop {
                match self.machine.poll_output() {
                    Output::Request { id, call } => {
                        break Input::Response { id, response: server.answer(now, call) };
                    }
                    Output::Job(job) => break Input::JobDone(job.finish()),
                    Output::Event(Event::ModelNeeded { .. }) => {
                        break Input::SetModel(Model::clone(&self.model));
                    }
                    Output::Event(Event::Refused(refusal)) => self.trouble = refusal.to_string(),
                    Output::Idle(idle) => {
                        self.wake_at = idle.wake_at.unwrap_or(Timestamp::from_millis(u64::MAX));
                        return;
                    }
                    _ => {}
                }
            };
        }
    }
}

/// Some time after the epoch.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn model(length: usize) -> Arc<Model> {
    Arc::new(Model::F32(weights(length).iter().map(|weight| *weight as f32).collect()))
}

/// Runs everybody until there is a model; the processor time that it took, without making the models.
fn run(
    server: &mut dyn Server,
    trainers: &mut [Trainer],
    members: &mut [(Member, Timestamp)],
    work: &mut Work,
) -> Duration {
    let begin = processor_time();
    let mut now = START;
    while !server.is_done() {
        server.tick(now);
        members.iter_mut().for_each(|member| run_member(member, now, server, work));
        trainers.iter_mut().for_each(|trainer| trainer.run(now, server));
        let wakes = trainers.iter().map(|trainer| trainer.wake_at);
        let next = wakes.chain(members.iter().map(|(_, wake_at)| *wake_at)).min();
        now = next.filter(|next| *next > now).unwrap_or(now + Duration::from_millis(100));
        let trouble = trainers.iter().map(|trainer| &trainer.trouble).chain([&work.trouble]);
        let is_late = now.saturating_since(START) > Duration::from_secs(3000);
        assert!(!is_late, "the round does not end: {:?}", trouble.collect::<Vec<_>>());
    }
    processor_time().saturating_sub(begin)
}

fn run_member(
    (member, wake_at): &mut (Member, Timestamp),
    now: Timestamp,
    server: &mut dyn Server,
    work: &mut Work,
) {
    use member::{Event, Input, Output};
    if *wake_at > now {
        return;
    }
    let mut input = Input::Tick;
    loop {
        let begin = processor_time();
        let _ = member.handle_input(now, input);
        work.calls += processor_time().saturating_sub(begin);
        input = loop {
            match member.poll_output() {
                Output::Request { id, call } => {
                    let path = match &call {
                        Call::V2(call) => call.path(),
                        _ => "",
                    };
                    let response = server.answer(now, call);
                    *work.received.entry(path).or_default() += response.body.len();
                    break Input::Response { id, response };
                }
                Output::Job(job) => {
                    let (kind, begin) = (job.kind(), processor_time());
                    let done = job.finish();
                    *work.jobs.entry(kind).or_default() += processor_time().saturating_sub(begin);
                    break Input::JobDone(done);
                }
                Output::Persist { id, .. } => break Input::Persisted(id),
                Output::Event(Event::Refused { refusal, .. }) => work.trouble = refusal.to_string(),
                Output::Idle(idle) => {
                    *wake_at = idle.wake_at.unwrap_or(Timestamp::from_millis(u64::MAX));
                    return;
                }
                _ => {}
            }
        };
    }
}

/// The processor time of this thread so far; the time of the clock where the system does not tell.
fn processor_time() -> Duration {
    thread_local!(static BEGIN: Instant = Instant::now());
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGIN.with(Instant::elapsed), Duration::from_nanos)
}

struct V1 {
    machine: coordinator::Coordinator,
    front: coordinator::Front,
}

impl V1 {
    fn drain(&mut self, now: Timestamp) -> Option<Result<(), coordinator::Rejection>> {
        use coordinator::{Input, Output};
        let mut reply = None;
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, .. } => Input::Persisted(id),
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { outcome, .. } => {
                    reply = Some(outcome);
                    continue;
                }
                Output::Idle(_) => return reply,
                _ => continue,
            };
            self.machine.handle_input(now, input).expect("it runs");
        }
    }
}

impl Server for V1 {
    fn answer(&mut self, now: Timestamp, call: Call) -> Response {
        if let Some(response) = self.front.answer(&call) {
            return response;
        }
        let Call::Message(body) = call else { return Response::no_content() };
        let outcome = self.front.open(Vec::from(body)).map(|message| {
            let input = coordinator::Input::Message { ticket: Ticket(0), message };
            self.machine.handle_input(now, input).expect("it runs");
            self.drain(now)
        });
        match outcome {
            Err(rejection) | Ok(Some(Err(rejection))) => {
                let problem = rejection.problem(1);
                Response::new(problem.status, problem.to_json())
            }
            Ok(_) => Response::ok(""),
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.machine.handle_input(now, coordinator::Input::Tick).expect("it runs");
        self.drain(now);
    }

    fn is_done(&self) -> bool {
        self.front.model().is_some()
    }
}

/// One sum participant and so many update participants.
fn round_of_v1(updates: usize, length: usize) -> Duration {
    let config: MaskConfig = CONFIG.parse().expect("a config");
    let settings = coordinator::Settings::new(
        coordinator::SumSettings::new(0.5, exactly(1), time()),
        coordinator::UpdateSettings::new(1.0, exactly(updates), time()),
        coordinator::Sum2Settings::new(exactly(1), time()),
        config,
        length as u64,
    );
    let machine = coordinator::Coordinator::new(settings, RootSeed::new([5; 32]), START);
    let machine = machine.expect("good settings");
    let mut server = V1 { machine, front: coordinator::Front::new() };
    server.drain(START);
    let parameters = server.front.parameters().expect("a round").clone();
    let with_task = |task: Task, count: usize| {
        let parameters = parameters.clone();
        let has_task = move |keys: &SigningKeyPair| {
            let signatures = TaskSignatures::sign(keys, &parameters.seed);
            signatures.task(parameters.sum, parameters.update) == task
        };
        (0..).map(|number| keys(1, number)).filter(has_task).take(count)
    };
    let model = model(length);
    let mut trainers: Vec<_> = with_task(Task::Sum, 1)
        .chain(with_task(Task::Update, updates))
        .map(|keys| {
            let root = RootSeed::new(*keys.public().as_bytes());
            Trainer::new(Machine::new(keys, root, participant::Settings::default()), &model)
        })
        .collect();
    run(&mut server, &mut trainers, &mut [], &mut Work::default())
}

struct V2 {
    machine: groups::Coordinator,
    front: groups::Front,
    objects: BTreeMap<Object, Vec<u8>>,
    object_len: usize,
}

impl V2 {
    fn drain(&mut self, now: Timestamp) -> Option<Result<(), groups::Rejection>> {
        use groups::{Event, Input, Large, Output};
        let mut reply = None;
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, record } => {
                    if let Some(Large::Chunk { object, offset, data }) = record.large(1) {
                        let len = self.object_len;
                        let bytes = self.objects.entry(object).or_insert_with(|| vec![0; len]);
                        bytes[offset as usize..][..data.len()].copy_from_slice(&data);
                    }
                    Input::Persisted(id)
                }
                Output::Load(object) => {
                    let bytes = self.objects.remove(&object).map(Bytes::from);
                    Input::Loaded { object, bytes }
                }
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { outcome, .. } => {
                    reply = Some(outcome);
                    continue;
                }
                Output::Event(Event::RoundFailed { failure, .. }) => panic!("{failure}"),
                Output::Idle(_) => return reply,
                _ => continue,
            };
            self.machine.handle_input(now, input).expect("it runs");
        }
    }
}

impl Server for V2 {
    fn answer(&mut self, now: Timestamp, call: Call) -> Response {
        let Call::V2(call) = call else {
            return self.front.answer_v1(&call).unwrap_or_else(Response::no_content);
        };
        let answer = self.front.answer(&call);
        if let Some(response) = answer.respond(|_| None) {
            return response;
        }
        let outcome = self.front.open(call).map(|message| {
            let input = groups::Input::Message { ticket: Ticket(0), message };
            self.machine.handle_input(now, input).expect("it runs");
            self.drain(now)
        });
        match outcome {
            Err(rejection) | Ok(Some(Err(rejection))) => {
                let problem = rejection.problem(Some(1));
                Response::new(problem.status, problem.to_json())
            }
            Ok(_) => Response::ok(""),
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.machine.handle_input(now, groups::Input::Tick).expect("it runs");
        self.drain(now);
    }

    fn is_done(&self) -> bool {
        self.front.completed().is_some()
    }
}

/// Three groups of three members, and so many updaters.
fn round_of_v2(updates: usize, length: usize) -> (Duration, Work) {
    let config: MaskConfig = CONFIG.parse().expect("a config");
    let authority = keys(9, 0);
    let number = |group: u8, index: u8| u64::from(group) * 100 + u64::from(index);
    let member_keys = |group, index| keys(2, number(group, index));
    let group = |group: u8| {
        let members = (0..MEMBERS).map(|index| member_keys(group, index).public()).collect();
        Group::new(format!("group {group}"), members)
    };
    let admission = Admission::Authority(authority.public());
    let roster = Roster::new((0..GROUPS).map(group).collect(), admission).expect("a roster");
    let pin = Pin::new(roster.hash(), 3);
    let times = groups::Times::all(time());
    let settings = groups::Settings::new(roster, config, length as u64, 3, exactly(updates), times);
    let machine = groups::Coordinator::new(settings, RootSeed::new([5; 32]), START);
    let object_len = MaskObjectView::serialized_len(config.into(), length).expect("it fits");
    let mut server = V2 {
        machine: machine.expect("good settings"),
        front: groups::Front::new(),
        objects: BTreeMap::new(),
        object_len,
    };
    server.drain(START);
    let mut members: Vec<_> = (0..GROUPS)
        .flat_map(|group| (0..MEMBERS).map(move |index| MemberId::new(group, index)))
        .map(|v2::MemberId { group, index }| {
            let number = number(group, index);
            let [root, boot] = [3, 4].map(|kind| RootSeed::new(bytes(kind, number)));
            let keys = member_keys(group, index);
            (Member::new(keys, root, boot, pin, member::Settings::default()), START)
        })
        .collect();
    let model = model(length);
    let mut trainers: Vec<_> = (0..updates as u64)
        .map(|number| {
            let keys = keys(1, number);
            let credential = Credential::issue(&authority, &keys.public(), u64::MAX);
            let settings =
                participant::Settings::default().with_pin(pin).with_credential(credential);
            Trainer::new(Machine::new(keys, RootSeed::new(bytes(6, number)), settings), &model)
        })
        .collect();
    let mut work = Work::default();
    let took = run(&mut server, &mut trainers, &mut members, &mut work);
    (took, work)
}
