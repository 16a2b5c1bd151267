//! Phases follow each other, by time and by count.

use crate::mask::DataType;
use std::time::Duration;

use super::fixture::{quick, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::*;
use crate::crypto::Task;
use crate::message::Tag;
use crate::model::Model;
use crate::request::Call;
use crate::time::Timestamp;

#[test]
fn a_round_goes_through_all_phases() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(2);
    let updaters = fixture.update(1.0);
    let mask = mask_of(&updaters);
    for summer in &summers {
        assert_eq!(fixture.send(summer.sum2(&mask)), Some(Ok(())));
    }
    assert_eq!(fixture.front.answer(&Call::Model(DataType::F32)).unwrap().status, 204);
    fixture.wait(TIME);
    let model = fixture.front.model().unwrap();
    assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.25; 4])));
    assert_eq!((model.round_id, model.models), (1, 3));
    let completed = Event::RoundCompleted { round_id: 1, models: 3, votes: 2 };
    assert!(fixture.events.contains(&completed));
    // The next one, with other keys; the dictionaries are gone, the model is not.
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    assert_ne!(fixture.parameters(), summers[0].parameters);
    for call in [Call::Sums, Call::Seeds(summers[0].keys.public())] {
        assert_eq!(fixture.front.answer(&call).unwrap().status, 204);
    }
    assert_eq!(fixture.front.answer(&Call::Model(DataType::F32)).unwrap().status, 200);
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
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 200);
    // Nobody updates.
    fixture.wait(Duration::from_secs(60));
    let failure = RoundFailure::TooFewMessages { phase: Phase::Update, accepted: 0, needed: 3 };
    assert_eq!(fixture.failures(), [failure]);
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    assert_eq!(fixture.front.answer(&Call::Sums).unwrap().status, 204);
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
    assert!(fixture.front.model().is_some());
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

/// Updates that are still being aggregated at the end of the time are not waited for if even they cannot
/// make the round.
#[test]
fn too_few_updates_are_not_waited_for() {
    let mut settings = quick();
    settings.update.count = CountRange { min: 3, max: 5 };
    let most = settings.update.time.max;
    let mut fixture = Fixture::new(settings);
    fixture.sum(1);
    let sums = fixture.sums();
    fixture.working = false;
    for updater in fixture.with_task(Task::Update, 2) {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
    }
    fixture.wait(most);
    let failure = RoundFailure::TooFewMessages { phase: Phase::Update, accepted: 0, needed: 3 };
    assert_eq!(fixture.failures(), [failure]);
    assert!(fixture.replies.iter().rev().take(2).all(|(_, reply)| reply.is_err()));
}

/// A failure whose record was not stored is recorded again; one that was is not.
#[test]
fn a_failure_is_recorded_once() {
    let settings = quick();
    let most = settings.sum.time.max;
    let mut fixture = Fixture::new(settings.clone());
    fixture.storing = false;
    fixture.wait(most);
    assert_eq!((fixture.machine.phase(), fixture.machine.round_id()), (Phase::Failure, 1));

    let failed = |record: &Record| matches!(record, Record::RoundFailed { round_id: 1 });
    let restored = Fixture::restore(&fixture.machine.snapshot().to_bytes(), fixture.now);
    assert_eq!(restored.records.iter().filter(|record| failed(record)).count(), 1);
    assert_eq!((restored.machine.phase(), restored.machine.round_id()), (Phase::Sum, 2));

    let recovery = fixture.recovery.unwrap();
    let resumed = Fixture::resume(recovery, Duration::ZERO, settings);
    assert!(!resumed.records.iter().any(failed), "{:?}", resumed.records);
    assert_eq!((resumed.machine.phase(), resumed.machine.round_id()), (Phase::Sum, 2));
}
