//! The states of the coordinator and its server, numbered, and what leads from one to the other.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use pet_core::coordinator::{
    Coordinator, Event, Front, Idle, Input, Job, Output, PersistId, Phase, Record, Recovery,
    Snapshot, Ticket, Verified, Why,
};
use pet_core::job::{JobId, JobKind};
use pet_core::message::Tag;
use pet_core::request::Call;
use pet_core::time::Timestamp;

use pet_testing::bounds::{most_in_memory, most_waiting, Log};

use super::cast::{Cast, Plan, MAX_TIME, MIN_TIME};
use super::ledger::{end_of, End, Ledger};
use super::letters::{LetterId, Letters};

/// The number of a server's state.
pub(super) type ServerId = u32;

/// Who waits for the answer to a message: a participant, or nobody.
pub(super) type Sender = Option<u8>;

/// What can happen to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A message comes, and is opened at once.
    Letter(LetterId, Sender),
    /// A message comes that was opened before.
    Opened(u16, Sender),
    /// A sender waits no longer.
    HangUp(u8),
    /// A job ends.
    Job(u8),
    /// What was put out first, of what is not stored yet, is stored.
    Stored,
    /// The phase's shortest time is over.
    MinTime,
    /// The phase's longest time is over.
    MaxTime,
    /// A crash; what was stored last is restored.
    Crash,
}

/// What comes of it for others.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    /// Answers: to whom, to which message, and whether it was accepted.
    pub replies: Vec<(Sender, LetterId, bool)>,
    /// How rounds have ended.
    pub ends: Vec<End>,
}

#[derive(Clone)]
struct RunningJob {
    id: JobId,
    kind: JobKind,
    /// The messages that had no answer when it was given out.
    letters: Vec<LetterId>,
    /// It is made anew from here: a job is there once, and is needed on several paths.
    origin: (ServerId, Step),
}

struct State {
    machine: Coordinator,
    now: Timestamp,
    idle: Idle,
    front: Front,
    /// Messages without an answer, in the order in which they came.
    unanswered: Vec<(Ticket, LetterId, Sender)>,
    jobs: Vec<RunningJob>,
    /// What is being stored: up to which record, and what is then to be restored.
    storing: VecDeque<(PersistId, u32)>,
    stored: u32,
    ledger: Ledger,
    /// What all records so far add up to.
    recovery: Recovery,
    /// What a store of them has to keep.
    log: Log,
}

/// What a machine did with an input.
struct Raw {
    machine: Coordinator,
    now: Timestamp,
    outputs: Vec<Output>,
    idle: Idle,
    last: Option<PersistId>,
}

/// All states of servers that were ever seen.
pub(super) struct Servers {
    plan: Plan,
    states: Vec<State>,
    numbers: HashMap<Vec<u8>, ServerId>,
    steps: HashMap<(ServerId, Step), (ServerId, Effects)>,
    answers: HashMap<(ServerId, String), Option<Bytes>>,
    /// What there is to restore: as a server restores it that stores records.
    snapshots: Vec<(Vec<u8>, Ledger, Recovery, Log)>,
    snapshot_numbers: HashMap<(Vec<u8>, String), u32>,
    /// Opened messages, with what each was opened from.
    opened: Vec<(LetterId, Verified)>,
    opened_numbers: BTreeMap<(LetterId, u64, u8), u16>,
    tickets: u64,
}

impl Servers {
    pub fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            states: Vec::new(),
            numbers: HashMap::new(),
            steps: HashMap::new(),
            answers: HashMap::new(),
            snapshots: Vec::new(),
            snapshot_numbers: HashMap::new(),
            opened: Vec::new(),
            opened_numbers: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// A new coordinator whose first records are stored.
    pub fn start(&mut self, cast: &Cast, letters: &Letters) -> Result<ServerId, String> {
        let now = Timestamp::ZERO;
        let machine = Coordinator::new(cast.settings.clone(), cast.root.clone(), now)
            .map_err(|error| error.to_string())?;
        let mut raw = Raw {
            machine,
            now,
            outputs: Vec::new(),
            idle: Idle::new(None, Why::Store),
            last: None,
        };
        raw.drain(true)?;
        let blank = State {
            machine: raw.machine.fork().ok_or("a coordinator has outputs left")?,
            now,
            idle: raw.idle,
            front: Front::new(),
            unanswered: Vec::new(),
            jobs: Vec::new(),
            storing: VecDeque::new(),
            stored: 0,
            ledger: Ledger::default(),
            recovery: Recovery::new(cast.root.clone()),
            log: Log::default(),
        };
        let (id, _) = self.enter(cast, letters, raw, blank, (0, Step::Stored), true)?;
        Ok(id)
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    fn state(&self, id: ServerId) -> &State {
        &self.states[id as usize]
    }

    pub fn ledger(&self, id: ServerId) -> &Ledger {
        &self.state(id).ledger
    }

    pub fn phase(&self, id: ServerId) -> Phase {
        self.state(id).machine.phase()
    }

    pub fn jobs(&self, id: ServerId) -> u8 {
        self.state(id).jobs.len() as u8
    }

    pub fn is_storing(&self, id: ServerId) -> bool {
        !self.state(id).storing.is_empty()
    }

    /// Whether a phase's time can run on.
    pub fn can_wait(&self, id: ServerId, step: Step) -> bool {
        let state = self.state(id);
        let limit = if step == Step::MinTime { MIN_TIME } else { MAX_TIME };
        let timed = matches!(state.machine.phase(), Phase::Sum | Phase::Update | Phase::Sum2);
        timed && state.machine.elapsed() < limit
    }

    /// The answer to a GET.
    pub fn answer(&mut self, id: ServerId, call: &Call) -> Option<Bytes> {
        let key = (id, call.path_and_query());
        if let Some(answer) = self.answers.get(&key) {
            return answer.clone();
        }
        let response = self.state(id).front.answer(call);
        let body = response.and_then(|response| (response.status == 200).then_some(response.body));
        self.answers.insert(key, body.clone());
        body
    }

    /// Opens a message with what the server has now, to hand it over later; nothing if it is rejected.
    pub fn open(&mut self, id: ServerId, letter: LetterId, letters: &Letters) -> Option<u16> {
        let front = self.state(id).front.clone();
        let key = (letter, front.round_id()?, front.phase() as u8);
        if let Some(opened) = self.opened_numbers.get(&key) {
            return Some(*opened);
        }
        let message = front.open(letters.get(letter).sealed.clone()).ok()?;
        let number = self.opened.len() as u16;
        self.opened.push((letter, message));
        self.opened_numbers.insert(key, number);
        Some(number)
    }

    pub fn opened_letter(&self, opened: u16) -> LetterId {
        self.opened[usize::from(opened)].0
    }

    /// What an input leads to.
    pub fn step(
        &mut self,
        cast: &Cast,
        letters: &Letters,
        from: ServerId,
        step: Step,
    ) -> Result<(ServerId, Effects), String> {
        if let Some(known) = self.steps.get(&(from, step)) {
            return Ok(known.clone());
        }
        let result = self.compute(cast, letters, from, step)?;
        self.steps.insert((from, step), result.clone());
        Ok(result)
    }

    fn compute(
        &mut self,
        cast: &Cast,
        letters: &Letters,
        from: ServerId,
        step: Step,
    ) -> Result<(ServerId, Effects), String> {
        let mut next = self.copy(from)?;
        let ticket = Ticket(self.tickets + 1);
        match step {
            Step::HangUp(who) => {
                for (_, _, sender) in &mut next.unanswered {
                    sender.take_if(|sender| *sender == who);
                }
                return Ok((self.number(next)?, Effects::default()));
            }
            Step::Letter(letter, sender) => {
                if next.front.open(letters.get(letter).sealed.clone()).is_err() {
                    let replies = vec![(sender, letter, false)];
                    return Ok((from, Effects { replies, ..Effects::default() }));
                }
                self.tickets += 1;
                next.unanswered.push((ticket, letter, sender));
            }
            Step::Opened(opened, sender) => {
                self.tickets += 1;
                next.unanswered.push((ticket, self.opened_letter(opened), sender));
            }
            Step::Job(index) => drop(next.jobs.remove(usize::from(index))),
            Step::Stored => {
                let (_, snapshot) = next.storing.pop_front().ok_or("nothing is being stored")?;
                if !self.plan.lying_store {
                    next.stored = snapshot;
                }
            }
            Step::Crash => {
                next.unanswered.clear();
                next.jobs.clear();
                next.storing.clear();
                next.front = Front::new();
                let (_, ledger, recovery, log) = &self.snapshots[next.stored as usize];
                (next.ledger, next.recovery) = (ledger.clone(), recovery.clone());
                next.log = log.clone();
            }
            Step::MinTime | Step::MaxTime => {}
        }
        let raw = self.run(cast, letters, from, step, ticket)?;
        self.enter(cast, letters, raw, next, (from, step), false)
    }

    fn copy(&self, id: ServerId) -> Result<State, String> {
        let state = self.state(id);
        Ok(State {
            machine: state.machine.fork().ok_or("a coordinator has outputs left")?,
            now: state.now,
            idle: state.idle,
            front: state.front.clone(),
            unanswered: state.unanswered.clone(),
            jobs: state.jobs.clone(),
            storing: state.storing.clone(),
            stored: state.stored,
            ledger: state.ledger.clone(),
            recovery: state.recovery.clone(),
            log: state.log.clone(),
        })
    }

    /// Gives a copy of the machine an input.
    fn run(
        &self,
        cast: &Cast,
        letters: &Letters,
        from: ServerId,
        step: Step,
        ticket: Ticket,
    ) -> Result<Raw, String> {
        let state = self.state(from);
        let mut machine = state.machine.fork().ok_or("a coordinator has outputs left")?;
        let mut now = state.now;
        let input = match step {
            Step::Letter(letter, _) => {
                let message = state.front.open(letters.get(letter).sealed.clone());
                Input::Message { ticket, message: message.map_err(|error| error.to_string())? }
            }
            Step::Opened(opened, _) => {
                Input::Message { ticket, message: self.opened[usize::from(opened)].1.clone() }
            }
            Step::Job(index) => {
                let running = &state.jobs[usize::from(index)];
                let job = self.make_again(cast, letters, running)?;
                Input::JobDone(job.finish())
            }
            Step::Stored => {
                let (id, _) = state.storing.front().ok_or("nothing is being stored")?;
                Input::Persisted(*id)
            }
            Step::MinTime | Step::MaxTime => {
                let limit = if step == Step::MinTime { MIN_TIME } else { MAX_TIME };
                now = now + limit.saturating_sub(machine.elapsed());
                Input::Tick
            }
            Step::Crash => {
                let (saved, ..) = &self.snapshots[state.stored as usize];
                let settings = cast.settings.clone();
                machine = Coordinator::restore(saved, settings, now)
                    .map_err(|error| error.to_string())?;
                Input::Tick
            }
            Step::HangUp(_) => return Err("the machine knows nothing of senders".into()),
        };
        machine.handle_input(now, input).map_err(|error| error.to_string())?;
        let mut raw = Raw { machine, now, outputs: Vec::new(), idle: state.idle, last: None };
        raw.drain(!self.plan.slow_store)?;
        Ok(raw)
    }

    fn make_again(
        &self,
        cast: &Cast,
        letters: &Letters,
        running: &RunningJob,
    ) -> Result<Job, String> {
        let (from, step) = running.origin;
        // The job does not depend on the ticket.
        let raw = self.run(cast, letters, from, step, Ticket(0))?;
        raw.outputs
            .into_iter()
            .find_map(|output| match output {
                Output::Job(job) if job.id() == running.id => Some(job),
                _ => None,
            })
            .ok_or_else(|| "equal inputs have not given an equal job".into())
    }

    /// Looks at all that has come out, and gives the new state its number.
    fn enter(
        &mut self,
        cast: &Cast,
        letters: &Letters,
        raw: Raw,
        mut next: State,
        origin: (ServerId, Step),
        at_once: bool,
    ) -> Result<(ServerId, Effects), String> {
        let mut effects = Effects::default();
        for output in raw.outputs {
            match output {
                Output::Job(job) => {
                    let letters = next.unanswered.iter().map(|(_, letter, _)| *letter).collect();
                    let (id, kind) = (job.id(), job.kind());
                    next.jobs.push(RunningJob { id, kind, letters, origin });
                }
                Output::Persist { record, .. } => {
                    let applied = next.recovery.apply(record.clone());
                    applied.map_err(|error| error.to_string())?;
                    next.log.record(&record);
                    enter_record(cast, letters, &mut next.ledger, &record)?;
                    // The jobs of a phase that is over are no longer waited for.
                    if !matches!(record, Record::Updates { .. } | Record::Sum { .. }) {
                        let keep = next.ledger.phase == Phase::Unmask;
                        next.jobs.retain(|job| keep && job.kind == JobKind::Unmask);
                    }
                }
                Output::Front(front) => {
                    if let Some(model) = front.model() {
                        next.ledger.check_published(model)?;
                    }
                    next.front = front;
                }
                Output::Reply { ticket, outcome } => {
                    let index = next.unanswered.iter().position(|(id, ..)| *id == ticket);
                    let index = index.ok_or("a message is answered twice, or was never sent")?;
                    let (_, letter, sender) = next.unanswered.remove(index);
                    effects.replies.push((sender, letter, outcome.is_ok()));
                }
                Output::Event(Event::RoundFailed { failure, .. }) => {
                    effects.ends.push(end_of(&failure)?);
                }
                Output::Event(Event::RoundCompleted { .. }) => effects.ends.push(End::Model),
                Output::Event(_) | Output::Idle(_) => {}
                other => return Err(format!("unknown output {other:?}")),
            }
        }
        (next.machine, next.now, next.idle) = (raw.machine, raw.now, raw.idle);
        next.check_bounds(cast)?;
        if let Some(last) = raw.last {
            let snapshot = self.save(&next)?;
            if at_once || !self.plan.slow_store {
                if !self.plan.lying_store || at_once {
                    next.stored = snapshot;
                }
            } else {
                // A store that is behind stores the latest of what waits.
                if next.storing.len() == 2 {
                    next.storing.pop_back();
                }
                next.storing.push_back((last, snapshot));
            }
        }
        let waits = match next.idle.why {
            Why::Job | Why::LostJob => !next.jobs.is_empty(),
            Why::Store => !next.storing.is_empty(),
            _ => next.idle.wake_at.is_some_and(|at| at > next.now),
        };
        if !waits {
            return Err(format!("the coordinator is stuck: {:?}", next.idle));
        }
        Ok((self.number(next)?, effects))
    }

    fn save(&mut self, state: &State) -> Result<u32, String> {
        let elapsed = state.machine.elapsed();
        let recovered = Snapshot::of_records(state.recovery.clone(), elapsed);
        let recovered = recovered.map_err(|error| error.to_string())?;
        let bytes = recovered.ok_or("there is no round in the records")?.to_bytes().to_vec();
        let key = (bytes.clone(), state.ledger.text());
        let number = self.snapshots.len() as u32;
        let known = *self.snapshot_numbers.entry(key).or_insert(number);
        if known == number {
            let State { ledger, recovery, log, .. } = state;
            self.snapshots.push((bytes, ledger.clone(), recovery.clone(), log.clone()));
        }
        Ok(known)
    }

    /// Equal numbers for states that nobody can tell apart: ids and the time since the beginning may differ.
    fn number(&mut self, state: State) -> Result<ServerId, String> {
        let mut key = state.machine.snapshot().to_bytes().to_vec();
        let senders: Vec<_> =
            state.unanswered.iter().map(|(_, letter, who)| (letter, who)).collect();
        let jobs: Vec<_> = state.jobs.iter().map(|job| (job.kind, &job.letters)).collect();
        let storing: Vec<_> = state.storing.iter().map(|(_, snapshot)| snapshot).collect();
        let published = (
            state.front.parameters().map(|parameters| parameters.seed),
            (state.front.round_id(), state.front.phase()),
            state.front.answer(&Call::Sums).map(|response| response.status),
            state.front.model().map(|model| model.round_id),
        );
        let rest = (senders, jobs, storing, state.stored, published, state.idle.why);
        key.extend_from_slice(format!("{rest:?}{}", state.ledger.text()).as_bytes());
        if let Some(id) = self.numbers.get(&key) {
            return Ok(*id);
        }
        let id = ServerId::try_from(self.states.len()).map_err(|error| error.to_string())?;
        self.states.push(state);
        self.numbers.insert(key, id);
        Ok(id)
    }
}

impl State {
    /// What is in memory, on the disk, and in memory after a restart is bounded by the settings, and what
    /// waits for the store by the messages that have no answer.
    fn check_bounds(&self, cast: &Cast) -> Result<(), String> {
        let most = most_in_memory(&cast.settings.reassembly);
        for (what, found) in [
            ("in memory", self.machine.incomplete_bytes()),
            ("in memory after a restart", self.recovery.incomplete_bytes()),
        ] {
            if found > most {
                return Err(format!("{found} bytes of split messages are {what}"));
            }
        }
        self.log.check(&cast.settings).map_err(|(found, most)| {
            format!("{found} bytes are to be stored, at most {most} follow from the settings")
        })?;
        let waiting = self.machine.waiting_outputs();
        match waiting <= most_waiting(self.unanswered.len()) {
            true => Ok(()),
            false => Err(format!("{waiting} outputs wait for the store")),
        }
    }
}

impl Raw {
    /// Polls all outputs; with a store that stores at once until nothing comes any more.
    fn drain(&mut self, store_at_once: bool) -> Result<(), String> {
        let mut confirmed = None;
        loop {
            match self.machine.poll_output() {
                Output::Idle(idle) => {
                    self.idle = idle;
                    if !store_at_once || confirmed == self.last {
                        return Ok(());
                    }
                    confirmed = self.last;
                    let id = self.last.ok_or("nothing is being stored")?;
                    let stored = Input::Persisted(id);
                    self.machine
                        .handle_input(self.now, stored)
                        .map_err(|error| error.to_string())?;
                }
                output => {
                    if let Output::Persist { id, .. } = &output {
                        self.last = Some(*id);
                    }
                    self.outputs.push(output);
                }
            }
        }
    }
}

fn enter_record(
    cast: &Cast,
    letters: &Letters,
    ledger: &mut Ledger,
    record: &Record,
) -> Result<(), String> {
    match record {
        Record::Sum { participant, .. } => ledger.sum(cast.member(participant)),
        Record::Sum2 { participant, .. } => ledger.sum2(cast.member(participant)),
        Record::Updates { seeds, .. } => seeds.iter().try_for_each(|(participant, seeds)| {
            let participant = cast.member(participant);
            let (letter, weight) = letters
                .find_update(participant, seeds)
                .ok_or("an update is accepted that was never sent")?;
            ledger.update(participant, letter, weight)
        }),
        other => ledger.enter(other),
    }
}

/// Whether what a message says is in a ledger.
pub(super) fn is_entered(ledger: &Ledger, letters: &Letters, letter: LetterId) -> bool {
    let letter_of = letters.get(letter);
    let tag: Tag = letter_of.tag;
    ledger.has(letter_of.sender, letter, tag)
}
