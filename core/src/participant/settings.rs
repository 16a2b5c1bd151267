//! Settings of a participant.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::MessageSize;
use crate::model::Scalar;
use crate::v2::{Credential, Pin};

/// The settings of a participant. They are not part of its saved state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// The weight of this participant's models: the global model is `sum(s_i * w_i) / sum(s_i)`.
    pub scalar: Scalar,
    /// The most bytes that a message may have before it is split.
    pub max_message_size: MessageSize,
    /// The most weights that the round's models may have; rounds of longer ones are not taken part in. (A sum
    /// participant takes 8 to 280 bytes of memory for each, whatever the coordinator says they are.)
    pub max_model_length: u64,
    /// How often the coordinator is asked.
    pub polling: Polling,
    /// Whether a local model that was set in one round and not yet used is kept for a later one. If not, a
    /// round that begins drops it, and says so with
    /// [`Event::ModelOutdated`](super::Event::ModelOutdated): the model was trained for the round before.
    /// One that was set before the first round of all is for that.
    pub keep_models: bool,
    /// For a simulation, in which the coordinator's machine is in the same process: messages come out as
    /// [`Output::HandOver`](super::Output::HandOver), in one piece, and neither they nor the mask seeds in them are signed or
    /// sealed, which is most of the work of a short model. All else is as it always is. Of all participants of a round or of
    /// none; not in version 2, and not with a driver over a network, which refuses it. A participant that is restored with another
    /// choice makes its message anew, and asks for the local model again.
    #[serde(skip)]
    pub hand_over: bool,
    /// What this participant insists on: with a pin it takes part in rounds of version 2 and no others.
    #[serde(skip)]
    pub pin: Option<Pin>,
    /// Version 2: what the admission authority has given to this participant, where the roster has an authority.
    #[serde(skip)]
    pub credential: Option<Credential>,
    /// Version 2: how far in the future of the clock here a round may have been opened.
    #[serde(skip, default = "clock_tolerance")]
    pub clock_tolerance: Duration,
}

fn clock_tolerance() -> Duration {
    Duration::from_secs(60 * 60)
}

impl Settings {
    /// With this weight of the participant's models.
    #[must_use]
    pub fn with_scalar(self, scalar: Scalar) -> Self {
        Self { scalar, ..self }
    }

    /// With messages split that are longer.
    #[must_use]
    pub fn with_max_message_size(self, max_message_size: MessageSize) -> Self {
        Self { max_message_size, ..self }
    }

    /// With no part taken in rounds of longer models.
    #[must_use]
    pub fn with_max_model_length(self, max_model_length: u64) -> Self {
        Self { max_model_length, ..self }
    }

    /// With messages that are handed over within this process: see [`hand_over`](Self::hand_over).
    #[must_use]
    pub fn with_hand_over(self, hand_over: bool) -> Self {
        Self { hand_over, ..self }
    }

    /// With this pin: for rounds of version 2.
    #[must_use]
    pub fn with_pin(self, pin: Pin) -> Self {
        Self { pin: Some(pin), ..self }
    }

    /// With what the admission authority has given.
    #[must_use]
    pub fn with_credential(self, credential: Credential) -> Self {
        Self { credential: Some(credential), ..self }
    }

    /// With the coordinator asked this often.
    #[must_use]
    pub fn with_polling(self, polling: Polling) -> Self {
        Self { polling, ..self }
    }
}

impl Default for Settings {
    /// Scalar 1, messages of any size, models of up to 268,435,456 weights, polling and keeping local
    /// models as the existing clients do it; no pin, and with one a tolerance of an hour.
    fn default() -> Self {
        Self {
            scalar: Scalar::one(),
            max_message_size: MessageSize::UNLIMITED,
            max_model_length: 1 << 28,
            polling: Polling::default(),
            keep_models: true,
            hand_over: false,
            pin: None,
            credential: None,
            clock_tolerance: clock_tolerance(),
        }
    }
}

/// The pauses between two looks at the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Polling {
    /// The pause after progress was made.
    pub after_progress: Duration,
    /// The first pause after a look that brought no progress.
    pub initial: Duration,
    /// By what each further such pause is longer than the one before; at least 1.
    pub factor: f64,
    /// The longest pause.
    pub max: Duration,
}

impl Default for Polling {
    /// 100 ms after progress, else 100 ms * 1.2^n up to 10 s.
    fn default() -> Self {
        Self {
            after_progress: Duration::from_millis(100),
            initial: Duration::from_millis(100),
            factor: 1.2,
            max: Duration::from_secs(10),
        }
    }
}

impl Polling {
    /// The pause after `misses` looks in a row without progress, the last one included.
    pub(crate) fn pause(&self, misses: u32) -> Duration {
        if misses == 0 {
            return self.after_progress.min(self.max);
        }
        let exponent = i32::try_from(misses - 1).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        // Also where the power has grown beyond all bounds; a NaN factor was replaced by 1.
        if seconds >= self.max.as_secs_f64() {
            return self.max;
        }
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_maximum_and_stay_there() {
        let polling = Polling::default();
        assert_eq!(polling.pause(0), Duration::from_millis(100));
        assert_eq!(polling.pause(1), Duration::from_millis(100));
        assert_eq!(polling.pause(2), Duration::from_millis(120));
        assert_eq!(polling.pause(27), polling.max);
        for misses in [400_000, u32::MAX] {
            assert_eq!(polling.pause(misses), polling.max);
        }
    }

    #[test]
    fn odd_factors_do_no_harm() {
        for factor in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
            let polling = Polling { factor, ..Polling::default() };
            assert!(polling.pause(50) <= polling.max);
        }
    }
}
