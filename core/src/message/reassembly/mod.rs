//! Puts the chunks of multipart messages together, within limits.
//!
//! The existing coordinator keeps incomplete messages for ever and looks at a sender's right to send
//! only when all is there; anyone can fill its memory. Here a message's chunks count as *proven* once
//! a chunk that carries valid task signatures was seen (or the sender's right is known otherwise);
//! proven and unproven chunks have limits of their own, so that a crowd of invented participants can
//! only push out each other.

mod added;
mod error;
mod held;
mod judge;
mod kept;
mod limits;
mod partial;
mod room;
mod saved;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MessageId, Tag};
use crate::crypto::PublicSigningKey;
pub use added::Added;
pub use error::ReassemblyError;
use held::Held;
pub(crate) use judge::{Judgement, Verdict};
use kept::Kept;
pub use limits::ReassemblyLimits;
pub use partial::{Complete, OwnedChunk};

/// The incomplete messages of one phase.
///
/// Whoever stores chunks says [which record](Self::recorded) has the latest chunk of a message, and
/// [which records are stored](Self::stored): a message gives way only once all of it is stored. Bytes on
/// their way to a store are in memory whether they are needed or not, so that giving them up would make
/// no room.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reassembly {
    #[serde(skip)]
    limits: ReassemblyLimits,
    kept: Kept,
    /// What is no incomplete message any more, and still in memory.
    #[serde(skip)]
    held: Held,
    /// The records up to this one are stored.
    #[serde(skip)]
    stored: u64,
}

/// Shows how much is kept, and nothing of it.
impl fmt::Debug for Reassembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reassembly({} messages, {} bytes)", self.len(), self.bytes())
    }
}

impl Reassembly {
    /// An empty reassembly.
    pub fn new(limits: ReassemblyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many messages are incomplete.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no message is incomplete.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are in memory: those of incomplete messages, with what each chunk costs beside its
    /// data, and those of others that are [still there](Self::hold).
    pub fn bytes(&self) -> usize {
        self.proven_bytes() + self.unproven_bytes()
    }

    pub(self) fn proven_bytes(&self) -> usize {
        self.kept.proven_bytes() + self.held.proven_bytes()
    }

    pub(self) fn unproven_bytes(&self) -> usize {
        self.kept.unproven_bytes() + self.held.unproven_bytes()
    }

    /// Takes a chunk in; gives back the message if it was the last one missing. The same chunk may
    /// come any number of times: after the first it changes nothing. It is no sign of life either; else
    /// whoever has recorded one could keep its message here for ever.
    ///
    /// `proven` says that this chunk proves its sender's right to send the message; `max_payload` is
    /// the length that no payload with this tag exceeds.
    ///
    /// # Errors
    /// If the chunk is empty, contradicts earlier ones, or there is no room. What was kept before
    /// stays, but for what gave way to it.
    pub fn add(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Result<Added, ReassemblyError> {
        let Judgement { gone, verdict } = self.judge(&sender, tag, &chunk, proven, max_payload);
        for key in &gone {
            self.kept.remove(key);
        }
        Ok(match verdict? {
            Verdict::Duplicate => Added::Duplicate,
            Verdict::Keep { reserved } => {
                self.keep_chunk(sender, tag, chunk, reserved);
                Added::New
            }
            Verdict::Complete => {
                let complete = self.complete(&sender, tag, chunk);
                self.kept.remove(&sender);
                Added::Complete(complete)
            }
        })
    }

    /// What is set aside for a sender's message, if its right to send it is proven.
    pub fn reserved(&self, sender: &PublicSigningKey) -> Option<usize> {
        self.kept.get(sender)?.reserved
    }

    /// Keeps nothing of a sender any more. Gives how many bytes that frees, and what to drop for it.
    pub(crate) fn forget(
        &mut self,
        sender: &PublicSigningKey,
    ) -> Option<(usize, impl Send + 'static)> {
        self.held.settle(sender, self.stored);
        if let Some(partial) = self.kept.remove(sender) {
            if !self.is_stored(&partial) {
                self.held.wait(*sender, partial.cost(), partial.is_proven(), partial.record);
            }
            return Some((partial.bytes, partial));
        }
        self.kept.remove_aside(sender).map(|partial| (partial.bytes, partial))
    }

    /// Whether a sender has begun another message than this one.
    pub(crate) fn has_other(&self, sender: &PublicSigningKey, id: MessageId) -> bool {
        self.kept.get(sender).is_some_and(|own| own.message_id != id)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const SENDER: PublicSigningKey = PublicSigningKey::new([1; 32]);

    pub(super) fn chunk(id: u16, is_last: bool, data: &[u8]) -> OwnedChunk {
        OwnedChunk { id, message_id: MessageId(9), is_last, data: Bytes::copy_from_slice(data) }
    }

    pub(super) fn sender(byte: u8) -> PublicSigningKey {
        PublicSigningKey::new([byte; 32])
    }

    proptest! {
        #[test]
        fn any_order_gives_the_payload(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..9), 1..20),
            order in any::<prop::sample::Index>(),
            twice: bool,
        ) {
            let mut reassembly = Reassembly::new(ReassemblyLimits::default());
            let mut ids: Vec<usize> = (0..parts.len()).collect();
            let rotation = order.index(ids.len());
            ids.rotate_left(rotation);
            if rotation % 2 == 1 {
                ids.reverse();
            }
            let total = parts.concat().len();
            for (nth, id) in ids.iter().enumerate() {
                let part = chunk(*id as u16, *id + 1 == parts.len(), &parts[*id]);
                let complete = reassembly.add(SENDER, Tag::Update, part.clone(), false, total).unwrap();
                if nth + 1 == ids.len() {
                    prop_assert_eq!(complete.complete().unwrap().payload(), parts.concat());
                } else {
                    prop_assert_eq!(complete, Added::New);
                    if twice {
                        let again = reassembly.add(SENDER, Tag::Update, part, false, total);
                        prop_assert_eq!(again, Ok(Added::Duplicate));
                    }
                }
            }
            prop_assert_eq!((reassembly.len(), reassembly.bytes()), (0, 0));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        let mut add = |tag, part| reassembly.add(SENDER, tag, part, false, 100);
        assert_eq!(add(Tag::Update, chunk(1, false, b"b")), Ok(Added::New));
        let refused = Err(ReassemblyError::Contradiction);
        assert_eq!(add(Tag::Update, chunk(1, false, b"x")), refused);
        assert_eq!(add(Tag::Sum2, chunk(0, false, b"a")), refused);
        assert_eq!(add(Tag::Update, chunk(0, true, b"a")), refused);
        assert_eq!(add(Tag::Update, chunk(2, true, b"c")), Ok(Added::New));
        assert_eq!(add(Tag::Update, chunk(3, false, b"d")), refused);
        let complete = add(Tag::Update, chunk(0, false, b"a")).unwrap().complete().unwrap();
        assert_eq!(complete.payload(), b"abc");
    }

    #[test]
    fn a_message_above_its_maximal_length_is_refused() {
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        assert_eq!(
            reassembly.add(SENDER, Tag::Sum2, chunk(0, false, &[0; 6]), true, 10),
            Ok(Added::New)
        );
        assert_eq!(
            reassembly.add(SENDER, Tag::Sum2, chunk(1, true, &[0; 5]), true, 10),
            Err(ReassemblyError::TooLarge { actual: 11, max: 10 })
        );
    }
}
