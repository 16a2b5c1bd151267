//! Counters of what has happened.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What a coordinator has counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Rounds that ended with a global model.
    pub rounds_completed: u64,
    /// Rounds that failed.
    pub rounds_failed: u64,
    /// Messages accepted; a part of a multipart message counts as one.
    pub messages_accepted: u64,
    /// Messages rejected. Those that were turned down only because the coordinator is about to end are
    /// not counted.
    pub rejections: Rejections,
}

/// Messages rejected, by the short name of the reason: those of
/// `pet_core::coordinator::Rejection::label`, and `too_long`, `busy`, `stalled` and `broken` for what
/// was not received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections(BTreeMap<&'static str, u64>);

impl Rejections {
    /// How many were rejected for this reason.
    pub fn get(&self, label: &str) -> u64 {
        self.0.get(label).copied().unwrap_or(0)
    }

    /// How many were rejected for any reason.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// All reasons that have occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(label, count)| (*label, *count))
    }

    /// What was added since `earlier`, an earlier state of the same counters.
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

/// The counters, to be shared between threads.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Metrics>);

impl Counters {
    pub fn read(&self) -> Metrics {
        self.lock().clone()
    }

    pub fn accepted(&self) {
        self.lock().messages_accepted += 1;
    }

    pub fn rejected(&self, label: &'static str) {
        *self.lock().rejections.0.entry(label).or_default() += 1;
    }

    pub fn round_completed(&self) {
        self.lock().rounds_completed += 1;
    }

    pub fn round_failed(&self) {
        self.lock().rounds_failed += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        // Numbers are never half changed, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
