//! The plans that are explored regularly.

use super::cast::Plan;

/// What CI explores in well under a minute.
pub fn small() -> Vec<(&'static str, Plan)> {
    let one = Plan::default();
    vec![
        ("nothing goes wrong", one.clone()),
        ("a loss and a duplicate", Plan { losses: 1, duplicates: 1, ..one.clone() }),
        (
            "slow store, coordinator crash",
            Plan { slow_store: true, server_crashes: 1, ..one.clone() },
        ),
        ("participant crash", Plan { client_crashes: 1, min_time: true, ..one.clone() }),
        ("late opening, duplicate", Plan { slow: 1, duplicates: 1, ..one.clone() }),
        ("two sum participants", Plan { summers: 2, summers_needed: 1, ..one.clone() }),
    ]
}

/// What takes minutes.
pub fn large() -> Vec<(&'static str, Plan)> {
    let one = Plan::default();
    let two = Plan { summers: 2, summers_needed: 2, ..one.clone() };
    let faults = Plan {
        losses: 1,
        duplicates: 1,
        slow: 1,
        server_crashes: 1,
        client_crashes: 1,
        ..one.clone()
    };
    vec![
        ("one of each fault", faults.clone()),
        ("one of each fault, slow store", Plan { slow_store: true, ..faults.clone() }),
        ("two of each loss and duplicate", Plan { losses: 2, duplicates: 2, ..one.clone() }),
        (
            "two coordinator crashes, slow store",
            Plan { server_crashes: 2, slow_store: true, min_time: true, ..one.clone() },
        ),
        ("two participant crashes", Plan { client_crashes: 2, losses: 1, ..one.clone() }),
        (
            "two sum participants, a loss, a duplicate",
            Plan { losses: 1, duplicates: 1, ..two.clone() },
        ),
        (
            "two sum participants, coordinator crash",
            Plan { server_crashes: 1, slow_store: true, ..two.clone() },
        ),
        ("two sum participants, participant crash", Plan { client_crashes: 1, ..two.clone() }),
        ("two rounds", Plan { rounds: 2, ..one.clone() }),
        ("two rounds, a duplicate", Plan { rounds: 2, duplicates: 1, ..one.clone() }),
        (
            "two rounds, a crash on each side",
            Plan { rounds: 2, server_crashes: 1, client_crashes: 1, ..one },
        ),
    ]
}
