//! The trace of a simulation: a digest of everything, and the latest lines in words.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use pet_core::crypto::{Blake2b, Digest};
use pet_core::time::Timestamp;

/// How many lines are kept.
const MOST_LINES: usize = 4000;

/// A log that is hashed as it is written.
#[derive(Default)]
pub struct Trace {
    hash: Blake2b,
    lines: VecDeque<String>,
    routine: String,
    count: u64,
}

/// Shows how long it is.
impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} lines)", self.count)
    }
}

impl Trace {
    /// Adds a line that says little: it is hashed, and not kept.
    pub fn routine(&mut self, now: Timestamp, what: fmt::Arguments<'_>) {
        let mut line = std::mem::take(&mut self.routine);
        line.clear();
        self.add(&mut line, now, what);
        self.routine = line;
    }

    /// Adds a line.
    pub fn note(&mut self, now: Timestamp, what: fmt::Arguments<'_>) {
        let mut line = match self.lines.len() {
            // Memory is used again: there are millions of lines.
            MOST_LINES => self.lines.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        line.clear();
        self.add(&mut line, now, what);
        self.lines.push_back(line);
    }

    fn add(&mut self, line: &mut String, now: Timestamp, what: fmt::Arguments<'_>) {
        let millis = now.as_millis();
        write!(line, "{:>6}.{:03} {what}", millis / 1000, millis % 1000)
            .expect("memory can be written to");
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        self.count += 1;
    }

    /// The hash of all lines, and the last lines themselves.
    pub fn finish(self) -> (Digest, Vec<String>) {
        (self.hash.finish(), self.lines.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_trace_keeps_its_end_and_hashes_all_of_it() {
        let run = |first: &str| {
            let mut trace = Trace::default();
            trace.note(Timestamp::ZERO, format_args!("{first}"));
            trace.routine(Timestamp::ZERO, format_args!("nothing much"));
            for number in 0..2 * MOST_LINES {
                trace.note(Timestamp::from_millis(1234), format_args!("{number}"));
            }
            trace.finish()
        };
        let (digest, lines) = run("a");
        assert_eq!(lines.len(), MOST_LINES);
        assert_eq!(lines[MOST_LINES - 1], format!("     1.234 {}", 2 * MOST_LINES - 1));
        assert_ne!(run("b").0, digest);
        assert_eq!(run("b").1, lines);
    }
}
