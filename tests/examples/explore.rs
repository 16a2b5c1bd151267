//! Explores small federations: `cargo run --release -p pet-tests --example explore` (`make explore`). With a
//! word, only the plans whose names contain it.

#![allow(clippy::print_stdout, reason = "it is a report")]

use std::time::Instant;

use pet_tests::explore::{explore, plans};

fn main() -> Result<(), String> {
    let word = std::env::args().nth(1).unwrap_or_default();
    let plans = plans::small().into_iter().chain(plans::large());
    let (mut states, mut steps, begin) = (0, 0, Instant::now());
    for (name, plan) in plans.filter(|(name, _)| name.contains(&word)) {
        let begin = Instant::now();
        println!("{name}: {plan:?}");
        let report = explore(&plan).map_err(|violation| format!("{name}: {violation}"))?;
        println!("  {report:?}, {:.1} s", begin.elapsed().as_secs_f64());
        states += report.states;
        steps += report.steps;
    }
    println!("{states} states, {steps} steps, {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}
