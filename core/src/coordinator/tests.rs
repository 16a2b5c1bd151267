//! The machine, message by message: what is accepted, what is rejected and why, and when phases end.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::machine::{Running, Update};
use super::settings::tests::settings;
use super::snapshot::Saved;
use super::state::Stage;
use super::*;
use crate::crypto::{
    Blake2b, EncryptKeyPair, PublicEncryptKey, RootSeed, Seed, Signature, SigningKeyPair, Task,
    TaskSignatures,
};
use crate::job::JobId;
use crate::mask::{
    mask_model, Aggregation, MaskConfig, MaskObject, MaskSeed, MaskSum, UnmaskError,
};
use crate::message::{
    Chunk, EncryptedMaskSeed, Frame, LocalSeedDict, MessageError, MessageId, SumPayload, Tag,
    CHUNK_HEADER_LENGTH,
};
use crate::model::{Model, Scalar};
use crate::request::Call;
use crate::round::{RoundParameters, SumDict};
use crate::time::Timestamp;

/// A coordinator with its surroundings; records are stored at once unless `storing` is off.
struct Fixture {
    machine: Coordinator,
    now: Timestamp,
    bulletin: Bulletin,
    context: Option<Arc<RoundContext>>,
    replies: Vec<(Ticket, Result<(), Rejection>)>,
    events: Vec<Event>,
    jobs: Vec<Job>,
    last_record: PersistId,
    storing: bool,
    working: bool,
    idle: Option<Idle>,
    tickets: u64,
    /// What the records add up to; nothing if the machine did not begin with them.
    recovery: Option<Recovery>,
    records: Vec<Record>,
    models: Vec<GlobalModel>,
}

impl Fixture {
    fn new(settings: Settings) -> Self {
        let root = RootSeed::new([1; 32]);
        let machine = Coordinator::new(settings, root.clone(), Timestamp::ZERO).unwrap();
        let mut fixture = Self {
            machine,
            recovery: Some(Recovery::new(root)),
            records: Vec::new(),
            models: Vec::new(),
            now: Timestamp::ZERO,
            bulletin: Bulletin::new(),
            context: None,
            replies: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            last_record: PersistId(0),
            storing: true,
            working: true,
            idle: None,
            tickets: 0,
        };
        fixture.drain();
        fixture
    }

    /// The coordinator that goes on from records.
    fn resume(recovery: Recovery, elapsed: Duration, settings: Settings) -> Self {
        let machine =
            Coordinator::resume(recovery.clone(), elapsed, settings.clone(), Timestamp::ZERO);
        let mut fixture = Self {
            machine: machine.unwrap(),
            recovery: Some(recovery),
            bulletin: Bulletin::new(),
            context: None,
            records: Vec::new(),
            models: Vec::new(),
            last_record: PersistId(0),
            ..Self::new(settings)
        };
        fixture.drain();
        fixture
    }

    fn input(&mut self, input: Input) -> Result<(), Reject> {
        let result = self.machine.handle_input(self.now, input);
        self.drain();
        result
    }

    fn drain(&mut self) {
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
                Output::Publish(publication) => {
                    if let Publication::Model(model) = &publication {
                        self.models.push(model.clone());
                    }
                    self.bulletin.apply(publication);
                    continue;
                }
                Output::Context(context) => {
                    self.context = Some(context);
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
            self.machine.handle_input(self.now, input).unwrap();
        }
    }

    fn record(&mut self, record: Record) {
        self.records.push(record.clone());
        if let Some(recovery) = &mut self.recovery {
            recovery.apply(read_back(&record)).unwrap();
        }
    }

    /// At every moment the records add up to what a snapshot has, but for messages that are still being
    /// put together: their last chunks have no record, and no answer.
    fn check_recovery(&self) {
        // That it is paused between two rounds is not saved.
        let is_between_rounds = self.machine.stopped || self.machine.phase() == Phase::Idle;
        let Some(recovery) = self.recovery.clone().filter(|_| !is_between_rounds) else {
            return;
        };
        let elapsed = self.machine.elapsed();
        let recovered = Snapshot::of_records(recovery.clone(), elapsed).unwrap().unwrap();
        let snapshot = self.machine.snapshot();
        let [mut recovered, mut snapshot] = [recovered, snapshot].map(|snapshot| {
            let mut saved = Saved::from_bytes(&snapshot.to_bytes()).unwrap();
            if let Stage::Failure { record } = &mut saved.stage {
                *record = PersistId(0);
            }
            saved
        });
        let is_split = |update: &Update| update.split.is_some();
        let being_put_together = self.machine.queue.iter().any(is_split)
            || self.machine.running.values().any(|running| match running {
                Running::Assemble { .. } => true,
                Running::Aggregate(updates) => updates.iter().any(is_split),
                Running::Unmask { .. } => false,
            });
        if being_put_together {
            (recovered.reassembly, snapshot.reassembly) = Default::default();
        }
        let [recovered, snapshot] =
            [recovered, snapshot].map(|saved| Snapshot::new(saved).to_bytes());
        assert!(recovered == snapshot, "{recovery:?} is not {:?}", self.machine);
    }

    /// Lets time pass.
    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(Input::Tick).unwrap();
    }

    /// Delivers a message; gives the reply if there is one already.
    fn send(&mut self, sealed: Vec<u8>) -> Option<Result<(), Rejection>> {
        let message = match self.context.as_ref().unwrap().open(sealed) {
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

    fn parameters(&self) -> RoundParameters {
        RoundParameters::clone(self.bulletin.parameters().unwrap())
    }

    /// The first participants that have a task in this round.
    fn with_task(&self, task: Task, count: usize) -> Vec<Sender> {
        let parameters = self.parameters();
        (0u32..)
            .map(|number| Sender::new(number, &parameters))
            .filter(|sender| sender.signatures.task(parameters.sum, parameters.update) == task)
            .take(count)
            .collect()
    }

    fn failures(&self) -> Vec<RoundFailure> {
        let failure = |event: &Event| match event {
            Event::RoundFailed { failure, .. } => Some(failure.clone()),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }

    /// Ends the sum phase with some participants; gives them.
    fn sum(&mut self, count: usize) -> Vec<Sender> {
        let summers = self.with_task(Task::Sum, count);
        for summer in &summers {
            assert_eq!(self.send(summer.sum()), Some(Ok(())));
        }
        self.wait(TIME);
        assert_eq!(self.machine.phase(), Phase::Update);
        summers
    }

    /// Ends the update phase with three participants.
    fn update(&mut self, scalar: f64) -> Vec<Sender> {
        let sums = self.sums();
        let updaters = self.with_task(Task::Update, 3);
        for updater in &updaters {
            assert_eq!(self.send(updater.update(&sums, scalar)), Some(Ok(())));
        }
        self.wait(TIME);
        assert_eq!(self.machine.phase(), Phase::Sum2);
        updaters
    }

    fn sums(&self) -> SumDict {
        SumDict::from_bytes(&self.bulletin.answer(&Call::Sums).unwrap().body).unwrap()
    }
}

/// The record after it was written to a disk.
fn read_back(record: &Record) -> Record {
    let large = record.large().map(|large| large.to_bytes().into_owned().into());
    let read = Record::from_bytes(&record.to_bytes(), large).unwrap();
    assert_eq!(format!("{read:?}"), format!("{record:?}"));
    read
}

/// The minimal time of every phase here.
const TIME: Duration = Duration::from_secs(2);

fn quick() -> Settings {
    let mut settings = settings();
    for time in [&mut settings.sum.time, &mut settings.update.time, &mut settings.sum2.time] {
        time.min = TIME;
    }
    settings
}

/// A participant that writes its messages by hand.
#[derive(Clone)]
struct Sender {
    keys: SigningKeyPair,
    signatures: TaskSignatures,
    parameters: RoundParameters,
    number: u32,
}

impl Sender {
    fn new(number: u32, parameters: &RoundParameters) -> Self {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let keys = SigningKeyPair::from_seed(&Seed::new(seed));
        let signatures = TaskSignatures::sign(&keys, &parameters.seed);
        Self { keys, signatures, parameters: parameters.clone(), number }
    }

    fn seal(&self, tag: Tag, multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([4; 32]));
        frame.seal(&self.keys, &self.parameters.pk, tag, multipart, &ephemeral).unwrap()
    }

    fn sum_with(&self, sum_signature: Signature, ephemeral_key: PublicEncryptKey) -> Vec<u8> {
        let mut payload = Vec::new();
        SumPayload { sum_signature, ephemeral_key }.write_to(&mut payload);
        self.seal(Tag::Sum, false, &payload)
    }

    fn sum(&self) -> Vec<u8> {
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([self.number as u8; 32]));
        self.sum_with(self.signatures.sum, ephemeral.public())
    }

    fn seed(&self) -> MaskSeed {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&self.number.to_le_bytes());
        MaskSeed::new(seed)
    }

    fn masked(&self, config: MaskConfig, length: usize, scalar: f64) -> Vec<u8> {
        let scalar = Scalar::from_f64(scalar).unwrap();
        mask_model(&self.seed(), config.into(), &scalar, &Model::F32(vec![0.25; length])).unwrap().0
    }

    fn update_payload(&self, sums: &SumDict, masked: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend_from_slice(self.signatures.sum.as_bytes());
        payload.extend_from_slice(self.signatures.update.as_bytes());
        payload.extend_from_slice(masked);
        // What is in the boxes is the sum participants' affair.
        let seeds = sums.iter().map(|(key, _)| (*key, EncryptedMaskSeed::new([5; 80]))).collect();
        LocalSeedDict::new(seeds).unwrap().write_to(&mut payload);
        payload
    }

    fn update(&self, sums: &SumDict, scalar: f64) -> Vec<u8> {
        let masked = self.masked(self.parameters.mask_config.vect, 4, scalar);
        self.seal(Tag::Update, false, &self.update_payload(sums, &masked))
    }

    /// One of three chunks of an update message; every other message is damaged.
    fn chunk_of_update(&self, sums: &SumDict, number: u64) -> Vec<u8> {
        let masked = self.masked(self.parameters.mask_config.vect, 4, 1.0);
        let mut payload = self.update_payload(sums, &masked);
        let message_id = MessageId((number / 3 % 2) as u16);
        if message_id.0 == 1 {
            payload[135] ^= 1;
        }
        let id = (number % 3) as u16;
        let parts = [&payload[..130], &payload[130..140], &payload[140..]];
        let mut bytes = Vec::new();
        let data = parts[usize::from(id)];
        Chunk { id, message_id, is_last: id == 2, data }.write_to(&mut bytes);
        self.seal(Tag::Update, true, &bytes)
    }

    fn sum2(&self, mask: &MaskObject) -> Vec<u8> {
        let mut payload = self.signatures.sum.as_bytes().to_vec();
        mask.write_to(&mut payload).unwrap();
        self.seal(Tag::Sum2, false, &payload)
    }
}

fn mask_of(updaters: &[Sender]) -> MaskObject {
    let config = updaters[0].parameters.mask_config;
    let mut sum = MaskSum::new(config, 4);
    sum.add_seeds(updaters.iter().map(Sender::seed));
    sum.finish()
}

#[test]
fn a_round_goes_through_all_phases() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(2);
    let updaters = fixture.update(1.0);
    let mask = mask_of(&updaters);
    for summer in &summers {
        assert_eq!(fixture.send(summer.sum2(&mask)), Some(Ok(())));
    }
    assert_eq!(fixture.bulletin.answer(&Call::Model).unwrap().status, 204);
    fixture.wait(TIME);
    let model = fixture.bulletin.model().unwrap();
    assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.25; 4])));
    assert_eq!((model.round_id, model.models), (1, 3));
    let completed = Event::RoundCompleted { round_id: 1, models: 3, votes: 2 };
    assert!(fixture.events.contains(&completed));
    // The next one, with other keys; the dictionaries are gone, the model is not.
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    assert_ne!(fixture.parameters(), summers[0].parameters);
    for call in [Call::Sums, Call::Seeds(summers[0].keys.public())] {
        assert_eq!(fixture.bulletin.answer(&call).unwrap().status, 204);
    }
    assert_eq!(fixture.bulletin.answer(&Call::Model).unwrap().status, 200);
}

/// Pausing ends no round: it keeps the next one from beginning.
#[test]
fn a_paused_coordinator_ends_its_round_and_waits() {
    let mut fixture = Fixture::new(quick());
    fixture.input(Input::Pause).unwrap();
    assert!(fixture.machine.is_paused());
    let summers = fixture.sum(1);
    let mask = mask_of(&fixture.update(1.0));
    assert_eq!(fixture.send(summers[0].sum2(&mask)), Some(Ok(())));
    fixture.wait(TIME);
    assert_eq!(fixture.bulletin.model().unwrap().round_id, 1);
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (1, Phase::Idle));
    fixture.wait(Duration::from_secs(1000));
    assert_eq!(fixture.idle, Some(Idle { wake_at: None, why: Why::Resume }));
    // Participants still see the old parameters; what they send is told apart from nonsense.
    let late = fixture.send(summers[0].sum());
    assert!(
        matches!(late, Some(Err(Rejection::WrongPhase { phase: Phase::Idle, .. }))),
        "{late:?}"
    );
    fixture.input(Input::Resume).unwrap();
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    assert_ne!(fixture.parameters(), summers[0].parameters);

    // A round that fails is followed by none either.
    fixture.input(Input::Pause).unwrap();
    fixture.wait(Duration::from_secs(60));
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Idle));
    fixture.input(Input::Resume).unwrap();
    fixture.input(Input::Pause).unwrap();
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (3, Phase::Sum));
}

#[test]
fn a_skipped_round_fails_by_that_name_and_the_next_begins() {
    let mut fixture = Fixture::new(quick());
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.machine.round_id(), 2);
    fixture.sum(1);
    let updaters = fixture.with_task(Task::Update, 2);
    fixture.working = false;
    let sums = fixture.sums();
    assert_eq!(fixture.send(updaters[0].update(&sums, 1.0)), None);
    fixture.input(Input::Skip).unwrap();
    // Who waits for an answer gets one.
    let (_, outcome) = fixture.replies.last().unwrap();
    assert!(matches!(outcome, Err(Rejection::WrongPhase { .. })), "{outcome:?}");
    assert_eq!(fixture.failures(), [RoundFailure::Skipped, RoundFailure::Skipped]);
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (3, Phase::Sum));
    assert_eq!(fixture.bulletin.answer(&Call::Sums).unwrap().status, 204);
    fixture.input(Input::Pause).unwrap();
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.input(Input::Skip), Err(Reject::NoRound));
}

#[test]
fn changed_settings_hold_from_the_next_round_on() {
    let mut fixture = Fixture::new(quick());
    let before = fixture.parameters();
    let mut settings = quick();
    settings.sum.prob = 0.25;
    settings.sum.count.min = 2;
    let change = |settings: &Settings| Input::ChangeSettings(Box::new(settings.clone()));
    fixture.input(change(&settings)).unwrap();
    assert_eq!(fixture.parameters(), before);
    assert_eq!(fixture.machine.settings(), &quick());
    assert_eq!(fixture.machine.next_settings(), &settings);
    // One message is enough for this round.
    fixture.sum(1);
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.parameters().sum, 0.25);
    assert_eq!(fixture.machine.settings(), &settings);
    let one = &fixture.with_task(Task::Sum, 1)[0];
    assert_eq!(fixture.send(one.sum()), Some(Ok(())));
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Sum);

    let mut wrong = settings.clone();
    wrong.update.count.min = 0;
    assert_eq!(fixture.input(change(&wrong)), Err(Reject::InvalidSettings));
    assert_eq!(fixture.machine.next_settings(), &settings);
}

#[test]
fn phases_end_by_time_and_count() {
    let mut fixture = Fixture::new(quick());
    let end = |fixture: &Fixture| fixture.idle.unwrap().wake_at.unwrap();
    assert_eq!(end(&fixture), Timestamp::ZERO + Duration::from_secs(60));
    assert_eq!(fixture.idle.unwrap().why, Why::Messages(Phase::Sum));
    let summer = &fixture.with_task(Task::Sum, 1)[0];
    fixture.send(summer.sum()).unwrap().unwrap();
    // There are enough now, but the phase has a minimal time.
    assert_eq!(end(&fixture), Timestamp::ZERO + TIME);
    fixture.wait(TIME - Duration::from_millis(1));
    assert_eq!(fixture.machine.phase(), Phase::Sum);
    fixture.wait(Duration::from_millis(1));
    assert_eq!(fixture.machine.phase(), Phase::Update);
    assert_eq!(fixture.bulletin.answer(&Call::Sums).unwrap().status, 200);
    // Nobody updates.
    fixture.wait(Duration::from_secs(60));
    let failure = RoundFailure::TooFewMessages { phase: Phase::Update, accepted: 0, needed: 3 };
    assert_eq!(fixture.failures(), [failure]);
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    assert_eq!(fixture.bulletin.answer(&Call::Sums).unwrap().status, 204);
}

#[test]
fn sum_messages_are_checked() {
    let mut settings = quick();
    settings.sum.count.max = 2;
    settings.sum2.count.max = 2;
    let mut fixture = Fixture::new(settings);
    let [first, second, third]: [Sender; 3] =
        fixture.with_task(Task::Sum, 3).try_into().ok().unwrap();
    let other = &fixture.with_task(Task::Update, 1)[0];
    let not_eligible = Some(Err(Rejection::NotEligible(Task::Sum)));
    assert_eq!(fixture.send(other.sum()), not_eligible);
    let key = EncryptKeyPair::from_seed(&Seed::new([3; 32])).public();
    assert_eq!(fixture.send(first.sum_with(second.signatures.sum, key)), not_eligible);
    let weak = first.sum_with(first.signatures.sum, PublicEncryptKey::new([0; 32]));
    assert_eq!(fixture.send(weak), Some(Err(Rejection::WeakEphemeralKey)));
    let wrong_phase = Rejection::WrongPhase { tag: Tag::Update, phase: Phase::Sum };
    assert_eq!(fixture.send(other.update(&SumDict::new(), 1.0)), Some(Err(wrong_phase)));
    let unknown_key = EncryptKeyPair::from_seed(&Seed::new([200; 32])).public();
    let mut stranger = first.clone();
    stranger.parameters.pk = unknown_key;
    let does_not_open = Some(Err(Rejection::Message(MessageError::DoesNotOpen)));
    assert_eq!(fixture.send(stranger.sum()), does_not_open);

    assert_eq!(fixture.machine.accepted(), 0);
    assert_eq!(fixture.send(first.sum()), Some(Ok(())));
    assert_eq!(fixture.send(first.sum()), Some(Err(Rejection::DuplicateSum)));
    assert_eq!(fixture.send(second.sum()), Some(Ok(())));
    assert_eq!(fixture.send(third.sum()), Some(Err(Rejection::Full(Phase::Sum))));
    assert_eq!(fixture.machine.accepted(), 2);
}

#[test]
fn update_messages_are_checked() {
    let mut settings = quick();
    settings.update.count.max = 3;
    let mut fixture = Fixture::new(settings);
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 4);
    let first = &updaters[0];
    let config = first.parameters.mask_config.vect;

    assert_eq!(
        fixture.send(summer.update(&sums, 1.0)),
        Some(Err(Rejection::NotEligible(Task::Update)))
    );
    let late = Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Update };
    assert_eq!(fixture.send(summer.sum()), Some(Err(late)));
    let masked = first.masked(config, 5, 1.0);
    let long = first.seal(Tag::Update, false, &first.update_payload(&sums, &masked));
    let length = Rejection::ModelLength { expected: 4, actual: 5 };
    assert_eq!(fixture.send(long), Some(Err(length)));
    let other: MaskConfig = "Integer/F32/B0/M3".parse().unwrap();
    let masked = first.masked(other, 4, 1.0);
    let other = first.seal(Tag::Update, false, &first.update_payload(&sums, &masked));
    assert_eq!(fixture.send(other), Some(Err(Rejection::MaskConfig)));
    let mismatch = Some(Err(Rejection::SeedDictMismatch));
    assert_eq!(fixture.send(first.update(&SumDict::new(), 1.0)), mismatch);
    let more: SumDict = sums
        .iter()
        .map(|(key, ephemeral)| (*key, *ephemeral))
        .chain([(updaters[1].keys.public(), summer.parameters.pk)])
        .collect();
    assert_eq!(fixture.send(first.update(&more, 1.0)), mismatch);
    // The last number is not below the order: nothing of the message is counted.
    let mut masked = first.masked(config, 4, 1.0);
    let unit = masked.len() - 10;
    masked[unit - 6..unit].fill(0xff);
    let bad = first.seal(Tag::Update, false, &first.update_payload(&sums, &masked));
    assert!(matches!(
        fixture.send(bad),
        Some(Err(Rejection::Message(MessageError::MaskObject(_))))
    ));

    assert_eq!(fixture.machine.accepted(), 0);
    assert_eq!(fixture.send(first.update(&sums, 1.0)), Some(Ok(())));
    assert_eq!(fixture.send(first.update(&sums, 1.0)), Some(Err(Rejection::DuplicateUpdate)));
    for updater in &updaters[1..3] {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), Some(Ok(())));
    }
    let full = Some(Err(Rejection::Full(Phase::Update)));
    assert_eq!(fixture.send(updaters[3].update(&sums, 1.0)), full);
}

#[test]
fn sum2_messages_are_checked_and_the_majority_wins() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(3);
    let updaters = fixture.update(0.5);
    let (mask, wrong) = (mask_of(&updaters), mask_of(&updaters[..2]));
    let stranger = &fixture.with_task(Task::Sum, 4)[3];
    let unknown = Some(Err(Rejection::UnknownSumParticipant));
    assert_eq!(fixture.send(stranger.sum2(&mask)), unknown);
    let mut longer = MaskSum::new(updaters[0].parameters.mask_config, 5);
    longer.add_seeds(updaters.iter().map(Sender::seed));
    let length = Some(Err(Rejection::ModelLength { expected: 4, actual: 5 }));
    assert_eq!(fixture.send(summers[0].sum2(&longer.finish())), length);
    assert_eq!(fixture.send(summers[0].sum2(&wrong)), Some(Ok(())));
    let again = Some(Err(Rejection::DuplicateSum2));
    assert_eq!(fixture.send(summers[0].sum2(&mask)), again);
    assert_eq!(fixture.send(summers[1].sum2(&mask)), Some(Ok(())));
    assert_eq!(fixture.send(summers[2].sum2(&mask)), Some(Ok(())));
    fixture.wait(TIME);
    let model = fixture.bulletin.model().unwrap();
    assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.25; 4])));
}

#[test]
fn ties_and_zero_scalars_fail_the_round_by_name() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(2);
    let updaters = fixture.update(1.0);
    for (summer, count) in summers.iter().zip([2, 3]) {
        fixture.send(summer.sum2(&mask_of(&updaters[..count]))).unwrap().unwrap();
    }
    fixture.wait(TIME);
    assert_eq!(fixture.failures(), [RoundFailure::TiedMasks { masks: 2, votes: 1 }]);
    assert_eq!(fixture.machine.round_id(), 2);

    let summers = fixture.sum(1);
    let updaters = fixture.update(0.0);
    fixture.send(summers[0].sum2(&mask_of(&updaters))).unwrap().unwrap();
    fixture.wait(TIME);
    assert_eq!(fixture.failures()[1], RoundFailure::Unmask(UnmaskError::ScalarSumZero));
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (3, Phase::Sum));
}

/// Three of five, of whom two agree: a plurality is not enough, nor is one vote alone where a share is needed.
#[test]
fn a_mask_without_a_quorum_fails_the_round_by_name() {
    let mut settings = quick();
    settings.sum.count = CountRange { min: 5, max: 5 };
    settings.sum2.count = CountRange { min: 1, max: 5 };
    let quorums = [Quorum::Majority, Quorum::Share(0.6), Quorum::Share(0.5)];
    let votes: [&[usize]; 3] = [&[3, 3, 2, 1], &[3], &[3, 3]];
    let failures = [
        RoundFailure::NoQuorum { votes: 2, cast: 4, needed: 3 },
        RoundFailure::LoneVote { sum_participants: 5, needed: 3 },
        RoundFailure::NoQuorum { votes: 2, cast: 2, needed: 3 },
    ];
    for ((quorum, votes), failure) in quorums.into_iter().zip(votes).zip(failures) {
        settings.sum2.quorum = quorum;
        let mut fixture = Fixture::new(settings.clone());
        let summers = fixture.sum(5);
        let updaters = fixture.update(1.0);
        for (summer, count) in summers.iter().zip(votes) {
            fixture.send(summer.sum2(&mask_of(&updaters[..*count]))).unwrap().unwrap();
        }
        fixture.wait(TIME);
        assert_eq!(fixture.failures(), [failure]);
        assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    }
}

/// Metrics begin with a zero for each of them.
#[test]
fn every_label_of_a_failure_is_listed() {
    let too_few = |phase| RoundFailure::TooFewMessages { phase, accepted: 0, needed: 1 };
    let failures = [
        too_few(Phase::Sum),
        too_few(Phase::Update),
        too_few(Phase::Sum2),
        too_few(Phase::Unmask),
        RoundFailure::Skipped,
        RoundFailure::NoMask,
        RoundFailure::TiedMasks { masks: 2, votes: 1 },
        RoundFailure::LoneVote { sum_participants: 5, needed: 3 },
        RoundFailure::NoQuorum { votes: 2, cast: 4, needed: 3 },
        RoundFailure::Unmask(UnmaskError::ScalarSumZero),
        RoundFailure::Unmask(UnmaskError::TooManyModels(1)),
        RoundFailure::Unmask(UnmaskError::OutOfMemory { len: 1, bytes: 1 }),
        RoundFailure::Unmask(UnmaskError::NoModel),
    ];
    let mut labels = failures.map(|failure| failure.label());
    labels.sort_unstable();
    assert_eq!(labels, RoundFailure::LABELS);
}

/// Three of five votes for one mask.
#[test]
fn a_mask_with_a_quorum_is_taken_off() {
    let mut settings = quick();
    settings.sum.count = CountRange { min: 5, max: 5 };
    settings.sum2.count = CountRange { min: 1, max: 5 };
    settings.sum2.quorum = Quorum::Share(0.6);
    let mut fixture = Fixture::new(settings);
    let summers = fixture.sum(5);
    let updaters = fixture.update(1.0);
    for (summer, count) in summers.iter().zip([3, 3, 3, 2, 1]) {
        fixture.send(summer.sum2(&mask_of(&updaters[..count]))).unwrap().unwrap();
    }
    fixture.wait(TIME);
    assert_eq!(fixture.failures(), []);
    assert!(fixture.bulletin.model().is_some());
}

#[test]
fn nothing_is_seen_before_it_is_stored() {
    let mut fixture = Fixture::new(quick());
    fixture.storing = false;
    let summer = &fixture.with_task(Task::Sum, 1)[0];
    assert_eq!(fixture.send(summer.sum()), None);
    // That it is there already is as good as that it is accepted.
    assert_eq!(fixture.send(summer.sum()), None);
    // Any other rejection has changed nothing and does not wait.
    let stranger = &fixture.with_task(Task::Update, 1)[0];
    let ineligible = Some(Err(Rejection::NotEligible(Task::Sum)));
    assert_eq!(fixture.send(stranger.sum()), ineligible);
    let stored = fixture.last_record;
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Update);
    assert_eq!(fixture.bulletin.answer(&Call::Sums).unwrap().status, 204);
    fixture.input(Input::Persisted(stored)).unwrap();
    assert!(fixture.replies.contains(&(Ticket(1), Ok(()))));
    assert!(fixture.replies.contains(&(Ticket(2), Err(Rejection::DuplicateSum))));
    assert_eq!(fixture.bulletin.answer(&Call::Sums).unwrap().status, 204);
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    assert_eq!(fixture.bulletin.answer(&Call::Sums).unwrap().status, 200);
    // A confirmation of what was never put out confirms nothing else.
    fixture.input(Input::Persisted(PersistId(u64::MAX))).unwrap();
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
}

#[test]
fn updates_that_came_in_time_make_the_round() {
    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    fixture.working = false;
    let updaters = fixture.with_task(Task::Update, 4);
    for updater in &updaters[..3] {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
    }
    let again = Some(Err(Rejection::InProgress(Tag::Update)));
    assert_eq!(fixture.send(updaters[0].update(&sums, 1.0)), again);
    fixture.wait(Duration::from_secs(60));
    assert_eq!(fixture.failures(), []);
    let late = Some(Err(Rejection::TooLate(Phase::Update)));
    assert_eq!(fixture.send(updaters[3].update(&sums, 1.0)), late);
    assert_eq!(fixture.idle.unwrap().why, Why::Job);
    // One job is lost, and given out again.
    let lost = fixture.jobs.remove(0);
    fixture.input(Input::JobLost(lost.id())).unwrap();
    let stale = lost.id();
    assert_eq!(fixture.input(Input::JobDone(lost.finish())), Err(Reject::UnknownJob(stale)));
    while let Some(job) = fixture.jobs.pop() {
        fixture.input(Input::JobDone(job.finish())).unwrap();
    }
    assert_eq!(fixture.machine.phase(), Phase::Sum2);
    assert_eq!(fixture.replies.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 4);
    fixture.working = true;
    fixture.send(summer.sum2(&mask_of(&updaters[..3]))).unwrap().unwrap();
    fixture.wait(TIME);
    assert!(fixture.bulletin.model().is_some());
}

/// Chunks that were accepted are not sent again: they must outlive the machine also while the message
/// that they make up is put together.
#[test]
fn a_message_that_is_being_put_together_is_saved() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    let masked = updater.masked(updater.parameters.mask_config.vect, 4, 1.0);
    let payload = updater.update_payload(&sums, &masked);
    let chunk = |id: u16, is_last: bool, data: &[u8]| {
        let mut bytes = Vec::new();
        Chunk { id, message_id: MessageId(1), is_last, data }.write_to(&mut bytes);
        updater.seal(Tag::Update, true, &bytes)
    };
    let (first, last) = payload.split_at(200);
    assert_eq!(fixture.send(chunk(0, false, first)), Some(Ok(())));
    fixture.working = false;
    assert_eq!(fixture.send(chunk(1, true, last)), None);
    let saved = fixture.machine.snapshot().to_bytes();
    let restore = || Coordinator::restore(&saved, quick(), fixture.now).unwrap();
    // The sender has got no answer to the last chunk, and may send it again, or not.
    for again in [false, true] {
        let mut restored = Fixture { machine: restore(), recovery: None, ..Fixture::new(quick()) };
        (restored.now, restored.last_record) = (fixture.now, PersistId(0));
        restored.working = !again;
        restored.drain();
        if again {
            assert_eq!(restored.machine.snapshot().to_bytes(), saved);
            let again = Some(Err(Rejection::InProgress(Tag::Update)));
            assert_eq!(restored.send(chunk(1, true, last)), again);
            restored.working = true;
            for job in std::mem::take(&mut restored.jobs) {
                restored.input(Input::JobDone(job.finish())).unwrap();
            }
        }
        assert_eq!(restored.machine.accepted(), 1, "{again}");
        assert_eq!(restored.send(chunk(0, false, first)), Some(Err(Rejection::DuplicateUpdate)));
    }
}

/// A context is all that the threads which open messages know of a round.
#[test]
fn a_context_tells_what_it_opens() {
    let mut fixture = Fixture::new(quick());
    let summer = &fixture.with_task(Task::Sum, 1)[0];
    let context = fixture.context.clone().unwrap();
    assert_eq!((context.round_id(), context.phase()), (1, Phase::Sum));

    // The longest is one in a single chunk.
    let sum = summer.sum();
    assert_eq!(context.max_message_len(), sum.len() + CHUNK_HEADER_LENGTH);
    let verified = context.open(sum.clone()).unwrap();
    assert_eq!((verified.tag(), verified.participant()), (Tag::Sum, summer.keys.public()));
    assert!(!verified.is_chunk());

    let mut chunk = Vec::new();
    let data = &[7; 8][..];
    Chunk { id: 1, message_id: MessageId(1), is_last: false, data }.write_to(&mut chunk);
    let chunk = context.open(summer.seal(Tag::Sum, true, &chunk)).unwrap();
    assert!(chunk.is_chunk());
    assert_eq!(chunk.body.bytes(), data);

    fixture.sum(1);
    let sums = fixture.sums();
    let context = fixture.context.clone().unwrap();
    let update = fixture.with_task(Task::Update, 1)[0].update(&sums, 1.0);
    assert_eq!(context.max_message_len(), update.len() + CHUNK_HEADER_LENGTH);
    let verified = context.open(update).unwrap();
    assert!(!verified.is_chunk() && !verified.body.bytes().is_empty());
    let late = context.open(sum).unwrap_err();
    assert_eq!(late, Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Update });

    fixture.wait(quick().update.time.max);
    assert_eq!(fixture.context.as_ref().unwrap().round_id(), 2);
}

/// A restored machine goes on in any phase, and not at all with what does not fit together.
#[test]
fn what_is_restored_is_gone_on_with_if_it_is_sound() {
    fn restored(saved: &[u8], now: Timestamp) -> Fixture {
        let machine = Coordinator::restore(saved, quick(), now).unwrap();
        let mut fixture = Fixture { machine, now, ..Fixture::new(quick()) };
        (fixture.last_record, fixture.recovery) = (PersistId(0), None);
        fixture.drain();
        fixture
    }

    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 3);
    fixture.send(updaters[0].update(&sums, 1.0)).unwrap().unwrap();
    let saved = fixture.machine.snapshot().to_bytes();
    let in_update = restored(&saved, fixture.now);
    assert_eq!((in_update.machine.round_id(), in_update.machine.accepted()), (1, 1));

    for (length, round_id) in [(4, 1), (5, 2)] {
        let mut damaged = Saved::from_bytes(&saved).unwrap();
        let Stage::Update { aggregation: Some(aggregation), .. } = &mut damaged.stage else {
            panic!("it was in the update phase");
        };
        *aggregation = Arc::new(Aggregation::new(aggregation.config(), length));
        let damaged = restored(&Snapshot::new(damaged).to_bytes(), fixture.now);
        assert_eq!(damaged.machine.round_id(), round_id, "{length}");
    }

    for updater in &updaters[1..] {
        fixture.send(updater.update(&sums, 1.0)).unwrap().unwrap();
    }
    fixture.wait(TIME);
    fixture.send(summer.sum2(&mask_of(&updaters))).unwrap().unwrap();
    fixture.working = false;
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Unmask);
    let unmasking = restored(&fixture.machine.snapshot().to_bytes(), fixture.now);
    let model = unmasking.bulletin.model().expect("the job was given out again");
    assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.25; 4])));
    assert_eq!(unmasking.machine.round_id(), 2);
}

/// In every phase: also a short message may come in chunks, and a second one is turned down by its first.
#[test]
fn messages_of_every_kind_may_come_in_chunks() {
    let mut fixture = Fixture::new(quick());
    let send = |fixture: &mut Fixture, sender: &Sender, tag: Tag, payload: &[u8]| {
        let (first, last) = payload.split_at(payload.len() / 2);
        [(0, false, first), (1, true, last)].map(|(id, is_last, data)| {
            let mut bytes = Vec::new();
            Chunk { id, message_id: MessageId(1), is_last, data }.write_to(&mut bytes);
            fixture.send(sender.seal(tag, true, &bytes)).unwrap()
        })
    };

    let summers = fixture.with_task(Task::Sum, 2);
    let (summer, stranger) = (&summers[0], &summers[1]);
    let mut payload = Vec::new();
    let ephemeral_key = EncryptKeyPair::from_seed(&Seed::new([7; 32])).public();
    SumPayload { sum_signature: summer.signatures.sum, ephemeral_key }.write_to(&mut payload);
    assert_eq!(send(&mut fixture, summer, Tag::Sum, &payload), [Ok(()), Ok(())]);
    let twice = [Err(Rejection::DuplicateSum), Err(Rejection::DuplicateSum)];
    assert_eq!(send(&mut fixture, summer, Tag::Sum, &payload), twice);
    fixture.wait(TIME);

    let updaters = fixture.update(1.0);
    let mut payload = summer.signatures.sum.as_bytes().to_vec();
    mask_of(&updaters).write_to(&mut payload).unwrap();
    // Already the threads that open messages turn away who is not in the dictionary.
    let context = fixture.context.clone().unwrap();
    let unknown = Rejection::UnknownSumParticipant;
    assert_eq!(context.open(stranger.seal(Tag::Sum2, false, &payload)).unwrap_err(), unknown);
    let unknown = [Err(unknown.clone()), Err(unknown)];
    assert_eq!(send(&mut fixture, stranger, Tag::Sum2, &payload), unknown);
    assert_eq!(send(&mut fixture, summer, Tag::Sum2, &payload), [Ok(()), Ok(())]);
    let twice = [Err(Rejection::DuplicateSum2), Err(Rejection::DuplicateSum2)];
    assert_eq!(send(&mut fixture, summer, Tag::Sum2, &payload), twice);
    fixture.wait(TIME);
    assert!(fixture.bulletin.model().is_some());
}

#[test]
fn chunks_are_checked_before_they_are_kept() {
    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    let masked = updater.masked(updater.parameters.mask_config.vect, 4, 1.0);
    let payload = updater.update_payload(&sums, &masked);
    let chunk = |sender: &Sender, id: u16, is_last: bool, data: &[u8]| {
        let mut bytes = Vec::new();
        Chunk { id, message_id: MessageId(1), is_last, data }.write_to(&mut bytes);
        sender.seal(Tag::Update, true, &bytes)
    };
    // Whoever may not update is found out by the first chunk.
    let not_eligible = Some(Err(Rejection::NotEligible(Task::Update)));
    let mut foreign = summer.signatures.sum.as_bytes().to_vec();
    foreign.extend_from_slice(summer.signatures.update.as_bytes());
    assert_eq!(fixture.send(chunk(&summer, 0, false, &foreign)), not_eligible);
    // More than any update of this round has.
    let too_large = fixture.send(chunk(updater, 0, false, &vec![0; 100_000]));
    assert_eq!(too_large, not_eligible);
    let mut long = payload[..128].to_vec();
    long.resize(100_000, 0);
    assert!(matches!(
        fixture.send(chunk(updater, 0, false, &long)),
        Some(Err(Rejection::Chunk(crate::message::ReassemblyError::TooLarge { .. })))
    ));
    // In any order; the last one brings the reply of the whole.
    let half = payload.len() / 2;
    assert_eq!(fixture.send(chunk(updater, 1, true, &payload[half..])), Some(Ok(())));
    assert_eq!(fixture.machine.accepted(), 0);
    assert_eq!(fixture.send(chunk(updater, 0, false, &payload[..half])), Some(Ok(())));
    assert_eq!(fixture.machine.accepted(), 1);
    let again = fixture.send(chunk(updater, 0, false, &payload[..half]));
    assert_eq!(again, Some(Err(Rejection::DuplicateUpdate)));
}

#[test]
fn a_restored_machine_keeps_phase_clock_and_model() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let updaters = fixture.update(1.0);
    fixture.send(summers[0].sum2(&mask_of(&updaters))).unwrap().unwrap();
    fixture.wait(TIME);
    let model = fixture.bulletin.model().cloned();
    fixture.wait(Duration::from_secs(50));
    let saved = fixture.machine.snapshot().to_bytes();
    // Twice, with an epoch that begins anew each time.
    for _ in 0..2 {
        let machine = Coordinator::restore(&saved, quick(), Timestamp::ZERO).unwrap();
        let mut restored =
            Fixture { machine, recovery: None, now: Timestamp::ZERO, ..Fixture::new(quick()) };
        restored.bulletin = Bulletin::new();
        restored.last_record = PersistId(0);
        restored.drain();
        assert_eq!(restored.parameters(), fixture.parameters());
        assert_eq!(restored.bulletin.model().cloned(), model);
        assert_eq!((restored.machine.round_id(), restored.machine.phase()), (2, Phase::Sum));
        assert_eq!(restored.machine.elapsed(), Duration::from_secs(50));
        restored.wait(Duration::from_secs(10));
        assert_eq!(restored.failures().len(), 1);
    }
    let wrong = Coordinator::restore(b"PETp", quick(), Timestamp::ZERO);
    assert!(matches!(wrong.err(), Some(RestoreError::Snapshot(_))));
}

/// Otherwise whoever goes on from records would keep it for ever.
#[test]
fn a_split_message_that_is_rejected_leaves_nothing_behind() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    for number in 3..5 {
        let kept = fixture.send(updater.chunk_of_update(&sums, number));
        assert_eq!(kept, Some(Ok(())));
    }
    assert_ne!(fixture.machine.incomplete_bytes(), 0);
    let rejected = fixture.send(updater.chunk_of_update(&sums, 5)).unwrap();
    assert!(matches!(rejected, Err(Rejection::Message(_))), "{rejected:?}");
    let recovery = fixture.recovery.clone().unwrap();
    let resumed = Fixture::resume(recovery, Duration::ZERO, quick());
    for machine in [&fixture.machine, &resumed.machine] {
        assert_eq!(machine.incomplete_bytes(), 0);
    }
}

/// Three rounds, the second of them a failure, by participants that send all they have to send whether it
/// has arrived before or not.
fn play(fixture: &mut Fixture) {
    for round_id in 1..=3 {
        if fixture.machine.round_id() != round_id {
            continue;
        }
        let summers = fixture.with_task(Task::Sum, 2);
        if fixture.machine.phase() == Phase::Sum {
            for summer in &summers {
                fixture.send(summer.sum());
            }
            fixture.wait(TIME);
        }
        let updaters = fixture.with_task(Task::Update, 3);
        if fixture.machine.phase() == Phase::Update {
            let sums = fixture.sums();
            for updater in &updaters[..2] {
                fixture.send(updater.update(&sums, f64::from(updater.number) / 64.0));
            }
            for number in 0..3 {
                fixture.send(updaters[2].chunk_of_update(&sums, number));
            }
            fixture.wait(TIME);
        }
        for (index, summer) in summers.iter().enumerate() {
            let seen = if round_id == 2 { &updaters[index..] } else { &updaters[..] };
            fixture.send(summer.sum2(&mask_of(seen)));
        }
        fixture.wait(TIME);
    }
}

/// Whenever a coordinator is lost, another one goes on from its records to the very same models.
#[test]
fn any_prefix_of_the_records_is_gone_on_from() {
    let mut whole = Fixture::new(quick());
    play(&mut whole);
    let tie = RoundFailure::TiedMasks { masks: 2, votes: 1 };
    assert_eq!((whole.models.len(), whole.failures()), (2, vec![tie]));
    assert_eq!(whole.machine.round_id(), 4);
    for count in 0..=whole.records.len() {
        let mut recovery = Recovery::new(RootSeed::new([1; 32]));
        for record in &whole.records[..count] {
            recovery.apply(read_back(record)).unwrap();
        }
        let mut resumed = Fixture::resume(recovery, Duration::ZERO, quick());
        play(&mut resumed);
        assert_eq!(resumed.machine.round_id(), 4, "after {count} records");
        assert_eq!(resumed.models.last(), whole.models.last(), "after {count} records");
        for model in &resumed.models {
            assert!(whole.models.contains(model), "after {count} records");
        }
    }
}

/// Only the last record needs the aggregate; and a round may be the first of which there are records.
#[test]
fn what_is_superseded_is_not_needed() {
    let mut whole = Fixture::new(quick());
    play(&mut whole);
    let root = RootSeed::new([1; 32]);
    let is_third = |record: &Record| matches!(record, Record::RoundBegan { round_id: 3, .. });
    let third = whole.records.iter().position(is_third).unwrap();
    let updates = |record: &Record| matches!(record, Record::Updates { .. });
    let last = whole.records.iter().rposition(updates).unwrap();
    for (kept, outcome) in [(last, Ok(())), (last - 1, Err(RecoveryError::WrongAggregate))] {
        let mut recovery = Recovery::new(root.clone()).with_model(whole.models.first().cloned());
        let mut applied = Ok(());
        for (index, record) in whole.records.iter().enumerate().skip(third) {
            let large = record.large().filter(|large| match large {
                Large::Aggregation(_) => index == kept,
                _ => true,
            });
            let large = large.map(|large| large.to_bytes().into_owned().into());
            let read = Record::from_bytes(&record.to_bytes(), large).unwrap();
            applied = applied.and_then(|()| recovery.apply(read));
        }
        assert_eq!(applied, outcome);
    }
}

#[test]
fn records_that_no_coordinator_has_put_out_are_refused() {
    let mut whole = Fixture::new(quick());
    play(&mut whole);
    let records = &whole.records;
    let after = |count: usize, record: &Record| {
        let mut recovery = Recovery::new(RootSeed::new([1; 32]));
        records[..count].iter().for_each(|record| recovery.apply(record.clone()).unwrap());
        recovery.apply(record.clone())
    };
    let position = |name: &str| records.iter().position(|record| record.name() == name).unwrap();
    for (count, record, error) in [
        (0, "sum message", None),
        (1, "round began", None),
        (1, "update messages", None),
        (1, "chunk", None),
        (position("sum phase ended"), "sum message", Some(RecoveryError::Twice(Phase::Sum))),
        (position("chunk"), "update messages", Some(RecoveryError::Twice(Phase::Update))),
        (
            position("sum phase ended") + 1,
            "update phase ended",
            Some(RecoveryError::WrongAggregate),
        ),
        (position("sum2 phase ended"), "sum2 message", Some(RecoveryError::Twice(Phase::Sum2))),
        (position("update phase ended") + 1, "sum2 phase ended", Some(RecoveryError::WrongMask)),
        (position("global model") + 1, "global model", None),
        (position("global model") + 1, "round failed", None),
    ] {
        let found = after(count, &records[position(record)]).unwrap_err();
        match error {
            Some(error) => assert_eq!(found, error, "{record} after {count}"),
            None => assert!(
                matches!(found, RecoveryError::Unexpected { record: named, .. } if named == record),
                "{record} after {count}: {found}"
            ),
        }
    }
    let mut other = Recovery::new(RootSeed::new([2; 32]));
    assert_eq!(other.apply(records[0].clone()), Err(RecoveryError::OtherRoot));
    let settings = Settings { model_length: 0, ..quick() };
    let wrong = Coordinator::resume(other, Duration::ZERO, settings, Timestamp::ZERO);
    assert!(matches!(wrong, Err(ResumeError::Settings(_))));
}

/// Whoever changes the form of records changes its version as well.
#[test]
fn the_form_of_records_is_what_it_was() {
    let mut whole = Fixture::new(quick());
    play(&mut whole);
    let mut bytes = Vec::new();
    for record in &whole.records {
        bytes.extend_from_slice(&record.to_bytes());
        if let Some(large) = record.large() {
            bytes.extend_from_slice(&large.to_bytes());
        }
    }
    let names: std::collections::BTreeSet<_> = whole.records.iter().map(Record::name).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    let form = "11228d01dc95c80216838beb52b3783c89bbe3e729333331809cd6a8918ab214";
    assert_eq!(Blake2b::hash(&[&bytes]).to_string(), form);
}

#[test]
fn the_end_turns_everything_down() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    fixture.working = false;
    let updaters = fixture.with_task(Task::Update, 2);
    fixture.send(updaters[0].update(&sums, 1.0));
    fixture.input(Input::Stop).unwrap();
    let shutdown = Rejection::WrongPhase { tag: Tag::Update, phase: Phase::Shutdown };
    assert_eq!(fixture.replies.last().unwrap().1, Err(shutdown.clone()));
    assert_eq!(fixture.send(updaters[1].update(&sums, 1.0)), Some(Err(shutdown)));
    assert_eq!(fixture.input(Input::Tick), Err(Reject::Stopped));
    assert_eq!(fixture.idle.unwrap(), Idle { wake_at: None, why: Why::Stopped });
}

/// Also with replies that wait for the store and an aggregation that runs.
#[test]
fn a_fork_goes_on_in_the_same_way() {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    (fixture.storing, fixture.working) = (false, false);
    let updaters = fixture.with_task(Task::Update, 2);
    for updater in &updaters {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
    }
    let result = fixture.jobs.remove(0).finish();
    fixture.machine.handle_input(fixture.now, Input::JobDone(result)).unwrap();
    assert!(fixture.machine.fork().is_none(), "outputs wait");
    fixture.drain();
    let run = |machine: &mut Coordinator| {
        let mut shown = Vec::new();
        let stored = Input::Persisted(PersistId(1000));
        for input in [stored, Input::JobLost(JobId(2)), Input::Tick, Input::Stop] {
            shown.push(format!("{:?}", machine.handle_input(fixture.now + TIME, input)));
            loop {
                let output = machine.poll_output();
                shown.push(format!("{output:?}"));
                if matches!(output, Output::Idle(_)) {
                    break;
                }
            }
        }
        shown
    };
    let mut fork = fixture.machine.fork().unwrap();
    assert_eq!(fork.snapshot().to_bytes(), fixture.machine.snapshot().to_bytes());
    let shown = run(&mut fork);
    assert!(shown.iter().any(|output| output.contains("Reply")), "{shown:?}");
    assert_eq!(run(&mut fixture.machine), shown);
}

proptest! {
    /// Whatever comes, in whatever order: no panic, every message is answered once, and something is
    /// always due or waited for.
    #[test]
    fn any_inputs_are_survived(
        steps in proptest::collection::vec((0u8..14, 0u32..12, 0u64..20_000), 0..60),
        storing: bool,
        working: bool,
    ) {
        let mut settings = quick();
        // Two incomplete messages are too many.
        settings.reassembly.unproven_bytes = 2500;
        let mut fixture = Fixture::new(settings);
        (fixture.storing, fixture.working) = (storing, working);
        for (kind, number, millis) in steps {
            fixture.now = fixture.now + Duration::from_millis(millis);
            let sender = Sender::new(number, &fixture.parameters());
            let sums = match fixture.bulletin.answer(&Call::Sums).unwrap() {
                response if response.status == 200 => fixture.sums(),
                _ => SumDict::new(),
            };
            match kind {
                0..=1 => drop(fixture.send(sender.sum())),
                2..=3 => drop(fixture.send(sender.update(&sums, 1.0))),
                4 => drop(fixture.send(sender.sum2(&mask_of(std::slice::from_ref(&sender))))),
                5 => drop(fixture.input(Input::Persisted(PersistId(u64::from(number))))),
                6 => drop(fixture.input(Input::JobLost(JobId(u64::from(number))))),
                7 => drop(fixture.input(Input::Tick)),
                8..=12 => drop(fixture.send(sender.chunk_of_update(&sums, millis))),
                _ => {
                    if let Some(job) = fixture.jobs.pop() {
                        let _ = fixture.input(Input::JobDone(job.finish()));
                    }
                }
            }
            let idle = fixture.idle.unwrap();
            prop_assert!(idle.wake_at.is_some() || matches!(idle.why, Why::Job | Why::Store));
            let saved = fixture.machine.snapshot().to_bytes();
            prop_assert!(Coordinator::restore(&saved, quick(), fixture.now).is_ok());
        }
    }
}
