//! Brings a real coordinator into each state, and tries each input on it.

use std::collections::BTreeMap;
use std::time::Duration;

use pet_core::coordinator::{
    Admission, Coordinator, CountRange, Front, Idle, Input, Job, JobResult, Output, PartDone,
    PartId, PersistId, Phase, Reject, Rejection, Settings, Shard, Sum2Settings, SumSettings,
    Ticket, TimeRange, UpdateSettings, Verified, Why,
};
use pet_core::crypto::{PublicEncryptKey, RootSeed, Task};
use pet_core::job::{JobId, JobKind};
use pet_core::mask::MaskConfig;
use pet_core::message::{Chunk, MessageId, Tag};
use pet_core::round::SumDict;
use pet_core::time::Timestamp;
use pet_testing::by_hand::{mask_of, Hand};

use super::coordinator_table::{in_sum, in_sum2, in_update, Cell, State, Stimulus};

const MIN_TIME: Duration = Duration::from_secs(2);
const MAX_TIME: Duration = Duration::from_secs(60);
const LENGTH: usize = 4;

fn settings() -> Settings {
    let time = TimeRange { min: MIN_TIME, max: MAX_TIME };
    Settings::new(
        SumSettings::new(0.5, CountRange { min: 1, max: 3 }, time),
        UpdateSettings::new(1.0, CountRange { min: 3, max: 4 }, time),
        Sum2Settings::new(CountRange { min: 1, max: 2 }, time),
        config(),
        LENGTH as u64,
    )
}

fn config() -> MaskConfig {
    "Prime/F32/B0/M3".parse().expect("a known config")
}

/// A coordinator in its second round, and all around it. Jobs and confirmations wait for a word.
pub struct Bench {
    machine: Coordinator,
    now: Timestamp,
    front: Front,
    jobs: Vec<Job>,
    replies: BTreeMap<Ticket, Result<(), Rejection>>,
    unanswered: Vec<Ticket>,
    last_record: PersistId,
    confirmed: PersistId,
    idle: Idle,
    tickets: u64,
    /// How many outputs there were but for replies.
    outputs: usize,
    summers: Vec<Hand>,
    updaters: Vec<Hand>,
    /// How many have sent a message in this phase.
    sent: usize,
    opened_before: Verified,
    opened_in_sum: Verified,
}

/// What another replica says.
enum ShardInput {
    Admit(Admission),
    Part(PartDone),
}

/// The other replica.
const SHARD: Shard = Shard::new([7; 16]);

/// What is to be done to the machine.
enum Action {
    Sealed(Vec<u8>),
    Opened(Verified),
    /// Of another replica.
    Shard(ShardInput),
    Input(Input),
    /// Nothing but that time passes.
    Wait(Duration),
    Restore,
}

impl Bench {
    fn new() -> Self {
        let settings = settings();
        let mut machine =
            Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO).expect("valid");
        let (mut front, mut last_record) = (Front::new(), PersistId(0));
        loop {
            match machine.poll_output() {
                Output::Persist { id, .. } => {
                    last_record = id;
                    machine.handle_input(Timestamp::ZERO, Input::Persisted(id)).expect("running");
                }
                Output::Front(new) => front = new,
                Output::Idle(_) => break,
                _ => {}
            }
        }
        let parameters = front.parameters().expect("a round has begun");
        let first = Hand::with_task(Task::Sum, 1, parameters).remove(0);
        let opened_before = front.open(first.sum()).expect("a good message");
        let mut bench = Self {
            machine,
            now: Timestamp::ZERO,
            front,
            jobs: Vec::new(),
            replies: BTreeMap::new(),
            unanswered: Vec::new(),
            last_record,
            confirmed: last_record,
            idle: Idle::new(None, Why::Store),
            tickets: 0,
            outputs: 0,
            summers: Vec::new(),
            updaters: Vec::new(),
            sent: 0,
            opened_in_sum: opened_before.clone(),
            opened_before,
        };
        bench.wait(MAX_TIME);
        bench.settle();
        assert_eq!((bench.machine.round_id(), bench.machine.phase()), (2, Phase::Sum));
        let parameters = bench.front.parameters().expect("a round has begun").clone();
        bench.summers = Hand::with_task(Task::Sum, 6, &parameters);
        bench.updaters = Hand::with_task(Task::Update, 6, &parameters);
        let late = bench.summers[4].sum();
        bench.opened_in_sum = bench.front.open(late).expect("a good message");
        bench
    }

    /// A coordinator in a state.
    pub fn at(state: State) -> Self {
        let mut bench = Self::new();
        let stop_at = |bench: &mut Self, whole: usize| {
            for _ in 0..whole {
                bench.send_next();
                bench.settle();
            }
        };
        let whole = match state {
            State::Sum | State::Shutdown | State::SumAssembling => 0,
            State::Failure | State::Paused => 0,
            State::SumEnough => 1,
            _ => 3,
        };
        stop_at(&mut bench, whole);
        match state {
            State::Sum | State::SumEnough | State::SumFull => return bench,
            State::SumAssembling => {
                bench.send_split();
                return bench;
            }
            State::Failure => {
                bench.wait(MAX_TIME);
                return bench;
            }
            State::Paused => {
                bench.act(Action::Input(Input::Pause)).expect("it runs");
                bench.wait(MAX_TIME);
                bench.settle();
                return bench;
            }
            State::Shutdown => {
                bench.act(Action::Input(Input::Stop)).expect("it runs");
                bench.settle();
                return bench;
            }
            _ => bench.next_phase(),
        }
        let whole = match state {
            State::Update | State::Aggregating => 0,
            State::UpdateLate | State::UpdateAssembling => 0,
            State::UpdateFull => 4,
            _ => 3,
        };
        stop_at(&mut bench, whole);
        match state {
            State::Update | State::UpdateEnough | State::UpdateFull => return bench,
            State::Aggregating | State::EnoughAggregating => {
                bench.send_next();
                return bench;
            }
            State::UpdateAssembling => {
                bench.send_split();
                return bench;
            }
            State::UpdateLate => {
                (0..3).for_each(|_| bench.send_next());
                bench.wait(MAX_TIME);
                // The first of them is being added alone.
                let job = bench.jobs.remove(0);
                bench.act(Action::Input(Input::JobDone(job.finish()))).expect("awaited");
                bench.confirm();
                return bench;
            }
            _ => bench.next_phase(),
        }
        let whole = match state {
            State::Sum2 | State::Sum2Assembling => 0,
            State::Sum2Enough => 1,
            _ => 2,
        };
        stop_at(&mut bench, whole);
        match state {
            State::Sum2Assembling => bench.send_split(),
            State::Unmask => {
                bench.wait(MIN_TIME);
                bench.confirm();
            }
            _ => {}
        }
        bench
    }

    /// The state that it is in.
    pub fn state(&self) -> State {
        let assembling = self.runs(JobKind::Assemble);
        let aggregating = self.runs(JobKind::Aggregate);
        let accepted = self.machine.accepted();
        match self.machine.phase() {
            Phase::Idle => State::Paused,
            Phase::Sum if assembling => State::SumAssembling,
            Phase::Sum => match accepted {
                0 => State::Sum,
                1 | 2 => State::SumEnough,
                _ => State::SumFull,
            },
            Phase::Update if aggregating && self.machine.elapsed() >= MAX_TIME => State::UpdateLate,
            // Also while both kinds of jobs run: see the states' descriptions.
            Phase::Update if assembling && !(aggregating && self.sent_whole()) => {
                State::UpdateAssembling
            }
            Phase::Update if aggregating && accepted >= 3 => State::EnoughAggregating,
            Phase::Update if aggregating => State::Aggregating,
            Phase::Update => match accepted {
                0..3 => State::Update,
                3 => State::UpdateEnough,
                _ => State::UpdateFull,
            },
            Phase::Sum2 if assembling => State::Sum2Assembling,
            Phase::Sum2 => match accepted {
                0 => State::Sum2,
                1 => State::Sum2Enough,
                _ => State::Sum2Full,
            },
            Phase::Unmask => State::Unmask,
            Phase::Failure => State::Failure,
            Phase::Shutdown => State::Shutdown,
            other => panic!("an unknown phase: {other}"),
        }
    }

    /// Whether the job that runs longest is that of a whole update.
    fn sent_whole(&self) -> bool {
        self.jobs.first().is_some_and(|job| job.kind() == JobKind::Aggregate)
    }

    fn runs(&self, kind: JobKind) -> bool {
        self.jobs.iter().any(|job| job.kind() == kind)
    }

    // What happens to the machine.

    fn act(&mut self, action: Action) -> Result<Option<Ticket>, Refusal> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let input = match action {
            Action::Sealed(sealed) => {
                let message = self.front.open(sealed).map_err(Refusal::Rejection)?;
                Input::Message { ticket, message }
            }
            Action::Opened(message) => Input::Message { ticket, message },
            Action::Shard(ShardInput::Admit(admission)) => {
                Input::Admit { ticket, shard: SHARD, admission }
            }
            Action::Shard(ShardInput::Part(done)) => Input::Part { ticket, done },
            Action::Input(input) => {
                if let Input::JobDone(result) = &input {
                    self.forget(result.id());
                }
                if let Input::JobLost(id) = input {
                    self.forget(id);
                }
                self.machine.handle_input(self.now, input).map_err(Refusal::Reject)?;
                self.drain();
                return Ok(None);
            }
            Action::Wait(time) => {
                self.now = self.now + time;
                self.machine.handle_input(self.now, Input::Tick).map_err(Refusal::Reject)?;
                self.drain();
                return Ok(None);
            }
            Action::Restore => {
                let saved = self.machine.snapshot().to_bytes();
                self.machine = Coordinator::restore(&saved, settings(), self.now).expect("good");
                self.jobs.clear();
                self.unanswered.clear();
                (self.last_record, self.confirmed) = (PersistId(0), PersistId(0));
                self.drain();
                return Ok(None);
            }
        };
        self.machine.handle_input(self.now, input).map_err(Refusal::Reject)?;
        self.unanswered.push(ticket);
        self.drain();
        Ok(Some(ticket))
    }

    fn forget(&mut self, id: JobId) {
        self.jobs.retain(|job| job.id() != id);
    }

    fn drain(&mut self) {
        loop {
            match self.machine.poll_output() {
                Output::Job(job) => self.jobs.push(job),
                Output::Persist { id, .. } => {
                    assert_eq!(id.0, self.last_record.0 + 1, "records are numbered in order");
                    self.last_record = id;
                }
                Output::Front(front) => self.front = front,
                Output::Reply { ticket, outcome } => {
                    self.unanswered.retain(|open| *open != ticket);
                    let before = self.replies.insert(ticket, outcome);
                    assert!(before.is_none(), "answered twice");
                    continue;
                }
                Output::Event(_) => {}
                Output::Idle(idle) => {
                    self.idle = idle;
                    self.check_not_stuck();
                    return;
                }
                other => panic!("unknown output {other:?}"),
            }
            self.outputs += 1;
        }
    }

    /// Something is always due or waited for.
    fn check_not_stuck(&self) {
        let waits = match self.idle.why {
            Why::Job | Why::LostJob => !self.jobs.is_empty(),
            Why::Store => self.confirmed < self.last_record,
            Why::Resume => self.machine.is_paused(),
            Why::Stopped => true,
            _ => self.idle.wake_at.is_some_and(|at| at > self.now),
        };
        assert!(waits || self.idle.wake_at.is_some(), "stuck: {:?}", self.idle);
    }

    fn wait(&mut self, time: Duration) {
        self.act(Action::Wait(time)).expect("it runs");
    }

    fn confirm(&mut self) {
        self.confirmed = self.last_record;
        let all = Input::Persisted(self.last_record);
        self.machine.handle_input(self.now, all).expect("always taken");
        self.drain();
    }

    /// Does all that is due.
    fn settle(&mut self) {
        loop {
            while self.confirmed < self.last_record {
                self.confirm();
            }
            let Some(job) = self.jobs.pop() else { return };
            self.act(Action::Input(Input::JobDone(job.finish()))).expect("awaited");
        }
    }

    fn next_phase(&mut self) {
        self.wait(MIN_TIME);
        self.settle();
        self.sent = 0;
    }

    // Messages.

    /// The tag that is due, or any.
    fn tag(&self) -> Tag {
        self.machine.phase().accepts().unwrap_or(Tag::Sum)
    }

    fn sender(&self, tag: Tag, nth: usize) -> Hand {
        match tag {
            Tag::Update => self.updaters[nth].clone(),
            _ => self.summers[nth].clone(),
        }
    }

    fn sums(&self) -> SumDict {
        let of = |hand: &Hand| (hand.key(), hand.ephemeral().public());
        self.summers[..3].iter().map(of).collect()
    }

    fn payload(&self, tag: Tag, hand: &Hand) -> Vec<u8> {
        match tag {
            Tag::Sum => hand.sum_payload(hand.ephemeral().public()),
            Tag::Update => hand.update_payload(&self.sums(), &hand.fitting()),
            Tag::Sum2 => hand.sum2_payload(&mask_of(&self.updaters[..3], config(), LENGTH)),
            other => panic!("an unknown message: {other}"),
        }
    }

    /// A message of the next one who has sent none, or of the latest sender.
    fn message(&self, tag: Tag, nth: usize) -> Vec<u8> {
        let hand = self.sender(tag, nth);
        hand.send(tag, &self.payload(tag, &hand))
    }

    fn chunk(&self, tag: Tag, nth: usize, second: bool) -> Vec<u8> {
        let hand = self.sender(tag, nth);
        let cut = if tag == Tag::Update { 200 } else { 70 };
        hand.send_chunk(tag, &self.payload(tag, &hand), cut, second)
    }

    fn send_next(&mut self) {
        let message = self.message(self.tag(), self.sent);
        self.act(Action::Sealed(message)).expect("a good message");
        self.sent += 1;
    }

    fn send_split(&mut self) {
        for second in [false, true] {
            let chunk = self.chunk(self.tag(), self.sent, second);
            self.act(Action::Sealed(chunk)).expect("a good chunk");
            self.confirm();
        }
        self.sent += 1;
    }

    /// Makes sure that someone has sent a message.
    fn again(&mut self, tag: Tag) -> Action {
        let due = self.machine.phase().accepts() == Some(tag);
        if self.sent == 0 && due {
            self.send_next();
            self.confirm();
        }
        Action::Sealed(self.message(tag, self.sent.saturating_sub(1)))
    }

    /// Does what must come before, and says what is to be done.
    fn prepare(&mut self, stimulus: Stimulus) -> Action {
        use Stimulus as I;
        let (due, next) = (self.tag(), self.sent);
        let fresh = |bench: &Self, tag| match bench.machine.phase().accepts() == Some(tag) {
            true => bench.message(tag, next),
            false => bench.message(tag, 3),
        };
        let sealed = match stimulus {
            I::Tick => return Action::Wait(Duration::ZERO),
            I::MinTime | I::MaxTime => {
                let limit = if stimulus == I::MinTime { MIN_TIME } else { MAX_TIME };
                return Action::Wait(limit.saturating_sub(self.machine.elapsed()));
            }
            I::Sum => fresh(self, Tag::Sum),
            I::Update => fresh(self, Tag::Update),
            I::Sum2 => fresh(self, Tag::Sum2),
            I::SumAgain => return self.again(Tag::Sum),
            I::UpdateAgain => return self.again(Tag::Update),
            I::Sum2Again => return self.again(Tag::Sum2),
            I::SumIneligible => {
                let hand = &self.updaters[5];
                hand.send(Tag::Sum, &self.payload(Tag::Sum, hand))
            }
            I::SumWeakKey => {
                let hand = &self.summers[3];
                hand.send(Tag::Sum, &hand.sum_payload(PublicEncryptKey::new([0; 32])))
            }
            I::UpdateIneligible => {
                let hand = &self.summers[5];
                hand.send(Tag::Update, &self.payload(Tag::Update, hand))
            }
            I::UpdateConfig => {
                let other = "Integer/F32/B0/M3".parse().expect("a known config");
                let hand = &self.updaters[5];
                let masked = hand.masked(other, LENGTH);
                hand.send(Tag::Update, &hand.update_payload(&self.sums(), &masked))
            }
            I::UpdateLength => {
                let hand = &self.updaters[5];
                let masked = hand.masked(config(), LENGTH + 1);
                hand.send(Tag::Update, &hand.update_payload(&self.sums(), &masked))
            }
            I::UpdateNumber => {
                let hand = &self.updaters[5];
                let mut masked = hand.fitting();
                // The vector's header has 8 bytes, a number 6.
                masked[8..14].fill(0xff);
                hand.send(Tag::Update, &hand.update_payload(&self.sums(), &masked))
            }
            I::UpdateSeeds => {
                let hand = &self.updaters[5];
                hand.send(Tag::Update, &hand.update_payload(&SumDict::new(), &hand.fitting()))
            }
            I::Sum2Stranger => self.message(Tag::Sum2, 5),
            I::Sum2Config | I::Sum2Length => {
                let (config, length) = match stimulus {
                    I::Sum2Length => (config(), LENGTH + 1),
                    _ => ("Integer/F32/B0/M3".parse().expect("a known config"), LENGTH),
                };
                let hand = &self.summers[2];
                hand.sum2(&mask_of(&self.updaters[..3], config, length))
            }
            I::Chunk => self.chunk(due, self.fresh_for_chunk(), false),
            I::LastChunk | I::ChunkAgain => {
                let nth = self.fresh_for_chunk();
                // Refused in states that take no chunks.
                let _ = self.act(Action::Sealed(self.chunk(due, nth, false)));
                self.confirm_unless_failed();
                self.chunk(due, nth, stimulus == I::LastChunk)
            }
            I::ChunkContradicts => {
                let nth = self.fresh_for_chunk();
                let _ = self.act(Action::Sealed(self.chunk(due, nth, false)));
                self.confirm_unless_failed();
                let hand = self.sender(due, nth);
                let payload = self.payload(due, &hand);
                // The same place, but a byte less.
                let cut = if due == Tag::Update { 199 } else { 69 };
                hand.send_chunk(due, &payload, cut, false)
            }
            I::ChunkEmpty => {
                let hand = self.sender(due, self.fresh_for_chunk());
                let mut bytes = Vec::new();
                let chunk = Chunk { id: 1, message_id: MessageId(7), is_last: false, data: &[] };
                chunk.write_to(&mut bytes);
                hand.seal(&hand.sign(due, true, &bytes))
            }
            I::ChunkOfSecond => {
                if self.sent == 0 && self.machine.phase().accepts().is_some() {
                    self.send_next();
                    self.confirm();
                }
                self.chunk(due, self.sent.saturating_sub(1), false)
            }
            I::Garbage => vec![7; 300],
            I::Truncated => self.summers[0].seal(&[7; 100]),
            I::LengthField => {
                let hand = self.sender(due, 3);
                let mut message = hand.sign(due, false, &self.payload(due, &hand));
                message[131] ^= 1;
                hand.seal(&message)
            }
            I::UnknownTag => {
                let hand = self.sender(due, 3);
                let mut message = hand.sign(due, false, &self.payload(due, &hand));
                message[132] = 9;
                hand.seal(&message)
            }
            I::BadSignature => {
                let hand = self.sender(due, 2);
                let mut message = hand.sign(due, false, &self.payload(due, &hand));
                message[0] ^= 1;
                hand.seal(&message)
            }
            I::OtherRound => {
                let hand = self.sender(due, 2);
                let payload = self.payload(due, &hand);
                let mut other = hand.clone();
                other.parameters.pk = PublicEncryptKey::new([9; 32]);
                hand.seal(&other.sign(due, false, &payload))
            }
            I::TrailingByte => {
                let hand = self.sender(due, 2);
                let mut payload = self.payload(due, &hand);
                payload.push(0);
                hand.send(due, &payload)
            }
            I::BorrowedSignatures => {
                let mut hand = self.sender(due, 2);
                hand.signatures = self.sender(due, 1).signatures;
                hand.send(due, &self.payload(due, &hand))
            }
            I::OpenedInSum => return Action::Opened(self.opened_in_sum.clone()),
            I::OpenedBefore => return Action::Opened(self.opened_before.clone()),
            I::Admit => return Action::Shard(ShardInput::Admit(self.admission())),
            I::Part | I::PartAgain => {
                let admission = self.admission();
                let part = PartDone {
                    round_id: admission.round_id(),
                    shard: SHARD,
                    part: PartId::new([8; 16]),
                    predecessor: None,
                    participants: vec![admission.participant()],
                    models: 1,
                };
                // Refused in states that take none.
                let _ = self.act(Action::Shard(ShardInput::Admit(admission)));
                if stimulus == I::PartAgain {
                    let _ = self.act(Action::Shard(ShardInput::Part(part.clone())));
                    self.confirm_unless_failed();
                }
                return Action::Shard(ShardInput::Part(part));
            }
            I::ShardLost => return Action::Input(Input::ShardLost { shard: SHARD }),
            I::Fetched => {
                let part = PartId::new([8; 16]);
                return Action::Input(Input::Fetched { part, bytes: None });
            }
            I::JobDone => {
                let result = match self.jobs.pop() {
                    Some(job) => job.finish(),
                    None => foreign_job(State::Aggregating, JobId(1)),
                };
                return Action::Input(Input::JobDone(result));
            }
            I::JobStale => {
                let result = match self.jobs.pop() {
                    Some(job) => {
                        self.act(Action::Input(Input::JobLost(job.id()))).expect("awaited");
                        job.finish()
                    }
                    None => foreign_job(State::Aggregating, JobId(2)),
                };
                return Action::Input(Input::JobDone(result));
            }
            I::JobForeign => {
                let id = self.jobs.last().map_or(JobId(1), Job::id);
                let other = match self.runs(JobKind::Aggregate) {
                    true => State::UpdateAssembling,
                    false => State::Aggregating,
                };
                return Action::Input(Input::JobDone(foreign_job(other, id)));
            }
            I::JobLost => {
                let id = self.jobs.last().map_or(JobId(1000), Job::id);
                return Action::Input(Input::JobLost(id));
            }
            I::Persisted => return Action::Input(Input::Persisted(self.last_record)),
            I::PersistedOld => return Action::Input(Input::Persisted(PersistId(1))),
            I::PersistedAhead => return Action::Input(Input::Persisted(PersistId(u64::MAX))),
            I::Stop => return Action::Input(Input::Stop),
            I::Pause => return Action::Input(Input::Pause),
            I::Resume => return Action::Input(Input::Resume),
            I::Skip => return Action::Input(Input::Skip),
            I::ChangeSettings | I::WrongSettings => {
                let mut settings = settings();
                settings.sum.count.min = if stimulus == I::ChangeSettings { 2 } else { 0 };
                return Action::Input(Input::ChangeSettings(Box::new(settings)));
            }
            I::Restore => return Action::Restore,
        };
        Action::Sealed(sealed)
    }

    /// What another replica asks with: the update of one who has sent nothing, if there is such a thing now.
    fn admission(&self) -> Admission {
        let opened = self.front.open(self.message(Tag::Update, self.sent.min(5)));
        let admission = opened.ok().and_then(|message| message.admission());
        admission.map_or_else(
            || {
                let mut bytes = b"PETk\x01\x00".to_vec();
                bytes.extend(self.machine.round_id().to_le_bytes());
                bytes.extend(32u64.to_le_bytes());
                bytes.extend([9; 32]);
                bytes.extend(0u64.to_le_bytes());
                Admission::from_bytes(&bytes).expect("a round, a key and no seeds")
            },
            |(admission, _)| admission,
        )
    }

    /// One who has sent nothing, but may.
    fn fresh_for_chunk(&self) -> usize {
        if self.machine.phase().accepts().is_some() {
            self.sent
        } else {
            3
        }
    }

    /// Not where the confirmation itself would bring the machine on.
    fn confirm_unless_failed(&mut self) {
        if self.machine.phase() != Phase::Failure {
            self.confirm();
        }
    }
}

/// The result of a job of another machine, with a given id.
fn foreign_job(state: State, id: JobId) -> JobResult {
    let mut bench = Bench::at(state);
    loop {
        let job = bench.jobs.pop().expect("a job runs in that state");
        assert!(job.id() <= id, "the machine has made too many jobs before");
        if job.id() == id {
            return job.finish();
        }
        bench.act(Action::Input(Input::JobLost(job.id()))).expect("awaited");
    }
}

/// Why nothing became of an action.
#[derive(Debug)]
enum Refusal {
    Rejection(Rejection),
    Reject(Reject),
}

/// What really becomes of an input.
pub fn observed(state: State, stimulus: Stimulus) -> Cell {
    let mut bench = Bench::at(state);
    assert_eq!(bench.state(), state, "the bench does not bring the machine where it should");
    let action = bench.prepare(stimulus);
    let is_answered = matches!(action, Action::Sealed(_) | Action::Opened(_) | Action::Shard(_))
        || stimulus == Stimulus::JobDone && !bench.unanswered.is_empty();
    let (before, from) = (bench.machine.snapshot().to_bytes(), bench.state_or_shutdown());
    let running: Vec<_> = bench.jobs.iter().map(Job::id).collect();
    let (outputs, now, open) = (bench.outputs, bench.now, bench.unanswered.clone());
    let records = bench.last_record;
    let all_was_stored = bench.confirmed == records;
    let ticket = match bench.act(action) {
        Ok(ticket) => ticket,
        Err(refusal) => {
            let after = bench.machine.snapshot().to_bytes();
            // A moment that passes is seen in it, of course.
            let unchanged = after == before || bench.now > now;
            assert!(unchanged, "{state:?} x {stimulus:?}: something has changed");
            return match refusal {
                Refusal::Rejection(rejection) => Cell::Rejected(rejection.label()),
                Refusal::Reject(Reject::UnknownJob(_)) => Cell::Refused("unknown job"),
                Refusal::Reject(Reject::Stopped) => Cell::Refused("stopped"),
                Refusal::Reject(Reject::UnknownPart(_)) => Cell::Refused("unknown part"),
                Refusal::Reject(Reject::NoRound) => Cell::Refused("no round"),
                Refusal::Reject(Reject::InvalidSettings) => Cell::Refused("invalid settings"),
                Refusal::Reject(other) => panic!("unknown reject {other:?}"),
            };
        }
    };
    let to = bench.state();
    if is_answered {
        let answered = ticket.into_iter().chain(open);
        // An acceptance must not be told before it is stored.
        let told: Vec<_> = answered.collect();
        let nothing_stored = bench.last_record == records;
        let is_told = told.iter().any(|ticket| bench.replies.get(ticket) == Some(&Ok(())));
        // What is in no record need not wait.
        assert!(!is_told || stimulus == Stimulus::Admit || all_was_stored && nothing_stored);
        let unchanged = bench.machine.snapshot().to_bytes() == before;
        bench.confirm_unless_failed();
        let ticket = *told.first().expect("a message");
        return match bench.replies.get(&ticket) {
            Some(Ok(())) if unchanged && stimulus == Stimulus::Admit => Cell::Reserved,
            Some(Ok(())) if unchanged => {
                assert!(nothing_stored, "what has changed nothing is stored");
                Cell::Known
            }
            Some(Ok(())) => Cell::Accepted(to),
            Some(Err(rejection)) => {
                assert!(unchanged, "a rejected message has changed something");
                Cell::Rejected(rejection.label())
            }
            None => Cell::Taken(to),
        };
    }
    match stimulus {
        Stimulus::JobLost => {
            let now: Vec<_> = bench.jobs.iter().map(Job::id).collect();
            assert_ne!(running, now);
            assert_eq!((running.len(), from), (now.len(), to));
            Cell::GivenOutAgain
        }
        Stimulus::Restore => Cell::Moves(to),
        _ if bench.outputs == outputs => {
            assert_eq!(from, to);
            Cell::Ignored
        }
        _ => {
            if stimulus == Stimulus::Stop {
                bench.confirm();
                assert_eq!(bench.unanswered, [], "someone is left without an answer");
            }
            Cell::Moves(to)
        }
    }
}

impl Bench {
    fn state_or_shutdown(&self) -> State {
        let state = self.state();
        debug_assert!(
            in_sum(state).or(in_update(state)).or(in_sum2(state)).is_some()
                || matches!(
                    state,
                    State::Unmask | State::Failure | State::Paused | State::Shutdown
                )
        );
        state
    }
}

/// The inputs that try each kind of the machine's own inputs: clippy, which CI runs with all
/// warnings as errors, complains when there is a kind that is not listed.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn tried_by(input: &Input) -> &'static [Stimulus] {
    use Stimulus as I;
    match input {
        Input::Tick => &[I::Tick, I::MinTime, I::MaxTime],
        Input::Message { .. } => &[I::Sum, I::Update, I::Sum2, I::Chunk, I::OpenedBefore],
        Input::JobDone(_) => &[I::JobDone, I::JobStale, I::JobForeign],
        Input::JobLost(_) => &[I::JobLost],
        Input::Persisted(_) => &[I::Persisted, I::PersistedOld, I::PersistedAhead],
        Input::Pause => &[I::Pause],
        Input::Resume => &[I::Resume],
        Input::Skip => &[I::Skip],
        Input::ChangeSettings(_) => &[I::ChangeSettings, I::WrongSettings],
        Input::Stop => &[I::Stop],
        Input::Admit { .. } => &[I::Admit],
        Input::Part { .. } => &[I::Part, I::PartAgain],
        Input::ShardLost { .. } => &[I::ShardLost],
        Input::Fetched { .. } => &[I::Fetched],
        _ => unreachable!("clippy has told"),
    }
}
