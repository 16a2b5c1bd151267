//! Messages of a fixed, small size, and chunks.

use bytes::Bytes;

use super::super::stage::{Content, Upload};
use super::deliver::{Deliver, SealMessage};
use super::{ComposeError, Composer, Outcome};
use crate::job::{JobKind, Progress, Work};
use crate::message::{Frame, SumPayload, Tag, CHUNK_HEADER_LENGTH};

/// Makes a sum message.
pub(super) struct ComposeSum(pub(super) Composer);

impl Work<Outcome> for ComposeSum {
    fn kind(&self) -> JobKind {
        JobKind::MakeSum
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
        let deliver = Deliver::new(&composer, frame, Tag::Sum);
        Outcome::Composed(deliver.and_then(|deliver| deliver.finish(&composer)))
    }
}

/// Signs and seals one chunk.
pub(super) struct SealChunk {
    composer: Composer,
    stage: ChunkStage,
}

enum ChunkStage {
    Begin(Upload),
    Seal(Box<SealMessage>),
    Done(Result<Bytes, ComposeError>),
}

impl SealChunk {
    pub(super) fn new(composer: Composer, upload: Upload) -> Self {
        Self { composer, stage: ChunkStage::Begin(upload) }
    }

    fn begin(&self, upload: &Upload) -> Result<ChunkStage, ComposeError> {
        let (payload, splitting, message_id, next) = match &upload.content {
            Content::Whole(sealed) | Content::Sealed { sealed, .. } => {
                return Ok(ChunkStage::Done(Ok(sealed.clone())))
            }
            Content::Chunks { payload, splitting, message_id, next } => {
                (payload, splitting, *message_id, *next)
            }
        };
        let mut frame = Frame::with_capacity(0);
        // Where there is no such chunk (a damaged snapshot can say so) an empty one does no harm.
        if let Some(chunk) = splitting.chunk(payload, message_id, next) {
            frame = Frame::with_capacity(chunk.data.len() + CHUNK_HEADER_LENGTH);
            chunk.write_to(frame.buffer_mut());
        }
        let sealing = SealMessage::new(&self.composer, frame, upload.tag, true)?;
        Ok(ChunkStage::Seal(Box::new(sealing)))
    }
}

impl Work<Outcome> for SealChunk {
    fn kind(&self) -> JobKind {
        JobKind::SealChunk
    }

    fn step(&mut self) -> bool {
        match &mut self.stage {
            ChunkStage::Begin(upload) => {
                let upload = upload.clone();
                self.stage =
                    self.begin(&upload).unwrap_or_else(|error| ChunkStage::Done(Err(error)));
            }
            ChunkStage::Seal(sealing) => {
                if let Some(sealed) = sealing.step(&self.composer).transpose() {
                    self.stage = ChunkStage::Done(sealed.map(|(sealed, _)| sealed));
                }
            }
            ChunkStage::Done(_) => {}
        }
        matches!(self.stage, ChunkStage::Done(_))
    }

    fn progress(&self) -> Progress {
        Progress { done: u64::from(matches!(self.stage, ChunkStage::Done(_))), total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.stage {
            ChunkStage::Done(result) => Outcome::Sealed(result),
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}
