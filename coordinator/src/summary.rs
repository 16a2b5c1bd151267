//! What of rejected messages is told to everybody who reads the log: at most a line a minute, whatever is sent.

use tokio::time::{Duration, Instant};
use tracing::info;

use crate::metrics::{Counters, Rejections};

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// The rejections that were told, and when the last time was.
#[derive(Debug)]
pub(crate) struct Summary {
    told: Rejections,
    next: Instant,
}

impl Summary {
    /// Nothing was told yet; the first rejection will be at once.
    pub fn new() -> Self {
        Self { told: Rejections::default(), next: Instant::now() }
    }

    /// Tells what was rejected since the last time, if it is time to.
    pub fn look(&mut self, counters: &Counters) {
        if let Some(rejected) = self.due(|| counters.read().rejections) {
            info!(
                messages = rejected.total(),
                "messages rejected: {rejected} (each is told at the level debug)"
            );
        }
    }

    fn due(&mut self, read: impl Fn() -> Rejections) -> Option<Rejections> {
        if Instant::now() < self.next {
            return None;
        }
        let all = read();
        let new = all.since(&self.told);
        if new.total() == 0 {
            return None;
        }
        self.told = all;
        self.next = Instant::now() + PAUSE;
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// (Time is virtual.)
    #[tokio::test(start_paused = true)]
    async fn however_many_are_rejected_a_line_a_minute_is_the_most() {
        let counters = Counters::default();
        let mut summary = Summary::new();
        let mut lines = Vec::new();
        for _ in 0..600 {
            (0..100).for_each(|_| counters.rejected("does_not_open"));
            lines.extend(summary.due(|| counters.read().rejections));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[1].to_string(), "does_not_open 6000");
        advance(PAUSE).await;
        assert!(summary.due(|| counters.read().rejections).is_some());
        advance(PAUSE).await;
        assert!(summary.due(|| counters.read().rejections).is_none(), "nothing new");
    }
}
