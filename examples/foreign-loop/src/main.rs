//! `foreign-loop [URL] [PARTICIPANTS]`: takes part until there is a global model.
#![allow(clippy::print_stdout, reason = "an example prints")]

use foreign_loop::{Error, Loop};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8081".into());
    let participants = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(100);
    let done = Loop::new(&url, participants)?.run()?;
    println!("{participants} participants in one thread have a global model: {:?}", done.model);
    println!("{} requests in {} rounds of theirs", done.requests, done.rounds);
    Ok(())
}
