//! Processes are killed at random points of many rounds, with participants at work: one with a directory of its own, and three that
//! share an engine, which is tortured as well. Nothing that was acknowledged is lost, and nothing counts twice.
//!
//! Every update participant has a weight of its own that is 1 in its model and 0 in all others: a global
//! model tells whose updates are in it, and how often.
//!
//! `TORTURE_SEED` says when what happens. `TORTURE_KILLS` says how often the one is killed, `TORTURE_SECONDS` how long the three are
//! tortured; `PET_COORDINATOR` names another program than the one that was built with this test.

mod alone;
mod books;
mod crowd;
mod random;
#[cfg(feature = "postgres")]
mod shared;

use std::time::Duration;

/// Nothing takes as long; what does is stuck.
const DEADLINE: Duration = Duration::from_secs(240);
const SECRET: &str = "a secret of the torture test";

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Seen with `--nocapture`, and if the test fails.
fn report(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
