//! Makes a failure small.

use std::time::Duration;

use super::scenario::Scenario;
use super::world::{run, Failure};

/// Looks for a smaller scenario that breaks the same rule: nobody who lies or cheats, no faults of one kind, fewer
/// participants, a shorter storm. Runs at most `tries` scenarios.
#[must_use]
pub fn shrink(failure: Failure, tries: usize) -> Failure {
    let mut search = Search { best: failure, tries };
    let mut before = None;
    while before.as_ref() != Some(&search.best.scenario) {
        before = Some(search.best.scenario.clone());
        search.keeps(|s| s.server_crashes = false);
        search.keeps(|s| s.crashes = Duration::ZERO);
        search.keeps(|s| s.splits = 0.0);
        search.keeps(|s| s.loss = 0.0);
        search.keeps(|s| s.doubled = 0.0);
        search.keeps(|s| s.liars.clear());
        search.keeps(|s| s.liars.truncate(s.liars.len().saturating_sub(1)));
        search.keeps(|s| s.cheats.clear());
        search.keeps(|s| s.cheats.truncate(s.cheats.len().saturating_sub(1)));
        search.keeps(|s| s.length = 1);
        search.keeps(|s| s.updaters = s.updaters.saturating_sub(1).max(3));
        search.keeps(|s| {
            if s.liars.is_empty() {
                s.groups = s.groups.saturating_sub(1).max(1);
            }
        });
        search.keeps(|s| s.storm /= 2);
    }
    search.best
}

struct Search {
    best: Failure,
    tries: usize,
}

impl Search {
    /// A changed scenario that breaks the same rule is the best one.
    fn keeps(&mut self, change: impl FnOnce(&mut Scenario)) {
        let mut scenario = self.best.scenario.clone();
        change(&mut scenario);
        if self.tries == 0 || scenario == self.best.scenario {
            return;
        }
        self.tries -= 1;
        if let Err(failure) = run(&scenario) {
            if failure.violation.is_like(&self.best.violation) {
                self.best = *failure;
            }
        }
    }
}
