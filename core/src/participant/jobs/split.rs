//! Splitting a message that is made already: something on the way to the coordinator takes only shorter ones.

use bytes::Bytes;

use super::super::stage::{Content, Upload};
use super::{ComposeError, Composer, Outcome};
use crate::crypto::{OwnBox, Purpose, OWN_BOX_PIECE};
use crate::job::{JobKind, Progress, Work};
use crate::message::{MessageId, HEADER_LENGTH};

/// Splits a message into parts that are short enough.
///
/// A sealed message is read again, which its sender can, so that neither the local model nor the payload has to
/// be kept for that. The parts get a message id of their own: no part of before fits to them.
pub(super) struct SplitAgain {
    composer: Composer,
    upload: Upload,
    /// What opens the message.
    own: Option<OwnBox>,
    /// What was read of it: header and payload.
    message: Vec<u8>,
}

impl SplitAgain {
    pub(super) fn new(composer: Composer, upload: Upload) -> Self {
        Self { composer, upload, own: None, message: Vec::new() }
    }

    fn split(self) -> Result<Upload, ComposeError> {
        let size = self.upload.sealed_length();
        let (payload, message_id) = match self.upload.content {
            Content::Chunks { payload, message_id, .. } => {
                (payload, MessageId(message_id.0.wrapping_add(1)))
            }
            Content::Sealed { signature, .. } => {
                let id = self.composer.root.derive(Purpose::MessageId, &[signature.as_bytes()]);
                let [low, high, ..] = *id.as_bytes();
                let from = HEADER_LENGTH.min(self.message.len());
                let payload = Bytes::from(self.message).slice(from..);
                (payload, MessageId(u16::from_le_bytes([low, high])))
            }
            Content::Whole(_) => return Err(ComposeError::NotLetThrough { size }),
        };
        let splitting = self.composer.size.split(payload.len())?;
        let splitting = splitting.ok_or(ComposeError::NotLetThrough { size })?;
        let content = Content::Chunks { payload, splitting, message_id, next: 0 };
        Ok(Upload { tag: self.upload.tag, content })
    }
}

impl Work<Outcome> for SplitAgain {
    fn kind(&self) -> JobKind {
        JobKind::SplitMessage
    }

    fn step(&mut self) -> bool {
        let Content::Sealed { sealed, signature } = &self.upload.content else { return true };
        let own = match &self.own {
            Some(own) => own,
            None => {
                let keys = self.composer.seal_keys(signature);
                // It was sealed for this key before, so this cannot fail; if it does, nothing is read.
                let Ok(own) = OwnBox::new(&keys, self.composer.pk()) else { return true };
                self.message.reserve_exact(sealed.len());
                self.own.insert(own)
            }
        };
        own.read(sealed, &mut self.message)
    }

    fn progress(&self) -> Progress {
        let total = match &self.upload.content {
            Content::Sealed { sealed, .. } => 1 + sealed.len().div_ceil(OWN_BOX_PIECE),
            Content::Chunks { .. } | Content::Whole(_) => 1,
        };
        let done = self.message.len().div_ceil(OWN_BOX_PIECE);
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        Outcome::Composed(self.split())
    }
}
