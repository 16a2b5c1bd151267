//! Counters of what has happened.

mod prometheus;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pet_core::message::Tag;

use crate::log::DroppedLines;

pub(crate) use self::prometheus::{exposition, Histograms, Request, CONTENT_TYPE};
use crate::panics;

/// What a coordinator has counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Rounds that ended with a global model.
    pub rounds_completed: u64,
    /// Rounds that failed.
    pub rounds_failed: u64,
    /// Rounds that failed, by the short name of the reason: see
    /// `pet_core::coordinator::RoundFailure::label`.
    pub failures: BTreeMap<&'static str, u64>,
    /// Messages accepted; a part of a multipart message counts as one.
    pub messages_accepted: u64,
    /// Messages accepted, by the phase that they are for: `sum`, `update`, `sum2`.
    pub accepted: BTreeMap<&'static str, u64>,
    /// The bytes of all messages that were received as a whole.
    pub received_bytes: u64,
    /// Messages rejected. Those that were turned down only because the coordinator is about to end are
    /// not counted.
    pub rejections: Rejections,
    /// Panics of the whole process since its first coordinator was started. Each is a bug.
    pub panics: u64,
}

/// Messages rejected, by the short name of the reason: those of
/// `pet_core::coordinator::Rejection::label`, and `too_long`, `busy`, `stalled` and `broken` for what
/// was not received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections(BTreeMap<&'static str, u64>);

impl Rejections {
    /// The number of messages rejected for this reason.
    pub fn get(&self, label: &str) -> u64 {
        self.0.get(label).copied().unwrap_or(0)
    }

    /// The number of messages rejected for any reason.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// All reasons that have occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(label, count)| (*label, *count))
    }

    /// The difference to `earlier`, an earlier state of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let added = |(label, count)| {
            let added = count - earlier.get(label);
            (added > 0).then_some((label, added))
        };
        Self(self.iter().filter_map(added).collect())
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for (label, count) in &self.0 {
            write!(f, "{separator}{label} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// The counters and histograms, to be shared between threads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    metrics: Mutex<Metrics>,
    pub histograms: Histograms,
}

impl Counters {
    pub fn new(log_lines_dropped: DroppedLines) -> Self {
        let mut counters = Self::default();
        counters.histograms.log_lines_dropped = log_lines_dropped;
        counters
    }

    pub fn read(&self) -> Metrics {
        Metrics { panics: panics::total(), ..self.lock().clone() }
    }

    /// A message was received as a whole.
    pub fn received(&self, bytes: usize) {
        self.lock().received_bytes += bytes as u64;
        self.histograms.message_bytes.observe(bytes as f64);
    }

    pub fn accepted(&self, tag: Tag) {
        self.accepted_as(tag.name());
    }

    /// A message of this kind was accepted.
    pub fn accepted_as(&self, kind: &'static str) {
        let mut metrics = self.lock();
        metrics.messages_accepted += 1;
        *metrics.accepted.entry(kind).or_default() += 1;
    }

    pub fn rejected(&self, label: &'static str) {
        *self.lock().rejections.0.entry(label).or_default() += 1;
    }

    pub fn round_completed(&self) {
        self.lock().rounds_completed += 1;
    }

    /// A round has failed for the reason with this name.
    pub fn round_failed(&self, reason: &'static str) {
        let mut metrics = self.lock();
        metrics.rounds_failed += 1;
        *metrics.failures.entry(reason).or_default() += 1;
    }

    /// A phase has ended well.
    pub fn phase_took(&self, phase: &dyn fmt::Display, took: Duration) {
        self.histograms.phase(phase, took);
    }

    /// The store has confirmed a record.
    pub fn stored_after(&self, took: Duration) {
        self.histograms.store_seconds.observe(took.as_secs_f64());
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        // Numbers are never half changed, so a panic elsewhere does not spoil them.
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_counted_by_reason_and_since_a_moment() {
        let counters = Counters::default();
        counters.rejected("full");
        let before = counters.read().rejections;
        assert_eq!(before.since(&before).to_string(), "none");
        counters.rejected("full");
        counters.rejected("wrong_phase");
        counters.rejected("wrong_phase");
        let now = counters.read().rejections;
        assert_eq!((now.get("full"), now.get("other"), now.total()), (2, 0, 4));
        assert_eq!(now.since(&before).to_string(), "full 1, wrong_phase 2");
    }
}
