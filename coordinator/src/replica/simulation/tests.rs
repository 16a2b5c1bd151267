//! What runs in CI; and long runs by hand.

// For whoever runs it by hand.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use pet_ledger::memory::Bug;

use super::{schedule::Style, shrink::shrink, *};

/// How many runs a failure may cost until it is small.
const TRIES: usize = 60;

fn must_run(scenario: &Scenario) -> Report {
    run(scenario).unwrap_or_else(|failure| panic!("{}", shrink(failure, TRIES)))
}

#[test]
fn without_faults_rounds_are_completed() {
    for seed in 1..=3 {
        let report = must_run(&Scenario::calm(seed));
        assert!(report.completed >= 3 && report.epochs == 2, "seed {seed}: {report:?}");
        // Where any has failed, chance had given the tasks to too few.
        assert_eq!(report.failed, report.unlucky, "seed {seed}: {report:?}");
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let first = must_run(&Scenario::random(9));
    assert_eq!(must_run(&Scenario::random(9)), first);
    assert_ne!(must_run(&Scenario::random(10)).log, first.log);
}

#[test]
fn whatever_goes_wrong_what_was_acknowledged_counts_once() {
    let mut tally = Tally::default();
    for (seed, style) in [
        (1, Style::Behind),
        (1, Style::Mixed),
        (2, Style::SlowKills),
        (3, Style::Lossy),
        (4, Style::Lossy),
        (5, Style::Kills),
        (6, Style::Zombies),
        (7, Style::Replaced),
        (8, Style::Each),
        (9, Style::Each),
    ] {
        tally.add(&must_run(&Scenario::of(style, seed)).tally);
    }
    // (Where a change has moved what happens, other seeds have it.)
    assert_eq!(tally.missing(), [], "what does not happen is not tested: {tally:?}");
}

/// `make swarm-replicas`: as many runs as `SIM_RUNS` says, from the seed `SIM_SEED` on.
#[test]
#[ignore = "takes minutes: make swarm-replicas"]
fn swarm() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (first, runs) = (number("SIM_SEED").unwrap_or(1), number("SIM_RUNS").unwrap_or(100));
    let began = Instant::now();
    let (mut completed, mut failed, mut messages, mut epochs) = (0, 0, 0, 0);
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for seed in first..first + runs {
        match run(&Scenario::random(seed)) {
            Ok(report) => {
                completed += report.completed;
                failed += report.failed;
                messages += report.messages;
                epochs += report.epochs;
                tally.add(&report.tally);
            }
            Err(failure) => {
                println!("seed {seed}: {}", failure.violation);
                failures.push(failure);
            }
        }
        if (seed + 1 - first).is_multiple_of(100) || seed + 1 == first + runs {
            println!(
                "{:6.1} s  {} runs: {completed} rounds with the exact mean, {failed} failed; {messages} messages, {epochs} \
                 leaderships; {} violations",
                began.elapsed().as_secs_f64(),
                seed + 1 - first,
                failures.len(),
            );
        }
    }
    println!("{tally:?}");
    assert!(runs < 100 || tally.missing().is_empty(), "never: {:?}", tally.missing());
    if let Some(failure) = failures.into_iter().next() {
        panic!("{}", shrink(failure, TRIES));
    }
}

/// Which of the first ten runs of each style find the bugs that take some luck.
#[test]
#[ignore = "for whoever changes the styles"]
fn what_finds_rare_bugs() {
    let styles = [
        Style::Replaced,
        Style::Behind,
        Style::SlowKills,
        Style::Kills,
        Style::Lossy,
        Style::Mixed,
    ];
    let counts_before = |scenario: &mut Scenario| {
        (scenario.flaw, scenario.relays) = (Some(Flaw::CountsBeforeAggregate), false);
    };
    let answers_without = |scenario: &mut Scenario| scenario.bug = Some(Bug::AnswersWithoutEntries);
    for style in styles {
        let found = [&counts_before as &dyn Fn(&mut Scenario), &answers_without].map(|seeded| {
            let finds = |seed: &u64| {
                let mut scenario = Scenario::of(style, *seed);
                seeded(&mut scenario);
                run(&scenario).is_err()
            };
            (1..=10).filter(finds).collect::<Vec<_>>()
        });
        println!("{style:?}: CountsBeforeAggregate, AnswersWithoutEntries: {found:?}");
    }
}

/// In which run a bug is found, of so many from a seed on, and how.
fn found(style: Style, most: u64, seeded: impl Fn(&mut Scenario)) -> Option<(u64, String)> {
    (1..=most).find_map(|seed| {
        let mut scenario = Scenario::of(style, seed);
        seeded(&mut scenario);
        Some((seed, run(&scenario).err()?.violation))
    })
}

/// Each bug is found in one of so many runs, in which happens what it takes.
const RUNS: u64 = 10;

/// All are found, each in its style.
fn must_find<B: std::fmt::Debug + Copy>(
    bugs: impl IntoIterator<Item = (B, Style)>,
    seeded: impl Fn(&mut Scenario, B),
) {
    let mut missed = Vec::new();
    for (bug, style) in bugs {
        match found(style, RUNS, |scenario| seeded(scenario, bug)) {
            Some((seed, violation)) => println!("{bug:?}: run {seed}: {violation}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "{missed:?} were not found in {RUNS} runs");
}

#[test]
fn every_bug_of_a_replica_is_found() {
    let bugs = [
        (Flaw::AcknowledgesBefore, Style::SlowKills),
        (Flaw::RejectsBefore, Style::SlowKills),
        (Flaw::LeadsOn, Style::Zombies),
        (Flaw::RejectsUnread, Style::Behind),
        (Flaw::GoesBack, Style::Mixed),
        (Flaw::ShowsOldModel, Style::Mixed),
        (Flaw::LeadsFromBefore, Style::Behind),
        (Flaw::RemovesTooEarly, Style::SlowKills),
        (Flaw::CountsBeforeAggregate, Style::Replaced),
        (Flaw::ClockBeginsAnew, Style::Kills),
        (Flaw::AppendsAgain, Style::Lossy),
    ];
    must_find(bugs, |scenario, flaw| {
        scenario.flaw = Some(flaw);
        if flaw == Flaw::ClockBeginsAnew {
            *scenario = scenario.clone().with_churn();
        }
        // They are about messages that come in where the machine is.
        if matches!(flaw, Flaw::RejectsBefore | Flaw::CountsBeforeAggregate) {
            scenario.relays = false;
        }
    });
}

/// The others do no harm to replicas as they are: the suite of the ledgers finds these.
#[test]
fn bugs_of_the_engine_are_found() {
    let bugs = [
        (Bug::NoFence, Style::Behind),
        (Bug::NoPredecessor, Style::Lossy),
        (Bug::AnswersWithoutEntries, Style::Replaced),
        (Bug::RenewalChangesHands, Style::Mixed),
        (Bug::LeaseForEver, Style::Mixed),
        (Bug::SharedLease, Style::Mixed),
        (Bug::ForgetsOneMore, Style::Kills),
        (Bug::ElapsedStands, Style::Kills),
    ];
    must_find(bugs, |scenario, bug| {
        scenario.bug = Some(bug);
        if bug == Bug::ElapsedStands {
            *scenario = scenario.clone().with_churn();
        }
    });
}
