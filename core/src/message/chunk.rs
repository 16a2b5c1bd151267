//! Splits a payload that is too large for one message.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::take_array;
use super::{MessageError, FRAME_HEADROOM};

/// How many bytes of a chunk's payload are not data.
pub const CHUNK_HEADER_LENGTH: usize = 8;

/// Bit 0 of a chunk's flags byte: no chunk has a higher id.
const LAST_FLAG: u8 = 1;

/// Chunk ids are 16 bits wide.
const MAX_CHUNKS: usize = 1 << 16;

/// The id that all chunks of one message share, and no other message of the participant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub u16);

/// A part of a payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its place, from 0.
    pub id: u16,
    /// The message that it is a part of.
    pub message_id: MessageId,
    /// Whether the chunk is the last one.
    pub is_last: bool,
    /// The bytes.
    pub data: &'a [u8],
}

/// Shows no content: it may be of the sum of the masks.
impl std::fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, message_id, is_last, data } = self;
        let last = if *is_last { ", the last" } else { "" };
        write!(f, "Chunk({id} of message {}{last}, {} bytes)", message_id.0, data.len())
    }
}

impl<'a> Chunk<'a> {
    /// Reads the payload of a multipart message. Reserved bytes and unknown flags are ignored.
    ///
    /// # Errors
    /// If there are fewer bytes than a chunk's header has.
    pub fn parse(mut bytes: &'a [u8]) -> Result<Self, MessageError> {
        let header: [u8; CHUNK_HEADER_LENGTH] = take_array(&mut bytes, "chunk header")?;
        Ok(Self {
            id: u16::from_be_bytes([header[0], header[1]]),
            message_id: MessageId(u16::from_be_bytes([header[2], header[3]])),
            is_last: header[4] & LAST_FLAG != 0,
            data: bytes,
        })
    }

    /// Writes it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.message_id.0.to_be_bytes());
        out.extend_from_slice(&[if self.is_last { LAST_FLAG } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(self.data);
    }
}

/// Why a payload cannot be sent with a maximal message size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The size has no room for any payload.
    #[error("a maximal message size of {0} bytes is too small: at least {min} are needed", min = MessageSize::MIN)]
    SizeTooSmall(usize),
    /// The size has room for a small payload, but not for a part of a larger one.
    #[error("a payload of {payload} bytes must be split, but a maximal message size of {size} bytes has no room for a chunk: set at least {min}", min = FRAME_HEADROOM + CHUNK_HEADER_LENGTH + 1)]
    NoRoomForChunk {
        /// The payload's length.
        payload: usize,
        /// The maximal message size.
        size: usize,
    },
    /// More chunks would be needed than there are chunk ids.
    #[error("a payload of {payload} bytes needs {chunks} chunks with a maximal message size of {size} bytes, but 65536 is the most: set a larger size")]
    TooManyChunks {
        /// The payload's length.
        payload: usize,
        /// The maximal message size.
        size: usize,
        /// How many chunks would be needed.
        chunks: usize,
    },
}

/// The most bytes that a sealed message may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSize(Option<usize>);

impl MessageSize {
    /// The smallest legal maximum: seal, header and one byte.
    pub const MIN: usize = FRAME_HEADROOM + 1;

    /// Messages are never split.
    pub const UNLIMITED: Self = Self(None);

    /// Messages are split if their sealed size would be above `size` bytes.
    ///
    /// # Errors
    /// [`ChunkError::SizeTooSmall`] if the size is below [`MessageSize::MIN`].
    pub fn at_most(size: usize) -> Result<Self, ChunkError> {
        if size < Self::MIN {
            return Err(ChunkError::SizeTooSmall(size));
        }
        Ok(Self(Some(size)))
    }

    /// The maximum in bytes, if there is one.
    pub fn limit(&self) -> Option<usize> {
        self.0
    }

    /// The smaller of two limits.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(another)) => Self(Some(one.min(another))),
            (one, another) => Self(one.or(another)),
        }
    }

    /// The size to try after a message of so many bytes was refused as too long: 1 MiB, which is what most
    /// web servers take, and then the half of it, and so on; nothing below 4 KiB.
    pub fn below(refused: usize) -> Option<Self> {
        const FIRST: usize = 1 << 20;
        const LAST: usize = 4 << 10;
        let sizes = std::iter::successors(Some(FIRST), |size| Some(size / 2));
        sizes
            .take_while(|size| *size >= LAST)
            .find(|size| *size < refused)
            .map(|size| Self(Some(size)))
    }

    /// How a payload is to be split; `None` if it fits into one message.
    ///
    /// # Errors
    /// If it cannot be split into chunks of this size.
    pub fn split(&self, payload: usize) -> Result<Option<Splitting>, ChunkError> {
        let Some(size) = self.0 else { return Ok(None) };
        let max_payload = size.saturating_sub(FRAME_HEADROOM);
        if payload <= max_payload {
            return Ok(None);
        }
        let data = match max_payload.checked_sub(CHUNK_HEADER_LENGTH) {
            None | Some(0) => return Err(ChunkError::NoRoomForChunk { payload, size }),
            Some(data) => data,
        };
        let chunks = payload.div_ceil(data);
        if chunks > MAX_CHUNKS {
            return Err(ChunkError::TooManyChunks { payload, size, chunks });
        }
        Ok(Some(Splitting { payload, data }))
    }
}

/// How a payload is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(usize, usize)", into = "(usize, usize)")]
pub struct Splitting {
    payload: usize,
    data: usize,
}

impl From<Splitting> for (usize, usize) {
    fn from(splitting: Splitting) -> Self {
        (splitting.payload, splitting.data)
    }
}

impl TryFrom<(usize, usize)> for Splitting {
    type Error = &'static str;

    fn try_from((payload, data): (usize, usize)) -> Result<Self, Self::Error> {
        match data > 0 && data < payload && payload.div_ceil(data) <= MAX_CHUNKS {
            true => Ok(Self { payload, data }),
            false => Err("a payload is split into 2 to 65536 chunks"),
        }
    }
}

impl Splitting {
    /// How many chunks there are: at least 2, at most 65,536.
    pub fn count(&self) -> usize {
        self.payload.div_ceil(self.data)
    }

    /// Which bytes of the payload chunk number `index` carries; `None` beyond the last.
    pub fn range(&self, index: usize) -> Option<Range<usize>> {
        let from = index.checked_mul(self.data).filter(|from| *from < self.payload)?;
        Some(from..self.payload.min(from + self.data))
    }

    /// Chunk number `index` of a payload; `None` beyond the last, or if the payload is not the one
    /// that was split.
    pub fn chunk<'a>(
        &self,
        payload: &'a [u8],
        message_id: MessageId,
        index: usize,
    ) -> Option<Chunk<'a>> {
        Some(Chunk {
            id: u16::try_from(index).ok()?,
            message_id,
            is_last: index + 1 == self.count(),
            data: payload.get(self.range(index)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_make_up_the_payload(payload in proptest::collection::vec(any::<u8>(), 0..2000), size in 193usize..1200) {
            let size = MessageSize::at_most(size).unwrap();
            let id = MessageId(7);
            match size.split(payload.len()).unwrap() {
                None => prop_assert!(payload.len() + FRAME_HEADROOM <= size.limit().unwrap()),
                Some(splitting) => {
                    let mut joined = Vec::new();
                    for index in 0..splitting.count() {
                        let chunk = splitting.chunk(&payload, id, index).unwrap();
                        let mut bytes = Vec::new();
                        chunk.write_to(&mut bytes);
                        prop_assert!(bytes.len() + FRAME_HEADROOM <= size.limit().unwrap());
                        prop_assert_eq!(Chunk::parse(&bytes), Ok(chunk));
                        prop_assert_eq!(chunk.is_last, index + 1 == splitting.count());
                        joined.extend_from_slice(chunk.data);
                    }
                    prop_assert_eq!(splitting.chunk(&payload, id, splitting.count()), None);
                    prop_assert_eq!(joined, payload);
                }
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert_eq!(MessageSize::at_most(184), Err(ChunkError::SizeTooSmall(184)));
        let tiny = MessageSize::at_most(185).unwrap();
        assert_eq!(tiny.split(1), Ok(None));
        assert_eq!(tiny.split(2), Err(ChunkError::NoRoomForChunk { payload: 2, size: 185 }));
        let one_byte = MessageSize::at_most(193).unwrap();
        assert_eq!(one_byte.split(65_536).unwrap().unwrap().count(), 65_536);
        assert_eq!(
            one_byte.split(65_537),
            Err(ChunkError::TooManyChunks { payload: 65_537, size: 193, chunks: 65_537 })
        );
        assert_eq!(MessageSize::UNLIMITED.split(usize::MAX), Ok(None));
    }

    #[test]
    fn smaller_sizes_are_tried_down_to_a_floor() {
        let below = |size| MessageSize::below(size).map(|size| size.limit().unwrap());
        assert_eq!(below(usize::MAX), Some(1 << 20));
        assert_eq!(below((1 << 20) + 1), Some(1 << 20));
        assert_eq!(below(1 << 20), Some(1 << 19));
        assert_eq!(below((1 << 19) + 1), Some(1 << 19));
        assert_eq!(below(5000), Some(4096));
        assert_eq!(below(4096), None);
        assert_eq!(below(0), None);
        let size = |bytes| MessageSize::at_most(bytes).unwrap();
        assert_eq!(size(300).min(size(200)), size(200));
        assert_eq!(size(300).min(MessageSize::UNLIMITED), size(300));
        assert_eq!(MessageSize::UNLIMITED.min(size(300)), size(300));
        assert_eq!(MessageSize::UNLIMITED.min(MessageSize::UNLIMITED), MessageSize::UNLIMITED);
    }
}
