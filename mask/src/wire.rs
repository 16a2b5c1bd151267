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

#[cfg(test)]
mod tests {
    use super::super::config::MaskConfig;
    use super::super::group::with_element_type;
    use super::super::{derive_mask, MaskSeed};
    use super::*;

    /// The numbers of a mask as they travel.
    fn numbers(config: MaskConfig, seed: u8, count: usize) -> Vec<u8> {
        let object =
            derive_mask(&MaskSeed::new([seed; 32]), config.into(), count).to_bytes().unwrap();
        object[8..8 + count * config.bytes_per_number()].to_vec()
    }

    /// One by one and without vector instructions.
    fn naive<E: Element>(
        group: &Group<E>,
        sums: &[E],
        bytes: &[u8],
        range: Range<usize>,
    ) -> Vec<E> {
        let numbers = range.map(|i| group.load(bytes, i));
        sums.iter().zip(numbers).map(|(sum, number)| group.add(*sum, number)).collect()
    }

    #[test]
    fn every_level_adds_what_is_in_the_bytes() {
        for config in MaskConfig::all() {
            with_element_type!(config, E => {
                let (group, block) = (Group::<E>::new(config), BLOCK_BYTES / E::BYTES);
                for count in [0, 1, block - 1, block, 2 * block + 5] {
                    let bytes = numbers(config, 1, count + 2);
                    let old = numbers(config, 2, count);
                    let mut sums = vec![E::default(); count];
                    E::unpack(Level::Portable, &old, group.wire_bytes, &mut sums);
                    let range = 1..1 + count;
                    let expected = naive(&group, &sums, &bytes, range.clone());
                    for &level in Level::available() {
                        let wire = || WireNumbers::new(level, &group, &bytes, range.clone());
                        let mut added = sums.clone();
                        wire().add(&mut added);
                        assert!(added == expected, "{config}, {level:?}, {count}");
                        assert_eq!(wire().first_not_below(), None);
                        let mut added = sums.clone();
                        assert_eq!(wire().add_checked(&mut added), Ok(()));
                        assert!(added == expected, "{config}, {level:?}, {count}");
                    }
                }
            });
        }
    }

    #[test]
    fn a_bad_number_is_found_wherever_it_is_and_changes_nothing() {
        for config in MaskConfig::all() {
            with_element_type!(config, E => {
                let (group, block) = (Group::<E>::new(config), BLOCK_BYTES / E::BYTES);
                let width = group.wire_bytes;
                let count = 2 * block + 5;
                let mut sums = vec![E::default(); count];
                E::unpack(Level::Portable, &numbers(config, 2, count), width, &mut sums);
                // The smallest that is not below the order, and the largest that fits the bytes.
                let order = config.order().to_bytes_le();
                let fits = order.len() <= width;
                let bad = [order, vec![0xff; width]];
                for (at, bad) in [0, 1, block - 1, block, 2 * block - 1, count - 1]
                    .into_iter()
                    .flat_map(|at| bad.iter().filter(|bad| bad.len() <= width).map(move |bad| (at, bad)))
                {
                    let mut bytes = numbers(config, 1, count);
                    bytes[at * width..][..width].fill(0);
                    bytes[at * width..][..bad.len()].copy_from_slice(bad);
                    // And a second one, which comes later.
                    bytes[(count - 1) * width..].fill(0xff);
                    for &level in Level::available() {
                        let wire = || WireNumbers::new(level, &group, &bytes, 0..count);
                        let mut added = sums.clone();
                        if fits {
                            assert_eq!(wire().first_not_below(), Some(at), "{config}, {level:?}");
                            assert_eq!(wire().add_checked(&mut added), Err(at));
                            assert!(added == sums, "{config}, {level:?}, {at}");
                        } else {
                            assert!(config.group_type().is_word() || config.number_bits() % 8 == 0);
                            assert_eq!(wire().first_not_below(), None, "{config}, {level:?}");
                            assert_eq!(wire().add_checked(&mut added), Ok(()));
                        }
                    }
                }
            });
        }
    }
}
