//! Rounds that are over: whoever gives their parameters is behind.

use super::fixture::*;
use crate::crypto::{RoundSeed, SnapshotKey, Task};
use crate::participant::passed::Passed;
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::RoundParameters;

fn round(number: u8, task: Task) -> RoundParameters {
    RoundParameters { seed: RoundSeed::new([number; 32]), ..parameters(task) }
}

fn new_rounds(fixture: &Fixture) -> usize {
    fixture.events.iter().filter(|event| matches!(event, Event::NewRound { .. })).count()
}

fn last_trouble(fixture: &Fixture) -> &TroubleReason {
    match fixture.events.last() {
        Some(Event::Trouble(Trouble { call: "params", reason })) => reason,
        other => panic!("no trouble but {other:?}"),
    }
}

/// Behind a load balancer a replica may answer that has not heard of the new round.
#[test]
fn a_round_that_was_seen_to_pass_is_not_begun_again() {
    let mut fixture = Fixture::new();
    fixture.params(&round(1, Task::Sum));
    fixture.run_job();
    fixture.params(&round(2, Task::Update));
    fixture.answer(&Call::Sums, sums());
    assert_eq!(fixture.idle().why, Why::LocalModel);
    fixture.pause();
    let before = fixture.machine.snapshot().to_bytes();
    for _ in 0..3 {
        fixture.params(&round(1, Task::Sum));
        fixture.pause();
        assert_eq!(last_trouble(&fixture), &TroubleReason::PastRound);
    }
    assert!(last_trouble(&fixture).to_string().contains("behind"));
    assert_eq!(fixture.machine.snapshot().to_bytes(), before);
    assert_eq!((new_rounds(&fixture), fixture.machine.task()), (2, Task::Update));
    // It goes on where it was.
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    fixture.params(&round(2, Task::Update));
    fixture.run_job();
    // The next one is another one.
    fixture.params(&round(3, Task::None));
    fixture.idle();
    assert_eq!(new_rounds(&fixture), 3);
}

#[test]
fn who_is_restored_remembers_the_rounds_before() {
    let mut fixture = Fixture::new();
    for number in 1..=3 {
        fixture.params(&round(number, Task::None));
        fixture.pause();
    }
    let key = SnapshotKey::new([1; 32]);
    let (plain, sealed) =
        (fixture.machine.snapshot().to_bytes(), fixture.machine.snapshot().seal(&key));
    assert_eq!(plain[4..6], 2u16.to_le_bytes());
    for machine in [
        Participant::restore(&plain, Settings::default()).unwrap(),
        Participant::restore_sealed(&sealed, &key, Settings::default()).unwrap(),
    ] {
        let mut restored = Fixture::with(machine);
        for number in [2, 1] {
            restored.params(&round(number, Task::None));
            restored.pause();
            assert_eq!(last_trouble(&restored), &TroubleReason::PastRound);
        }
        restored.params(&round(3, Task::None));
        restored.pause();
        assert_eq!(new_rounds(&restored), 0);
        assert_eq!(restored.machine.snapshot().to_bytes(), plain);
    }
}

/// A replica that is behind has no dictionary of this round, and one that is ahead has none any more.
#[test]
fn a_replica_of_another_round_is_not_asked_at_once_again() {
    let mut fixture = Fixture::new();
    fixture.params(&round(1, Task::Update));
    let tag = round(1, Task::Update).tag();
    let (id, call) = fixture.request();
    assert_eq!(call, Call::SumsOf(tag));
    fixture.input(Input::Response { id, response: Response::new(412, "") }).unwrap();
    assert!(!fixture.pause().is_zero());
    assert!(!fixture.events.iter().any(|event| matches!(event, Event::Trouble(_))));
    fixture.params(&round(1, Task::Update));
    fixture.answer(&Call::Sums, sums());
    assert_eq!(fixture.idle().why, Why::LocalModel);
}

/// Programs of before can still read it.
#[test]
fn in_its_first_round_it_is_saved_as_ever() {
    let mut fixture = Fixture::new();
    fixture.params(&round(1, Task::None));
    assert_eq!(fixture.machine.snapshot().to_bytes()[4..6], 1u16.to_le_bytes());
}

/// A wish is not answered with the type of a round that is over.
#[test]
fn a_wish_for_the_global_model_does_not_go_back_either() {
    let mut fixture = Fixture::new();
    fixture.params(&round(1, Task::None));
    fixture.pause();
    fixture.params(&round(2, Task::None));
    fixture.input(Input::FetchModel).unwrap();
    let (id, call) = fixture.request();
    assert_eq!(call.path_and_query(), "/model");
    fixture.input(Input::FetchModel).unwrap();
    fixture.input(Input::Response { id, response: Response::no_content() }).unwrap();
    fixture.params(&round(1, Task::None));
    let (id, call) = fixture.request();
    assert_eq!(call.path_and_query(), "/model");
    fixture.input(Input::Response { id, response: Response::no_content() }).unwrap();
    fixture.idle();
    let answers = fixture.events.iter().filter(|event| **event == Event::GlobalModel(None));
    assert_eq!(answers.count(), 2);
}

#[test]
fn the_latest_rounds_are_remembered() {
    let mut passed = Passed::default();
    assert!(passed.is_empty() && !passed.has(&round(0, Task::None)));
    (0..20).for_each(|number| passed.add(&round(number, Task::None)));
    let known = (0..25).filter(|number| passed.has(&round(*number, Task::None)));
    assert_eq!(known.collect::<Vec<u8>>(), (4..20).collect::<Vec<u8>>());
}
