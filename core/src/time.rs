//! Points in time, as the core knows them.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since an epoch that the driver picks. The core reads no clock; every
/// input carries the time at which it happened.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The driver's epoch.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// So long after the epoch, as a driver's clock says. Rounds down: no machine may be told of a time
    /// that has not come yet.
    pub fn from_duration(since_epoch: Duration) -> Self {
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long after the epoch it is.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// How much later this is than `earlier`; zero if it is not later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Rounds up to the next millisecond, so that nothing is due too early; ends at the end of time.
    fn add(self, duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Ends at the epoch.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(Self::from_duration(duration).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_never_ahead() {
        let read = Timestamp::from_duration(Duration::from_micros(10_999));
        assert_eq!(read, Timestamp::from_millis(10));
        assert_eq!(read.as_duration(), Duration::from_millis(10));
        assert_eq!(Timestamp::from_duration(Duration::MAX), Timestamp::from_millis(u64::MAX));
    }

    #[test]
    fn arithmetic_saturates_and_rounds_up() {
        let start = Timestamp::from_millis(10);
        assert_eq!(start + Duration::from_micros(1), Timestamp::from_millis(11));
        assert_eq!(start + Duration::MAX, Timestamp::from_millis(u64::MAX));
        assert_eq!(start - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.saturating_since(start), Duration::ZERO);
    }
}
