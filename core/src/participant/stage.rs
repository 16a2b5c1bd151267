//! How far a participant is in a round: what is saved and restored.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::{Signature, Task, TaskSignatures};
use crate::message::{MessageId, MessageSize, Splitting, Tag, CHUNK_HEADER_LENGTH, FRAME_HEADROOM};
use crate::round::RoundParameters;

/// The round that a participant takes part in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) parameters: Arc<RoundParameters>,
    /// The how manieth round it is that this participant has seen begin. A coordinator that goes back
    /// to old parameters finds other ephemeral keys.
    pub(super) number: u64,
    pub(super) signatures: TaskSignatures,
    pub(super) task: Task,
}

/// What a participant has to do next.
#[derive(Clone, Serialize, Deserialize)]
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

/// Shows no dictionary.
impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Awaiting => f.write_str("Awaiting"),
            Self::Sum(upload) => write!(f, "Sum({upload:?})"),
            Self::Sum2(upload) => write!(f, "Sum2({upload:?})"),
            Self::FetchSums => f.write_str("FetchSums"),
            Self::Mask { sums } => write!(f, "Mask({} bytes of sum dictionary)", sums.len()),
            Self::Update(upload) => write!(f, "Update({upload:?})"),
        }
    }
}

/// A message being delivered: masked, sealed or public, all of it, but for the payload of a split sum2
/// message, which is the sum of the masks, and for what is handed over within the process.
#[derive(Clone, Serialize, Deserialize)]
pub struct Upload {
    pub(super) tag: Tag,
    pub(super) content: Content,
}

/// Shows no content.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, total) = self.progress();
        write!(f, "Upload({} message, {} bytes, {sent}/{total} sent)", self.tag, self.bytes())
    }
}

/// In place of a signature where there is neither that nor a seal. No key pair makes this one.
pub(super) const NO_SIGNATURE: Signature = Signature::new([0; Signature::LENGTH]);

/// What is still to be delivered.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Content {
    /// One sealed message, of a participant that was saved by an older version: it cannot be split any more.
    Whole(Bytes),
    /// The payload, to be sealed and sent chunk by chunk.
    Chunks {
        payload: Bytes,
        splitting: Splitting,
        message_id: MessageId,
        /// The chunk to be sent next.
        next: usize,
    },
    /// One sealed message; or one to be handed over, with [`NO_SIGNATURE`].
    Sealed {
        sealed: Bytes,
        /// The signature in it: with it this participant can read it again, should it have to be split.
        signature: Signature,
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
    /// Whether it was made to be handed over within the process, and so must never be posted.
    pub(super) fn is_for_handing_over(&self) -> bool {
        matches!(&self.content, Content::Sealed { signature, .. } if *signature == NO_SIGNATURE)
    }

    /// How many bytes are still to be delivered, or kept until all are.
    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            Content::Whole(sealed) | Content::Sealed { sealed, .. } => sealed.len(),
            Content::Chunks { payload, .. } => payload.len(),
        }
    }

    /// How many parts are delivered, and how many there are.
    pub(super) fn progress(&self) -> (usize, usize) {
        match &self.content {
            Content::Whole(_) | Content::Sealed { .. } => (0, 1),
            Content::Chunks { splitting, next, .. } => (*next, splitting.count()),
        }
    }

    /// How many bytes are sent next, sealed.
    pub(super) fn sealed_length(&self) -> usize {
        match &self.content {
            Content::Whole(sealed) | Content::Sealed { sealed, .. } => sealed.len(),
            Content::Chunks { splitting, next, .. } => {
                let data = splitting.range(*next).map_or(0, |range| range.len());
                FRAME_HEADROOM + CHUNK_HEADER_LENGTH + data
            }
        }
    }

    /// Whether what is sent next must be split (further), and can be.
    pub(super) fn is_above(&self, size: MessageSize) -> bool {
        let is_above = size.limit().is_some_and(|limit| self.sealed_length() > limit);
        is_above && !matches!(self.content, Content::Whole(_))
    }
}
