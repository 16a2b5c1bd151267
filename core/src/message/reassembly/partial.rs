//! One message, of which some chunks are there.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits::cost;
use super::ReassemblyError;
use crate::message::{MessageId, Tag};
use crate::time::Timestamp;

/// A chunk as it is kept: its header's fields and its data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedChunk {
    /// Its place, from 0.
    pub id: u16,
    /// The message that it is a part of.
    pub message_id: MessageId,
    /// Whether the chunk is the last one.
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
#[non_exhaustive]
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

/// One incomplete message.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Partial {
    pub(super) message_id: MessageId,
    pub(super) tag: Tag,
    /// What is set aside for the payload, once the right to send it is proven: a message that was
    /// let in can always be completed, however many others come.
    pub(super) reserved: Option<usize>,
    pub(super) arrival: u64,
    pub(super) last: Option<u16>,
    pub(super) bytes: usize,
    pub(super) chunks: BTreeMap<u16, Bytes>,
    /// When the latest chunk came. Clocks begin anew when a machine is restored.
    #[serde(skip)]
    pub(super) touched: Timestamp,
    /// The record that has its latest chunk; 0 if nobody waits for that. What was restored is stored.
    #[serde(skip)]
    pub(super) record: u64,
}

impl Partial {
    pub(super) fn is_proven(&self) -> bool {
        self.reserved.is_some()
    }

    pub(super) fn cost(&self) -> usize {
        cost(self.reserved.unwrap_or(self.bytes), self.chunks.len())
    }

    /// Whether the very same chunk is there already.
    pub(super) fn contains(&self, tag: Tag, chunk: &OwnedChunk) -> Result<bool, ReassemblyError> {
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

    /// Puts a chunk in its place.
    pub(super) fn put(&mut self, chunk: OwnedChunk) {
        if chunk.is_last {
            self.last = Some(chunk.id);
        }
        self.bytes = self.bytes.saturating_add(chunk.data.len());
        if let Some(twice) = self.chunks.insert(chunk.id, chunk.data) {
            self.bytes -= twice.len();
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| self.chunks.len() == usize::from(last) + 1)
    }

    /// The message, if [all](Self::is_complete) of it is there.
    pub(super) fn complete(&self) -> Complete {
        Complete { tag: self.tag, parts: self.chunks.values().cloned().collect() }
    }

    /// Whether all of it is there once this chunk is, too.
    pub(super) fn is_completed_by(known: Option<&Self>, chunk: &OwnedChunk) -> bool {
        let last = known.and_then(|known| known.last).or(chunk.is_last.then_some(chunk.id));
        let count = known.map_or(0, |known| known.chunks.len()) + 1;
        last.is_some_and(|last| count == usize::from(last) + 1)
    }

    /// The message that this chunk completes.
    pub(super) fn completed_by(known: Option<&Self>, tag: Tag, chunk: OwnedChunk) -> Complete {
        let before = known.map_or(0, |known| known.chunks.len());
        let mut parts = Vec::with_capacity(before + 1);
        parts.extend(known.iter().flat_map(|known| known.chunks.values().cloned()));
        parts.insert(usize::from(chunk.id).min(before), chunk.data);
        Complete { tag, parts }
    }
}
