//! Makes a failure small.

use super::{run, schedule::Scenario, Failure};

/// Leaves out of a scenario what it does not take to fail, in at most so many runs.
pub fn shrink(mut failure: Box<Failure>, tries: usize) -> Box<Failure> {
    let mut left = tries;
    loop {
        let smaller = candidates(&failure.scenario).into_iter().find_map(|scenario| {
            left = left.checked_sub(1)?;
            run(&scenario).err()
        });
        match smaller {
            Some(smaller) => failure = smaller,
            None => return failure,
        }
    }
}

/// Scenarios that are smaller by one thing.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut smaller: Vec<_> = (0..scenario.happenings.len())
        .map(|index| {
            let mut scenario = scenario.clone();
            scenario.happenings.remove(index);
            scenario
        })
        .collect();
    if scenario.losses > 0 {
        smaller.push(Scenario { losses: 0, ..scenario.clone() });
    }
    smaller
}
