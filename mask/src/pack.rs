//! Numbers as messages have them, packed in as few bytes as each needs, and as the elements that we add:
//! from one to the other and back.
//!
//! A number of `width` bytes is the beginning of an element of `size` bytes, so a vector register full of
//! them goes either way with one shuffle of its bytes.

#[cfg(vector_instructions)]
#[allow(unsafe_code)]
mod vectors;

use super::element::Element;
use crate::simd::Level;

/// Integers of the machine.
pub(super) trait Primitive: Element {
    /// From `width` bytes each, where there is no faster way.
    fn unpack_portable(bytes: &[u8], width: usize, numbers: &mut [Self]);

    /// The same back.
    fn pack_portable(numbers: &[Self], width: usize, bytes: &mut [u8]);
}

/// Calls a function for the width, which it knows when it is compiled.
macro_rules! for_width {
    ($width:expr, [$($known:literal)*], $call:ident($a:expr, $b:expr)) => {
        match $width {
            $($known => $call::<$known>($a, $b),)*
            // No mask config has others.
            width => debug_assert!(false, "no number has {width} bytes"),
        }
    };
}

macro_rules! primitive {
    ($type:ty, $size:literal, $widths:tt) => {
        impl Primitive for $type {
            fn unpack_portable(bytes: &[u8], width: usize, numbers: &mut [Self]) {
                fn unpack<const W: usize>(bytes: &[u8], numbers: &mut [$type]) {
                    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(W)) {
                        let mut whole = [0; $size];
                        whole[..W].copy_from_slice(bytes);
                        *number = <$type>::from_le_bytes(whole);
                    }
                }
                for_width!(width, $widths, unpack(bytes, numbers));
            }

            fn pack_portable(numbers: &[Self], width: usize, bytes: &mut [u8]) {
                fn pack<const W: usize>(numbers: &[$type], bytes: &mut [u8]) {
                    for (number, bytes) in numbers.iter().zip(bytes.chunks_exact_mut(W)) {
                        bytes.copy_from_slice(&number.to_le_bytes()[..W]);
                    }
                }
                for_width!(width, $widths, pack(numbers, bytes));
            }
        }
    };
}

primitive!(u32, 4, [1 2 3 4]);
primitive!(u64, 8, [1 2 3 4 5 6 7 8]);
primitive!(u128, 16, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]);

/// Reads as many numbers of `width` bytes as there are elements; `bytes` has exactly those.
pub(super) fn unpack<P: Primitive>(level: Level, bytes: &[u8], width: usize, numbers: &mut [P]) {
    debug_assert!(bytes.len() == numbers.len() * width && (1..=P::BYTES).contains(&width));
    let done = match level {
        Level::Portable => 0,
        #[cfg(vector_instructions)]
        _ => vectors::unpack(level, bytes, width, numbers),
    };
    P::unpack_portable(&bytes[done * width..], width, &mut numbers[done..]);
}

/// Writes every element in `width` bytes, which it fits in; `bytes` has room for exactly those.
pub(super) fn pack<P: Primitive>(level: Level, numbers: &[P], width: usize, bytes: &mut [u8]) {
    debug_assert!(bytes.len() == numbers.len() * width && (1..=P::BYTES).contains(&width));
    let done = match level {
        Level::Portable => 0,
        #[cfg(vector_instructions)]
        _ => vectors::pack(level, numbers, width, bytes),
    };
    P::pack_portable(&numbers[done..], width, &mut bytes[done * width..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn check<P: Primitive>(bytes: &[u8], width: usize) {
        let bytes = &bytes[..bytes.len() / width * width];
        let count = bytes.len() / width;
        for &level in Level::available() {
            // With garbage in the output, since all of it must be overwritten.
            let mut numbers = vec![P::from_words(&[u64::MAX; 2]); count];
            unpack(level, bytes, width, &mut numbers);
            let expected: Vec<_> = bytes.chunks_exact(width).map(BigUint::from_bytes_le).collect();
            let found: Vec<_> = numbers.iter().map(|number| number.to_biguint()).collect();
            assert_eq!(found, expected, "{level:?}, {width} bytes");
            let mut packed = vec![0xee; bytes.len()];
            pack(level, &numbers, width, &mut packed);
            assert_eq!(packed, bytes, "{level:?}, {width} bytes");
        }
    }

    proptest! {
        #[test]
        fn every_level_packs_and_unpacks_every_width(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
            for width in 1..=16 {
                if width <= 4 {
                    check::<u32>(&bytes, width);
                }
                if width <= 8 {
                    check::<u64>(&bytes, width);
                }
                check::<u128>(&bytes, width);
            }
        }
    }

    #[test]
    fn all_lengths_around_a_register() {
        let bytes: Vec<u8> = (0..160 * 16).map(|i| (i * 7 + i / 251) as u8).collect();
        for count in 0..=160 {
            check::<u32>(&bytes[..4 * count], 4);
            check::<u64>(&bytes[..6 * count], 6);
            check::<u128>(&bytes[..13 * count], 13);
        }
    }

    /// How many numbers vector code of `register` bytes can do: it reads or writes `reach` bytes of each
    /// register's numbers in their packed form, at the last ones as well.
    #[cfg(vector_instructions)]
    fn in_reach<P: Primitive>(count: usize, width: usize, register: usize, reach: usize) -> usize {
        let numbers = register / P::BYTES;
        (0..)
            .take_while(|i| {
                (i + 1) * numbers <= count && i * numbers * width + reach <= count * width
            })
            .count()
            * numbers
    }

    #[cfg(vector_instructions)]
    fn check_share<P: Primitive>(count: usize, width: usize) {
        let mut bytes = vec![1; count * width];
        let mut numbers = vec![P::default(); count];
        for &level in Level::available() {
            let expected = match level {
                // They are copied.
                _ if width == P::BYTES => count,
                Level::Portable => 0,
                #[cfg(avx)]
                Level::Avx2(_) => in_reach::<P>(count, width, 32, 16 / P::BYTES * width + 16),
                #[cfg(avx)]
                Level::Avx512(_) => in_reach::<P>(count, width, 64, 64),
                #[cfg(neon)]
                Level::Neon(_) => in_reach::<P>(count, width, 16, 16),
            };
            let unpacked = vectors::unpack(level, &bytes, width, &mut numbers);
            let packed = vectors::pack(level, &numbers, width, &mut bytes);
            assert_eq!([unpacked, packed], [expected; 2], "{level:?}: {count} of {width} bytes");
        }
    }

    /// Fewer would be slow, and more would be memory of others.
    #[test]
    #[cfg(vector_instructions)]
    fn vector_code_does_all_that_it_can_reach() {
        for count in (0..40).chain([200, 1001]) {
            for width in 1..=16 {
                if width <= 4 {
                    check_share::<u32>(count, width);
                }
                if width <= 8 {
                    check_share::<u64>(count, width);
                }
                check_share::<u128>(count, width);
            }
        }
    }
}
