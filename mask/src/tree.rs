//! The tree hash of what is long: a masked model, the mask of a group.
//!
//! The bytes are cut into leaves of [`TREE_LEAF`] bytes, and each leaf is hashed by itself with BLAKE3: on any core,
//! in any order, as soon as it is there. Who holds the list of leaf hashes checks every leaf as it arrives. How the
//! list becomes one digest is the protocol's affair.

use std::ops::Range;

/// Bytes of a leaf; the last one of an object may be shorter.
///
/// Long enough for all lanes of the vector registers (BLAKE3 hashes up to 16 KiB side by side), short enough that
/// hashing one takes no longer than about a tenth of a millisecond with vector instructions, and that the hashes
/// themselves weigh nothing: 32 bytes for each half of a MiB.
pub const TREE_LEAF: usize = 512 << 10;

/// The hash of one leaf.
pub fn leaf(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// How many leaves an object of so many bytes has.
pub fn leaf_count(object_len: u64) -> u64 {
    object_len.div_ceil(TREE_LEAF as u64)
}

/// Which bytes of an object leaf `index` is; None beyond the last.
pub fn leaf_range(object_len: u64, index: u64) -> Option<Range<u64>> {
    let start = index.checked_mul(TREE_LEAF as u64).filter(|start| *start < object_len)?;
    Some(start..object_len.min(start.saturating_add(TREE_LEAF as u64)))
}

/// The hashes of all leaves, one after another: each takes a bounded step.
///
/// ```
/// use pet_mask::tree::{leaf_hashes, TREE_LEAF};
///
/// let object = vec![7; TREE_LEAF + 1];
/// assert_eq!(leaf_hashes(&object).count(), 2);
/// ```
pub fn leaf_hashes(object: &[u8]) -> impl ExactSizeIterator<Item = [u8; 32]> + '_ {
    object.chunks(TREE_LEAF).map(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From BLAKE3's published test vectors: bytes that count up to 250, again and again.
    #[test]
    fn leaves_are_plain_blake3() {
        let input = |len: usize| (0..len).map(|i| (i % 251) as u8).collect::<Vec<_>>();
        for (len, expected) in [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
            (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
        ] {
            let found: String = leaf(&input(len)).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(found, expected, "{len} bytes");
        }
    }

    #[test]
    fn ranges_cover_the_object_once() {
        let full = TREE_LEAF as u64;
        for len in [0, 1, full - 1, full, full + 1, 3 * full, 3 * full + 17] {
            let ranges: Vec<_> = (0..).map_while(|i| leaf_range(len, i)).collect();
            assert_eq!(ranges.len() as u64, leaf_count(len), "{len}");
            let mut end = 0;
            for (i, range) in ranges.iter().enumerate() {
                assert_eq!(range.start, end);
                end = range.end;
                let whole = i + 1 < ranges.len();
                assert!(
                    range.end - range.start <= full && (!whole || range.end - range.start == full)
                );
            }
            assert_eq!(end, len);
            let object = vec![3; len as usize];
            let of_ranges = ranges.iter().map(|r| leaf(&object[r.start as usize..r.end as usize]));
            assert!(of_ranges.eq(leaf_hashes(&object)));
        }
        assert_eq!(leaf_range(u64::MAX, u64::MAX), None);
        assert_eq!(leaf_range(u64::MAX, leaf_count(u64::MAX) - 1).map(|r| r.end), Some(u64::MAX));
    }
}
