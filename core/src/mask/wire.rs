//! What is done with the numbers of a message while they are in its bytes: check them, add them.

use std::ops::Range;

use super::element::Element;
use super::group::Group;
use crate::simd::Level;

/// Bytes of elements that are unpacked at a time: they stay in the L1 cache.
const BLOCK_BYTES: usize = 4096;

/// Numbers of one group in wire form.
pub(super) struct WireNumbers<'a, E> {
    level: Level,
    group: &'a Group<E>,
    bytes: &'a [u8],
    /// What a block is unpacked to. It is not wiped: whoever has the message has the numbers.
    block: Vec<E>,
}

impl<'a, E: Element> WireNumbers<'a, E> {
    /// Those of a range of a vector, which has to be within it.
    pub(super) fn new(
        level: Level,
        group: &'a Group<E>,
        vector: &'a [u8],
        range: Range<usize>,
    ) -> Self {
        let width = group.wire_bytes;
        let block = vec![E::default(); (BLOCK_BYTES / E::BYTES).min(range.len())];
        WireNumbers { level, group, bytes: &vector[range.start * width..range.end * width], block }
    }

    /// Calls `each` with the index of every block's first number and its numbers, until it gives something.
    fn blocks<T>(&mut self, mut each: impl FnMut(usize, &[E]) -> Option<T>) -> Option<T> {
        let (width, len) = (self.group.wire_bytes, self.block.len().max(1));
        self.bytes.chunks(len * width).enumerate().find_map(|(i, bytes)| {
            let block = &mut self.block[..bytes.len() / width];
            E::unpack(self.level, bytes, width, block);
            each(i * len, block)
        })
    }

    /// The index of the first number that is not below the order.
    pub(super) fn first_not_below(mut self) -> Option<usize> {
        if self.cannot_fail() {
            return None;
        }
        let (level, group) = (self.level, self.group);
        self.blocks(|start, numbers| {
            if group.all_below(level, numbers) {
                return None;
            }
            numbers.iter().position(|number| !number.at_most(group.max)).map(|at| start + at)
        })
    }

    /// Adds the numbers, which have been checked, to sums.
    pub(super) fn add(mut self, sums: &mut [E]) {
        let (level, group) = (self.level, self.group);
        self.blocks::<()>(|start, numbers| {
            group.add_all(level, &mut sums[start..start + numbers.len()], numbers);
            None
        });
    }

    /// Checks the numbers and adds them to sums. If one is not below the order, the sums are what they were
    /// before, and the error is the index of the first such number.
    pub(super) fn add_checked(mut self, sums: &mut [E]) -> Result<(), usize> {
        if self.cannot_fail() {
            self.add(sums);
            return Ok(());
        }
        let (level, group) = (self.level, self.group);
        let bad = self.blocks(|start, numbers| {
            if !group.all_below(level, numbers) {
                let at = numbers.iter().position(|number| !number.at_most(group.max));
                return at.map(|at| (start, start + at));
            }
            group.add_all(level, &mut sums[start..start + numbers.len()], numbers);
            None
        });
        let Some((added, index)) = bad else { return Ok(()) };
        self.bytes = &self.bytes[..added * group.wire_bytes];
        self.blocks::<()>(|start, numbers| {
            group.sub_all(level, &mut sums[start..start + numbers.len()], numbers);
            None
        });
        Err(index)
    }

    /// Is every number that the bytes can hold an element?
    fn cannot_fail(&self) -> bool {
        self.group.max == self.group.wire_mask
    }
}
