//! What colluders run in `make demo-v2`, with the public API of the library and over HTTP, as anybody could:
//!
//! - `lie URL ROSTER DIR SEEDS [GROUP.MEMBER=STATE...]`: a member that lies, and has the states of other members who are in
//!   league with it (see [`lying`]);
//! - `unmask URL ROUND UPDATER SEEDS GROUP...`: what is left of an updater's masked model once the streams of these groups
//!   are taken off (see [`unmask`]);
//! - `version-1 WEIGHT...`: the same model in version 1, for comparison (see [`version_1`]).
//!
//! A failure is told on standard error, with status 1.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it answers whoever has started it")]

mod forge;
mod http;
mod lying;
mod seeds;
mod unmask;
mod version_1;

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use pet_core::v2::MemberId;

/// Why something cannot be done: for people.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
        ["lie", url, roster, directory, seeds, states @ ..] => {
            lying::run(url, roster, Path::new(directory), Path::new(seeds), states)
        }
        ["unmask", url, round, updater, seeds, groups @ ..] => {
            unmask::run(url, round, updater, Path::new(seeds), groups)
        }
        ["version-1", weights @ ..] => version_1::run(weights),
        _ => Err("usage: sealed_groups lie|unmask|version-1 ...: see its source".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a member's place, such as `1.0`.
fn place(text: &str) -> Result<MemberId, Failure> {
    let (group, index) = text.split_once('.').ok_or("a member is GROUP.MEMBER")?;
    Ok(MemberId::new(group.parse()?, index.parse()?))
}

/// Prints numbers behind their name, in one line.
fn print<T: ToString>(name: &str, numbers: impl IntoIterator<Item = T>) {
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    println!("{name} {}", numbers.join(" "));
}
