//! Settings of a member.

use std::time::Duration;

use crate::participant::Polling;

/// The settings of a member. They are not part of its saved state; what it must never forget, the
/// [pin](crate::v2::Pin), is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// How often the coordinator is asked.
    pub polling: Polling,
    /// How far ahead of this member's clock the time may be at which a round was opened. It waits until its clock is
    /// there, and refuses the round where that is further.
    pub clock_tolerance: Duration,
    /// The most weights that the round's models may have. The sum of the masks takes 4 to 8 bytes of memory for each,
    /// and as much again while it is written.
    pub max_model_length: u64,
    /// The most updates of a round that are checked: each takes about 200 bytes of memory until the round is over.
    pub max_updates: u64,
    /// The least noise: rounds with a smaller multiplier, in thousandths, are refused by name; `None` if rounds without
    /// noise will do.
    pub least_noise: Option<u32>,
}

/// How far the number of a round may be above the one before: a coordinator that has once been wrong must not use
/// up all numbers for ever.
pub const LONGEST_LEAP: u64 = 1 << 20;

/// The highest number of a round for a member that has not signed for any: enough are left above it.
pub(super) const HIGHEST_FIRST: u64 = 1 << 62;

impl Settings {
    /// With the coordinator asked this often.
    #[must_use]
    pub fn with_polling(self, polling: Polling) -> Self {
        Self { polling, ..self }
    }

    /// With rounds accepted whose opening is this far ahead of the member's clock.
    #[must_use]
    pub fn with_clock_tolerance(self, clock_tolerance: Duration) -> Self {
        Self { clock_tolerance, ..self }
    }

    /// With no part taken in rounds of longer models.
    #[must_use]
    pub fn with_max_model_length(self, max_model_length: u64) -> Self {
        Self { max_model_length, ..self }
    }

    /// With no part taken in rounds of more updates.
    #[must_use]
    pub fn with_max_updates(self, max_updates: u64) -> Self {
        Self { max_updates, ..self }
    }

    /// With no part taken in rounds with less noise, in thousandths of the multiplier.
    #[must_use]
    pub fn with_least_noise(self, least_noise: Option<u32>) -> Self {
        Self { least_noise, ..self }
    }
}

impl Default for Settings {
    /// Polling as participants do, 1 hour of tolerance, models of up to 268,435,456 weights, 1,000,000 updates, no
    /// noise asked for.
    fn default() -> Self {
        Self {
            polling: Polling::default(),
            clock_tolerance: Duration::from_secs(3600),
            max_model_length: 1 << 28,
            max_updates: 1_000_000,
            least_noise: None,
        }
    }
}
