//! All that can happen in small federations: see [`pet_tests::explore`]. `make explore` has larger ones.

use pet_tests::explore::{explore, plans, End, Plan};

#[test]
fn nothing_that_can_happen_is_wrong_and_rounds_can_end_in_every_way() {
    for (name, plan) in plans::small() {
        let report = explore(&plan).unwrap_or_else(|violation| panic!("{name}: {violation}"));
        let ends: Vec<_> = report.ends.keys().copied().collect();
        let failures = ["sum", "sum2", "update"].map(End::TooFewMessages);
        assert_eq!(ends, [&[End::Model], &failures[..]].concat(), "{name}");
    }
}

/// Equal plans give equal explorations: no order of a map, no clock and no chance has a say.
#[test]
fn an_exploration_can_be_repeated() {
    let plan = Plan { server_crashes: 1, ..Plan::default() };
    let [first, second] = [explore(&plan), explore(&plan)].map(|report| format!("{report:?}"));
    assert_eq!(first, second);
}

/// A store that lies loses acknowledged messages when the coordinator crashes. The trace is a shortest one.
#[test]
fn a_lying_store_is_found_out() {
    let plan = Plan { server_crashes: 1, slow_store: true, lying_store: true, ..Plan::default() };
    let violation = explore(&plan).expect_err("an acknowledged message is lost");
    assert_eq!(violation.what, "an acknowledged sum message is forgotten");
    let [.., arrives, stored, crash] = violation.trace.as_slice() else {
        panic!("{violation}");
    };
    assert!(arrives.contains("arrives"), "{violation}");
    assert!(stored.contains("Stored") && crash.contains("Crash"), "{violation}");
    // The participant looks twice before it sends.
    assert_eq!(violation.trace.len(), 5, "{violation}");
}

/// Where time does not pass, a round with too few participants never ends.
#[test]
fn a_standstill_is_found() {
    let plan = Plan { updaters: 2, timeouts: false, ..Plan::default() };
    let violation = explore(&plan).expect_err("the third update never comes");
    assert!(violation.what.contains("no round can end"), "{violation}");
    let plan = Plan { updaters: 2, ..Plan::default() };
    let ends = explore(&plan).unwrap_or_else(|violation| panic!("{violation}")).ends;
    assert!(!ends.contains_key(&End::Model) && ends.contains_key(&End::TooFewMessages("update")));
}
