//! Replicas that do not lead. (That they publish the same as the one that leads, and can take its place at any
//! moment, is looked at whenever a machine of these tests is idle: `Followed::check`.)

use bytes::Bytes;

use super::fixture::{quick, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::crypto::{Digest, RootSeed};

/// The records of a round, up to the unmask phase.
fn round() -> Vec<Record> {
    let mut fixture = Fixture::new(quick());
    fixture.working = false;
    let summers = fixture.sum(2);
    fixture.working = true;
    let updaters = fixture.update(1.0);
    fixture.working = false;
    for summer in &summers {
        assert_eq!(fixture.send(summer.sum2(&mask_of(&updaters))), Some(Ok(())));
    }
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Unmask);
    fixture.records
}

fn small(record: &Record) -> Record {
    Record::from_bytes(&record.to_bytes(), None).unwrap()
}

/// Only a record that begins a phase changes what is published: nobody is woken for the others.
#[test]
fn what_is_published_is_the_same_until_a_phase_begins() {
    let mut follower = Follower::new(RootSeed::new([1; 32]), None);
    let mut changes = 0;
    for record in round() {
        let before = follower.front();
        let new = follower.apply(small(&record)).unwrap();
        assert_eq!(new.is_some(), record.begins_phase());
        assert_eq!(follower.front().is_same(&before), new.is_none());
        assert!(follower.front().is_same(&follower.front()));
        changes += usize::from(new.is_some());
    }
    assert_eq!(changes, 4);
}

#[test]
fn what_was_left_out_is_asked_for_by_name() {
    let mut follower = Follower::new(RootSeed::new([1; 32]), None);
    let mut digests = Vec::new();
    for record in round() {
        digests.extend(match &record {
            Record::Sum2 { digest, mask: Some(_), .. } => Some(*digest),
            _ => None,
        });
        follower.apply(small(&record)).unwrap();
    }
    assert_eq!(follower.phase(), Phase::Unmask);
    let missing = follower.missing();
    assert_eq!(missing, [LargePiece::Aggregation, LargePiece::Mask(digests[0])]);
    assert_eq!(follower.clone().into_recovery().unwrap_err(), RecoveryError::WrongAggregate);
    // Something else is not taken, and named.
    let large = round().iter().filter_map(Record::large).collect::<Vec<_>>();
    let [aggregate, mask] = [0, 1].map(|kind| {
        let is = |large: &&Large| match large {
            Large::Aggregation(_) => kind == 0,
            Large::Mask(_) => kind == 1,
            Large::Model(_) => false,
        };
        Bytes::from(large.iter().rfind(is).unwrap().to_bytes().into_owned())
    });
    let cut = aggregate.slice(..aggregate.len() - 1);
    assert!(matches!(follower.supply(&missing[0], cut), Err(SupplyError::Bytes(_))));
    let other = LargePiece::Mask(Digest::new([7; 32]));
    let wrong = SupplyError::Piece(RecoveryError::WrongMask);
    assert_eq!(follower.supply(&other, mask.clone()), Err(wrong));
    follower.supply(&missing[0], aggregate).unwrap();
    assert_eq!(follower.missing(), missing[1..]);
    assert_eq!(follower.clone().into_recovery().unwrap_err(), RecoveryError::WrongMask);
    follower.supply(&missing[1], mask).unwrap();
    let recovery = follower.into_recovery().unwrap();
    let mut leader = Fixture::resume(recovery, TIME, quick());
    assert_eq!(leader.models.len(), 1, "it takes the mask off");
    assert_eq!(leader.models.remove(0).models, 3);
}

/// Whoever takes the place of another coordinator takes no record without its large piece any more.
#[test]
fn a_recovery_of_a_follower_is_as_strict_as_any() {
    let records = round();
    let mut follower = Follower::new(RootSeed::new([1; 32]), None);
    let first = records.iter().position(|record| matches!(record, Record::SumEnded)).unwrap();
    for record in &records[..=first] {
        follower.apply(small(record)).unwrap();
    }
    let mut recovery = follower.into_recovery().unwrap();
    let mut outcomes = records[first + 1..].iter().map(|record| recovery.apply(small(record)));
    assert_eq!(outcomes.find_map(Result::err), Some(RecoveryError::WrongAggregate));
}

#[test]
fn it_answers_with_the_model_before_the_first_record() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let updaters = fixture.update(1.0);
    assert_eq!(fixture.send(summers[0].sum2(&mask_of(&updaters))), Some(Ok(())));
    fixture.wait(TIME);
    let model = fixture.models.pop().unwrap();
    let follower = Follower::new(RootSeed::new([1; 32]), Some(model.clone()));
    assert_eq!(follower.front().model(), Some(&model));
    assert_eq!((follower.round_id(), follower.phase()), (None, Phase::Idle));
    assert!(follower.into_recovery().unwrap().round_id().is_none());
}
