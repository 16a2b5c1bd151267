//! The fast path: `floor(s * w * E)` by one multiplication with a fixed-point approximation of `s * E`, and
//! one shift. Never a division, and exact all the same.
//!
//! A weight is `±m * 2^e`, and `S = s * E` is approximated by `R / 2^p`, with `R` of 64 or 128 bits and
//! `0 <= R / 2^p - S < 1 / 2^p`. So `m * R / 2^(p - e)` is above `|w| * S` by less than `m / 2^(p - e)`, unless it is
//! `|w| * S` itself. Its lowest `p - e` bits are its fraction:
//!
//! - A fraction of more than m: the same integer is below `|w| * S`, which is not an integer.
//! - At most m: an integer may lie between the two. If `S` is `R / 2^p`, that is so for a fraction of 0 and no
//!   other. If S has a small odd denominator, so that `|w| * S` is always further away from the next integer than
//!   the approximation from `|w| * S`, then `|w| * S` is that integer (Granlund and Montgomery). Otherwise the weight is
//!   left to the exact path: as rare as m is small compared with `2^(p - e)`.
//!
//! Lanes of 64 bits (32-bit weights, bounds other than Bmax, so all that fits 63 bits) have no branches and
//! are left to the compiler to vectorize. Lanes of 128 bits are for all else but floats with Bmax.

use num_bigint::BigUint;
use num_traits::Zero;

use super::factor::{Approximation, Factor};
use super::weight::Weight;
use crate::element::Element;
use crate::simd::{Kernel, Level};

/// What is to be looked at again in a block of weights.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Flags {
    /// Weights that were clamped, or are not finite.
    pub(super) outside: bool,
    /// Weights that the exact path has to decide.
    pub(super) undecided: bool,
}

/// A number, and what is to be said about it.
pub(super) struct Fixed<N> {
    pub(super) number: N,
    pub(super) within: bool,
    /// Not decided: the number may be wrong.
    pub(super) undecided: bool,
}

/// Which of the steps a factor needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Steps {
    /// The lower half of R is 0, and R is exact.
    Half,
    /// All of R; every weight is decided.
    Certain,
    /// All of R; some weights may not be decided.
    Doubtful,
}

macro_rules! fixed_point {
    ($lanes:ident, $block:ident, $word:ty, $half:ty, $run:ident) => {
        /// Encodes with lanes of one width.
        #[derive(Clone, Copy)]
        pub(super) struct $lanes {
            /// The halves of R.
            high: $half,
            low: $half,
            /// What m is shifted by first.
            lift: u32,
            /// The shift for e = 0, after the lower half was dropped.
            point: i32,
            /// All ones if a fraction of up to m belongs to an integer; 0 if only 0 does.
            slack: $half,
            /// The number of weight 0, and of the upper bound.
            zero: $word,
            top: $word,
            pub(super) steps: Steps,
        }

        impl $lanes {
            const HALF: u32 = <$half>::BITS;

            /// For weights of a type up to `limit`; None if it does not fit.
            pub(super) fn new<W: Weight>(
                factor: &Factor,
                zero: &BigUint,
                limit: W::Limit,
            ) -> Option<Self> {
                // The top number may be counted up by one, and a sign is wanted.
                if W::BITS > Self::HALF || zero.bits() + 2 > u64::from(<$word>::BITS) {
                    return None;
                }
                let Approximation { value, point, is_exact } =
                    factor.approximate(<$word>::BITS.into());
                let (m, e) = W::largest(limit);
                let half = i64::from(Self::HALF);
                // The lower half is dropped before the shift, so that it must be within the fraction. Only
                // integers, where all have the same exponent, are ever moved up for that.
                let shift = point - i64::from(e);
                let lift = if value.is_zero() { 0 } else { (half - shift).max(0) };
                let m_bits = W::BITS.min(u64::BITS - m.leading_zeros());
                if lift > 0 && (W::IS_FLOAT || i64::from(m_bits.max(1)) + lift > half) {
                    return None;
                }
                // Floats of one exponent share their shift, and no shift is smaller.
                let m_bits = i64::from(if W::IS_FLOAT { W::BITS } else { m_bits }) + lift;
                let up = point + i64::from(factor.twos);
                let gap = up.min(shift + lift);
                let certain = is_exact || gap >= m_bits + factor.d.bits() as i64;
                let low: $half = (&value & BigUint::from(<$half>::MAX)).try_into().ok()?;
                Some($lanes {
                    high: (value >> Self::HALF).try_into().ok()?,
                    low,
                    lift: lift as u32,
                    point: (point - half + lift).clamp(-(1 << 20), 1 << 20) as i32,
                    slack: if is_exact { 0 } else { <$half>::MAX },
                    zero: zero.try_into().ok()?,
                    top: (zero << 1u32).try_into().ok()?,
                    steps: match (certain, is_exact && low == 0) {
                        (_, true) => Steps::Half,
                        (true, false) => Steps::Certain,
                        (false, false) => Steps::Doubtful,
                    },
                })
            }

            #[inline(always)]
            pub(super) fn encode<W: Weight>(&self, weight: W, limit: W::Limit) -> Fixed<$word> {
                match self.steps {
                    Steps::Half => self.number::<W, false, false>(weight, limit),
                    Steps::Certain => self.number::<W, true, false>(weight, limit),
                    Steps::Doubtful => self.number::<W, true, true>(weight, limit),
                }
            }

            #[inline(always)]
            fn number<W: Weight, const LOW: bool, const DOUBT: bool>(
                &self,
                weight: W,
                limit: W::Limit,
            ) -> Fixed<$word> {
                let (negative, m, e) = weight.split();
                // Nothing is lost of a weight within the limit.
                let m = (m as $half) << self.lift;
                // What is shifted has at least one bit less than the word: this gives 0 if nothing is left.
                let shift = ((self.point.wrapping_sub(e)) as u32).min(<$word>::BITS - 1);
                let mut product = <$word>::from(m) * <$word>::from(self.high);
                let mut beyond = false;
                if LOW {
                    let low = <$word>::from(m) * <$word>::from(self.low);
                    product += low >> Self::HALF;
                    beyond = (low as $half) > (m & self.slack);
                }
                let floor = product >> shift;
                let inexact = beyond | (floor << shift != product);
                let up = <$word>::from(negative & inexact);
                let sign = <$word>::from(negative).wrapping_neg();
                // zero + floor, or zero - (floor + up).
                let number =
                    self.zero.wrapping_add((floor.wrapping_add(up) ^ sign).wrapping_sub(sign));
                let within = weight.is_within(limit);
                let bound = self.top & !sign;
                Fixed {
                    number: if within { number } else { bound },
                    within,
                    undecided: DOUBT & within & !inexact & (m != 0),
                }
            }

            /// Encodes a block.
            pub(super) fn encode_block<W: Weight, E: Element>(
                &self,
                level: Level,
                weights: &[W],
                limit: W::Limit,
                numbers: &mut [E],
            ) -> Flags {
                let fixed = *self;
                match self.steps {
                    Steps::Half => {
                        $run(level, $block::<W, E, false, false> { fixed, weights, limit, numbers })
                    }
                    Steps::Certain => {
                        $run(level, $block::<W, E, true, false> { fixed, weights, limit, numbers })
                    }
                    Steps::Doubtful => {
                        $run(level, $block::<W, E, true, true> { fixed, weights, limit, numbers })
                    }
                }
            }
        }

        struct $block<'a, W: Weight, E, const LOW: bool, const DOUBT: bool> {
            fixed: $lanes,
            weights: &'a [W],
            limit: W::Limit,
            numbers: &'a mut [E],
        }

        impl<W: Weight, E: Element, const LOW: bool, const DOUBT: bool> Kernel
            for $block<'_, W, E, LOW, DOUBT>
        {
            type Output = Flags;

            #[inline(always)]
            fn run(self) -> Flags {
                let Self { fixed, weights, limit, numbers } = self;
                let (mut outside, mut undecided): ($word, $word) = (0, 0);
                for (number, &weight) in numbers.iter_mut().zip(weights) {
                    let encoded = fixed.number::<W, LOW, DOUBT>(weight, limit);
                    outside |= <$word>::from(!encoded.within);
                    undecided |= <$word>::from(encoded.undecided);
                    *number = E::from_words(&words(encoded.number.into()));
                }
                Flags { outside: outside != 0, undecided: undecided != 0 }
            }
        }
    };
}

#[inline(always)]
pub(super) fn words(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

fixed_point!(Lanes64, Block64, u64, u32, run_vectorized);
fixed_point!(Lanes128, Block128, u128, u64, run_plainly);

#[inline(always)]
fn run_vectorized<K: Kernel>(level: Level, kernel: K) -> K::Output {
    level.run(kernel)
}

/// There are no vectors of 128-bit lanes: all levels are the same.
#[inline(always)]
fn run_plainly<K: Kernel>(_: Level, kernel: K) -> K::Output {
    kernel.run()
}
