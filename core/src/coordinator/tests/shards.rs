//! Replicas that add up masked models for the one that runs the machine.

use std::sync::Arc;

use bytes::Bytes;

use super::fixture::{quick, Fixture, TIME};
use super::sender::{mask_of, Sender};
use crate::coordinator::shards::RESERVED_FOR;
use crate::coordinator::*;
use crate::crypto::{PublicSigningKey, Task};
use crate::job::{JobId, JobKind, MAX_LOSSES};
use crate::message::{LocalSeedDict, Tag};
use crate::model::Model;

/// A replica that takes update messages.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) sum: ShardSum,
    pub(super) last: Option<PartId>,
    /// Reserved, and in no recorded part.
    pub(super) held: Vec<MaskedModel>,
    parts: u8,
}

/// What stands for it in the mean.
pub(super) fn weight(sender: &Sender) -> f32 {
    sender.number as f32 / 1024.0
}

pub(super) fn update(fixture: &Fixture, sender: &Sender) -> Verified {
    let sealed = sender.update_of(&fixture.sums(), weight(sender));
    fixture.front.open(sealed).unwrap()
}

/// Tells the machine, and gives the answer if there is one already.
pub(super) fn ask(
    fixture: &mut Fixture,
    input: impl FnOnce(Ticket) -> Input,
) -> Option<Result<(), Rejection>> {
    fixture.tickets += 1;
    let ticket = Ticket(fixture.tickets);
    fixture.input(input(ticket)).unwrap();
    let replies: Vec<_> = fixture.replies.iter().filter(|(id, _)| *id == ticket).collect();
    assert!(replies.len() <= 1, "answered twice");
    replies.first().map(|(_, outcome)| outcome.clone())
}

pub(super) fn admit(
    fixture: &mut Fixture,
    shard: Shard,
    admission: Admission,
) -> Result<(), Rejection> {
    ask(fixture, |ticket| Input::Admit { ticket, shard, admission }).expect("it does not wait")
}

impl Replica {
    pub(super) fn new(number: u8, fixture: &Fixture) -> Self {
        let sum = ShardSum::new(Shard::new([number; 16]), &fixture.front).unwrap();
        Self { sum, last: None, held: Vec::new(), parts: 0 }
    }

    fn shard(&self) -> Shard {
        self.sum.shard()
    }

    pub(super) fn admit(
        &mut self,
        fixture: &mut Fixture,
        message: &Verified,
    ) -> Result<(), Rejection> {
        let (admission, model) = message.admission().unwrap();
        let admission = Admission::from_bytes(&admission.to_bytes()).unwrap();
        admit(fixture, self.shard(), admission)?;
        self.held.push(model);
        Ok(())
    }

    /// Adds up what it holds, and stores that.
    pub(super) fn store(&mut self, fixture: &mut Fixture) -> (ShardSum, PartDone) {
        self.parts += 1;
        let mut part = *self.shard().as_bytes();
        part[0] = self.parts;
        let part = PartId::new(part);
        let job = self.sum.add(JobId(7), &self.held).unwrap();
        let sum = self.sum.added(job.finish()).unwrap();
        fixture.parts.insert(part, sum.to_bytes().into());
        let done = sum.part(part, self.last, &self.held);
        assert_eq!(PartDone::from_bytes(&done.to_bytes()), Ok(done.clone()));
        (sum, done)
    }

    /// Has what it holds counted.
    pub(super) fn hand_in(&mut self, fixture: &mut Fixture) -> Result<(), Rejection> {
        let (sum, done) = self.store(fixture);
        let part = done.part;
        hand_in(fixture, done).expect("all is stored")?;
        (self.sum, self.last) = (sum, Some(part));
        self.held.clear();
        Ok(())
    }
}

pub(super) fn hand_in(fixture: &mut Fixture, done: PartDone) -> Option<Result<(), Rejection>> {
    ask(fixture, |ticket| Input::Part { ticket, done })
}

/// In the update phase, with a sum participant.
fn updating() -> (Fixture, Sender) {
    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    (fixture, summer)
}

/// The update phase is over; gives the votes for the mask of these.
pub(super) fn vote(fixture: &mut Fixture, summer: &Sender, counted: &[Sender]) {
    assert_eq!(fixture.machine.phase(), Phase::Sum2);
    assert_eq!(fixture.send(summer.sum2(&mask_of(counted))), Some(Ok(())));
    fixture.wait(TIME);
}

/// The model is the plain mean of exactly these.
pub(super) fn check_mean(fixture: &Fixture, counted: &[Sender]) {
    let model = fixture.models.last().expect("there is a model");
    assert_eq!(model.models, counted.len() as u64);
    let mean = counted.iter().map(weight).sum::<f32>() / counted.len() as f32;
    let Some(Model::F32(weights)) = model.weights.as_deref() else { panic!() };
    assert!(weights.iter().all(|weight| (weight - mean).abs() < 1e-6), "{weights:?}, not {mean}");
}

#[test]
fn two_shards_and_own_updates_make_one_mean() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 8);
    let mut replicas = [1, 2].map(|number| Replica::new(number, &fixture));
    for (number, sender) in senders[..6].iter().enumerate() {
        let message = update(&fixture, sender);
        replicas[number % 2].admit(&mut fixture, &message).unwrap();
        // Each has two parts, the second of which replaces the first.
        if number >= 2 {
            replicas[number % 2].hand_in(&mut fixture).unwrap();
        }
    }
    assert_eq!(fixture.machine.accepted(), 6);
    for sender in &senders[6..] {
        let message = update(&fixture, sender);
        let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message });
        assert_eq!(outcome, Some(Ok(())));
    }
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn all_updates_may_be_in_parts() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    replica.hand_in(&mut fixture).unwrap();
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn a_participant_is_reserved_for_one_shard() {
    let (mut fixture, _) = updating();
    let sender = &fixture.with_task(Task::Update, 1)[0];
    let message = update(&fixture, sender);
    let mut replicas = [1, 2].map(|number| Replica::new(number, &fixture));
    let in_progress = Rejection::InProgress(Tag::Update);
    replicas[0].admit(&mut fixture, &message).unwrap();
    assert_eq!(replicas[0].admit(&mut fixture, &message), Err(in_progress.clone()));
    assert_eq!(replicas[1].admit(&mut fixture, &message), Err(in_progress.clone()));
    let copy = message.clone();
    let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message: copy });
    assert_eq!(outcome, Some(Err(in_progress.clone())));
    let chunk = sender.chunk_of_update(&fixture.sums(), 0);
    assert_eq!(fixture.send(chunk), Some(Err(in_progress)));
    replicas[0].hand_in(&mut fixture).unwrap();
    let duplicate = Err(Rejection::DuplicateUpdate);
    assert_eq!(replicas[1].admit(&mut fixture, &message), duplicate);
    let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message });
    assert_eq!(outcome, Some(duplicate));
}

#[test]
fn a_message_of_the_machines_own_is_not_reserved_meanwhile() {
    let (mut fixture, _) = updating();
    fixture.working = false;
    let sender = &fixture.with_task(Task::Update, 1)[0];
    let message = update(&fixture, sender);
    let mut replica = Replica::new(1, &fixture);
    let copy = message.clone();
    assert_eq!(ask(&mut fixture, |ticket| Input::Message { ticket, message: copy }), None);
    let in_progress = Err(Rejection::InProgress(Tag::Update));
    assert_eq!(replica.admit(&mut fixture, &message), in_progress);
}

#[test]
fn what_is_wrong_with_a_part_is_said() {
    let (mut fixture, _) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders[..2] {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    let (_, done) = replica.store(&mut fixture);
    let key = |number: usize| senders[number].keys.public();
    let id = PartId::new([9; 16]);
    let wrong = [
        (PartDone { round_id: 2, ..done.clone() }, Rejection::PartOver),
        (PartDone { participants: vec![], models: 0, ..done.clone() }, Rejection::PartCount),
        (PartDone { models: 3, ..done.clone() }, Rejection::PartCount),
        (PartDone { participants: vec![key(0); 2], ..done.clone() }, Rejection::PartCount),
        (
            PartDone {
                participants: (0..65).map(|n| PublicSigningKey::new([n; 32])).collect(),
                models: 65,
                ..done.clone()
            },
            Rejection::PartCount,
        ),
        (PartDone { predecessor: Some(id), ..done.clone() }, Rejection::PartPredecessor),
        (
            PartDone { participants: vec![key(0), key(2)], ..done.clone() },
            Rejection::NotReserved { participant: key(2) },
        ),
        (
            PartDone { shard: Shard::new([2; 16]), ..done.clone() },
            Rejection::NotReserved { participant: done.participants[0] },
        ),
    ];
    for (done, rejection) in wrong {
        let text = format!("{done:?}");
        assert_eq!(hand_in(&mut fixture, done), Some(Err(rejection)), "{text}");
    }
    assert_eq!(fixture.machine.accepted(), 0);
    // Nothing has changed: the right one is taken.
    replica.hand_in(&mut fixture).unwrap();
    // No name is used twice, by whomever.
    let message = update(&fixture, &senders[2]);
    let mut other = Replica::new(2, &fixture);
    other.admit(&mut fixture, &message).unwrap();
    let (_, next) = other.store(&mut fixture);
    let taken = PartDone { part: replica.last.unwrap(), ..next };
    assert_eq!(hand_in(&mut fixture, taken), Some(Err(Rejection::PartPredecessor)));
    fixture.wait(TIME * 40);
    assert_eq!(hand_in(&mut fixture, done), Some(Err(Rejection::PartOver)));
}

#[test]
fn a_part_that_is_handed_in_twice_counts_once() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    let (_, done) = replica.store(&mut fixture);
    for _ in 0..2 {
        assert_eq!(hand_in(&mut fixture, done.clone()), Some(Ok(())));
    }
    // The answer of the coordinator before may be lost.
    let mut fixture = fixture.crashed(quick());
    assert_eq!(hand_in(&mut fixture, done), Some(Ok(())));
    let is_part = |record: &&Record| matches!(record, Record::Part { .. });
    assert_eq!(fixture.records.iter().filter(is_part).count(), 0);
    assert_eq!(fixture.machine.accepted(), 3);
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn the_answer_to_a_part_waits_for_the_store() {
    let (mut fixture, _) = updating();
    let sender = &fixture.with_task(Task::Update, 1)[0];
    let mut replica = Replica::new(1, &fixture);
    fixture.storing = false;
    let message = update(&fixture, sender);
    // An admission has nothing to be stored.
    replica.admit(&mut fixture, &message).unwrap();
    let (_, done) = replica.store(&mut fixture);
    assert_eq!(hand_in(&mut fixture, done.clone()), None);
    assert_eq!(hand_in(&mut fixture, done), None);
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    let last: Vec<_> = fixture.replies.iter().rev().take(2).collect();
    assert!(last.iter().all(|(_, outcome)| outcome.is_ok()), "{last:?}");
}

#[test]
fn a_lost_shard_has_its_recorded_part_and_nothing_else() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 4);
    let mut replicas = [1, 2].map(|number| Replica::new(number, &fixture));
    let messages: Vec<_> = senders.iter().map(|sender| update(&fixture, sender)).collect();
    replicas[0].admit(&mut fixture, &messages[0]).unwrap();
    replicas[0].hand_in(&mut fixture).unwrap();
    replicas[0].admit(&mut fixture, &messages[1]).unwrap();
    let shard = replicas[0].shard();
    for _ in 0..2 {
        fixture.input(Input::ShardLost { shard }).unwrap();
    }
    let participant = senders[1].keys.public();
    let not_reserved = Err(Rejection::NotReserved { participant });
    assert_eq!(replicas[0].hand_in(&mut fixture), not_reserved);
    for message in &messages[1..] {
        replicas[1].admit(&mut fixture, message).unwrap();
    }
    replicas[1].hand_in(&mut fixture).unwrap();
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn a_new_leader_has_participants_admitted_again() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    let messages: Vec<_> = senders.iter().map(|sender| update(&fixture, sender)).collect();
    for message in &messages {
        replica.admit(&mut fixture, message).unwrap();
    }
    let mut fixture = fixture.crashed(quick());
    let participant = replica.held[0].participant();
    let rejection = Rejection::NotReserved { participant };
    assert_eq!(rejection.label(), "not_reserved");
    assert_eq!(replica.hand_in(&mut fixture), Err(rejection));
    replica.held.clear();
    for message in &messages {
        replica.admit(&mut fixture, message).unwrap();
    }
    replica.hand_in(&mut fixture).unwrap();
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn reservations_are_waited_for_a_little_while() {
    for comes in [true, false] {
        let (mut fixture, _) = updating();
        let senders = fixture.with_task(Task::Update, 3);
        let mut replica = Replica::new(1, &fixture);
        for sender in &senders {
            let message = update(&fixture, sender);
            replica.admit(&mut fixture, &message).unwrap();
        }
        let time = quick().update.time.max;
        fixture.wait(time);
        assert_eq!(fixture.machine.phase(), Phase::Update);
        let idle = fixture.idle.unwrap();
        assert_eq!((idle.why, idle.wake_at), (Why::Shards, Some(fixture.now + RESERVED_FOR)));
        if comes {
            replica.hand_in(&mut fixture).unwrap();
            assert_eq!(fixture.machine.phase(), Phase::Sum2);
        } else {
            fixture.wait(RESERVED_FOR);
            let (phase, accepted, needed) = (Phase::Update, 0, 3);
            let failure = RoundFailure::TooFewMessages { phase, accepted, needed };
            assert_eq!(fixture.failures(), [failure]);
        }
    }
}

/// Nobody comes any more: the round need not wait for them.
#[test]
fn with_its_shards_lost_the_phase_ends_in_time() {
    let (mut fixture, _) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    fixture.wait(quick().update.time.max);
    fixture.input(Input::ShardLost { shard: replica.shard() }).unwrap();
    assert_eq!(fixture.failures().len(), 1);
}

#[test]
fn reservations_count_against_the_limits() {
    let (mut fixture, _) = updating();
    let parameters = fixture.parameters();
    let message = update(&fixture, &fixture.with_task(Task::Update, 1)[0]);
    let (template, _) = message.admission().unwrap();
    let one = |number: u64| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Admission { participant: PublicSigningKey::new(key), ..template.clone() }
    };
    let most = quick().update.count.max;
    for number in 0..most {
        assert_eq!(admit(&mut fixture, Shard::new([1; 16]), one(number)), Ok(()));
    }
    let full = Err(Rejection::Full(Phase::Update));
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), one(most)), full);
    fixture.input(Input::ShardLost { shard: Shard::new([1; 16]) }).unwrap();
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), one(most)), Ok(()));
    // Of another round, or not for its sum participants.
    let other = Admission { round_id: 2, ..one(most + 1) };
    let over = Rejection::WrongPhase { tag: Tag::Update, phase: Phase::Update };
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), other), Err(over));
    let nothing = Arc::new(LocalSeedDict::default());
    let other = Admission { seeds: nothing, ..one(most + 1) };
    let mismatch = Err(Rejection::SeedDictMismatch);
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), other), mismatch);
    assert_eq!(parameters.pk, fixture.parameters().pk, "it is still the first round");
}

#[test]
fn a_shard_has_so_many_reservations_and_no_more() {
    let mut settings = quick();
    settings.update.count.max = 100_000;
    settings.mask = "Prime/F32/B0/M6".parse::<crate::mask::MaskConfig>().unwrap().into();
    let mut fixture = Fixture::new(settings);
    fixture.sum(1);
    let message = update(&fixture, &fixture.with_task(Task::Update, 1)[0]);
    let (template, _) = message.admission().unwrap();
    let mut number = 0u64;
    let mut next = |fixture: &mut Fixture, shard: u8| {
        number += 1;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let participant = PublicSigningKey::new(key);
        let (shard, admission) =
            (Shard::new([shard; 16]), Admission { participant, ..template.clone() });
        fixture
            .machine
            .handle_input(fixture.now, Input::Admit { ticket: Ticket(number), shard, admission })
            .unwrap();
        loop {
            match fixture.machine.poll_output() {
                Output::Reply { outcome, .. } => return outcome,
                Output::Idle(_) => panic!("no answer"),
                _ => {}
            }
        }
    };
    for _ in 0..1024 {
        assert_eq!(next(&mut fixture, 0), Ok(()));
    }
    assert_eq!(next(&mut fixture, 0), Err(Rejection::ShardFull));
    for shard in 1..64 {
        assert_eq!(next(&mut fixture, shard), Ok(()));
    }
    assert_eq!(next(&mut fixture, 64), Err(Rejection::ShardFull));
    assert_eq!(next(&mut fixture, 63), Ok(()));
}

/// In the sum2 phase, with a part of each of several shards that nobody has got yet.
fn merging(shards: u8) -> (Fixture, Sender, Vec<Sender>) {
    let (mut fixture, summer) = updating();
    fixture.fetching = false;
    let senders = fixture.with_task(Task::Update, usize::from(shards).max(3));
    for (number, sender) in senders.iter().enumerate() {
        let message = update(&fixture, sender);
        if number < usize::from(shards) {
            let mut replica = Replica::new(number as u8 + 1, &fixture);
            replica.admit(&mut fixture, &message).unwrap();
            replica.hand_in(&mut fixture).unwrap();
        } else {
            let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message });
            assert_eq!(outcome, Some(Ok(())));
        }
    }
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Sum2);
    (fixture, summer, senders)
}

#[test]
fn parts_are_got_a_few_at_a_time_and_in_any_order() {
    let (mut fixture, summer, senders) = merging(7);
    vote(&mut fixture, &summer, &senders);
    assert_eq!(fixture.machine.phase(), Phase::Unmask);
    assert_eq!(fixture.idle.unwrap(), Idle::new(None, Why::Shards));
    let mut got = Vec::new();
    while let Some(part) = fixture.fetches.pop() {
        assert!(fixture.fetches.len() < 4);
        let bytes = fixture.parts.get(&part).cloned();
        fixture.input(Input::Fetched { part, bytes: bytes.clone() }).unwrap();
        // It comes once.
        let again = fixture.input(Input::Fetched { part, bytes });
        assert_eq!(again, Err(Reject::UnknownPart(part)));
        got.push(part);
    }
    assert_eq!(got.len(), 7);
    check_mean(&fixture, &senders);
}

#[test]
fn without_a_part_there_is_no_model() {
    let damaged = |change: fn(Vec<u8>) -> Option<Vec<u8>>, expected| {
        let (mut fixture, _, _) = merging(2);
        let part = fixture.fetches[0];
        let bytes = change(fixture.parts[&part].to_vec()).map(Bytes::from);
        fixture.input(Input::Fetched { part, bytes }).unwrap();
        let failure = RoundFailure::PartLost { part, fault: expected };
        assert!(failure.to_string().contains(&part.to_string()));
        assert_eq!(fixture.failures(), [failure]);
        assert_eq!(fixture.machine.round_id(), 2, "the next round has begun");
        // The others come too late.
        let late = fixture.fetches[1];
        let rejected = fixture.input(Input::Fetched { part: late, bytes: None });
        assert_eq!(rejected, Err(Reject::UnknownPart(late)));
    };
    damaged(|_| None, PartFault::Missing);
    damaged(|_| Some(Vec::new()), PartFault::Damaged);
    damaged(|part| Some(part[..part.len() - 1].to_vec()), PartFault::Damaged);
    // A number that is not below its order; the order of the vector's numbers has less than all bits.
    damaged(
        |mut part| {
            let end = part.len();
            part[46..52].fill(0xff);
            assert!(end > 52);
            Some(part)
        },
        PartFault::Damaged,
    );
    // Round, shard and number of models.
    for at in [6usize, 14, 30] {
        let change: fn(Vec<u8>) -> Option<Vec<u8>> = match at {
            6 => |mut part| {
                part[6] ^= 1;
                Some(part)
            },
            14 => |mut part| {
                part[14] ^= 1;
                Some(part)
            },
            _ => |mut part| {
                part[30] ^= 3;
                Some(part)
            },
        };
        damaged(change, PartFault::Other);
    }
}

#[test]
fn a_lost_job_of_the_merge_is_given_out_again() {
    let (mut fixture, summer, senders) = merging(2);
    fixture.working = false;
    let parts = std::mem::take(&mut fixture.fetches);
    for part in parts {
        let bytes = fixture.parts.get(&part).cloned();
        fixture.input(Input::Fetched { part, bytes }).unwrap();
    }
    for _ in 1..MAX_LOSSES {
        fixture.jobs.retain(|job| job.kind() == JobKind::Merge);
        assert_eq!(fixture.jobs.len(), 1);
        fixture.jobs.clear();
        fixture.drain();
    }
    // Phases end meanwhile.
    vote(&mut fixture, &summer, &senders);
    assert_eq!(fixture.machine.phase(), Phase::Unmask);
    fixture.working = true;
    while let Some(job) = fixture.jobs.pop() {
        let _ = fixture.input(Input::JobDone(job.finish()));
    }
    check_mean(&fixture, &senders);
}

#[test]
fn a_merge_that_is_lost_too_often_fails_the_round() {
    let (mut fixture, _, _) = merging(3);
    fixture.working = false;
    let part = fixture.fetches[0];
    let bytes = fixture.parts.get(&part).cloned();
    fixture.input(Input::Fetched { part, bytes }).unwrap();
    for _ in 0..MAX_LOSSES {
        fixture.jobs.retain(|job| job.kind() == JobKind::Merge);
        assert_eq!(fixture.jobs.len(), 1);
        fixture.jobs.clear();
        fixture.drain();
    }
    let (job, times) = (JobKind::Merge, MAX_LOSSES);
    assert_eq!(fixture.failures(), [RoundFailure::JobLost { job, times }]);
}

#[test]
fn the_merge_is_begun_anew_by_whoever_goes_on() {
    for unmasking in [false, true] {
        let (mut fixture, summer, senders) = merging(6);
        let part = fixture.fetches[0];
        let bytes = fixture.parts.get(&part).cloned();
        fixture.input(Input::Fetched { part, bytes }).unwrap();
        if unmasking {
            vote(&mut fixture, &summer, &senders);
        }
        let saved = fixture.machine.snapshot().to_bytes();
        assert_eq!(saved[4..6], [2, 0], "with parts snapshots have a new form");
        let machine = Coordinator::restore(&saved, quick(), fixture.now).unwrap();
        let mut restored = Fixture::around(machine, None, fixture.now);
        restored.parts.clone_from(&fixture.parts);
        restored.drain();
        fixture.fetching = true;
        let resumed = fixture.crashed(quick());
        for mut fixture in [resumed, restored] {
            let saved = fixture.machine.snapshot().to_bytes();
            assert_eq!(saved[4..6], [1, 0], "without parts the form is as it was");
            if !unmasking {
                vote(&mut fixture, &summer, &senders);
            }
            check_mean(&fixture, &senders);
        }
    }
}

#[test]
fn a_snapshot_keeps_parts_and_no_reservation() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 4);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders[..3] {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    let before = fixture.machine.snapshot().to_bytes();
    assert_eq!(before[4..6], [1, 0]);
    replica.hand_in(&mut fixture).unwrap();
    let message = update(&fixture, &senders[3]);
    replica.admit(&mut fixture, &message).unwrap();
    let snapshot = fixture.machine.snapshot();
    let key = crate::crypto::SnapshotKey::new([1; 32]);
    let sealed = Coordinator::restore_sealed(&snapshot.seal(&key), &key, quick(), fixture.now);
    assert_eq!(sealed.unwrap().accepted(), 3);
    let mut restored = Fixture::restore(&snapshot.to_bytes(), fixture.now);
    restored.parts = fixture.parts;
    let participant = senders[3].keys.public();
    let again = replica.hand_in(&mut restored);
    assert_eq!(again, Err(Rejection::NotReserved { participant }));
    restored.wait(TIME);
    vote(&mut restored, &summer, &senders[..3]);
    check_mean(&restored, &senders[..3]);
}

#[test]
fn a_sum_takes_what_fits_it() {
    let (mut fixture, _) = updating();
    let senders = fixture.with_task(Task::Update, 2);
    let mut replica = Replica::new(1, &fixture);
    let message = update(&fixture, &senders[0]);
    replica.admit(&mut fixture, &message).unwrap();
    let (sum, model) = (&replica.sum, replica.held[0].clone());
    let add = |models: &[MaskedModel]| sum.add(JobId(1), models).map(drop);
    assert_eq!(add(&[]), Err(ShardSumError::Count(0)));
    assert_eq!(add(&vec![model.clone(); 65]), Err(ShardSumError::Count(65)));
    assert_eq!(add(&[model.clone(), model.clone()]), Err(ShardSumError::Twice));
    // The same settings, and another round.
    let mut next = Fixture::new(quick());
    next.input(Input::Skip).unwrap();
    next.sum(1);
    let other = ShardSum::new(Shard::new([1; 16]), &next.front).unwrap();
    assert_eq!(other.round_id(), 2);
    let added = other.add(JobId(1), std::slice::from_ref(&model)).map(drop);
    assert_eq!(added, Err(ShardSumError::OtherRound));
    // Split over threads it is the same; and what another job gives is not taken.
    let job = sum.add(JobId(1), std::slice::from_ref(&model)).unwrap();
    let new = sum.added(job.finish()).unwrap();
    assert_eq!(new.models(), 1);
    let job = sum.add(JobId(1), std::slice::from_ref(&model)).unwrap();
    assert_eq!(new.added(job.finish()).map(drop), Err(ShardSumError::OtherJob));
    assert!(ShardSum::new(Shard::new([1; 16]), &Front::new()).is_none());
}
