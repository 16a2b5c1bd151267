//! How far a participant is in a round: what is saved and restored.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::{Task, TaskSignatures};
use crate::message::{MessageId, Splitting, Tag};
use crate::round::RoundParameters;

/// The round that a participant takes part in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) parameters: Arc<RoundParameters>,
    pub(super) signatures: TaskSignatures,
    pub(super) task: Task,
}

/// What a participant has to do next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Nothing until the next round.
    Awaiting,
    /// Send the ephemeral key.
    Sum(Option<Upload>),
    /// Fetch the mask seeds, and send the sum of the masks.
    Sum2(Option<Upload>),
    /// Fetch the sum dictionary.
    FetchSums,
    /// Mask the local model, once there is one.
    Mask {
        /// The sum dictionary as it came.
        sums: Bytes,
    },
    /// Send the masked model.
    Update(Upload),
}

/// A message being delivered. It holds nothing secret: all of it is masked, sealed or public.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    pub(super) tag: Tag,
    pub(super) content: Content,
}

/// What is still to be delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Content {
    /// One sealed message.
    Whole(Bytes),
    /// The payload, to be sealed and sent chunk by chunk.
    Chunks {
        payload: Bytes,
        splitting: Splitting,
        message_id: MessageId,
        /// The chunk to be sent next.
        next: usize,
    },
}

impl Stage {
    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Awaiting | Self::FetchSums => 0,
            Self::Sum(upload) | Self::Sum2(upload) => upload.as_ref().map_or(0, Upload::bytes),
            Self::Update(upload) => upload.bytes(),
            Self::Mask { sums } => sums.len(),
        }
    }
}

impl Upload {
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Whole(sealed) => sealed.len(),
            Content::Chunks { payload, .. } => payload.len(),
        }
    }

    /// How many parts are delivered, and how many there are.
    pub(super) fn progress(&self) -> (usize, usize) {
        match &self.content {
            Content::Whole(_) => (0, 1),
            Content::Chunks { splitting, next, .. } => (*next, splitting.count()),
        }
    }
}
