//! What an operator may do to rounds.

use std::time::Duration;

use super::fixture::{quick, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::crypto::Task;
use crate::request::Call;

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
    assert_eq!(fixture.front.model().unwrap().round_id, 1);
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
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 204);
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
