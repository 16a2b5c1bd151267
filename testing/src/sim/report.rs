//! How a run has gone.

use std::collections::BTreeMap;
use std::fmt;

use pet_core::coordinator::Event;
use pet_core::crypto::Digest;
use pet_core::time::Timestamp;

use super::scenario::Scenario;
use super::violation::Violation;

/// What was counted in a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Rounds that have ended with the exact mean of the accepted updates.
    pub completed: u64,
    /// Rounds in which liars had most votes, so that nothing is promised.
    pub outvoted: u64,
    /// Failed rounds, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// How many updates the completed rounds' models are made of, together.
    pub updates: u64,
    /// Requests that reached the coordinator, messages included.
    pub requests: u64,
    /// Messages that reached the coordinator.
    pub messages: u64,
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that were rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// What has gone wrong, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Lies that were told, by kind.
    pub lies: BTreeMap<String, u64>,
    /// Things that have happened at all.
    pub happenings: u64,
    /// The most bytes that were kept of incomplete messages.
    pub most_incomplete: usize,
    /// The most bytes of records that a store had to keep.
    pub most_stored: usize,
    /// The virtual time at the end.
    pub end: Timestamp,
    /// The hash of everything that has happened.
    pub digest: Option<Digest>,
}

/// A look at a run that goes on.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The virtual time.
    pub now: Timestamp,
    /// What has happened just now.
    pub event: &'a Event,
    /// What was counted so far.
    pub report: &'a Report,
}

/// A run that has broken a rule.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The run.
    pub scenario: Scenario,
    /// The rule.
    pub violation: Violation,
    /// How many things had gone wrong by then.
    pub faults: u64,
    /// What was counted so far.
    pub report: Report,
    /// The last that has happened, without looks at the coordinator that brought nothing.
    pub trace: Vec<String>,
}

fn list<K: fmt::Display>(f: &mut fmt::Formatter<'_>, map: &BTreeMap<K, u64>) -> fmt::Result {
    if map.is_empty() {
        return f.write_str("none");
    }
    for (nth, (what, count)) in map.iter().enumerate() {
        let comma = if nth == 0 { "" } else { ", " };
        write!(f, "{comma}{what} {count}")?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.end.as_millis() / 1000;
        writeln!(
            f,
            "{} rounds with the exact mean (of {} updates together), {} outvoted, failed: ",
            self.completed, self.updates, self.outvoted,
        )?;
        f.write_str("  failed rounds: ")?;
        list(f, &self.failed)?;
        writeln!(
            f,
            "\n  {} requests, {} of them messages, {} accepted; {} virtual seconds, {} happenings",
            self.requests, self.messages, self.accepted, seconds, self.happenings,
        )?;
        f.write_str("  rejected: ")?;
        list(f, &self.rejected)?;
        f.write_str("\n  faults: ")?;
        list(f, &self.faults)?;
        f.write_str("\n  lies: ")?;
        list(f, &self.lies)?;
        write!(f, "\n  at most {} bytes of incomplete messages", self.most_incomplete)?;
        write!(f, "\n  at most {} bytes of records to keep", self.most_stored)?;
        match self.digest {
            Some(digest) => write!(f, "\n  digest {digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The round in which it happened.
        let begin = self.trace.iter().rposition(|line| line.contains("coordinator begins round"));
        for line in self.trace.iter().skip(begin.unwrap_or(0)) {
            writeln!(f, "{line}")?;
        }
        let Scenario { seed, participants, liars, splitters, faults, lies, window, .. } =
            &self.scenario;
        writeln!(f, "VIOLATION: {}", self.violation)?;
        writeln!(f, "seed {seed}, {participants} participants, {liars}% lie, {splitters}% split")?;
        f.write_str("faults:")?;
        for (fault, share) in faults.kinds() {
            write!(f, " {fault:?} {share}")?;
        }
        write!(f, "\nlies: {lies:?}\nfaults that happen: {window:?}, {} did", self.faults)
    }
}
