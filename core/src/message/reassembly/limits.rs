//! Limits of reassembly, and how memory is counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits for incomplete messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReassemblyLimits {
    /// The most bytes kept of messages whose sender has proven the right to send them.
    pub proven_bytes: usize,
    /// The most bytes kept of all others.
    pub unproven_bytes: usize,
    /// The most messages kept, proven or not.
    pub messages: usize,
    /// A message of which no chunk has come for so long gives way to others, once they send. Not before:
    /// its chunks are acknowledged, so a late sender goes on with the rest and could not begin again.
    pub idle: Duration,
}

impl ReassemblyLimits {
    /// With so many bytes for messages whose sender has proven the right to send them, and for all others.
    #[must_use]
    pub fn with_bytes(self, proven_bytes: usize, unproven_bytes: usize) -> Self {
        Self { proven_bytes, unproven_bytes, ..self }
    }
}

impl Default for ReassemblyLimits {
    /// 1 GiB proven, 16 MiB unproven, 100,000 messages, 5 minutes.
    fn default() -> Self {
        Self {
            proven_bytes: 1 << 30,
            unproven_bytes: 1 << 24,
            messages: 100_000,
            idle: Duration::from_secs(300),
        }
    }
}

/// What a kept chunk costs beside its data: it keeps the header and the seal of its message alive.
pub(super) const CHUNK_COST: usize = 256;
/// What a message costs beside its chunks.
const PARTIAL_COST: usize = 768;
/// How many messages give way to one chunk at most: taking a chunk in must not take long.
pub(super) const MOST_EVICTED: usize = 64;

/// What a message of so many bytes in so many chunks costs.
pub(super) fn cost(bytes: usize, chunks: usize) -> usize {
    bytes.saturating_add(PARTIAL_COST + chunks * CHUNK_COST)
}
