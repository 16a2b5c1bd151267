//! Parts of other replicas are added up.

use std::sync::Arc;

use bytes::Bytes;

use super::fixture::{quick, Fixture, TIME};
use super::replica::{ask, check_mean, update, updating, vote, Replica};
use super::sender::Sender;
use crate::coordinator::*;
use crate::crypto::{RootSeed, SnapshotKey, Task};
use crate::job::{JobKind, MAX_LOSSES};
use crate::mask::Aggregation;

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
    let key = SnapshotKey::new([1; 32]);
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

/// The models that are counted are those of the seeds, whatever somebody has made of the records.
#[test]
fn records_of_parts_that_do_not_fit_together_are_refused() {
    let (mut fixture, summer, senders) = merging(3);
    for part in std::mem::take(&mut fixture.fetches) {
        let bytes = fixture.parts.get(&part).cloned();
        fixture.input(Input::Fetched { part, bytes }).unwrap();
    }
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
    let at = |name: &str| fixture.records.iter().position(|record| record.name() == name).unwrap();
    let (part, ended) = (at("part of the aggregate"), at("update phase ended"));
    let merged = at("parts added up");
    let replay = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = fixture.records.clone();
        change(&mut records);
        let mut recovery = Recovery::new(RootSeed::new([1; 32]));
        records.into_iter().try_for_each(|record| recovery.apply(record))
    };
    assert_eq!(replay(&|_| ()), Ok(()));
    let twice = replay(&|records| records.insert(part, records[part].clone()));
    assert_eq!(twice, Err(RecoveryError::WrongPart));
    let late = replay(&|records| {
        let record = records.remove(part);
        records.insert(ended, record);
    });
    let (record, phase) = ("part of the aggregate", Phase::Sum2);
    assert_eq!(late, Err(RecoveryError::Unexpected { record, phase }));
    let without = replay(&|records| drop(records.remove(merged)));
    let (record, phase) = ("global model", Phase::Unmask);
    assert_eq!(without, Err(RecoveryError::Unexpected { record, phase }));
    let again = replay(&|records| records.insert(merged, records[merged].clone()));
    assert_eq!(again, Err(RecoveryError::WrongAggregate));
    for models in [None, Some(2), Some(4)] {
        let other = replay(&|records| {
            let Record::Merged { aggregation: Some(sum) } = &records[merged] else { panic!() };
            let sum = |models| Arc::new(Aggregation::with_nb_models(sum.object().clone(), models));
            records[merged] = Record::Merged { aggregation: models.map(sum) };
        });
        assert_eq!(other, Err(RecoveryError::WrongAggregate), "{models:?}");
    }
}
