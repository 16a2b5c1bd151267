//! The machine's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use pet_core::time::Timestamp;

/// Tells a machine the time. It never runs backwards, whatever is done to the system's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// For machines that need the time of day: how many milliseconds it is ahead of the time since the start. Found
    /// anew at each look, as a computer that sleeps counts no time; it only grows.
    ahead: Option<AtomicU64>,
}

impl Clock {
    /// A clock that begins now, of any epoch, or of 1970.
    pub(crate) fn new(needs_time_of_day: bool) -> Self {
        let ahead = needs_time_of_day.then(AtomicU64::default);
        Self { start: Instant::now(), ahead }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.start.elapsed();
        let Some(ahead) = &self.ahead else { return Timestamp::from_duration(elapsed) };
        let of_day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let gap = Timestamp::from_duration(of_day.saturating_sub(elapsed)).as_millis();
        let gap = ahead.fetch_max(gap, Ordering::Relaxed).max(gap);
        Timestamp::from_duration(elapsed) + Duration::from_millis(gap)
    }

    /// When it will be that time.
    pub(crate) fn instant(&self, time: Timestamp) -> Instant {
        let ahead = self.ahead.as_ref().map_or(0, |ahead| ahead.load(Ordering::Relaxed));
        self.start + time.saturating_since(Timestamp::from_millis(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_kept() {
        let any = Clock::new(false);
        assert!(any.now() < Timestamp::from_millis(3_600_000));
        let of_day = Clock::new(true);
        let now = of_day.now();
        // It is later than when this was written.
        assert!(now > Timestamp::from_millis(1_760_000_000_000));
        for clock in [any, of_day] {
            let at = clock.now() + Duration::from_secs(60);
            let wait = clock.instant(at).saturating_duration_since(Instant::now());
            assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(61), "{wait:?}");
        }
    }
}
