//! Numbers as messages have them, packed in as few bytes as each needs, and as the elements that we add:
//! from one to the other and back.
//!
//! A number of `width` bytes is the beginning of an element of `size` bytes, so a vector register full of
//! them goes either way with one shuffle of its bytes.

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
        _ => x86::unpack(level, bytes, width, numbers),
    };
    P::unpack_portable(&bytes[done * width..], width, &mut numbers[done..]);
}

/// Writes every element in `width` bytes, which it fits in; `bytes` has room for exactly those.
pub(super) fn pack<P: Primitive>(level: Level, numbers: &[P], width: usize, bytes: &mut [u8]) {
    debug_assert!(bytes.len() == numbers.len() * width && (1..=P::BYTES).contains(&width));
    let done = match level {
        Level::Portable => 0,
        #[cfg(vector_instructions)]
        _ => x86::pack(level, numbers, width, bytes),
    };
    P::pack_portable(&numbers[done..], width, &mut bytes[done * width..]);
}

#[cfg(vector_instructions)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::Primitive;
    use crate::simd::Level;

    /// Unpacks all numbers but a few at the end; returns how many.
    pub(super) fn unpack<P: Primitive>(
        level: Level,
        bytes: &[u8],
        width: usize,
        numbers: &mut [P],
    ) -> usize {
        let len = size_of_val(numbers);
        // SAFETY: a primitive integer is as good as its bytes, any of which make one.
        let whole =
            unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), len) };
        if width == P::BYTES {
            whole.copy_from_slice(bytes);
            return numbers.len();
        }
        match level {
            Level::Portable => 0,
            // SAFETY: the level shows that the processor has the instructions.
            Level::Avx2(_) => unsafe { unpack_avx2(bytes, width, P::BYTES, whole) },
            // SAFETY: as above.
            Level::Avx512(_) => unsafe { unpack_avx512(bytes, width, P::BYTES, whole) },
        }
    }

    /// Packs all numbers but a few at the end; returns how many.
    pub(super) fn pack<P: Primitive>(
        level: Level,
        numbers: &[P],
        width: usize,
        bytes: &mut [u8],
    ) -> usize {
        let len = size_of_val(numbers);
        // SAFETY: a primitive integer has no bytes that are not initialized.
        let whole = unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), len) };
        if width == P::BYTES {
            bytes.copy_from_slice(whole);
            return numbers.len();
        }
        match level {
            Level::Portable => 0,
            // SAFETY: the level shows that the processor has the instructions.
            Level::Avx2(_) => unsafe { pack_avx2(whole, width, P::BYTES, bytes) },
            // SAFETY: as above.
            Level::Avx512(_) => unsafe { pack_avx512(whole, width, P::BYTES, bytes) },
        }
    }

    /// What a shuffle of bytes puts a zero for.
    const ZERO: u8 = 0x80;

    /// Which packed byte goes where in a register of `N` unpacked ones.
    fn unpacking<const N: usize>(width: usize, size: usize) -> [u8; N] {
        std::array::from_fn(|i| match i % size {
            at if at < width => (i / size * width + at) as u8,
            _ => ZERO,
        })
    }

    /// Which unpacked byte goes where in a register of `N` packed ones.
    fn packing<const N: usize>(width: usize, size: usize) -> [u8; N] {
        std::array::from_fn(|i| match i / width {
            number if number < N / size => (number * size + i % width) as u8,
            _ => ZERO,
        })
    }

    /// How many pieces of `step` bytes there are, so that `reach` bytes can be read or written from the
    /// beginning of each.
    fn pieces(len: usize, step: usize, reach: usize) -> usize {
        len.checked_sub(reach).map_or(0, |rest| rest / step + 1)
    }

    #[target_feature(enable = "avx2")]
    fn unpack_avx2(bytes: &[u8], width: usize, size: usize, whole: &mut [u8]) -> usize {
        let half = 16 / size * width;
        let count = pieces(bytes.len(), 2 * half, half + 16).min(whole.len() / 32);
        let index = unpacking::<16>(width, size);
        for i in 0..count {
            // SAFETY: `half + 16` bytes are there from the beginning of each piece; 32 in each register of
            // the output.
            unsafe {
                let index = _mm256_broadcastsi128_si256(_mm_loadu_si128(index.as_ptr().cast()));
                let from = bytes.as_ptr().add(i * 2 * half);
                let low = _mm256_castsi128_si256(_mm_loadu_si128(from.cast()));
                let both =
                    _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(from.add(half).cast()));
                let to = whole.as_mut_ptr().add(i * 32);
                _mm256_storeu_si256(to.cast(), _mm256_shuffle_epi8(both, index));
            }
        }
        count * 32 / size
    }

    #[target_feature(enable = "avx2")]
    fn pack_avx2(whole: &[u8], width: usize, size: usize, bytes: &mut [u8]) -> usize {
        let half = 16 / size * width;
        let count = pieces(bytes.len(), 2 * half, half + 16).min(whole.len() / 32);
        let index = packing::<16>(width, size);
        for i in 0..count {
            // SAFETY: as in `unpack_avx2`. What is written beyond a half is written again by the next, in
            // ascending order, or after this function.
            unsafe {
                let index = _mm256_broadcastsi128_si256(_mm_loadu_si128(index.as_ptr().cast()));
                let both = _mm256_loadu_si256(whole.as_ptr().add(i * 32).cast());
                let both = _mm256_shuffle_epi8(both, index);
                let to = bytes.as_mut_ptr().add(i * 2 * half);
                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(both));
                _mm_storeu_si128(to.add(half).cast(), _mm256_extracti128_si256::<1>(both));
            }
        }
        count * 32 / size
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn unpack_avx512(bytes: &[u8], width: usize, size: usize, whole: &mut [u8]) -> usize {
        let step = 64 / size * width;
        let count = pieces(bytes.len(), step, 64).min(whole.len() / 64);
        let index = unpacking::<64>(width, size);
        // SAFETY: the array has 64 bytes.
        let index = unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
        let used = _mm512_cmplt_epu8_mask(index, _mm512_set1_epi8(ZERO as i8));
        for i in 0..count {
            // SAFETY: 64 bytes are there from the beginning of each piece, and in each register of the
            // output.
            unsafe {
                let packed = _mm512_loadu_si512(bytes.as_ptr().add(i * step).cast());
                let unpacked = _mm512_maskz_permutexvar_epi8(used, index, packed);
                _mm512_storeu_si512(whole.as_mut_ptr().add(i * 64).cast(), unpacked);
            }
        }
        count * 64 / size
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn pack_avx512(whole: &[u8], width: usize, size: usize, bytes: &mut [u8]) -> usize {
        let step = 64 / size * width;
        let count = pieces(bytes.len(), step, 64).min(whole.len() / 64);
        let index = packing::<64>(width, size);
        // SAFETY: the array has 64 bytes.
        let index = unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
        for i in 0..count {
            // SAFETY: as in `unpack_avx512`. What is written beyond a piece is written again by the next, in
            // ascending order, or after this function.
            unsafe {
                let unpacked = _mm512_loadu_si512(whole.as_ptr().add(i * 64).cast());
                let packed = _mm512_permutexvar_epi8(index, unpacked);
                _mm512_storeu_si512(bytes.as_mut_ptr().add(i * step).cast(), packed);
            }
        }
        count * 64 / size
    }
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
                Level::Avx2(_) => in_reach::<P>(count, width, 32, 16 / P::BYTES * width + 16),
                Level::Avx512(_) => in_reach::<P>(count, width, 64, 64),
            };
            let unpacked = x86::unpack(level, &bytes, width, &mut numbers);
            let packed = x86::pack(level, &numbers, width, &mut bytes);
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
