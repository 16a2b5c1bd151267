//! Hostile federations in virtual time: see `pet_testing::sim`. That drivers which do something wrong are found is
//! tested there.

use std::time::Duration;

use pet_testing::sim::{run, shrink, Fault, Faults, Report, Scenario};

fn must_run(scenario: &Scenario) -> Report {
    run(scenario).unwrap_or_else(|failure| panic!("{}", shrink(*failure, 100)))
}

#[test]
fn a_federation_survives_everything_that_can_go_wrong() {
    let mut faults = std::collections::BTreeSet::new();
    let mut lies = std::collections::BTreeSet::new();
    let every_lie = pet_testing::sim::lies::Lie::ALL.len();
    for seed in 1..=12 {
        // Some kinds are rare.
        if seed > 4 && (faults.len(), lies.len()) == (Fault::ALL.len(), every_lie) {
            break;
        }
        let report = must_run(&Scenario::small(seed));
        assert!(report.completed >= 2, "{report}");
        faults.extend(report.faults.into_keys());
        lies.extend(report.lies.into_keys());
    }
    assert_eq!(faults.len(), Fault::ALL.len(), "{faults:?}");
    assert_eq!(lies.len(), every_lie, "{lies:?}");
}

#[test]
fn random_mixes_of_faults_change_no_mean() {
    for seed in 100..106 {
        must_run(&Scenario::random(seed));
    }
}

/// Whoever goes back to an older snapshot, and then to a newer one, sends the end of an update whose
/// beginning the coordinator still has. That counts, and the mean is exact. The seeds are such that it
/// happens: the ledger did not know such updates at first.
#[test]
fn an_update_counts_whose_sender_went_back_and_forth_between_snapshots() {
    for seed in [5, 11, 12] {
        let mut scenario = Scenario { splitters: 100, liars: 0, ..Scenario::small(seed) };
        scenario.settings.sum.count.min = 1;
        scenario.settings.sum2.count.min = 1;
        scenario.settings.update.count.min = 10;
        scenario.settings.update.time.max = Duration::from_secs(400);
        scenario.settings.model_length = 40;
        scenario.faults = Faults::of(&[
            (Fault::LoseRequest, 0.05),
            (Fault::CutOff, 0.005),
            (Fault::Crash, 0.06),
            (Fault::OldSnapshot, 1.0),
            (Fault::ServerCrash, 0.04),
            (Fault::SlowStore, 0.05),
        ]);
        must_run(&scenario);
    }
}

#[test]
fn equal_seeds_give_equal_runs_bit_for_bit() {
    let first = must_run(&Scenario::small(9));
    assert_eq!(must_run(&Scenario::small(9)), first);
    assert_ne!(must_run(&Scenario::small(10)).digest, first.digest);
}

#[test]
fn without_faults_no_message_is_rejected_and_no_round_fails() {
    let report = must_run(&Scenario { seed: 2, calm_rounds: 5, ..Scenario::small(2) }.calm());
    assert!(report.completed == 5 && report.failed.is_empty(), "{report}");
    // Whoever comes late is no longer needed.
    assert!(report.rejected.keys().all(|reason| *reason == "wrong_phase"), "{report}");
}
