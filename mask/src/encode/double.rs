//! The fastest path, for 32-bit floats: `floor(w * S)` by one multiplication of doubles, where that is exact.
//!
//! A 32-bit float has 24 significant bits. Where `S = s * E` is an integer of at most 29 bits times a power of 2, which it is for
//! the usual scalars, their product has at most the 53 bits of a double, and nothing is rounded. Adding a double of 2^52 and
//! more rounds the product to an integer next to it, and comparing tells whether that is the one below.

use num_bigint::BigUint;
use num_traits::{One, ToPrimitive};

use super::factor::Factor;
use super::fixed::{words, Flags};
use super::weight::Weight;
use crate::element::Element;
use crate::simd::{Kernel, Level};

/// Significant bits of a double.
const BITS: u64 = f64::MANTISSA_DIGITS as u64;

/// From here on up to twice as much, the doubles are the integers.
const INTEGERS: f64 = (1u64 << (BITS - 1)) as f64;

/// What of their bits tells how far above `INTEGERS` one is.
const FRACTION: u64 = (1 << (BITS - 1)) - 1;

/// Encodes with doubles.
#[derive(Clone, Copy)]
pub(super) struct Doubles {
    /// S.
    factor: f64,
    /// The number of weight 0, and so the largest product that is not clamped.
    zero: f64,
}

impl Doubles {
    /// None if something might be rounded.
    pub(super) fn new<W: Weight>(factor: &Factor, zero: &BigUint) -> Option<Self> {
        let Factor { k, d, twos } = factor;
        let is_exact = d.is_one() && k.bits() + u64::from(W::BITS) <= BITS;
        // No product is too large or too small for a double, and no number too large for one of the `INTEGERS`.
        if !W::IS_FLOAT || !is_exact || twos.unsigned_abs() > 700 || zero.bits() + 2 > BITS {
            return None;
        }
        let power = f64::from_bits(((f64::MAX_EXP - 1 + twos) as u64) << (BITS - 1));
        Some(Self { factor: k.to_f64()? * power, zero: zero.to_f64()? })
    }

    /// Encodes a block. Every weight is decided.
    pub(super) fn encode_block<W: Weight, E: Element>(
        &self,
        level: Level,
        weights: &[W],
        numbers: &mut [E],
    ) -> Flags {
        level.run(Block { doubles: *self, weights, numbers })
    }
}

struct Block<'a, W: Weight, E> {
    doubles: Doubles,
    weights: &'a [W],
    numbers: &'a mut [E],
}

impl<W: Weight, E: Element> Kernel for Block<'_, W, E> {
    type Output = Flags;

    #[inline(always)]
    fn run(self) -> Flags {
        let Self { doubles: Doubles { factor, zero }, weights, numbers } = self;
        let origin = INTEGERS + zero;
        let mut outside = 0;
        for (number, &weight) in numbers.iter_mut().zip(weights) {
            let product = weight.as_f64() * factor;
            let clamped = if product > zero { zero } else { product };
            let clamped = if clamped < -zero { -zero } else { clamped };
            // So is what is not a number.
            outside |= u64::from(clamped != product);
            let nearest = clamped + origin;
            let above = if nearest - origin > clamped { 1.0 } else { 0.0 };
            let floor = (nearest - above).to_bits() & FRACTION;
            *number = E::from_words(&words(floor.into()));
        }
        Flags { outside: outside != 0, undecided: false }
    }
}
