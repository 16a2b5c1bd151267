//! Putting the chunks of multipart messages together, within limits.
//!
//! The existing coordinator keeps incomplete messages for ever and looks at a sender's right to send
//! only when all is there; anyone can fill its memory. Here a message's chunks count as *proven* once
//! a chunk that carries valid task signatures was seen (or the sender's right is known otherwise);
//! proven and unproven chunks have limits of their own, so that a crowd of invented participants can
//! only push out each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{MessageId, Tag};
use crate::crypto::PublicSigningKey;

/// How much may be kept of incomplete messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassemblyLimits {
    /// The most bytes kept of messages whose sender has proven the right to send them.
    pub proven_bytes: usize,
    /// The most bytes kept of all others.
    pub unproven_bytes: usize,
}

impl Default for ReassemblyLimits {
    /// 1 GiB proven, 16 MiB unproven.
    fn default() -> Self {
        Self { proven_bytes: 1 << 30, unproven_bytes: 1 << 24 }
    }
}

/// Why a chunk is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReassemblyError {
    /// The parts say different things about the message.
    #[error("this chunk contradicts an earlier one of the same message")]
    Contradiction,
    /// The message is larger than any that this round allows.
    #[error("the chunks add up to {actual} bytes, but such a message has at most {max} bytes")]
    TooLarge {
        /// How many bytes there would be.
        actual: usize,
        /// How many there may be.
        max: usize,
    },
    /// There is no room: try again later.
    #[error("no room for more incomplete messages: send the chunk again later")]
    NoRoom,
}

impl ReassemblyError {
    /// A short, stable name of the reason, for counting.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Contradiction => "chunk_contradiction",
            Self::TooLarge { .. } => "chunks_too_large",
            Self::NoRoom => "chunks_no_room",
        }
    }
}

/// A chunk as it is kept: its header's fields and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedChunk {
    /// Its place, from 0.
    pub id: u16,
    /// The message that it is a part of.
    pub message_id: MessageId,
    /// Whether it is the last one.
    pub is_last: bool,
    /// The bytes.
    pub data: Bytes,
}

/// A message of which all chunks are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// What the message is for.
    pub tag: Tag,
    /// The data of its chunks, in order.
    pub parts: Vec<Bytes>,
}

impl Complete {
    /// The payload: all parts, one after another.
    pub fn payload(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// One incomplete message. A participant has at most one: it sends its chunks one by one, so a new
/// message id means that it gave the older message up.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Partial {
    message_id: MessageId,
    tag: Tag,
    proven: bool,
    arrival: u64,
    last: Option<u16>,
    bytes: usize,
    chunks: BTreeMap<u16, Bytes>,
}

/// The incomplete messages of one phase.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reassembly {
    limits: ReassemblyLimits,
    partials: BTreeMap<PublicSigningKey, Partial>,
    proven_bytes: usize,
    unproven_bytes: usize,
    arrivals: u64,
}

/// What a kept chunk costs beside its data.
const CHUNK_COST: usize = 96;

impl Reassembly {
    /// With nothing in it.
    pub fn new(limits: ReassemblyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many messages are incomplete.
    pub fn len(&self) -> usize {
        self.partials.len()
    }

    /// Whether no message is incomplete.
    pub fn is_empty(&self) -> bool {
        self.partials.is_empty()
    }

    /// How many bytes are kept, with what each chunk costs beside its data.
    pub fn bytes(&self) -> usize {
        self.proven_bytes + self.unproven_bytes
    }

    /// Takes a chunk in; gives back the message if it was the last one missing. The same chunk may
    /// come twice.
    ///
    /// `proven` says that this chunk proves its sender's right to send the message; `max_payload` is
    /// the length that no payload with this tag exceeds.
    ///
    /// # Errors
    /// If the chunk contradicts earlier ones, or there is no room. What was kept before stays.
    pub fn add(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Result<Option<Complete>, ReassemblyError> {
        match self.partials.get(&sender) {
            Some(partial) if partial.message_id == chunk.message_id => {
                if partial.contains(tag, &chunk)? {
                    return Ok(None);
                }
            }
            // An unproven chunk with another id must not displace a proven message: chunks may
            // overtake each other, and old ones may come late.
            Some(partial) if partial.proven && !proven => {
                return Err(ReassemblyError::Contradiction)
            }
            _ => {}
        }
        let before = self
            .partials
            .get(&sender)
            .filter(|partial| partial.message_id == chunk.message_id)
            .map_or((false, 0, 0), |partial| (partial.proven, partial.bytes, partial.cost()));
        let actual = before.1.saturating_add(chunk.data.len());
        if actual > max_payload {
            return Err(ReassemblyError::TooLarge { actual, max: max_payload });
        }
        let proven = proven || before.0;
        self.make_room(&sender, proven, before.2 + chunk.data.len() + CHUNK_COST)?;

        let mut partial = match self.remove(&sender) {
            Some(partial) if partial.message_id == chunk.message_id => partial,
            _ => {
                self.arrivals += 1;
                Partial {
                    message_id: chunk.message_id,
                    tag,
                    proven,
                    arrival: self.arrivals,
                    last: None,
                    bytes: 0,
                    chunks: BTreeMap::new(),
                }
            }
        };
        partial.proven = proven;
        partial.bytes = actual;
        if chunk.is_last {
            partial.last = Some(chunk.id);
        }
        partial.chunks.insert(chunk.id, chunk.data);
        if partial.is_complete() {
            return Ok(Some(Complete {
                tag: partial.tag,
                parts: partial.chunks.into_values().collect(),
            }));
        }
        *self.account(proven) += partial.cost();
        self.partials.insert(sender, partial);
        Ok(None)
    }

    /// Makes sure that the sender's message may grow to `cost` in its account: proven messages wait
    /// for each other, of the unproven ones the oldest give way.
    fn make_room(
        &mut self,
        sender: &PublicSigningKey,
        proven: bool,
        cost: usize,
    ) -> Result<(), ReassemblyError> {
        let limit = if proven { self.limits.proven_bytes } else { self.limits.unproven_bytes };
        let own = self.partials.get(sender).filter(|own| own.proven == proven);
        let own = own.map_or(0, Partial::cost);
        if proven {
            return match self.proven_bytes - own + cost <= limit {
                true => Ok(()),
                false => Err(ReassemblyError::NoRoom),
            };
        }
        if cost > limit {
            return Err(ReassemblyError::NoRoom);
        }
        while self.unproven_bytes - own + cost > limit {
            let oldest = self
                .partials
                .iter()
                .filter(|(key, partial)| !partial.proven && *key != sender)
                .min_by_key(|(_, partial)| partial.arrival)
                .map(|(key, _)| *key);
            match oldest {
                Some(oldest) => self.remove(&oldest),
                None => return Err(ReassemblyError::NoRoom),
            };
        }
        Ok(())
    }

    fn remove(&mut self, sender: &PublicSigningKey) -> Option<Partial> {
        let partial = self.partials.remove(sender)?;
        *self.account(partial.proven) -= partial.cost();
        Some(partial)
    }

    fn account(&mut self, proven: bool) -> &mut usize {
        if proven {
            &mut self.proven_bytes
        } else {
            &mut self.unproven_bytes
        }
    }
}

impl Partial {
    fn cost(&self) -> usize {
        self.bytes + self.chunks.len() * CHUNK_COST
    }

    /// Whether the very same chunk is there already.
    fn contains(&self, tag: Tag, chunk: &OwnedChunk) -> Result<bool, ReassemblyError> {
        let highest = self.chunks.keys().next_back().copied().unwrap_or(0);
        let fits_last = match self.last {
            Some(last) => chunk.id <= last && chunk.is_last == (chunk.id == last),
            None => !chunk.is_last || chunk.id >= highest,
        };
        if tag != self.tag || !fits_last {
            return Err(ReassemblyError::Contradiction);
        }
        match self.chunks.get(&chunk.id) {
            Some(data) if *data == chunk.data => Ok(true),
            Some(_) => Err(ReassemblyError::Contradiction),
            None => Ok(false),
        }
    }

    fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| self.chunks.len() == usize::from(last) + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENDER: PublicSigningKey = PublicSigningKey::new([1; 32]);

    fn chunk(id: u16, is_last: bool, data: &[u8]) -> OwnedChunk {
        OwnedChunk { id, message_id: MessageId(9), is_last, data: Bytes::copy_from_slice(data) }
    }

    fn sender(byte: u8) -> PublicSigningKey {
        PublicSigningKey::new([byte; 32])
    }

    proptest! {
        #[test]
        fn any_order_gives_the_payload(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..20),
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
                    prop_assert_eq!(complete.unwrap().payload(), parts.concat());
                } else {
                    prop_assert_eq!(complete, None);
                    if twice {
                        prop_assert_eq!(reassembly.add(SENDER, Tag::Update, part, false, total), Ok(None));
                    }
                }
            }
            prop_assert_eq!((reassembly.len(), reassembly.bytes()), (0, 0));
        }

        #[test]
        fn the_limits_hold(
            steps in proptest::collection::vec(
                (0u8..6, 0u16..6, any::<bool>(), 0usize..300, any::<bool>(), 0u16..2), 0..200,
            ),
        ) {
            let limits = ReassemblyLimits { proven_bytes: 1000, unproven_bytes: 500 };
            let mut reassembly = Reassembly::new(limits);
            for (from, id, is_last, length, proven, message) in steps {
                let part = OwnedChunk {
                    message_id: MessageId(message), ..chunk(id, is_last, &vec![0; length])
                };
                let _ = reassembly.add(sender(from), Tag::Update, part, proven, 800);
                prop_assert!(reassembly.proven_bytes <= limits.proven_bytes);
                prop_assert!(reassembly.unproven_bytes <= limits.unproven_bytes);
                let cost = |proven| reassembly.partials.values()
                    .filter(|partial| partial.proven == proven)
                    .map(Partial::cost)
                    .sum::<usize>();
                prop_assert_eq!(cost(true), reassembly.proven_bytes);
                prop_assert_eq!(cost(false), reassembly.unproven_bytes);
            }
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        let mut add = |tag, part| reassembly.add(SENDER, tag, part, false, 100);
        assert_eq!(add(Tag::Update, chunk(1, false, b"b")), Ok(None));
        let refused = Err(ReassemblyError::Contradiction);
        assert_eq!(add(Tag::Update, chunk(1, false, b"x")), refused);
        assert_eq!(add(Tag::Sum2, chunk(0, false, b"a")), refused);
        assert_eq!(add(Tag::Update, chunk(0, true, b"a")), refused);
        assert_eq!(add(Tag::Update, chunk(2, true, b"c")), Ok(None));
        assert_eq!(add(Tag::Update, chunk(3, false, b"d")), refused);
        let complete = add(Tag::Update, chunk(0, false, b"a")).unwrap().unwrap();
        assert_eq!(complete.payload(), b"abc");
    }

    #[test]
    fn a_message_above_its_maximal_length_is_refused() {
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        assert_eq!(reassembly.add(SENDER, Tag::Sum2, chunk(0, false, &[0; 6]), true, 10), Ok(None));
        assert_eq!(
            reassembly.add(SENDER, Tag::Sum2, chunk(1, true, &[0; 5]), true, 10),
            Err(ReassemblyError::TooLarge { actual: 11, max: 10 })
        );
    }

    #[test]
    fn the_unproven_push_out_only_each_other() {
        let mut reassembly =
            Reassembly::new(ReassemblyLimits { proven_bytes: 400, unproven_bytes: 400 });
        let data = [0; 200];
        let mut add = |from, proven| {
            reassembly.add(sender(from), Tag::Update, chunk(0, false, &data), proven, 1000)
        };
        assert_eq!(add(0, true), Ok(None));
        for from in 1..100 {
            assert_eq!(add(from, false), Ok(None));
        }
        assert_eq!(add(100, true), Err(ReassemblyError::NoRoom));
        assert_eq!(reassembly.len(), 2);
        assert!(reassembly.partials.contains_key(&sender(0)));
        assert!(reassembly.partials.contains_key(&sender(99)));
    }
}
