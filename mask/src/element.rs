//! Group elements as fixed-width little-endian integers.
//!
//! Four kinds of width: one word of 32, 64 or 128 bits, and arrays of 64-bit words for the few large orders.
//! Everything works on values modulo 2^BITS; an order of exactly 2^BITS is stored as 0 and all formulas
//! below still hold for it.

use num_bigint::BigUint;
use zeroize::Zeroize;

use super::keystream::{self, Key};
use super::pack;
use crate::simd::Level;

/// A fixed-width unsigned integer.
///
/// Arithmetic modulo an order has no branches and no early exits: the numbers may be secret. For `u32` and
/// `u64` the order is below half of the range, or all of it, which takes fewer instructions.
pub(crate) trait Element:
    Copy + Ord + Default + Zeroize + Send + Sync + std::fmt::Debug + 'static
{
    /// Width in bytes.
    const BYTES: usize;

    /// Wide enough for an encoded weight times a 64-bit denominator.
    type Product: Words;

    /// Reads the number in `bytes[at..at + len]`, where `mask` has the lowest `8 * len` bits set and
    /// `len <= BYTES`.
    fn load(bytes: &[u8], at: usize, len: usize, mask: Self) -> Self;

    /// Writes to `bytes[at..at + len]` and, where there is room, zeros up to `at + BYTES`: whoever
    /// writes numbers in ascending order overwrites them.
    fn store(self, bytes: &mut [u8], at: usize, len: usize);

    /// Reads as many numbers of `width` bytes as there are elements; `bytes` has exactly those.
    fn unpack(level: Level, bytes: &[u8], width: usize, numbers: &mut [Self]);

    /// Writes every element in `width` bytes, which it fits in; `bytes` has room for exactly those.
    fn pack(level: Level, numbers: &[Self], width: usize, bytes: &mut [u8]);

    /// Adds the bytes of a key stream from byte `at` on, as numbers, where an element's width is that of a machine word
    /// and `at` a multiple of it. False, with nothing changed, for anything else.
    fn add_stream(level: Level, key: &Key, at: u64, sums: &mut [Self]) -> bool {
        let _ = (level, key, at, sums);
        false
    }

    /// `self <= max`, without a branch or an early exit: `self` may be secret.
    fn at_most(self, max: Self) -> bool;

    /// `self + other` modulo the order, both below it.
    fn add_mod(self, other: Self, order: Self) -> Self;

    /// `self - other` modulo the order, both below it.
    fn sub_mod(self, other: Self, order: Self) -> Self;

    /// `self + other` modulo 2^BITS.
    fn wrapping_add(self, other: Self) -> Self;

    /// `self - other` modulo 2^BITS.
    fn wrapping_sub(self, other: Self) -> Self;

    /// Cuts to the element's width.
    fn from_biguint(value: &BigUint) -> Self;

    fn to_biguint(self) -> BigUint;

    /// The value, if it fits.
    fn to_u128(self) -> Option<u128>;

    /// The value modulo 2^BITS of the element.
    fn from_words(words: &[u64]) -> Self;
}

/// Sum and difference of single words, of an order that leaves the sign bit of differences meaningful or is 0.
macro_rules! short_arithmetic {
    ($signed:ty) => {
        #[inline(always)]
        fn add_mod(self, other: Self, order: Self) -> Self {
            let sum = self.wrapping_add(other);
            let less = sum.wrapping_sub(order);
            if (less as $signed) < 0 {
                sum
            } else {
                less
            }
        }

        #[inline(always)]
        fn sub_mod(self, other: Self, order: Self) -> Self {
            let difference = self.wrapping_sub(other);
            let more = difference.wrapping_add(order);
            if (difference as $signed) < 0 {
                more
            } else {
                difference
            }
        }
    };
}

/// For what the key stream is added to in the registers that it is made in.
macro_rules! add_stream {
    () => {
        fn add_stream(level: Level, key: &Key, at: u64, sums: &mut [Self]) -> bool {
            let whole = at % Self::BYTES as u64 == 0;
            if whole {
                keystream::apply(level, key, at, sums);
            }
            whole
        }
    };
}

/// The same for any order.
macro_rules! long_arithmetic {
    () => {
        #[inline(always)]
        fn add_mod(self, other: Self, order: Self) -> Self {
            let (sum, carry) = self.overflowing_add(other);
            let (less, borrow) = sum.overflowing_sub(order);
            less.or(sum, borrow & !carry)
        }

        #[inline(always)]
        fn sub_mod(self, other: Self, order: Self) -> Self {
            let (difference, borrow) = self.overflowing_sub(other);
            difference.or(Element::wrapping_add(difference, order), borrow)
        }
    };
}

/// Chooses without a branch.
trait Choose {
    /// `other` if `choose`, else `self`.
    fn or(self, other: Self, choose: bool) -> Self;
}

impl Choose for u128 {
    #[inline(always)]
    fn or(self, other: Self, choose: bool) -> Self {
        let mask = Self::from(choose).wrapping_neg();
        self ^ ((self ^ other) & mask)
    }
}

impl<const N: usize> Choose for Wide<N> {
    #[inline(always)]
    fn or(mut self, other: Self, choose: bool) -> Self {
        let mask = u64::from(choose).wrapping_neg();
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a ^= (*a ^ b) & mask;
        }
        self
    }
}

macro_rules! primitive_element {
    ($type:ty, $bytes:literal, $($arithmetic:tt)*) => {
        impl Element for $type {
            const BYTES: usize = $bytes;

            type Product = Wide<3>;

            #[inline(always)]
            fn load(bytes: &[u8], at: usize, len: usize, mask: Self) -> Self {
                match bytes.get(at..at + $bytes).and_then(|b| b.try_into().ok()) {
                    Some(window) => <$type>::from_le_bytes(window) & mask,
                    None => {
                        let mut window = [0; $bytes];
                        window[..len].copy_from_slice(&bytes[at..at + len]);
                        <$type>::from_le_bytes(window)
                    }
                }
            }

            #[inline(always)]
            fn store(self, bytes: &mut [u8], at: usize, len: usize) {
                match bytes.get_mut(at..at + $bytes) {
                    Some(window) => window.copy_from_slice(&self.to_le_bytes()),
                    None => bytes[at..at + len].copy_from_slice(&self.to_le_bytes()[..len]),
                }
            }

            fn unpack(level: Level, bytes: &[u8], width: usize, numbers: &mut [Self]) {
                pack::unpack(level, bytes, width, numbers);
            }

            fn pack(level: Level, numbers: &[Self], width: usize, bytes: &mut [u8]) {
                pack::pack(level, numbers, width, bytes);
            }

            #[inline(always)]
            fn at_most(self, max: Self) -> bool {
                self <= max
            }

            $($arithmetic)*

            #[inline(always)]
            fn wrapping_add(self, other: Self) -> Self {
                <$type>::wrapping_add(self, other)
            }

            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                <$type>::wrapping_sub(self, other)
            }

            fn from_biguint(value: &BigUint) -> Self {
                Self::from_words(&value.to_u64_digits())
            }

            fn to_biguint(self) -> BigUint {
                BigUint::from(self)
            }

            #[inline(always)]
            fn to_u128(self) -> Option<u128> {
                Some(self.into())
            }

            #[inline(always)]
            fn from_words(words: &[u64]) -> Self {
                words
                    .iter()
                    .take(usize::div_ceil($bytes, 8))
                    .enumerate()
                    .fold(0, |value, (i, &word)| value | ((word as $type) << (64 * i)))
            }
        }
    };
}

primitive_element!(u32, 4, short_arithmetic!(i32); add_stream!(););
primitive_element!(u64, 8, short_arithmetic!(i64); add_stream!(););
primitive_element!(u128, 16, long_arithmetic!(););

/// `N` 64-bit words, least significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide<const N: usize>(pub(crate) [u64; N]);

impl<const N: usize> Default for Wide<N> {
    fn default() -> Self {
        Wide([0; N])
    }
}

impl<const N: usize> Zeroize for Wide<N> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> Ord for Wide<N> {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl<const N: usize> PartialOrd for Wide<N> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A number as 64-bit words, least significant first.
pub(crate) trait Words: Copy + Default + Send + Sync + 'static {
    const WORDS: usize;

    fn words(&self) -> &[u64];

    fn words_mut(&mut self) -> &mut [u64];
}

impl<const N: usize> Words for Wide<N> {
    const WORDS: usize = N;

    #[inline(always)]
    fn words(&self) -> &[u64] {
        &self.0
    }

    #[inline(always)]
    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

impl<const N: usize> Wide<N> {
    #[inline(always)]
    fn overflowing_add(mut self, other: Self) -> (Self, bool) {
        let mut carry = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = a.overflowing_add(b);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *a = sum;
            carry = first | second;
        }
        (self, carry)
    }

    #[inline(always)]
    fn overflowing_sub(mut self, other: Self) -> (Self, bool) {
        let mut borrow = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            let (difference, first) = a.overflowing_sub(b);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *a = difference;
            borrow = first | second;
        }
        (self, borrow)
    }
}

macro_rules! wide_element {
    ($words:literal, $product:literal) => {
        impl Element for Wide<$words> {
            const BYTES: usize = 8 * $words;

            type Product = Wide<$product>;

            #[inline(always)]
            fn load(bytes: &[u8], at: usize, len: usize, mask: Self) -> Self {
                let mut value = Wide([0; $words]);
                match bytes.get(at..at + Self::BYTES) {
                    Some(window) => {
                        for ((word, bytes), mask) in
                            value.0.iter_mut().zip(window.chunks_exact(8)).zip(mask.0)
                        {
                            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default()) & mask;
                        }
                    }
                    None => {
                        for (word, bytes) in value.0.iter_mut().zip(bytes[at..at + len].chunks(8)) {
                            let mut window = [0; 8];
                            window[..bytes.len()].copy_from_slice(bytes);
                            *word = u64::from_le_bytes(window);
                        }
                    }
                }
                value
            }

            #[inline(always)]
            fn store(self, bytes: &mut [u8], at: usize, len: usize) {
                for (bytes, word) in bytes[at..at + len].chunks_mut(8).zip(self.0) {
                    bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
                }
            }

            fn unpack(_: Level, bytes: &[u8], width: usize, numbers: &mut [Self]) {
                let mask = Wide(std::array::from_fn(|i| match width.saturating_sub(8 * i) {
                    0 => 0,
                    bytes => u64::MAX >> (64 - 8 * bytes.min(8)),
                }));
                for (i, number) in numbers.iter_mut().enumerate() {
                    *number = Self::load(bytes, i * width, width, mask);
                }
            }

            fn pack(_: Level, numbers: &[Self], width: usize, bytes: &mut [u8]) {
                for (i, number) in numbers.iter().enumerate() {
                    number.store(bytes, i * width, width);
                }
            }

            #[inline(always)]
            fn at_most(self, max: Self) -> bool {
                !max.overflowing_sub(self).1
            }

            long_arithmetic!();

            #[inline(always)]
            fn wrapping_add(self, other: Self) -> Self {
                self.overflowing_add(other).0
            }

            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                self.overflowing_sub(other).0
            }

            fn from_biguint(value: &BigUint) -> Self {
                Self::from_words(&value.to_u64_digits())
            }

            fn to_biguint(self) -> BigUint {
                let digits =
                    self.0.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]).collect();
                BigUint::new(digits)
            }

            fn to_u128(self) -> Option<u128> {
                let [low, high] = [self.0[0], self.0.get(1).copied().unwrap_or(0)];
                let fits = self.0.iter().skip(2).all(|&word| word == 0);
                fits.then(|| u128::from(low) | u128::from(high) << 64)
            }

            fn from_words(words: &[u64]) -> Self {
                let mut value = Wide([0; $words]);
                for (to, &from) in value.0.iter_mut().zip(words) {
                    *to = from;
                }
                value
            }
        }
    };
}

wide_element!(3, 3);
wide_element!(5, 6);
wide_element!(34, 34);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agrees_with_big_integers<E: Element>(bytes: &[u8; 80], order_bytes: &[u8; 40]) {
        let range = BigUint::from(1u32) << (8 * E::BYTES);
        let bytes_of_order = BigUint::from_bytes_le(order_bytes);
        if E::BYTES > 8 {
            // Between half the element's range and all of it, as hard as it gets for the carry.
            agrees_with_order::<E>(bytes, (bytes_of_order % &range) | (&range >> 1u32));
        } else {
            // Up to half of it.
            agrees_with_order::<E>(bytes, (bytes_of_order % (&range >> 1u32)) | (&range >> 2u32));
        }
        agrees_with_order::<E>(bytes, range);
    }

    fn agrees_with_order<E: Element>(bytes: &[u8; 80], order: BigUint) {
        let a = BigUint::from_bytes_le(&bytes[..40]) % &order;
        let b = BigUint::from_bytes_le(&bytes[40..]) % &order;
        let (ea, eb) = (E::from_biguint(&a), E::from_biguint(&b));
        let eo = E::from_biguint(&order);
        assert_eq!(ea.to_biguint(), a);
        assert_eq!(ea.add_mod(eb, eo).to_biguint(), (&a + &b) % &order);
        assert_eq!(ea.sub_mod(eb, eo).to_biguint(), (&a + &order - &b) % &order);
        assert_eq!(ea.cmp(&eb), a.cmp(&b));
        assert_eq!([ea.at_most(eb), ea.at_most(ea)], [a <= b, true]);
        assert_eq!(ea.to_u128(), u128::try_from(&a).ok());
    }

    #[test]
    fn wiped_numbers_are_zero() {
        let mut number = Wide([1, 2, 3]);
        number.zeroize();
        assert_eq!(number, Wide([0; 3]));
    }

    proptest! {
        #[test]
        fn arithmetic(bytes: [u8; 80], order in prop::array::uniform32(any::<u8>()), low: [u8; 8]) {
            let mut full = [0; 40];
            full[..8].copy_from_slice(&low);
            full[8..].copy_from_slice(&order);
            agrees_with_big_integers::<u32>(&bytes, &full);
            agrees_with_big_integers::<u64>(&bytes, &full);
            agrees_with_big_integers::<u128>(&bytes, &full);
            agrees_with_big_integers::<Wide<3>>(&bytes, &full);
            agrees_with_big_integers::<Wide<5>>(&bytes, &full);
        }

        #[test]
        fn load_and_store(value: u128, len in 1usize..=16, before in 0usize..4, after in 0usize..20) {
            fn check<E: Element>(value: u128, len: usize, before: usize, after: usize) {
                let len = len.min(E::BYTES);
                let mask = u128::MAX >> (128 - 8 * len);
                let value = BigUint::from(value & mask);
                let (element, mask) = (E::from_biguint(&value), E::from_biguint(&mask.into()));
                let mut bytes = vec![0xaa; before + len + after];
                element.store(&mut bytes, before, len);
                bytes[before + len..].fill(0xbb);
                assert!(bytes[..before].iter().all(|&byte| byte == 0xaa));
                assert_eq!(E::load(&bytes, before, len, mask), element);
                assert_eq!(BigUint::from_bytes_le(&bytes[before..before + len]), value);
            }
            check::<u32>(value, len, before, after);
            check::<u64>(value, len, before, after);
            check::<u128>(value, len, before, after);
            check::<Wide<3>>(value, len, before, after);
        }
    }

    #[test]
    fn an_order_of_the_whole_range_is_zero() {
        assert_eq!([u32::MAX.add_mod(5, 0), 5u32.sub_mod(u32::MAX, 0)], [4, 6]);
        assert_eq!([u64::MAX.add_mod(5, 0), 5u64.sub_mod(u64::MAX, 0)], [4, 6]);
        let (a, b) = (u128::MAX, 5u128);
        assert_eq!(a.add_mod(b, 0), 4);
        assert_eq!(b.sub_mod(a, 0), 6);
    }
}
