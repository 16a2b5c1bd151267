//! A coordinator with its surroundings: what is put out is done at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::sender::Sender;
use crate::coordinator::machine::Standing;
use crate::coordinator::settings::tests::settings;
use crate::coordinator::snapshot::Saved;
use crate::coordinator::state::State;
use crate::coordinator::*;
use crate::crypto::{RootSeed, Task};
use crate::request::Call;
use crate::round::{RoundParameters, SumDict};
use crate::time::Timestamp;

/// A coordinator with its surroundings; records are stored at once unless `storing` is off.
pub(super) struct Fixture {
    pub(super) machine: Coordinator,
    pub(super) now: Timestamp,
    pub(super) front: Front,
    pub(super) replies: Vec<(Ticket, Result<(), Rejection>)>,
    pub(super) events: Vec<Event>,
    pub(super) jobs: Vec<Job>,
    pub(super) last_record: PersistId,
    pub(super) storing: bool,
    pub(super) working: bool,
    pub(super) idle: Option<Idle>,
    pub(super) tickets: u64,
    /// What the records add up to; nothing if the machine did not begin with them.
    pub(super) recovery: Option<Recovery>,
    pub(super) records: Vec<Record>,
    /// The parts that shards have stored, and those that were asked for and not handed in.
    pub(super) parts: BTreeMap<PartId, Bytes>,
    pub(super) fetches: Vec<PartId>,
    pub(super) fetching: bool,
    /// A replica that does not lead; nothing if it has not seen all records.
    pub(super) followed: Option<Followed>,
    pub(super) models: Vec<GlobalModel>,
}

impl Fixture {
    pub(super) fn new(settings: Settings) -> Self {
        let root = RootSeed::new([1; 32]);
        let machine = Coordinator::new(settings, root.clone(), Timestamp::ZERO).unwrap();
        let recovery = Some(Recovery::new(root.clone()));
        let mut fixture = Self::around(machine, recovery, Timestamp::ZERO);
        fixture.followed = Some(Followed::new(root));
        fixture.drained()
    }

    /// The coordinator that goes on from records.
    pub(super) fn resume(recovery: Recovery, elapsed: Duration, settings: Settings) -> Self {
        let now = Timestamp::ZERO;
        let machine = Coordinator::resume(recovery.clone(), elapsed, settings, now).unwrap();
        Self::around(machine, Some(recovery), now).drained()
    }

    /// The coordinator that goes on from the records of this one, at once.
    pub(super) fn crashed(self, settings: Settings) -> Self {
        let recovery = self.recovery.expect("its records are known");
        let machine = Coordinator::resume(recovery.clone(), TIME / 2, settings, self.now).unwrap();
        let mut new = Self::around(machine, Some(recovery), self.now);
        (new.storing, new.working, new.fetching) = (self.storing, self.working, self.fetching);
        (new.followed, new.parts) = (self.followed, self.parts);
        (new.tickets, new.models) = (self.tickets, self.models);
        new.drained()
    }

    /// The coordinator that goes on from a snapshot.
    pub(super) fn restore(saved: &[u8], now: Timestamp) -> Self {
        let machine = Coordinator::restore(saved, quick(), now).unwrap();
        Self::around(machine, None, now).drained()
    }

    /// A machine of which nothing was asked yet.
    pub(super) fn around(machine: Coordinator, recovery: Option<Recovery>, now: Timestamp) -> Self {
        Self {
            machine,
            now,
            front: Front::new(),
            replies: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            last_record: PersistId(0),
            storing: true,
            working: true,
            idle: None,
            tickets: 0,
            recovery,
            records: Vec::new(),
            parts: BTreeMap::new(),
            fetches: Vec::new(),
            fetching: true,
            followed: None,
            models: Vec::new(),
        }
    }

    fn drained(mut self) -> Self {
        self.drain();
        self
    }

    pub(super) fn input(&mut self, input: Input) -> Result<(), Reject> {
        let result = self.machine.handle_input(self.now, input);
        self.drain();
        result
    }

    pub(super) fn drain(&mut self) {
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) if self.working => Input::JobDone(job.finish()),
                Output::Job(job) => {
                    self.jobs.push(job);
                    continue;
                }
                Output::Persist { id, record } => {
                    assert_eq!(id.0, self.last_record.0 + 1, "records are numbered in order");
                    self.last_record = id;
                    self.record(record);
                    if !self.storing {
                        continue;
                    }
                    Input::Persisted(id)
                }
                Output::Front(front) => {
                    let before = self.models.last();
                    let is_new =
                        |model: &&GlobalModel| before.is_none_or(|old| !old.is_same(model));
                    if let Some(model) = front.model().filter(is_new).cloned() {
                        self.models.push(model);
                    }
                    self.front = front;
                    continue;
                }
                Output::Reply { ticket, outcome } => {
                    self.replies.push((ticket, outcome));
                    continue;
                }
                Output::Fetch { part } if self.fetching => {
                    Input::Fetched { part, bytes: self.parts.get(&part).cloned() }
                }
                Output::Fetch { part } => {
                    self.fetches.push(part);
                    continue;
                }
                Output::Event(event) => {
                    self.events.push(event);
                    continue;
                }
                Output::Idle(idle) => {
                    self.idle = Some(idle);
                    self.check_recovery();
                    return;
                }
            };
            self.machine.handle_input(self.now, input).unwrap();
        }
    }

    fn record(&mut self, record: Record) {
        self.records.push(record.clone());
        if let Some(recovery) = &mut self.recovery {
            recovery.apply(read_back(&record)).unwrap();
        }
        if let Some(followed) = &mut self.followed {
            followed.record(&record);
        }
    }

    /// At every moment the state is what the records add up to. There is no other way to change it.
    fn check_recovery(&self) {
        let Some(recovery) = &self.recovery else { return };
        let [fresh, state] = [recovery.state().unwrap(), &self.machine.state].map(recorded);
        assert!(fresh == state, "{recovery:?} is not {:?}", self.machine);
        if let Some(followed) = &self.followed {
            followed.check(&self.machine);
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(Input::Tick).unwrap();
    }

    /// Delivers a message; gives the reply if there is one already.
    pub(super) fn send(&mut self, sealed: Vec<u8>) -> Option<Result<(), Rejection>> {
        let message = match self.front.open(sealed) {
            Ok(message) => message,
            Err(rejection) => return Some(Err(rejection)),
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.input(Input::Message { ticket, message }).unwrap();
        let replies: Vec<_> = self.replies.iter().filter(|(id, _)| *id == ticket).collect();
        assert!(replies.len() <= 1, "answered twice");
        replies.first().map(|(_, outcome)| outcome.clone())
    }

    pub(super) fn parameters(&self) -> RoundParameters {
        RoundParameters::clone(self.front.parameters().unwrap())
    }

    /// The first participants that have a task in this round.
    pub(super) fn with_task(&self, task: Task, count: usize) -> Vec<Sender> {
        let parameters = self.parameters();
        (0u32..)
            .map(|number| Sender::new(number, &parameters))
            .filter(|sender| sender.signatures.task(parameters.sum, parameters.update) == task)
            .take(count)
            .collect()
    }

    pub(super) fn failures(&self) -> Vec<RoundFailure> {
        let failure = |event: &Event| match event {
            Event::RoundFailed { failure, .. } => Some(failure.clone()),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }

    /// Ends the sum phase with some participants; gives them.
    pub(super) fn sum(&mut self, count: usize) -> Vec<Sender> {
        let summers = self.with_task(Task::Sum, count);
        for summer in &summers {
            assert_eq!(self.send(summer.sum()), Some(Ok(())));
        }
        self.wait(TIME);
        assert_eq!(self.machine.phase(), Phase::Update);
        summers
    }

    /// Ends the update phase with three participants.
    pub(super) fn update(&mut self, scalar: f64) -> Vec<Sender> {
        let sums = self.sums();
        let updaters = self.with_task(Task::Update, 3);
        for updater in &updaters {
            assert_eq!(self.send(updater.update(&sums, scalar)), Some(Ok(())));
        }
        self.wait(TIME);
        assert_eq!(self.machine.phase(), Phase::Sum2);
        updaters
    }

    pub(super) fn sums(&self) -> SumDict {
        SumDict::from_bytes(&self.front.answer(&Call::Sums).unwrap().body).unwrap()
    }
}

/// A replica that does not lead. It gets the large pieces of records when it has to take the place of the one that
/// leads; all but global models, which it publishes.
#[derive(Clone)]
pub(super) struct Followed {
    follower: Follower,
    front: Front,
    large: BTreeMap<LargePiece, Bytes>,
}

impl Followed {
    fn new(root: RootSeed) -> Self {
        let (front, large) = (Front::new(), BTreeMap::new());
        Self { follower: Follower::new(root, None), front, large }
    }

    fn record(&mut self, record: &Record) {
        let large = record.large().map(|large| Bytes::from(large.to_bytes().into_owned()));
        let model = large.clone().filter(|_| matches!(record, Record::Model(_)));
        let known = match (record, large) {
            (Record::Updates { .. } | Record::Merged { .. }, Some(large)) => {
                Some((LargePiece::Aggregation, large))
            }
            (Record::Sum2 { digest, .. }, Some(mask)) => Some((LargePiece::Mask(*digest), mask)),
            _ => None,
        };
        self.large.extend(known);
        let small = Record::from_bytes(&record.to_bytes(), model).unwrap();
        if let Some(front) = self.follower.apply(small).unwrap() {
            self.front = front;
        }
    }

    /// It publishes the same, and could take the machine's place.
    fn check(&self, machine: &Coordinator) {
        assert_eq!(self.front.to_bytes(), self.follower.front().to_bytes());
        if machine.standing == Standing::InRound {
            let front = Front::of(machine.context.clone(), machine.state.model().cloned());
            assert!(self.front.to_bytes() == front.to_bytes(), "{:?} is not {front:?}", self.front);
        }
        let mut follower = self.follower.clone();
        for piece in self.follower.missing() {
            assert!(follower.clone().into_recovery().is_err());
            follower.supply(&piece, self.large[&piece].clone()).unwrap();
        }
        let recovery = follower.into_recovery().unwrap();
        let [fresh, state] = [recovery.state().unwrap(), &machine.state].map(recorded);
        assert!(fresh == state, "the follower's {recovery:?} is not {machine:?}");
    }
}

/// All of a state that records tell of.
pub(super) fn recorded(state: &State) -> Zeroizing<Vec<u8>> {
    let saved = state.saved(Duration::ZERO);
    // How many messages have come is no matter, only in which order.
    let reassembly = saved.reassembly.renumbered();
    Snapshot::new(Saved { reassembly, ..saved }).to_bytes()
}

/// The record after it was written to a disk.
pub(super) fn read_back(record: &Record) -> Record {
    let large = record.large().map(|large| large.to_bytes().into_owned().into());
    let read = Record::from_bytes(&record.to_bytes(), large).unwrap();
    assert_eq!(format!("{read:?}"), format!("{record:?}"));
    read
}

/// The minimal time of every phase here.
pub(super) const TIME: Duration = Duration::from_secs(2);

pub(super) fn quick() -> Settings {
    let mut settings = settings();
    for time in [&mut settings.sum.time, &mut settings.update.time, &mut settings.sum2.time] {
        time.min = TIME;
    }
    settings
}
