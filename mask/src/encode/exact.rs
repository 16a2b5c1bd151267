//! The exact path for every scalar and config: a product of some words, a shift, and a division.
//!
//! For what [`fixed`](super::fixed) cannot do: numbers of more than 128 bits, and the odd weight that an
//! approximation of the scalar cannot decide.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{ToPrimitive, Zero};

use super::factor::Factor;
use crate::element::{Element, Words};

/// How to get from m and e to `s * m * 2^e * E`: `m * k * 2^(e + twos) / d`.
enum Scale<P> {
    /// Products and quotients fit the words of a product.
    Words { k: P, d: u64 },
    /// Anything else: a scalar with a huge odd denominator.
    Big { k: BigUint, d: BigUint },
}

/// Encodes one weight at a time, with one config and scalar.
pub(super) struct Exact<E: Element> {
    scale: Scale<E::Product>,
    twos: i32,
    /// `A * E`, the number of weight 0.
    zero: E,
    /// `2 * A * E`, the number of the upper bound.
    top: E,
}

impl<E: Element> Exact<E> {
    /// `zero` is `A * E`.
    pub(super) fn new(factor: Factor, zero: &BigUint) -> Self {
        let Factor { k, d, twos } = factor;
        // Products m * k, and m * k * 2^x <= A * E * d, must fit.
        let room = 64 * E::Product::WORDS as u64;
        let fits = k.bits() + 64 <= room && zero.bits() + d.bits() <= room;
        let scale = match d.to_u64() {
            Some(d) if fits => {
                let mut words = E::Product::default();
                for (to, from) in words.words_mut().iter_mut().zip(k.iter_u64_digits()) {
                    *to = from;
                }
                Scale::Words { k: words, d }
            }
            _ => Scale::Big { k, d },
        };
        Exact { scale, twos, zero: E::from_biguint(zero), top: E::from_biguint(&(zero << 1u32)) }
    }

    /// The number of `±m * 2^e`, a weight that is not clamped.
    #[inline]
    pub(super) fn number(&self, negative: bool, m: u64, e: i32) -> E {
        let shift = self.twos.saturating_add(e);
        let (magnitude, inexact) = match &self.scale {
            Scale::Words { k, d } => {
                let (magnitude, inexact) = scale_words(*k, *d, shift, m);
                (E::from_words(magnitude.words()), inexact)
            }
            Scale::Big { k, d } => {
                let (magnitude, inexact) = scale_big(k, d, shift, m);
                (E::from_biguint(&magnitude), inexact)
            }
        };
        if negative {
            let up = E::from_words(&[u64::from(inexact)]);
            self.zero.wrapping_sub(magnitude).wrapping_sub(up)
        } else {
            self.zero.wrapping_add(magnitude)
        }
    }

    /// The number of a weight that is clamped.
    pub(super) fn clamped(&self, negative: bool) -> E {
        if negative {
            E::default()
        } else {
            self.top
        }
    }
}

/// `floor(m * k * 2^shift / d)`, and whether that is less than the exact value; see [`Exact::new`] on why
/// nothing overflows.
fn scale_words<P: Words>(k: P, d: u64, shift: i32, m: u64) -> (P, bool) {
    let mut product = k;
    let words = product.words_mut();
    let mut carry = 0u128;
    for word in words.iter_mut() {
        carry += u128::from(*word) * u128::from(m);
        *word = carry as u64;
        carry >>= 64;
    }
    let lost = if shift >= 0 {
        shift_left(words, shift as usize);
        false
    } else {
        shift_right(words, shift.unsigned_abs() as usize)
    };
    if d == 1 {
        return (product, lost);
    }
    let mut remainder = 0u128;
    for word in words.iter_mut().rev() {
        let dividend = remainder << 64 | u128::from(*word);
        *word = (dividend / u128::from(d)) as u64;
        remainder = dividend % u128::from(d);
    }
    (product, lost | (remainder != 0))
}

fn shift_left(words: &mut [u64], shift: usize) {
    let (whole, bits) = (shift / 64, shift % 64);
    for i in (0..words.len()).rev() {
        let at = |j: Option<usize>| j.map_or(0, |j| words[j]);
        let (high, low) = (at(i.checked_sub(whole)), at(i.checked_sub(whole + 1)));
        words[i] = if bits == 0 { high } else { high << bits | low >> (64 - bits) };
    }
}

/// Returns whether bits were lost that are not 0.
fn shift_right(words: &mut [u64], shift: usize) -> bool {
    let (whole, bits) = (shift / 64, shift % 64);
    let part = words.get(whole).map_or(0, |word| word & ((1u64 << bits) - 1));
    let lost = part != 0 || words.iter().take(whole).any(|&word| word != 0);
    for i in 0..words.len() {
        let at = |j: usize| words.get(j).copied().unwrap_or(0);
        let (low, high) = (at(i + whole), at(i + whole + 1));
        words[i] = if bits == 0 { low } else { low >> bits | high << (64 - bits) };
    }
    lost
}

/// The same for any numbers.
fn scale_big(k: &BigUint, d: &BigUint, shift: i32, m: u64) -> (BigUint, bool) {
    let product = k * m;
    // Shifting the divisor instead would be exact as well, but for a tiny weight huge.
    let (shifted, lost) = if shift >= 0 {
        (product << shift, false)
    } else {
        let lost =
            product.trailing_zeros().is_some_and(|zeros| zeros < u64::from(shift.unsigned_abs()));
        (product >> shift.unsigned_abs(), lost)
    };
    let (quotient, remainder) = shifted.div_rem(d);
    (quotient, lost || !remainder.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Wide;
    use num_traits::One;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shifts(words: [u64; 6], shift in 0usize..500) {
            let value = Wide(words).to_big();
            let mut left = words;
            shift_left(&mut left, shift);
            let modulus = BigUint::one() << 384u32;
            prop_assert_eq!(Wide(left).to_big(), (&value << shift) % modulus);
            let mut right = words;
            let lost = shift_right(&mut right, shift);
            prop_assert_eq!(Wide(right).to_big(), &value >> shift);
            prop_assert_eq!(lost, (&value >> shift) << shift != value);
        }

        #[test]
        fn both_scales_agree(k: u64, d: u64, shift in -150i32..4, m: u64) {
            let (k, d) = (k >> 3, d | 1);
            let (words, words_lost) = scale_words(Wide([k, 0, 0]), d, shift, m);
            let (big, big_lost) = scale_big(&k.into(), &d.into(), shift, m);
            prop_assert_eq!(words.to_big(), big);
            prop_assert_eq!(words_lost, big_lost);
        }
    }

    #[test]
    fn only_bits_that_are_not_zero_are_lost() {
        for (shift, expected) in [(-1, (6u32, false)), (-2, (3, false)), (-3, (1, true))] {
            let (words, words_lost) = scale_words(Wide([3, 0, 0]), 1, shift, 4);
            assert_eq!((words.to_big(), words_lost), (expected.0.into(), expected.1));
            let big = scale_big(&3u32.into(), &1u32.into(), shift, 4);
            assert_eq!(big, (expected.0.into(), expected.1));
        }
    }

    trait ToBig {
        fn to_big(&self) -> BigUint;
    }

    impl<P: Words> ToBig for P {
        fn to_big(&self) -> BigUint {
            self.words()
                .iter()
                .rev()
                .fold(BigUint::default(), |value, &word| (value << 64u32) + word)
        }
    }
}
