//! The outcome for a chunk. It is said before anything changes, so that whoever keeps records can change what
//! is kept by its records alone.

use super::partial::{OwnedChunk, Partial};
use super::room::Room;
use super::{Complete, Reassembly, ReassemblyError};
use crate::crypto::PublicSigningKey;
use crate::message::Tag;

/// What becomes of a chunk, and of others for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Whose messages are gone, whether or not it is of use to this one: they have been idle for too long, or
    /// give way.
    pub(crate) gone: Vec<PublicSigningKey>,
    /// What becomes of the chunk itself.
    pub(crate) verdict: Result<Verdict, ReassemblyError>,
}

/// What becomes of a chunk that is in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is [kept](Reassembly::keep_chunk), and so much is set aside for its message.
    Keep {
        /// How many bytes, if the right to send the message is proven.
        reserved: Option<usize>,
    },
    /// It is there already.
    Duplicate,
    /// It is the last one missing: [`Reassembly::complete`] gives the message.
    Complete,
}

impl Reassembly {
    /// What [`Reassembly::add`] would make of a chunk. Changes nothing.
    pub(crate) fn judge(
        &self,
        sender: &PublicSigningKey,
        tag: Tag,
        chunk: &OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Judgement {
        let late = self.late(sender);
        let mut room = Room::new(self, sender, late);
        let verdict = self.judge_in(&mut room, sender, tag, chunk, proven, max_payload);
        Judgement { gone: room.into_gone(), verdict }
    }

    fn judge_in(
        &self,
        room: &mut Room<'_>,
        sender: &PublicSigningKey,
        tag: Tag,
        chunk: &OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Result<Verdict, ReassemblyError> {
        // Nobody splits a payload into nothing; and a payload's length bounds the number of chunks.
        if chunk.data.is_empty() {
            return Err(ReassemblyError::EmptyChunk);
        }
        let known = match self.kept.get(sender) {
            Some(partial) if partial.message_id == chunk.message_id => {
                if partial.contains(tag, chunk)? {
                    return Ok(Verdict::Duplicate);
                }
                Some(partial)
            }
            // An unproven chunk with another id must not displace a proven message: chunks may
            // overtake each other, and old ones may come late.
            Some(partial) if partial.is_proven() && !proven => {
                return Err(ReassemblyError::Contradiction)
            }
            // The sender's older message, or what is left of it, goes first.
            Some(partial) if !self.is_stored(partial) => return Err(ReassemblyError::NoRoom),
            None if self.held.contains(sender) => return Err(ReassemblyError::NoRoom),
            _ => None,
        };
        let actual = known.map_or(0, |partial| partial.bytes).saturating_add(chunk.data.len());
        if actual > max_payload {
            return Err(ReassemblyError::TooLarge { actual, max: max_payload });
        }
        let chunks = known.map_or(0, |partial| partial.chunks.len()) + 1;
        let reserved = known.and_then(|partial| partial.reserved);
        if reserved.is_some() {
            room.check_overhead()?;
        } else if proven {
            room.admit(max_payload, chunks)?;
        } else {
            room.make(actual, chunks)?;
        }
        if Partial::is_completed_by(known, chunk) {
            return Ok(Verdict::Complete);
        }
        Ok(Verdict::Keep { reserved: reserved.or(proven.then_some(max_payload)) })
    }

    /// The message that a chunk [completes](Verdict::Complete). It is put together from what is kept, and that
    /// is kept on.
    pub(crate) fn complete(
        &self,
        sender: &PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
    ) -> Complete {
        let known = self.kept.get(sender).filter(|known| known.message_id == chunk.message_id);
        Partial::completed_by(known, tag, chunk)
    }
}
