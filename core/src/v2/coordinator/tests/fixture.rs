//! A coordinator with its surroundings: what is put out is done at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::people::{members, roster, Member, Seen, Updater};
use crate::crypto::RootSeed;
use crate::mask::MaskConfig;
use crate::model::Model;
use crate::time::Timestamp;
use crate::v2::coordinator::phases::Stage;
use crate::v2::coordinator::*;
use crate::v2::{Call, MemberId, RoundView};

/// The minimal and the longest time of every phase here.
pub(super) const MIN: Duration = Duration::from_secs(2);
pub(super) const MAX: Duration = Duration::from_secs(60);

/// Two chunks: the header of the unit ends the first one.
pub(super) const LENGTH: u64 = (crate::v2::TREE_LEAF as u64 - 8) / 4 - 1;

/// Some time after the epoch.
pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(super) fn settings() -> Settings {
    let mask = "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap();
    let times = Times::all(TimeRange { min: MIN, max: MAX });
    Settings::new(roster(), mask, 4, 3, CountRange { min: 3, max: 10 }, times)
}

/// With objects of two chunks.
pub(super) fn long() -> Settings {
    Settings { model_length: LENGTH, ..settings() }
}

/// A coordinator with its surroundings. Records are stored, jobs are done and objects are read at once, unless that is
/// switched off.
pub(super) struct Fixture {
    pub(super) machine: Coordinator,
    pub(super) now: Timestamp,
    pub(super) front: Front,
    pub(super) replies: Vec<(Ticket, Result<(), Rejection>)>,
    pub(super) events: Vec<Event>,
    pub(super) jobs: Vec<Job>,
    pub(super) asked: Vec<Object>,
    pub(super) last_record: PersistId,
    pub(super) storing: bool,
    pub(super) working: bool,
    pub(super) loading: bool,
    pub(super) idle: Option<Idle>,
    tickets: u64,
    pub(super) store: Store,
    /// What the records add up to.
    pub(super) recovery: Recovery,
}

/// What a server has stored.
#[derive(Clone, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<Object, Vec<u8>>,
    pub(super) records: Vec<Record>,
}

impl Store {
    pub(super) fn store(&mut self, round: u64, record: &Record) {
        if let Some(Large::Chunk { object, offset, data }) = record.large(round) {
            let bytes = self.objects.entry(object).or_default();
            bytes.resize(bytes.len().max(offset as usize + data.len()), 0);
            bytes[offset as usize..][..data.len()].copy_from_slice(&data);
        }
        self.records.push(record.clone());
    }

    pub(super) fn load(&self, object: &Object) -> Option<Bytes> {
        self.objects.get(object).map(|bytes| bytes.clone().into())
    }
}

pub(super) fn root() -> RootSeed {
    RootSeed::new([1; 32])
}

impl Fixture {
    pub(super) fn new(settings: Settings) -> Self {
        let machine = Coordinator::new(settings, root(), START).unwrap();
        let mut fixture = Self::around(machine, Store::default(), Recovery::new(root()), START);
        fixture.drain();
        fixture
    }

    /// The coordinator that goes on from what is stored.
    pub(super) fn resume(store: Store, settings: Settings, now: Timestamp) -> Self {
        let mut recovery = Recovery::new(root());
        store.records.iter().for_each(|record| recovery.apply(read_back(record)).unwrap());
        let machine = Coordinator::resume(recovery.clone(), Duration::ZERO, settings, now).unwrap();
        let mut fixture = Self::around(machine, store, recovery, now);
        fixture.drain();
        fixture
    }

    fn around(machine: Coordinator, store: Store, recovery: Recovery, now: Timestamp) -> Self {
        Self {
            machine,
            now,
            front: Front::new(),
            replies: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            asked: Vec::new(),
            last_record: PersistId(0),
            storing: true,
            working: true,
            loading: true,
            idle: None,
            tickets: 0,
            store,
            recovery,
        }
    }

    pub(super) fn input(&mut self, input: Input) -> Result<(), Reject> {
        let result = self.machine.handle_input(self.now, input);
        self.drain();
        result
    }

    pub(super) fn drain(&mut self) {
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) if self.working => Input::JobDone(in_parts(job)),
                Output::Job(job) => {
                    self.jobs.push(job);
                    continue;
                }
                Output::Persist { id, record } => {
                    assert_eq!(id.0, self.last_record.0 + 1, "records are numbered in order");
                    self.last_record = id;
                    let round = match &record {
                        Record::RoundBegan { terms, .. } => terms.round,
                        _ => self.recovery.round().unwrap(),
                    };
                    self.store.store(round, &record);
                    self.recovery.apply(read_back(&record)).unwrap();
                    if !self.storing {
                        continue;
                    }
                    Input::Persisted(id)
                }
                Output::Load(object) if self.loading => {
                    Input::Loaded { object, bytes: self.store.load(&object) }
                }
                Output::Load(object) => {
                    self.asked.push(object);
                    continue;
                }
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { ticket, outcome } => {
                    self.replies.push((ticket, outcome));
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
            match self.machine.handle_input(self.now, input) {
                // The round has failed before it came.
                Ok(()) | Err(Reject::UnknownObject(_) | Reject::UnknownJob(_)) => {}
                Err(reject) => panic!("{reject}"),
            }
        }
    }

    /// At every moment the state is what the records add up to. There is no other way to change it.
    pub(super) fn check_recovery(&self) {
        let fresh = self.recovery.state().unwrap().to_text();
        assert_eq!(fresh, self.machine.state.to_text(), "{:?}", self.machine);
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(Input::Tick).unwrap();
    }

    /// Delivers a message; gives the reply if there is one already.
    pub(super) fn send(&mut self, call: Call) -> Option<Result<(), Rejection>> {
        let message = match self.front.open(call) {
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

    #[track_caller]
    pub(super) fn accepts(&mut self, call: Call) {
        let shown = format!("{call:?}");
        assert_eq!(self.send(call), Some(Ok(())), "{shown}");
    }

    #[track_caller]
    pub(super) fn rejects(&mut self, call: Call, rejection: Rejection) {
        assert_eq!(self.send(call), Some(Err(rejection)));
    }

    pub(super) fn seen(&self) -> Seen {
        Seen::of(&self.front)
    }

    pub(super) fn view(&self) -> RoundView {
        self.front.view()
    }

    pub(super) fn failures(&self) -> Vec<RoundFailure> {
        let failure = |event: &Event| match event {
            Event::RoundFailed { failure, .. } => Some(failure.clone()),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }

    /// All members announce themselves: the phase ends.
    pub(super) fn announce(&mut self) {
        let seen = self.seen();
        for member in members() {
            self.accepts(Member(member).announce(&seen));
        }
        assert_eq!(self.machine.phase(), Phase::Update);
    }

    /// An updater sends everything.
    pub(super) fn upload(&mut self, updater: Updater) {
        let seen = self.seen();
        let masked = updater.masked(&seen);
        let header = updater.header(&seen, &masked);
        self.accepts(updater.send_header(&seen, &header, 0));
        for index in 0..header.leaves.len() as u32 {
            self.accepts(updater.send_chunk(&seen, &masked, index, 0));
        }
    }

    /// So many updaters update, and the phase ends; gives them.
    pub(super) fn update(&mut self, count: u16) -> Vec<Updater> {
        let updaters: Vec<_> = (1..=count).map(Updater).collect();
        updaters.iter().for_each(|updater| self.upload(*updater));
        self.wait(MIN);
        assert_eq!(self.machine.phase(), Phase::Check);
        updaters
    }

    /// All members report nothing: the phase ends.
    pub(super) fn check(&mut self) {
        let seen = self.seen();
        for member in members() {
            self.accepts(Member(member).report(&seen, &[]));
        }
    }

    /// All members report nothing that have not reported yet.
    pub(super) fn check_rest(&mut self) {
        let (seen, reported) = (self.seen(), self.view().reported);
        for member in members().filter(|member| !reported.contains(member)) {
            self.accepts(Member(member).report(&seen, &[]));
        }
    }

    /// Whether an updater's update is voted for.
    pub(super) fn is_in_set(&self, updater: Updater) -> bool {
        match self.machine.state.stage() {
            Stage::Sum2(stage) => {
                let checked = &stage.agreed().checked;
                let key = updater.key();
                checked.entries.get(&key).is_some() && !checked.excluded.contains_key(&key)
            }
            _ => false,
        }
    }

    /// All members vote: the phase ends.
    pub(super) fn agree(&mut self) {
        self.agree_with(&members().collect::<Vec<_>>());
    }

    /// These members vote.
    pub(super) fn agree_with(&mut self, members: &[MemberId]) {
        let seen = self.seen();
        for member in members {
            self.accepts(Member(*member).vote(&seen));
        }
    }

    /// These members send the digests of their masks, and whoever is asked the masks.
    pub(super) fn sum2(&mut self, members: impl Iterator<Item = MemberId>, updaters: &[Updater]) {
        let seen = self.seen();
        for member in members {
            let mask = Member(member).mask(&seen, updaters);
            self.accepts(Member(member).mask_header(&seen, &mask));
        }
        self.send_wanted(&seen, updaters);
    }

    /// Whoever is asked for its mask sends it.
    pub(super) fn send_wanted(&mut self, seen: &Seen, updaters: &[Updater]) {
        for member in self.view().wanted {
            let mask = Member(member).mask(seen, updaters);
            for index in 0..mask.len().div_ceil(crate::v2::TREE_LEAF) as u32 {
                self.accepts(Member(member).mask_chunk(seen, &mask, index));
            }
        }
    }

    /// A whole round with so many updaters.
    pub(super) fn round(&mut self, updaters: u16) -> Vec<Updater> {
        self.announce();
        let updaters = self.update(updaters);
        self.check();
        self.agree();
        self.sum2(members(), &updaters);
        updaters
    }

    /// The model of the round that was completed last is the mean of these updaters' models.
    pub(super) fn check_model(&self, updaters: &[Updater]) {
        let last = self.front.completed().expect("a round is completed");
        let Model::F32(weights) = &*last.model else { panic!() };
        let mean: f32 =
            updaters.iter().map(|updater| updater.weight()).sum::<f32>() / updaters.len() as f32;
        let length = last.certificate.terms.parameters.model_length;
        assert_eq!(weights.len() as u64, length);
        assert!(weights.iter().all(|weight| (weight - mean).abs() < 1e-4), "{mean}: {weights:?}");
        assert_eq!(last.models(), updaters.len() as u64);
        assert_eq!(last.model_hash, crate::v2::model_hash(&last.model));
    }
}

/// Does a job in three parts at the same time, wherever it can be shared out.
pub(super) fn in_parts(job: Job) -> JobResult {
    let run_all = |parts: Vec<crate::job::Part<Outcome>>| {
        parts.into_iter().map(|part| part.run(|| false)).collect()
    };
    job.run(3, || false, run_all).unwrap()
}

/// The record after it was written to a disk.
pub(super) fn read_back(record: &Record) -> Record {
    let large = match record.large(0) {
        Some(large @ Large::Completed(_)) => Some(large.to_bytes()),
        _ => None,
    };
    let read = Record::from_bytes(&record.to_bytes(), large).unwrap();
    assert_eq!(format!("{read:?}"), format!("{record:?}"));
    read
}
