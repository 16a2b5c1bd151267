//! What is stored, and machines that go on from it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fixture::{quick, read_back, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::crypto::{Blake2b, RootSeed, Task};
use crate::request::Call;
use crate::time::Timestamp;

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
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 204);
    fixture.input(Input::Persisted(stored)).unwrap();
    assert!(fixture.replies.contains(&(Ticket(1), Ok(()))));
    assert!(fixture.replies.contains(&(Ticket(2), Err(Rejection::DuplicateSum))));
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 204);
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 200);
    // A confirmation of what was never put out confirms nothing else.
    fixture.input(Input::Persisted(PersistId(u64::MAX))).unwrap();
    let sums = fixture.sums();
    let updater = &fixture.with_task(Task::Update, 1)[0];
    assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
}

/// Three rounds, the second of them a failure, by participants that send all they have to send whether it
/// has arrived before or not.
pub(super) fn play(fixture: &mut Fixture) {
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
    let names: BTreeSet<_> = whole.records.iter().map(Record::name).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    let form = "11228d01dc95c80216838beb52b3783c89bbe3e729333331809cd6a8918ab214";
    assert_eq!(Blake2b::hash(&[&bytes]).to_string(), form);
}
