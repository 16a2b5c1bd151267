//! Jobs that nobody finishes.

use std::time::Duration;

use super::fixture::{quick, Fixture, TIME};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::crypto::Task;
use crate::job::{JobKind, MAX_LOSSES};
use crate::message::Tag;

/// Drops the only job, as often as given; nobody says so.
fn lose(fixture: &mut Fixture, kind: JobKind, times: u32) {
    for _ in 0..times {
        // The jobs that free memory may be dropped as well.
        fixture.jobs.retain(|job| job.kind() != JobKind::FreeMemory);
        assert_eq!(fixture.jobs.len(), 1, "{kind}");
        let job = fixture.jobs.remove(0);
        assert_eq!(job.kind(), kind);
        drop(job);
        fixture.drain();
    }
}

fn finish(fixture: &mut Fixture) {
    fixture.working = true;
    for job in std::mem::take(&mut fixture.jobs) {
        fixture.input(Input::JobDone(job.finish())).unwrap();
    }
}

/// With an update that is being added.
fn aggregating() -> (Fixture, Vec<Sender>) {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    fixture.working = false;
    let updaters = fixture.with_task(Task::Update, 3);
    for updater in &updaters {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
    }
    (fixture, updaters)
}

/// With a mask that is being taken off.
fn unmasking() -> Fixture {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let updaters = fixture.update(1.0);
    fixture.working = false;
    assert_eq!(fixture.send(summers[0].sum2(&mask_of(&updaters))), Some(Ok(())));
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Unmask);
    fixture
}

/// With a message that is being put together; gives its sender and last part.
fn assembling() -> (Fixture, Vec<u8>) {
    let mut fixture = Fixture::new(quick());
    fixture.sum(1);
    let sums = fixture.sums();
    fixture.working = false;
    let updater = fixture.with_task(Task::Update, 1).remove(0);
    for part in 0..2 {
        assert_eq!(fixture.send(updater.chunk_of_update(&sums, part)), Some(Ok(())));
    }
    assert_eq!(fixture.send(updater.chunk_of_update(&sums, 2)), None);
    let last = updater.chunk_of_update(&sums, 2);
    (fixture, last)
}

#[test]
fn updates_whose_job_is_lost_are_added_again() {
    let (mut fixture, updaters) = aggregating();
    let idle = fixture.idle.unwrap();
    assert_eq!(idle.why, Why::Messages(Phase::Update));
    // Long before the phase's end: all senders wait for this job, and nobody else may call.
    assert!(idle.wake_at.unwrap() <= fixture.now + Duration::from_secs(10));
    lose(&mut fixture, JobKind::Aggregate, MAX_LOSSES - 1);
    finish(&mut fixture);
    assert_eq!(fixture.machine.accepted(), updaters.len() as u64);
    assert_eq!(fixture.replies.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 4);
    fixture.wait(TIME);
    assert_eq!(fixture.machine.phase(), Phase::Sum2);
}

/// What is being added counts only once there is a record of it: who would be one too many is told to come again.
#[test]
fn nobody_is_turned_away_for_good_because_of_updates_that_are_not_recorded() {
    let mut settings = quick();
    settings.update.count.max = settings.update.count.min;
    let mut fixture = Fixture::new(settings);
    fixture.sum(1);
    let sums = fixture.sums();
    fixture.working = false;
    let updaters = fixture.with_task(Task::Update, 4);
    for updater in &updaters[..3] {
        assert_eq!(fixture.send(updater.update(&sums, 1.0)), None);
    }
    let message = updaters[3].update(&sums, 1.0);
    let later = Rejection::ShardFull;
    assert_eq!(later.problem(1).status, 503);
    assert_eq!(fixture.send(message.clone()), Some(Err(later)));
    assert_eq!(fixture.machine.accepted(), 0);
    finish(&mut fixture);
    assert_eq!(fixture.machine.accepted(), 3);
    let full = Rejection::Full(Phase::Update);
    assert_eq!(fixture.send(message), Some(Err(full)));
}

/// A phase that ends leaves nothing behind of the jobs that it was not to wait for.
#[test]
fn jobs_that_are_no_longer_waited_for_are_not_watched() {
    let (mut fixture, _) = aggregating();
    assert_eq!(fixture.machine.under_way.watched(), 1);
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.machine.under_way.watched(), 0);
}

/// A job that panics each time must not keep the machine busy for ever.
#[test]
fn a_round_whose_updates_cannot_be_added_fails_and_says_why() {
    let (mut fixture, _) = aggregating();
    lose(&mut fixture, JobKind::Aggregate, MAX_LOSSES);
    let failure = RoundFailure::JobLost { job: JobKind::Aggregate, times: MAX_LOSSES };
    assert_eq!(failure.label(), "job_lost");
    assert!(RoundFailure::LABELS.contains(&failure.label()));
    assert_eq!(fixture.failures(), [failure]);
    let late = Rejection::WrongPhase { tag: Tag::Update, phase: Phase::Failure };
    assert_eq!(fixture.replies.iter().filter(|(_, told)| *told == Err(late.clone())).count(), 3);
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
    // The next one goes its way.
    fixture.working = true;
    fixture.sum(1);
}

#[test]
fn a_mask_whose_job_is_lost_is_taken_off_again() {
    let mut fixture = unmasking();
    let idle = fixture.idle.unwrap();
    assert_eq!(idle.why, Why::Job);
    assert!(idle.wake_at.is_some(), "it looks whether the job was lost");
    lose(&mut fixture, JobKind::Unmask, 1);
    assert_eq!(fixture.idle.unwrap().why, Why::LostJob);
    lose(&mut fixture, JobKind::Unmask, MAX_LOSSES - 2);
    finish(&mut fixture);
    assert_eq!(fixture.front.model().unwrap().models, 3);
}

#[test]
fn a_round_whose_mask_cannot_be_taken_off_fails_and_says_why() {
    let mut fixture = unmasking();
    lose(&mut fixture, JobKind::Unmask, MAX_LOSSES);
    let failure = RoundFailure::JobLost { job: JobKind::Unmask, times: MAX_LOSSES };
    assert!(failure.to_string().contains("lost 5 times"), "{failure}");
    assert_eq!(fixture.failures(), [failure]);
    assert!(fixture.front.model().is_none());
    assert_eq!((fixture.machine.round_id(), fixture.machine.phase()), (2, Phase::Sum));
}

#[test]
fn a_message_whose_job_is_lost_is_put_together_again() {
    let (mut fixture, _) = assembling();
    lose(&mut fixture, JobKind::Assemble, MAX_LOSSES - 1);
    finish(&mut fixture);
    assert_eq!(fixture.machine.accepted(), 1);
}

/// Its sender is told; nobody else has anything to do with it.
#[test]
fn a_message_that_cannot_be_put_together_is_rejected() {
    let (mut fixture, last) = assembling();
    lose(&mut fixture, JobKind::Assemble, MAX_LOSSES);
    let (_, outcome) = fixture.replies.last().unwrap();
    assert_eq!(*outcome, Err(Rejection::NotProcessed));
    assert_eq!(fixture.failures(), []);
    assert_eq!(fixture.machine.incomplete_bytes(), 0);
    // Its parts are gone: the last of them alone makes no message.
    assert_ne!(fixture.send(last), None);
    assert!(fixture.jobs.iter().all(|job| job.kind() != JobKind::Assemble));
}

/// What a phase does not wait for any more is nothing to lose.
#[test]
fn a_lost_job_of_an_earlier_phase_changes_nothing() {
    let (mut fixture, _) = aggregating();
    let job = fixture.jobs.remove(0);
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.machine.round_id(), 2);
    let before = fixture.machine.snapshot().to_bytes();
    drop(job);
    fixture.drain();
    assert_eq!(fixture.machine.snapshot().to_bytes(), before);
    assert!(fixture.jobs.iter().all(|job| job.kind() == JobKind::FreeMemory));
}
