//! The shape of a round's masked models and group masks: how long they are, what their chunks are, and which bytes of
//! them are the same for all.

use std::ops::Range;

use crate::mask::{MaskConfigPair, MaskObjectView};
use crate::v2::{Roster, TREE_LEAF};

/// The bytes of a mask object's config and count, and of the config of its unit.
const VECTOR_HEADER: usize = 8;
const UNIT_HEADER: usize = 4;

/// What all objects of a round look like. Every number of a word group is one of its elements, so that an object is sound
/// if its length and its two headers are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) mask: MaskConfigPair,
    /// How many numbers.
    pub(super) length: usize,
    object_len: usize,
}

impl Shape {
    /// Nothing if no object can be so long.
    pub(super) fn new(mask: MaskConfigPair, model_length: u64) -> Option<Self> {
        let length = usize::try_from(model_length).ok()?;
        let object_len = MaskObjectView::serialized_len(mask, length)?;
        Some(Self { mask, length, object_len })
    }

    /// The bytes of an object.
    pub(super) fn object_len(&self) -> u64 {
        self.object_len as u64
    }

    /// How many chunks an object has.
    pub(super) fn chunks(&self) -> u32 {
        u32::try_from(self.object_len.div_ceil(TREE_LEAF)).unwrap_or(u32::MAX)
    }

    fn range(&self, index: u32) -> Range<usize> {
        let start = (index as usize).saturating_mul(TREE_LEAF).min(self.object_len);
        start..start.saturating_add(TREE_LEAF).min(self.object_len)
    }

    /// How many bytes this chunk has; none if there is no such chunk.
    pub(super) fn chunk_len(&self, index: u32) -> usize {
        self.range(index).len()
    }

    /// About how many bytes a header has.
    pub(super) fn header_len(&self, roster: &Roster) -> u64 {
        let members = roster.members().count() as u64;
        let groups = roster.groups().len() as u64;
        512 + 32 * groups + 80 * members + 32 * u64::from(self.chunks())
    }

    /// Whether a chunk of the right length fits the round's config and length.
    pub(super) fn fits(&self, index: u32, chunk: &[u8]) -> bool {
        let range = self.range(index);
        let unit = self.mask.unit.to_bytes();
        let mut vector = [0; VECTOR_HEADER];
        vector[..4].copy_from_slice(&self.mask.vect.to_bytes());
        // `serialized_len` has seen that it fits.
        vector[4..].copy_from_slice(&(self.length as u32).to_be_bytes());
        let unit_at = self.object_len - self.mask.unit.bytes_per_number() - UNIT_HEADER;
        chunk.len() == range.len()
            && [(0, &vector[..]), (unit_at, &unit[..])].iter().all(|(at, expected)| {
                expected.iter().zip(*at..).all(|(byte, at)| {
                    !range.contains(&at) || chunk.get(at - range.start) == Some(byte)
                })
            })
    }
}
