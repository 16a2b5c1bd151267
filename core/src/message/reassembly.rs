//! Putting the chunks of multipart messages together, within limits.
//!
//! The existing coordinator keeps incomplete messages for ever and looks at a sender's right to send
//! only when all is there; anyone can fill its memory. Here a message's chunks count as *proven* once
//! a chunk that carries valid task signatures was seen (or the sender's right is known otherwise);
//! proven and unproven chunks have limits of their own, so that a crowd of invented participants can
//! only push out each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{MessageId, Tag};
use crate::crypto::PublicSigningKey;
use crate::time::Timestamp;

/// How much may be kept of incomplete messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassemblyLimits {
    /// The most bytes kept of messages whose sender has proven the right to send them.
    pub proven_bytes: usize,
    /// The most bytes kept of all others.
    pub unproven_bytes: usize,
    /// The most messages kept, proven or not.
    pub messages: usize,
    /// A message of which no chunk has come for so long gives way to others.
    pub idle: Duration,
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
    /// The chunk carries nothing.
    #[error("this chunk carries no data")]
    EmptyChunk,
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
            Self::EmptyChunk => "chunk_empty",
            Self::NoRoom => "chunks_no_room",
        }
    }
}

/// A chunk as it is kept: its header's fields and its data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Shows the length of the data only: it can be long, and it is a participant's own.
impl fmt::Debug for OwnedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedChunk")
            .field("id", &self.id)
            .field("message_id", &self.message_id)
            .field("is_last", &self.is_last)
            .field("data", &format_args!("{} bytes", self.data.len()))
            .finish()
    }
}

/// A message of which all chunks are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Complete {
    /// What the message is for.
    pub tag: Tag,
    /// The data of its chunks, in order.
    pub parts: Vec<Bytes>,
}

/// Shows the length of the parts only.
impl fmt::Debug for Complete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.parts.iter().map(Bytes::len).sum();
        write!(f, "Complete({} message, {bytes} bytes in {} parts)", self.tag, self.parts.len())
    }
}

impl Complete {
    /// The payload: all parts, one after another.
    pub fn payload(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// One incomplete message. A participant has at most one: it sends its chunks one by one, so a new
/// message id means that it gave the older message up.
#[derive(Clone, Serialize, Deserialize)]
struct Partial {
    message_id: MessageId,
    tag: Tag,
    /// What is set aside for the payload, once the right to send it is proven: a message that was
    /// let in can always be completed, however many others come.
    reserved: Option<usize>,
    arrival: u64,
    last: Option<u16>,
    bytes: usize,
    chunks: BTreeMap<u16, Bytes>,
    /// When the latest chunk came. Clocks begin anew when a machine is restored.
    #[serde(skip)]
    touched: Timestamp,
}

/// The incomplete messages of one phase.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<PublicSigningKey, Partial>", into = "BTreeMap<PublicSigningKey, Partial>")]
pub struct Reassembly {
    limits: ReassemblyLimits,
    partials: BTreeMap<PublicSigningKey, Partial>,
    /// The senders of unproven messages by arrival, so that the oldest is found at once.
    unproven: BTreeMap<u64, PublicSigningKey>,
    /// All senders by the time of their latest chunk.
    by_time: BTreeSet<(Timestamp, PublicSigningKey)>,
    now: Timestamp,
    proven_bytes: usize,
    unproven_bytes: usize,
    arrivals: u64,
    /// Whose messages gave way to others, and nobody has asked yet.
    evicted: Vec<PublicSigningKey>,
}

/// Shows how much is kept, and nothing of it.
impl fmt::Debug for Reassembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reassembly({} messages, {} bytes)", self.len(), self.bytes())
    }
}

/// What was saved is only the messages: the accounts follow from them, so that they are right
/// whatever was read.
impl From<BTreeMap<PublicSigningKey, Partial>> for Reassembly {
    fn from(partials: BTreeMap<PublicSigningKey, Partial>) -> Self {
        let mut reassembly = Self::default();
        let mut by_arrival: Vec<_> = partials.into_iter().collect();
        by_arrival.sort_by_key(|(_, partial)| partial.arrival);
        for (sender, mut partial) in by_arrival {
            partial.bytes = partial.chunks.values().map(Bytes::len).sum();
            reassembly.arrivals += 1;
            partial.arrival = reassembly.arrivals;
            reassembly.insert(sender, partial);
        }
        reassembly
    }
}

impl From<Reassembly> for BTreeMap<PublicSigningKey, Partial> {
    fn from(reassembly: Reassembly) -> Self {
        reassembly.partials
    }
}

/// What a kept chunk costs beside its data: it keeps the header and the seal of its message alive.
const CHUNK_COST: usize = 256;
/// What a message costs beside its chunks.
const PARTIAL_COST: usize = 768;
/// How many messages give way to one chunk at most: taking a chunk in must not take long.
const MOST_EVICTED: usize = 64;

impl Reassembly {
    /// With nothing in it.
    pub fn new(limits: ReassemblyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The same messages under other limits: they hold for what comes.
    pub fn with_limits(self, limits: ReassemblyLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same messages at another time, as if all their chunks had come just now.
    pub fn restarted(mut self, now: Timestamp) -> Self {
        self.now = now;
        self.by_time = self.partials.keys().map(|sender| (now, *sender)).collect();
        self.partials.values_mut().for_each(|partial| partial.touched = now);
        self
    }

    /// Says what time it is, before a chunk of this sender's is [added](Self::add): messages of others
    /// that have been idle for too long are dropped. (Its own one is late, but here.)
    pub fn expire(&mut self, now: Timestamp, sender: &PublicSigningKey) {
        self.now = self.now.max(now);
        let idle = |touched: &Timestamp| self.now.saturating_since(*touched) >= self.limits.idle;
        let late = self.by_time.iter().take_while(|(touched, _)| idle(touched));
        let others = late.map(|(_, key)| *key).filter(|key| key != sender);
        for key in others.take(MOST_EVICTED).collect::<Vec<_>>() {
            self.remove(&key);
            self.evicted.push(key);
        }
    }

    /// The same messages as if they were the first ones.
    pub(crate) fn renumbered(self) -> Self {
        Self { limits: self.limits, ..BTreeMap::from(self).into() }
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
    /// If the chunk is empty, contradicts earlier ones, or there is no room. What was kept before
    /// stays.
    pub fn add(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Result<Option<Complete>, ReassemblyError> {
        // Nobody splits a payload into nothing; and a payload's length bounds the number of chunks.
        if chunk.data.is_empty() {
            return Err(ReassemblyError::EmptyChunk);
        }
        let known = match self.partials.get(&sender) {
            Some(partial) if partial.message_id == chunk.message_id => {
                if partial.contains(tag, &chunk)? {
                    return Ok(None);
                }
                Some(partial)
            }
            // An unproven chunk with another id must not displace a proven message: chunks may
            // overtake each other, and old ones may come late.
            Some(partial) if partial.reserved.is_some() && !proven => {
                return Err(ReassemblyError::Contradiction)
            }
            _ => None,
        };
        let actual = known.map_or(0, |partial| partial.bytes).saturating_add(chunk.data.len());
        if actual > max_payload {
            return Err(ReassemblyError::TooLarge { actual, max: max_payload });
        }
        let chunks = known.map_or(0, |partial| partial.chunks.len()) + 1;
        let was_proven = known.is_some_and(|partial| partial.reserved.is_some());
        if was_proven {
            self.check_overhead()?;
        } else if proven {
            self.admit(&sender, cost(max_payload, chunks))?;
            self.make_place(&sender)?;
        } else {
            self.evict(&sender, cost(actual, chunks))?;
        }

        let mut partial = match self.remove(&sender) {
            Some(partial) if partial.message_id == chunk.message_id => partial,
            _ => self.begin_partial(chunk.message_id, tag),
        };
        if proven && !was_proven {
            partial.reserved = Some(max_payload);
        }
        partial.bytes = actual;
        if chunk.is_last {
            partial.last = Some(chunk.id);
        }
        partial.chunks.insert(chunk.id, chunk.data);
        if partial.is_complete() {
            let parts = partial.chunks.into_values().collect();
            return Ok(Some(Complete { tag: partial.tag, parts }));
        }
        self.insert(sender, partial);
        Ok(None)
    }

    /// Keeps a message of which all chunks are there, with its sender's right to send it proven: for
    /// saving what is being put together. Nothing, if its sender has begun another message already.
    pub fn keep_complete(&mut self, sender: PublicSigningKey, id: MessageId, complete: &Complete) {
        let other = self.has_other(&sender, id);
        let Some(last) = complete.parts.len().checked_sub(1).filter(|_| !other) else { return };
        self.remove(&sender);
        self.arrivals += 1;
        let bytes = complete.parts.iter().map(Bytes::len).sum();
        let partial = Partial {
            message_id: id,
            tag: complete.tag,
            reserved: Some(bytes),
            arrival: self.arrivals,
            last: u16::try_from(last).ok(),
            bytes,
            chunks: (0..=u16::MAX).zip(complete.parts.iter().cloned()).collect(),
            touched: self.now,
        };
        self.insert(sender, partial);
    }

    /// Takes a chunk in that was kept before, within the limits of that time; `reserved` is what was set
    /// aside for its message.
    pub(crate) fn keep_chunk(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        reserved: Option<usize>,
    ) {
        let mut partial = match self.remove(&sender) {
            Some(partial) if partial.message_id == chunk.message_id => partial,
            _ => self.begin_partial(chunk.message_id, tag),
        };
        partial.reserved = partial.reserved.or(reserved);
        partial.bytes = partial.bytes.saturating_add(chunk.data.len());
        if chunk.is_last {
            partial.last = Some(chunk.id);
        }
        if let Some(twice) = partial.chunks.insert(chunk.id, chunk.data) {
            partial.bytes -= twice.len();
        }
        self.insert(sender, partial);
    }

    /// What is set aside for a sender's message, if its right to send it is proven.
    pub(crate) fn reserved(&self, sender: &PublicSigningKey) -> Option<usize> {
        self.partials.get(sender)?.reserved
    }

    /// Whose messages gave way to others since this was asked last.
    pub(crate) fn take_evicted(&mut self) -> Vec<PublicSigningKey> {
        std::mem::take(&mut self.evicted)
    }

    /// Keeps nothing of a sender any more. Gives how many bytes that frees, and what to drop for it.
    pub(crate) fn forget(
        &mut self,
        sender: &PublicSigningKey,
    ) -> Option<(usize, impl Send + 'static)> {
        self.remove(sender).map(|partial| (partial.bytes, partial))
    }

    /// Whether a sender has begun another message than this one.
    pub(crate) fn has_other(&self, sender: &PublicSigningKey, id: MessageId) -> bool {
        self.partials.get(sender).is_some_and(|own| own.message_id != id)
    }

    /// Takes out the messages that were kept with [`keep_complete`](Self::keep_complete).
    pub fn take_complete(&mut self) -> Vec<(PublicSigningKey, MessageId, Complete)> {
        let complete = self.partials.iter().filter(|(_, partial)| partial.is_complete());
        let senders: Vec<_> = complete.map(|(sender, _)| *sender).collect();
        let take = |sender| {
            let partial = self.remove(&sender)?;
            let parts = partial.chunks.into_values().collect();
            Some((sender, partial.message_id, Complete { tag: partial.tag, parts }))
        };
        senders.into_iter().filter_map(take).collect()
    }

    /// Whether a message whose sender has the right to send it can be let in.
    fn admit(&self, sender: &PublicSigningKey, cost: usize) -> Result<(), ReassemblyError> {
        let own = self.partials.get(sender).filter(|own| own.reserved.is_some());
        let others = self.proven_bytes - own.map_or(0, Partial::cost);
        match others.saturating_add(cost) <= self.limits.proven_bytes {
            true => Ok(()),
            false => Err(ReassemblyError::NoRoom),
        }
    }

    /// Messages that were let in have their payload's room; what tiny chunks cost beside it may come
    /// to the same once more.
    fn check_overhead(&self) -> Result<(), ReassemblyError> {
        match self.proven_bytes <= self.limits.proven_bytes.saturating_mul(2) {
            true => Ok(()),
            false => Err(ReassemblyError::NoRoom),
        }
    }

    /// Makes room for an unproven message that grows to `cost`: the oldest others give way.
    fn evict(&mut self, sender: &PublicSigningKey, cost: usize) -> Result<(), ReassemblyError> {
        let own = self.partials.get(sender).filter(|own| own.reserved.is_none());
        let own = own.map_or(0, Partial::cost);
        let limit = self.limits.unproven_bytes;
        for _ in 0..MOST_EVICTED {
            if (self.unproven_bytes - own).saturating_add(cost) <= limit {
                return self.make_place(sender);
            }
            self.evict_oldest(sender)?;
        }
        match (self.unproven_bytes - own).saturating_add(cost) <= limit {
            true => Ok(()),
            false => Err(ReassemblyError::NoRoom),
        }
    }

    fn begin_partial(&mut self, message_id: MessageId, tag: Tag) -> Partial {
        self.arrivals += 1;
        Partial {
            message_id,
            tag,
            reserved: None,
            arrival: self.arrivals,
            last: None,
            bytes: 0,
            chunks: BTreeMap::new(),
            touched: self.now,
        }
    }

    /// Makes a place for one message more, if its sender has none yet.
    fn make_place(&mut self, sender: &PublicSigningKey) -> Result<(), ReassemblyError> {
        if self.partials.len() < self.limits.messages || self.partials.contains_key(sender) {
            return Ok(());
        }
        self.evict_oldest(sender)
    }

    /// The oldest unproven message gives way.
    fn evict_oldest(&mut self, sender: &PublicSigningKey) -> Result<(), ReassemblyError> {
        let mut others = self.unproven.values().filter(|key| *key != sender);
        let oldest = others.next().copied().ok_or(ReassemblyError::NoRoom)?;
        self.remove(&oldest);
        self.evicted.push(oldest);
        Ok(())
    }

    fn insert(&mut self, sender: PublicSigningKey, mut partial: Partial) {
        partial.touched = self.now;
        self.by_time.insert((self.now, sender));
        let account = self.account(partial.reserved.is_some());
        *account = account.saturating_add(partial.cost());
        if partial.reserved.is_none() {
            self.unproven.insert(partial.arrival, sender);
        }
        self.partials.insert(sender, partial);
    }

    fn remove(&mut self, sender: &PublicSigningKey) -> Option<Partial> {
        let partial = self.partials.remove(sender)?;
        self.unproven.remove(&partial.arrival);
        self.by_time.remove(&(partial.touched, *sender));
        let account = self.account(partial.reserved.is_some());
        *account = account.saturating_sub(partial.cost());
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

/// What a message of so many bytes in so many chunks costs.
fn cost(bytes: usize, chunks: usize) -> usize {
    bytes.saturating_add(PARTIAL_COST + chunks * CHUNK_COST)
}

impl Partial {
    fn cost(&self) -> usize {
        cost(self.reserved.unwrap_or(self.bytes), self.chunks.len())
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
            messages in 3usize..7,
            pace in 0u64..40,
        ) {
            let idle = Duration::from_millis(100);
            let limits =
                ReassemblyLimits { proven_bytes: 6000, unproven_bytes: 4000, messages, idle };
            let mut reassembly = Reassembly::new(limits);
            let mut now = Timestamp::ZERO;
            for (from, id, is_last, length, proven, message) in steps {
                now = now + Duration::from_millis(pace);
                reassembly.expire(now, &sender(from));
                let part = OwnedChunk {
                    message_id: MessageId(message), ..chunk(id, is_last, &vec![0; length])
                };
                let _ = reassembly.add(sender(from), Tag::Update, part, proven, 800);
                prop_assert!(reassembly.proven_bytes <= 2 * limits.proven_bytes + CHUNK_COST);
                prop_assert!(reassembly.unproven_bytes <= limits.unproven_bytes);
                prop_assert!(reassembly.len() <= messages);
                let by_time: BTreeSet<_> =
                    reassembly.partials.iter().map(|(key, partial)| (partial.touched, *key)).collect();
                prop_assert_eq!(&by_time, &reassembly.by_time);
                let late = |(at, key): &(Timestamp, _)| now.saturating_since(*at) >= idle && *key != sender(from);
                prop_assert!(!by_time.iter().any(late));
                let cost = |proven| reassembly.partials.values()
                    .filter(|partial| partial.reserved.is_some() == proven)
                    .map(Partial::cost)
                    .sum::<usize>();
                prop_assert_eq!(cost(true), reassembly.proven_bytes);
                prop_assert_eq!(cost(false), reassembly.unproven_bytes);
                let unproven: Vec<_> = reassembly.partials.iter()
                    .filter(|(_, partial)| partial.reserved.is_none())
                    .map(|(key, partial)| (partial.arrival, *key))
                    .collect();
                prop_assert_eq!(unproven.len(), reassembly.unproven.len());
                prop_assert!(unproven.iter().all(|(at, key)| reassembly.unproven.get(at) == Some(key)));
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
        let mut reassembly = Reassembly::new(ReassemblyLimits {
            proven_bytes: 2500,
            unproven_bytes: 1300,
            ..ReassemblyLimits::default()
        });
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

    #[test]
    fn there_is_a_place_for_so_many_messages_and_the_proven_keep_theirs() {
        let limits = ReassemblyLimits { messages: 3, ..ReassemblyLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let mut add = |from, proven| {
            reassembly.add(sender(from), Tag::Update, chunk(0, false, b"x"), proven, 1000)
        };
        for (from, proven) in [(1, false), (2, true), (3, false), (4, false), (5, true)] {
            assert_eq!(add(from, proven), Ok(None));
        }
        // 1 and 3 had to go.
        assert_eq!(add(6, true), Ok(None));
        // There is nobody left who could.
        assert_eq!(add(7, true), Err(ReassemblyError::NoRoom));
        assert_eq!(add(8, false), Err(ReassemblyError::NoRoom));
        // Who has a place goes on.
        assert_eq!(add(2, false), Ok(None));
        let left: Vec<_> = reassembly.partials.keys().copied().collect();
        assert_eq!(left, [sender(2), sender(5), sender(6)]);
    }

    #[test]
    fn idle_messages_give_way_but_not_to_their_own_senders() {
        let idle = Duration::from_secs(10);
        let limits = ReassemblyLimits { idle, ..ReassemblyLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let add = |reassembly: &mut Reassembly, second, from, id| {
            reassembly.expire(at(second), &sender(from));
            let part = chunk(id, id == 3, b"x");
            reassembly.add(sender(from), Tag::Update, part, true, 1000)
        };
        assert_eq!(add(&mut reassembly, 0, 1, 0), Ok(None));
        assert_eq!(add(&mut reassembly, 0, 2, 0), Ok(None));
        // Every chunk gives its message more time.
        assert_eq!(add(&mut reassembly, 9, 1, 1), Ok(None));
        assert_eq!(add(&mut reassembly, 10, 3, 0), Ok(None));
        assert_eq!(reassembly.len(), 2, "the second one was idle");
        assert_eq!(reassembly.bytes(), 2 * cost(1000, 1) + CHUNK_COST);
        // Late, but nobody else has come meanwhile.
        assert_eq!(add(&mut reassembly, 100, 1, 2), Ok(None));
        assert_eq!(reassembly.len(), 1);
        // Times begin anew for a restored machine, whose clock may be another.
        let mut reassembly = reassembly.restarted(at(5));
        assert_eq!(add(&mut reassembly, 14, 4, 0), Ok(None));
        let complete = add(&mut reassembly, 14, 1, 3).unwrap().unwrap();
        assert_eq!(complete.payload(), b"xxxx");
    }

    /// However many uploads there are: those that were let in are completed, the others wait.
    #[test]
    fn uploads_do_not_starve_each_other() {
        let limits = ReassemblyLimits { proven_bytes: 100_000, ..ReassemblyLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let mut completed = [false; 30];
        for round in 0..3 {
            for id in 0..10 {
                for from in 0..30u8 {
                    if completed[usize::from(from)] {
                        continue;
                    }
                    let part = chunk(id, id == 9, &[id as u8; 1000]);
                    if let Ok(Some(_)) =
                        reassembly.add(sender(from), Tag::Update, part, id == 0, 10_000)
                    {
                        completed[usize::from(from)] = true;
                    }
                }
            }
            assert!(completed.iter().filter(|done| **done).count() >= (round + 1) * 7);
        }
    }

    #[test]
    fn saved_messages_keep_their_accounts() {
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        for (from, proven) in [(1, true), (2, false), (3, true)] {
            let part = chunk(0, false, &[from; 100]);
            reassembly.add(sender(from), Tag::Update, part, proven, 1000).unwrap();
        }
        let saved = bincode::serialize(&reassembly).unwrap();
        let mut restored: Reassembly = bincode::deserialize(&saved).unwrap();
        assert_eq!((restored.len(), restored.bytes()), (3, reassembly.bytes()));
        let last = chunk(1, true, b"end");
        let complete = restored.add(sender(1), Tag::Update, last, false, 1000).unwrap().unwrap();
        assert_eq!(complete.payload(), [&[1; 100][..], b"end"].concat());
    }
}
