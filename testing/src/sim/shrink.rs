//! Makes a failure small.

use std::time::Duration;

use super::drivers::{Drivers, NoDrivers};
use super::report::Failure;
use super::scenario::Scenario;
use super::simulation::run_with;

/// Looks for a smaller scenario that breaks the same rule: fewer participants, fewer kinds of faults
/// and lies, fewer faults. Runs at most `tries` scenarios.
pub fn shrink(failure: Failure, tries: usize) -> Failure {
    shrink_with(failure, tries, &NoDrivers)
}

/// Like [`shrink`], for a failure of [`run_with`].
pub fn shrink_with(failure: Failure, tries: usize, drivers: &dyn Drivers) -> Failure {
    let mut search = Search { best: failure, tries, drivers };
    search.fewer_participants();
    search.fewer_kinds();
    search.fewer_faults();
    search.fewer_participants();
    search.best
}

struct Search<'a> {
    best: Failure,
    tries: usize,
    drivers: &'a dyn Drivers,
}

impl Search<'_> {
    /// Whether a changed scenario breaks the same rule: then it is the best one.
    fn keeps(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut scenario = self.best.scenario.clone();
        change(&mut scenario);
        if self.tries == 0 || scenario == self.best.scenario {
            return false;
        }
        self.tries -= 1;
        match run_with(&scenario, self.drivers) {
            Err(failure) if failure.violation.is_like(&self.best.violation) => {
                self.best = *failure;
                true
            }
            _ => false,
        }
    }

    fn fewer_participants(&mut self) {
        for (numerator, denominator) in [(1, 2), (3, 4), (9, 10)] {
            while self.keeps(|scenario| {
                let fewer = scenario.participants * numerator / denominator;
                scenario.participants = fewer.max(1);
            }) {}
        }
        self.keeps(|scenario| scenario.liars = 0);
        self.keeps(|scenario| scenario.splitters = 0);
        self.keeps(|scenario| scenario.settings.model_length = 1);
    }

    fn fewer_kinds(&mut self) {
        let kinds: Vec<_> = self.best.scenario.faults.kinds().map(|(fault, _)| fault).collect();
        for fault in kinds {
            self.keeps(|scenario| scenario.faults = scenario.faults.without(fault));
        }
        for lie in self.best.scenario.lies.clone() {
            self.keeps(|scenario| scenario.lies.retain(|other| *other != lie));
        }
    }

    /// Nothing goes wrong after a moment that is found by bisection, and then nothing before one.
    fn fewer_faults(&mut self) {
        let (mut low, mut high) = (0, self.best.faults);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.keeps(|scenario| scenario.window.end = middle) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        let (mut low, mut high) = (0, self.best.scenario.window.end.min(self.best.faults));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.keeps(|scenario| scenario.window.start = middle) {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        for part in [2, 4] {
            self.keeps(|scenario| {
                let storm = scenario.storm / part;
                scenario.storm = storm.max(Duration::from_secs(1));
            });
        }
    }
}
