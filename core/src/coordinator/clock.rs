//! How long a phase has been going on.

use std::time::Duration;

use crate::time::Timestamp;

/// The time, and that of the current phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    now: Timestamp,
    /// When the current phase began, or when this machine was restored in the middle of it.
    began: Timestamp,
    /// For how long the phase had been going on by then.
    before: Duration,
}

impl Clock {
    /// In a phase that has been going on for so long.
    pub(crate) fn new(now: Timestamp, elapsed: Duration) -> Self {
        Self { now, began: now, before: elapsed }
    }

    /// Time does not run backwards.
    pub(crate) fn set(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// A phase begins.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.now, Duration::ZERO);
    }

    /// The latest time that was told.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// For how long the phase has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.before.saturating_add(self.now.saturating_since(self.began))
    }

    /// When the phase has been going on for so long.
    pub(crate) fn at(&self, elapsed: Duration) -> Timestamp {
        self.began + elapsed.saturating_sub(self.before)
    }
}
