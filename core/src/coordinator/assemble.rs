//! Putting a multipart message together and checking it, in steps.

use std::sync::Arc;

use bytes::Bytes;

use super::context::RoundContext;
use super::jobs::Outcome;
use super::{Rejection, Verified};
use crate::crypto::{Blake2b, Digest, PublicSigningKey};
use crate::job::{JobKind, Progress, Work};
use crate::mask::MaskObjectView;
use crate::message::{Complete, MessageError, Payload, Sum2Payload, Tag};

/// How many bytes are copied, checked or hashed in a step: some hundred microseconds' work.
pub(super) const BYTES_PER_STEP: usize = 1 << 18;

/// Puts a multipart message together and checks its payload.
pub(super) struct Assemble {
    context: Arc<RoundContext>,
    participant: PublicSigningKey,
    tag: Tag,
    /// How many bytes there are.
    total: usize,
    stage: Stage,
}

enum Stage {
    /// Copying parts, `skipped` bytes of the first of which are copied already.
    Join {
        parts: std::vec::IntoIter<Bytes>,
        skipped: usize,
        payload: Vec<u8>,
    },
    /// Are all numbers below their orders?
    Check {
        payload: Bytes,
        numbers: usize,
    },
    /// Hashing a mask.
    Hash {
        payload: Bytes,
        hash: Box<Blake2b>,
        at: usize,
    },
    Done(Result<Verified, Rejection>),
}

impl Assemble {
    pub(super) fn new(
        context: Arc<RoundContext>,
        participant: PublicSigningKey,
        complete: Complete,
    ) -> Self {
        let Complete { tag, parts } = complete;
        let total = parts.iter().map(Bytes::len).sum();
        let stage = Stage::Join { parts: parts.into_iter(), skipped: 0, payload: Vec::new() };
        Self { context, participant, tag, total, stage }
    }

    fn next(&self, stage: Stage) -> Result<Stage, Rejection> {
        Ok(match stage {
            Stage::Join { mut parts, mut skipped, mut payload } => {
                // At once: growing would copy what is there already.
                payload.reserve_exact(self.total - payload.len());
                let mut room = BYTES_PER_STEP;
                while let Some(part) = parts.as_slice().first().filter(|_| room > 0) {
                    let piece = &part[skipped..part.len().min(skipped.saturating_add(room))];
                    payload.extend_from_slice(piece);
                    (skipped, room) = (skipped + piece.len(), room - piece.len());
                    // A part without any bytes costs a step's room as well.
                    room = room.saturating_sub(64);
                    if skipped == part.len() {
                        skipped = 0;
                        parts.next();
                    }
                }
                match parts.as_slice().is_empty() {
                    true => Stage::Check { payload: payload.into(), numbers: 0 },
                    false => Stage::Join { parts, skipped, payload },
                }
            }
            Stage::Check { payload, numbers } => {
                let parsed = Payload::parse_shape(self.tag, false, &payload)?;
                let Some(object) = parsed.object() else {
                    return Ok(Stage::Done(self.verify(&payload, None)));
                };
                let end = numbers.saturating_add(self.numbers_per_step(object)).min(object.len());
                object.check_range(numbers..end).map_err(MessageError::from)?;
                if end < object.len() {
                    drop(parsed);
                    return Ok(Stage::Check { payload, numbers: end });
                }
                object.check_unit().map_err(MessageError::from)?;
                match self.tag {
                    Tag::Sum2 => {
                        drop(parsed);
                        Stage::Hash { payload, hash: Box::default(), at: Sum2Payload::MASK_FROM }
                    }
                    Tag::Sum | Tag::Update => Stage::Done(self.verify(&payload, None)),
                }
            }
            Stage::Hash { payload, mut hash, at } => {
                let end = payload.len().min(at + BYTES_PER_STEP);
                hash.update(&payload[at..end]);
                match end < payload.len() {
                    true => Stage::Hash { payload, hash, at: end },
                    false => Stage::Done(self.verify(&payload, Some(hash.finish()))),
                }
            }
            Stage::Done(result) => Stage::Done(result),
        })
    }

    fn numbers_per_step(&self, object: &MaskObjectView<'_>) -> usize {
        (BYTES_PER_STEP / object.config().vect.bytes_per_number()).max(1)
    }

    /// What is left to be checked takes as long for all payloads, but for the sealed mask seeds.
    fn verify(&self, payload: &Bytes, digest: Option<Digest>) -> Result<Verified, Rejection> {
        let parsed = Payload::parse_shape(self.tag, false, payload)?;
        self.context.check_parsed(self.participant, self.tag, parsed, payload, digest)
    }
}

impl Work<Outcome> for Assemble {
    fn kind(&self) -> JobKind {
        JobKind::Assemble
    }

    fn step(&mut self) -> bool {
        let nothing =
            Stage::Join { parts: Vec::new().into_iter(), skipped: 0, payload: Vec::new() };
        let stage = std::mem::replace(&mut self.stage, nothing);
        self.stage = self.next(stage).unwrap_or_else(|rejection| Stage::Done(Err(rejection)));
        matches!(self.stage, Stage::Done(_))
    }

    fn progress(&self) -> Progress {
        let done = match &self.stage {
            Stage::Join { payload, .. } => payload.len(),
            Stage::Check { .. } | Stage::Hash { .. } | Stage::Done(_) => self.total,
        };
        Progress { done: done as u64, total: self.total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.stage {
            Stage::Done(result) => Outcome::Assembled(result),
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}
