//! Machines that go on from a snapshot, or as a fork.

use std::time::Duration;

use super::fixture::{quick, Fixture, TIME};
use super::sender::mask_of;
use crate::coordinator::phases::Stage;
use crate::coordinator::snapshot::Saved;
use crate::coordinator::*;
use crate::crypto::Task;
use crate::job::JobId;
use crate::model::Model;
use crate::time::Timestamp;

#[test]
fn a_restored_machine_keeps_phase_clock_and_model() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let updaters = fixture.update(1.0);
    fixture.send(summers[0].sum2(&mask_of(&updaters))).unwrap().unwrap();
    fixture.wait(TIME);
    let model = fixture.front.model().cloned();
    fixture.wait(Duration::from_secs(50));
    let saved = fixture.machine.snapshot().to_bytes();
    // Twice, with an epoch that begins anew each time.
    for _ in 0..2 {
        let mut restored = Fixture::restore(&saved, Timestamp::ZERO);
        assert_eq!(restored.parameters(), fixture.parameters());
        assert_eq!(restored.front.model().cloned(), model);
        assert_eq!((restored.machine.round_id(), restored.machine.phase()), (2, Phase::Sum));
        assert_eq!(restored.machine.elapsed(), Duration::from_secs(50));
        restored.wait(Duration::from_secs(10));
        assert_eq!(restored.failures().len(), 1);
    }
    let wrong = Coordinator::restore(b"PETp", quick(), Timestamp::ZERO);
    assert!(matches!(wrong.err(), Some(RestoreError::Snapshot(_))));
}

/// A restored machine goes on in any phase, and not at all with what does not fit together.
#[test]
fn what_is_restored_is_gone_on_with_if_it_is_sound() {
    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    let sums = fixture.sums();
    let updaters = fixture.with_task(Task::Update, 3);
    fixture.send(updaters[0].update(&sums, 1.0)).unwrap().unwrap();
    let saved = fixture.machine.snapshot().to_bytes();
    let in_update = Fixture::restore(&saved, fixture.now);
    assert_eq!((in_update.machine.round_id(), in_update.machine.accepted()), (1, 1));

    // With another number of models than of seeds, it is none either.
    for (length, models, round_id) in [(4, 1, 1), (5, 1, 2), (4, 2, 2)] {
        let mut damaged = Saved::from_bytes(&saved).unwrap();
        let Stage::Update(update) = &mut damaged.stage else {
            panic!("it was in the update phase");
        };
        update.damage(length, models);
        let damaged = Fixture::restore(&Snapshot::new(damaged).to_bytes(), fixture.now);
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
    let unmasking = Fixture::restore(&fixture.machine.snapshot().to_bytes(), fixture.now);
    let model = unmasking.front.model().expect("the job was given out again");
    assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.25; 4])));
    assert_eq!(unmasking.machine.round_id(), 2);
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
