//! Benchmarks of every step of masking: ours, the published `xaynet-core` 0.2.0, and what the machine could do at
//! best, measured in the same run.
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml -- [--quick] [--json FILE] [words of the rows wanted...]
//! ```
//!
//! Criterion measures; the table is made of the medians that it estimates. How each number is taken is said where it
//! is taken: [`limits`] for the machine, [`ours`] and (version 2) [`groups`] for one thread, [`jobs`] for all cores, [`old`]
//! for the old crate, [`memory`] for memory, [`v2`] for what is checked in version 2, [`rounds`] for whole
//! rounds, [`updater`] for an updater's whole job.

mod groups;
mod jobs;
mod limits;
mod machine;
mod memory;
mod old;
mod ours;
mod report;
mod rounds;
mod runner;
mod updater;
mod v2;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runner::{Effort, Runner};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const USAGE: &str = "usage: pet-bench [--quick] [--json FILE] [words of the rows wanted...]";

fn main() -> ExitCode {
    let mut effort = Effort::Full;
    let mut json = None;
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => effort = Effort::Quick,
            "--json" => match arguments.next() {
                Some(file) => json = Some(PathBuf::from(file)),
                None => return fail("--json needs a file"),
            },
            "-h" | "--help" => {
                tell(USAGE);
                return ExitCode::SUCCESS;
            }
            option if option.starts_with('-') => {
                return fail(&format!("unknown: {option}\n{USAGE}"))
            }
            _ => words.push(argument),
        }
    }

    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = package.parent().unwrap_or(package).join("target/bench");
    let mut runner = match Runner::new(&target.join("criterion"), effort, words) {
        Ok(runner) => runner,
        Err(error) => return fail(&format!("{}: {error}", target.display())),
    };
    limits::measure(&mut runner);
    ours::measure(&mut runner);
    groups::measure(&mut runner);
    jobs::measure(&mut runner);
    old::measure(&mut runner);
    v2::measure(&mut runner);
    rounds::measure(&mut runner);
    updater::measure(&mut runner);

    let report = report::Report::new(runner, machine::describe());
    tell(&report.table());
    let json = json.unwrap_or_else(|| target.join("masking.json"));
    match report.write(&json) {
        Ok(()) => {
            tell(&format!("\nwritten to {}", json.display()));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("{}: {error}", json.display())),
    }
}

/// Prints, to whoever still reads it.
fn tell(text: &str) {
    let _ = writeln!(io::stdout(), "{}", text.trim_end_matches('\n'));
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{message}");
    ExitCode::FAILURE
}
