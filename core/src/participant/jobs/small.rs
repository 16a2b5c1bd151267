//! Messages of a fixed, small size: work only because signing and sealing take time.

use super::super::stage::{Content, Upload};
use super::{Composer, Outcome};
use crate::job::{Progress, Work};
use crate::message::{Frame, SumPayload, Tag, CHUNK_HEADER_LENGTH};

/// Makes a sum message.
pub(super) struct ComposeSum(pub(super) Composer);

impl Work<Outcome> for ComposeSum {
    fn name(&self) -> &'static str {
        "make sum message"
    }

    fn step(&mut self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let composer = self.0;
        let payload = SumPayload {
            sum_signature: composer.signatures.sum,
            ephemeral_key: composer.ephemeral().public(),
        };
        let mut frame = Frame::with_capacity(SumPayload::LENGTH);
        payload.write_to(frame.buffer_mut());
        Outcome::Composed(composer.upload(frame, Tag::Sum))
    }
}

/// Signs and seals one chunk.
pub(super) struct SealChunk(pub(super) Composer, pub(super) Upload);

impl Work<Outcome> for SealChunk {
    fn name(&self) -> &'static str {
        "seal chunk"
    }

    fn step(&mut self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let Self(composer, Upload { tag, content }) = *self;
        let (payload, splitting, message_id, next) = match content {
            Content::Whole(sealed) | Content::Sealed { sealed, .. } => {
                return Outcome::Sealed(Ok(sealed))
            }
            Content::Chunks { payload, splitting, message_id, next } => {
                (payload, splitting, message_id, next)
            }
        };
        let mut frame = Frame::with_capacity(0);
        // Where there is no such chunk (a damaged snapshot can say so) an empty one does no harm.
        if let Some(chunk) = splitting.chunk(&payload, message_id, next) {
            frame = Frame::with_capacity(chunk.data.len() + CHUNK_HEADER_LENGTH);
            chunk.write_to(frame.buffer_mut());
        }
        Outcome::Sealed(composer.seal(frame, tag, true).map(|(sealed, _)| sealed))
    }
}
