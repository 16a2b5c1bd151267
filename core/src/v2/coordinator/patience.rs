//! When a round that too few members join is opened anew.

use std::time::Duration;

use super::settings::TimeRange;

/// How long the first of several such rounds waits for another announcement. Members look in every ten seconds at least: who
/// has not announced itself by then is not there, or cannot, as it was started after the round was opened.
const FIRST: Duration = Duration::from_secs(12);

/// How long the announce phase goes on without news.
///
/// A member that was started anew takes part only in rounds that are opened after its start. If a federation is started
/// together, that are most of its members; so the round is opened anew long before the longest time is over. The wait doubles
/// each time, up to the longest time: members that look in less often, or come one by one, are waited for as well, and a
/// coordinator that is alone does not fill its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// How long the phase had been going on when the latest announcement came.
    since: Duration,
    wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { since: Duration::ZERO, wait: FIRST }
    }
}

impl Patience {
    /// There is news, after the phase has been going on for so long.
    pub(super) fn heard(&mut self, elapsed: Duration) {
        self.since = elapsed;
    }

    /// A phase begins.
    pub(super) fn begin(&mut self) {
        self.since = Duration::ZERO;
    }

    /// Too few have come: the next round waits for longer.
    pub(super) fn ran_out(&mut self) {
        self.wait = self.wait.saturating_mul(2);
    }

    /// When the announce phase is over without a majority.
    pub(super) fn end(&self, time: TimeRange) -> Duration {
        self.since.saturating_add(self.wait).max(time.min).min(time.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_up_to_the_longest_time_and_is_never_shorter_than_the_shortest() {
        let seconds = Duration::from_secs;
        let time = TimeRange { min: seconds(20), max: seconds(60) };
        let mut patience = Patience::default();
        let mut ends = Vec::new();
        for _ in 0..100 {
            ends.push(patience.end(time));
            patience.ran_out();
        }
        assert_eq!(ends[..4], [20, 24, 48, 60].map(seconds));
        assert!(ends[4..].iter().all(|end| *end == time.max));
        let mut patience = Patience::default();
        patience.heard(seconds(30));
        assert_eq!(patience.end(time), seconds(42));
        patience.heard(seconds(59));
        assert_eq!(patience.end(time), time.max);
        patience.begin();
        assert_eq!(patience.end(time), time.min);
    }
}
