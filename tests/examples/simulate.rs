//! Simulates a large federation, or many small ones, and says how it went.
//!
//! ```text
//! simulate crowd [PARTICIPANTS]    one run with very many participants (default: 10,000)
//! simulate swarm [RUNS]            many runs with random mixes of faults (default: 200)
//! simulate small                   one run with forty participants, and everything that can go wrong
//! ```
//!
//! `SIM_SEED` is the (first) run's seed, 1 by default: equal seeds give equal runs, bit for bit. A failure is
//! shrunk, and printed with the last that has happened.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Instant;

use pet_core::coordinator::Event;
use pet_testing::sim::{run, run_watched, shrink, Failure, Progress, Scenario};

/// How many runs a failure may cost until it is small.
const TRIES: usize = 200;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_else(|| "small".into());
    let count = args.next().and_then(|count| count.parse().ok());
    let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let outcome = match kind.as_str() {
        "crowd" => one(&Scenario::crowd(seed, count.unwrap_or(10_000))),
        "small" => one(&Scenario::small(seed)),
        "mix" => one(&Scenario::random(seed)),
        "swarm" => swarm(seed, count.unwrap_or(200)),
        other => {
            eprintln!("what is {other:?}? crowd, swarm, mix or small");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let seed = failure.scenario.seed;
            eprintln!("VIOLATION: {}\nshrinking ...", failure.violation);
            eprintln!("{}", shrink(*failure, TRIES));
            let kind = if kind == "swarm" { "mix" } else { &kind };
            eprintln!("to see it again: SIM_SEED={seed} simulate {kind}");
            ExitCode::FAILURE
        }
    }
}

fn one(scenario: &Scenario) -> Result<(), Box<Failure>> {
    let begin = Instant::now();
    let report = run_watched(scenario, &mut |Progress { now, event, report }| {
        let real = begin.elapsed().as_secs_f64();
        let virt = now.as_millis() as f64 / 1000.0;
        match event {
            Event::PhaseEnded { round_id, phase, accepted, .. } => println!(
                "{real:7.1} s  (virtual {virt:7.1} s)  round {round_id}: {phase} ends with {accepted} messages; {} messages so far",
                report.messages
            ),
            Event::RoundCompleted { round_id, models, votes } => println!(
                "{real:7.1} s  (virtual {virt:7.1} s)  round {round_id}: COMPLETE, {models} models, {votes} votes"
            ),
            Event::RoundFailed { round_id, failure, .. } => println!(
                "{real:7.1} s  (virtual {virt:7.1} s)  round {round_id}: failed: {failure}"
            ),
            _ => {}
        }
    })?;
    let real = begin.elapsed().as_secs_f64();
    println!("seed {}, {} participants: {report}", scenario.seed, scenario.participants);
    println!(
        "  {real:.1} s: {:.0} messages and {:.0} happenings a second",
        report.messages as f64 / real,
        report.happenings as f64 / real,
    );
    Ok(())
}

fn swarm(first: u64, runs: u64) -> Result<(), Box<Failure>> {
    let begin = Instant::now();
    let (mut completed, mut outvoted, mut failed, mut faults, mut messages) = (0, 0, 0, 0, 0);
    for seed in first..first + runs {
        let report = run(&Scenario::random(seed))?;
        completed += report.completed;
        outvoted += report.outvoted;
        failed += report.failed.values().sum::<u64>();
        faults += report.faults.values().sum::<u64>();
        messages += report.messages;
        if (seed + 1 - first).is_multiple_of(20) || seed + 1 == first + runs {
            println!(
                "{:7.1} s  {} runs: {completed} rounds with the exact mean, {failed} failed, {outvoted} outvoted; {messages} messages, {faults} faults",
                begin.elapsed().as_secs_f64(),
                seed + 1 - first,
            );
        }
    }
    Ok(())
}
