//! What is explored in CI, and what takes longer.

// For whoever runs it by hand.
#![allow(clippy::print_stdout)]

use super::*;

const SMALL: Bounds = Bounds { replicas: 2, terms: 2, faults: 1, ends: 1, deaths: 0 };

fn must_hold(bounds: Bounds) -> Report {
    let report = explore(bounds, Seeded::default()).unwrap_or_else(|what| panic!("{what}"));
    println!("{bounds:?}: {report:?}");
    report
}

#[test]
fn whatever_happens_between_two_replicas_each_entry_is_there_once_and_known() {
    let report = must_hold(SMALL);
    assert!(report.states > 1000, "{report:?}");
    must_hold(Bounds { terms: 1, faults: 2, deaths: 1, ..SMALL });
}

#[test]
fn whatever_happens_between_three_replicas_each_entry_is_there_once_and_known() {
    must_hold(Bounds { replicas: 3, terms: 1, ..SMALL });
}

/// `make explore`.
#[test]
#[ignore = "takes minutes: make explore"]
fn all_that_can_happen_in_more_steps() {
    must_hold(Bounds { faults: 2, ends: 2, ..SMALL });
    must_hold(Bounds { ends: 2, deaths: 1, ..SMALL });
    must_hold(Bounds { replicas: 3, terms: 1, faults: 2, ends: 2, deaths: 1 });
}

#[test]
fn what_a_replica_can_get_wrong_is_found() {
    for slip in [Slip::TakesItForDone, Slip::TakesItForNotDone, Slip::DoesItAgain] {
        let found = explore(SMALL, Seeded { slip: Some(slip), bug: None });
        let what = found.expect_err("a slip is found");
        println!("{slip:?}: {}", what.lines().next().unwrap_or_default());
    }
}

/// The others have to do with parts, with what is given up, forgotten or too much, or with time.
#[test]
fn what_an_engine_can_get_wrong_is_found() {
    for bug in [
        Bug::NoFence,
        Bug::NoPredecessor,
        Bug::AnswersWithoutEntries,
        Bug::SharedLease,
        Bug::LetterTwice,
        Bug::AnswersForAll,
    ] {
        let found = explore(SMALL, Seeded { bug: Some(bug), slip: None });
        let what = found.expect_err("a bug is found");
        println!("{bug:?}: {}", what.lines().next().unwrap_or_default());
    }
}
