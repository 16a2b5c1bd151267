//! `[limits]`: what clients may take of a coordinator.

use std::time::Duration;

use crate::key;

/// `[limits]`: what clients may take, so that nobody can stop a coordinator or fill its memory.
///
/// Who goes beyond is answered with 413, 429 or 503. Sizes that depend on the model are computed: the
/// longest message that can be legal, and room for at least a few of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsSettings {
    /// How many connections may be open; more are answered with 503. Default: 10,000.
    pub connections: u64,
    /// How many of them may come from one address; 0 for no limit. Default: 2,000.
    pub connections_per_address: u64,
    /// How many requests a second are answered to one address in the long run; 0 for no limit.
    /// Default: 1,000.
    pub requests_per_second: f64,
    /// How many requests at once are answered to one address. Default: 5,000.
    pub request_burst: u64,
    /// How many bytes the head of a request may have. Default: 64 KiB.
    pub header_bytes: u64,
    /// How long a client may take to agree on TLS. Default: 10 seconds.
    pub handshake_time: Duration,
    /// How long a client may take to send the head of a request, or keep a connection without sending one.
    /// Default: 75 seconds.
    pub header_time: Duration,
    /// How long the first bytes of a message may take to come. Default: 10 seconds.
    pub body_start_time: Duration,
    /// How long a message may pause, and how long it may take beside what `upload_rate` allows for.
    /// Default: 30 seconds.
    pub body_time: Duration,
    /// How slow a message may come on average, in bytes a second. Default: 16 KiB.
    pub upload_rate: u64,
    /// How long a client may let its answer wait without taking any of it. Default: 30 seconds.
    pub write_time: Duration,
    /// How many messages may be received and processed at a time. Default: 4,096.
    pub messages: u64,
    /// How many bytes they may have, unless four of the longest have more; an address may take half of
    /// them. Default: 1 GiB.
    pub message_bytes: u64,
    /// How long a message waits for its turn, and each time for memory, before its sender is told to come again
    /// later. Default: 10 seconds.
    pub queue_time: Duration,
    /// How many bytes answers may have that are being sent, and as many models beside the latest that are read; an
    /// address may take half of the former. Default: 512 MiB.
    pub answer_bytes: u64,
    /// Whether an address may take no more than half of the places and bytes for messages and answers, and of the
    /// places in the feed of events. Default: true.
    pub half_per_address: bool,
    /// How many split messages may be incomplete; a participant has one at most. Default: 100,000.
    pub multipart_messages: u64,
    /// How many bytes they may have, unless eight of the longest have more. Default: 1 GiB.
    pub multipart_bytes: u64,
    /// How many bytes those may have beside that whose senders have not shown the right to send them. Default: 16
    /// MiB.
    pub multipart_unproven_bytes: u64,
    /// A split message of which no part has come for so long gives way to others. Default: 5 minutes.
    pub multipart_time: Duration,
}

impl Default for LimitsSettings {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 2_000,
            requests_per_second: 1000.0,
            request_burst: 5000,
            header_bytes: 64 << 10,
            handshake_time: Duration::from_secs(10),
            header_time: Duration::from_secs(75),
            body_start_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            upload_rate: 16 << 10,
            write_time: Duration::from_secs(30),
            messages: 4096,
            message_bytes: 1 << 30,
            queue_time: Duration::from_secs(10),
            answer_bytes: 512 << 20,
            half_per_address: true,
            multipart_messages: 100_000,
            multipart_bytes: 1 << 30,
            multipart_unproven_bytes: 16 << 20,
            multipart_time: Duration::from_secs(300),
        }
    }
}

/// The smallest and the largest number of bytes that the head of a request can be limited to: the HTTP
/// library needs the one, and more than the other serves no purpose.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 8 << 10..=1 << 20;

impl LimitsSettings {
    /// The rules that are broken: the key, the value, the rule.
    pub(super) fn check(&self) -> Vec<(&'static str, String, String)> {
        let mut broken = Vec::new();
        let mut rule = |holds: bool, key, value: &dyn std::fmt::Display, rule: &str| {
            if !holds {
                broken.push((key, value.to_string(), rule.to_owned()));
            }
        };
        macro_rules! at_least_one {
            ($($field:ident),+ $(,)?) => {
                $(rule(self.$field >= 1, key!(limits.$field), &self.$field, "must be at least 1");)+
            };
        }
        at_least_one!(
            connections,
            request_burst,
            upload_rate,
            messages,
            message_bytes,
            answer_bytes,
            multipart_messages,
            multipart_bytes,
            multipart_unproven_bytes,
        );
        macro_rules! some_time {
            ($($field:ident),+ $(,)?) => {
                $(rule(
                    !self.$field.is_zero(),
                    key!(limits.$field),
                    &self.$field.as_secs_f64(),
                    "must be more than 0 seconds",
                );)+
            };
        }
        some_time!(
            handshake_time,
            header_time,
            body_start_time,
            body_time,
            write_time,
            multipart_time,
        );
        let rate = self.requests_per_second;
        rule(
            rate == 0.0 || (rate.is_finite() && rate >= 1e-3),
            key!(limits.requests_per_second),
            &rate,
            "must be 0, for no limit, or at least 0.001",
        );
        rule(
            HEADER_BYTES.contains(&self.header_bytes),
            key!(limits.header_bytes),
            &self.header_bytes,
            "must be from 8192 to 1048576",
        );
        broken
    }
}
