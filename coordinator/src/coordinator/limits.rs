//! From settings to the limits of the parts.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::{
    http::{AnswerLimits, ConnectionLimits, RateLimit, UploadLimits},
    settings::{LimitsSettings, Settings},
};

pub(super) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The limits of uploads, where no message is longer than `max_message_len`.
pub(crate) fn upload_limits(settings: &Settings, max_message_len: usize) -> UploadLimits {
    let limits = &settings.limits;
    UploadLimits {
        memory: count(limits.message_bytes).max(max_message_len.saturating_mul(4)),
        messages: count(limits.messages),
        halves: limits.half_per_address,
        queue: limits.queue_time,
        start: limits.body_start_time,
        patience: limits.body_time,
        rate: limits.upload_rate,
        linger: Duration::from_secs(2),
    }
}

/// What a replica may hold for the one that leads: as much as uploads.
#[cfg(feature = "replicas")]
pub(super) fn relay_limits(
    settings: &Settings,
    max_message_len: usize,
) -> pet_core::coordinator::relay::Limits {
    let UploadLimits { memory, messages, .. } = upload_limits(settings, max_message_len);
    pet_core::coordinator::relay::Limits { bytes: memory, messages }
}

/// The limits of answers.
pub(crate) fn answer_limits(limits: &LimitsSettings) -> AnswerLimits {
    AnswerLimits { memory: count(limits.answer_bytes), halves: limits.half_per_address }
}

pub(super) fn connection_limits(limits: &LimitsSettings) -> ConnectionLimits {
    ConnectionLimits {
        open: count(limits.connections).min(Semaphore::MAX_PERMITS),
        of_one: match limits.connections_per_address {
            0 => usize::MAX,
            most => count(most),
        },
        head_bytes: count(limits.header_bytes),
        handshake: limits.handshake_time,
        head: limits.header_time,
        write: limits.write_time,
        grace: Duration::from_secs(10),
    }
}

pub(super) fn rate_limit(limits: &LimitsSettings) -> Option<RateLimit> {
    let LimitsSettings { requests_per_second: per_second, request_burst, .. } = *limits;
    (per_second > 0.0).then_some(RateLimit { per_second, burst: request_burst as f64 })
}
