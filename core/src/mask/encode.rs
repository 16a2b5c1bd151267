//! Encoding scaled weights as numbers, exactly: `floor((clamp(s * w, -A, A) + A) * E)` (spec section 5).
//!
//! A is an integer, so this is `A * E + floor(s * w * E)` within the bounds. A weight is
//! `±m * 2^e` with an integer m of at most 64 bits, and `s * E` is `k / d * 2^x` with d odd: what
//! remains per weight is one multiplication, one shift, and a division where d is not 1.

use num_bigint::BigUint;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};

use super::config::MaskConfig;
use super::element::{Element, Words};
use crate::model::{convert, Scalar};

/// A type of weights.
pub(crate) trait Weight: Copy {
    /// Tells weights that are clamped from others.
    type Limit: Copy + Send;

    /// The limit for scaled weights that are at most `bound / scalar` in absolute value; None for a
    /// scalar of 0, that is: no limit.
    fn limit(bound: Option<&BigRational>) -> Self::Limit;

    /// False for what is clamped or not finite.
    fn is_within(self, limit: Self::Limit) -> bool;

    fn is_finite(self) -> bool;

    /// Sign, m and e of `±m * 2^e`.
    fn split(self) -> (bool, u64, i32);

    fn abs_f64(self) -> f64;
}

macro_rules! float_weight {
    ($type:ty, $fraction:literal, $bias:literal, $nearest:path) => {
        impl Weight for $type {
            type Limit = $type;

            fn limit(bound: Option<&BigRational>) -> $type {
                let Some(bound) = bound else {
                    return <$type>::MAX;
                };
                // The largest float that is not above the bound.
                let nearest = $nearest(bound).min(<$type>::MAX);
                match BigRational::from_float(nearest) {
                    // Above a positive bound: positive, and its predecessor is not above.
                    Some(exact) if exact > *bound => <$type>::from_bits(nearest.to_bits() - 1),
                    _ => nearest,
                }
            }

            #[inline(always)]
            fn is_within(self, limit: $type) -> bool {
                self.abs() <= limit
            }

            fn is_finite(self) -> bool {
                <$type>::is_finite(self)
            }

            #[inline(always)]
            fn split(self) -> (bool, u64, i32) {
                let bits = u64::from(self.abs().to_bits());
                let (exponent, fraction) =
                    ((bits >> $fraction) as i32, bits & ((1 << $fraction) - 1));
                let implied = u64::from(exponent != 0) << $fraction;
                (self.is_sign_negative(), fraction | implied, exponent.max(1) - $bias - $fraction)
            }

            fn abs_f64(self) -> f64 {
                self.abs().into()
            }
        }
    };
}

float_weight!(f32, 23, 127, convert::nearest_f32);
float_weight!(f64, 52, 1023, convert::nearest_f64);

macro_rules! integer_weight {
    ($type:ty) => {
        impl Weight for $type {
            type Limit = u64;

            fn limit(bound: Option<&BigRational>) -> u64 {
                bound.and_then(|bound| bound.to_integer().to_u64()).unwrap_or(u64::MAX)
            }

            #[inline(always)]
            fn is_within(self, limit: u64) -> bool {
                u64::from(self.unsigned_abs()) <= limit
            }

            fn is_finite(self) -> bool {
                true
            }

            #[inline(always)]
            fn split(self) -> (bool, u64, i32) {
                (self < 0, self.unsigned_abs().into(), 0)
            }

            fn abs_f64(self) -> f64 {
                self.unsigned_abs() as f64
            }
        }
    };
}

integer_weight!(i32);
integer_weight!(i64);

/// The scalar as it goes into the masked model, and whether it had to be clamped to the unit's bound.
pub(crate) fn clamp_scalar(scalar: &Scalar, unit: MaskConfig) -> (BigRational, bool) {
    let (value, bound) = (scalar.to_rational(), unit.add_shift());
    if value > bound {
        (bound, true)
    } else {
        (value, false)
    }
}

/// The number of the unit before masking: `floor((s + A) * E)`, for a clamped scalar. As the scalar
/// itself, it is not wiped.
pub(crate) fn encode_unit(scalar: &BigRational, unit: MaskConfig) -> BigUint {
    encode_exact(&BigRational::one(), scalar, unit).0
}

/// The number of any weight before masking, and whether it was clamped. Slow.
pub(crate) fn encode_exact(
    weight: &BigRational,
    scalar: &BigRational,
    config: MaskConfig,
) -> (BigUint, bool) {
    let bound = config.add_shift();
    let scaled = weight * scalar;
    let clamped = scaled.clone().clamp(-&bound, bound.clone());
    let number = ((&clamped + bound)
        * BigRational::from(num_bigint::BigInt::from(config.exp_shift())))
    .floor()
    .to_integer();
    // Not negative: the clamped weight is at least -A.
    (number.magnitude().clone(), clamped != scaled)
}

/// How to get from m and e to `s * m * 2^e * E`: `m * k * 2^(e + shift) / d`.
enum Scale<P> {
    /// Products and quotients fit 128 bits.
    Small { k: u128, d: u64 },
    /// They fit the words of a product.
    Words { k: P, d: u64 },
    /// Anything else: a scalar with a huge odd denominator.
    Big { k: BigUint, d: BigUint },
}

/// Encodes weights with one config and scalar.
pub(crate) struct Encoder<E: Element> {
    scale: Scale<E::Product>,
    shift: i32,
    /// `A * E`, the number of weight 0.
    zero: E,
    /// `2 * A * E`, the number of the upper bound.
    top: E,
    /// `A / s`; None for a scalar of 0.
    bound: Option<BigRational>,
}

/// A number and what became of the weight.
pub(crate) enum Encoded<E> {
    Within(E),
    Clamped(E),
    NotFinite,
}

impl<E: Element> Encoder<E> {
    /// For a scalar that is already clamped.
    pub(crate) fn new(config: MaskConfig, scalar: &BigRational) -> Self {
        let zero = config.add_shift_integer() * config.exp_shift();
        let (mut k, mut d) =
            (scalar.numer().magnitude() * config.exp_shift(), scalar.denom().magnitude().clone());
        let common = k.gcd(&d);
        k /= &common;
        d /= &common;
        let twos = |n: &BigUint| n.trailing_zeros().unwrap_or(0);
        let (k_twos, d_twos) = (twos(&k), twos(&d));
        k >>= k_twos;
        d >>= d_twos;
        // Scalars are parsed from bounded input; an absurd exponent only means "nothing remains".
        let shift = (k_twos as i64 - d_twos as i64).clamp(-(1 << 30), 1 << 30) as i32;
        let (k_bits, product_bits) = (k.bits(), zero.bits() + d.bits());
        // Products m * k, and m * k * 2^x <= A * E * d, must fit.
        let fits = |bits: u64| k_bits + 64 <= bits && product_bits <= bits;
        let scale = match (d.to_u64(), k.to_u128()) {
            (Some(d), Some(k)) if fits(128) => Scale::Small { k, d },
            (Some(d), _) if fits(64 * E::Product::WORDS as u64) => {
                let mut words = E::Product::default();
                for (to, from) in words.words_mut().iter_mut().zip(k.iter_u64_digits()) {
                    *to = from;
                }
                Scale::Words { k: words, d }
            }
            _ => Scale::Big { k, d },
        };
        let bound = (!scalar.is_zero()).then(|| config.add_shift() / scalar);
        Encoder {
            scale,
            shift,
            zero: E::from_biguint(&zero),
            top: E::from_biguint(&(zero << 1u32)),
            bound,
        }
    }

    pub(crate) fn limit<W: Weight>(&self) -> W::Limit {
        W::limit(self.bound.as_ref())
    }

    /// The number of a weight.
    #[inline(always)]
    pub(crate) fn encode<W: Weight>(&self, weight: W, limit: W::Limit) -> Encoded<E> {
        let (negative, m, e) = weight.split();
        if weight.is_within(limit) {
            Encoded::Within(self.number(negative, m, e))
        } else if !weight.is_finite() {
            Encoded::NotFinite
        } else {
            Encoded::Clamped(if negative { E::default() } else { self.top })
        }
    }

    #[inline(always)]
    fn number(&self, negative: bool, m: u64, e: i32) -> E {
        let shift = self.shift.saturating_add(e);
        match &self.scale {
            Scale::Small { k, d } => {
                let (magnitude, inexact) = scale_small(*k, *d, shift, m);
                let words = [magnitude as u64, (magnitude >> 64) as u64];
                self.place(negative, E::from_words(&words), inexact)
            }
            Scale::Words { k, d } => {
                let (magnitude, inexact) = scale_words(*k, *d, shift, m);
                self.place(negative, E::from_words(magnitude.words()), inexact)
            }
            Scale::Big { k, d } => {
                let (magnitude, inexact) = scale_big(k, d, shift, m);
                self.place(negative, E::from_biguint(&magnitude), inexact)
            }
        }
    }

    /// `A * E + floor(±x)`, for an x whose integer part is `magnitude`.
    #[inline(always)]
    fn place(&self, negative: bool, magnitude: E, inexact: bool) -> E {
        if negative {
            let floor = self.zero.wrapping_sub(magnitude);
            if inexact {
                floor.wrapping_sub(E::from_words(&[1]))
            } else {
                floor
            }
        } else {
            self.zero.wrapping_add(magnitude)
        }
    }
}

/// `floor(m * k * 2^shift / d)`, and whether that is less than the exact value.
#[inline(always)]
fn scale_small(k: u128, d: u64, shift: i32, m: u64) -> (u128, bool) {
    let product = k * u128::from(m);
    let (shifted, lost) = if shift >= 0 {
        (product.checked_shl(shift.unsigned_abs()).unwrap_or(0), false)
    } else {
        let shift = shift.unsigned_abs();
        let shifted = product.checked_shr(shift).unwrap_or(0);
        let back = shifted.checked_shl(shift).unwrap_or(0);
        (shifted, back != product)
    };
    if d == 1 {
        return (shifted, lost);
    }
    match u64::try_from(shifted) {
        Ok(shifted) => ((shifted / d).into(), lost | (shifted % d != 0)),
        Err(_) => {
            let quotient = shifted / u128::from(d);
            (quotient, lost | (quotient * u128::from(d) != shifted))
        }
    }
}

/// The same in words; see [`Encoder::new`] on why nothing overflows.
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
    use super::super::element::Wide;
    use super::*;
    use proptest::prelude::*;

    /// The largest weight within the limit is within the bound, and the next one is not.
    fn limit_is_tight_f32(bound: &BigRational) {
        let limit = f32::limit(Some(bound));
        assert!(BigRational::from_float(limit).unwrap() <= *bound);
        let above = f32::from_bits(limit.to_bits() + 1);
        assert!(!above.is_finite() || BigRational::from_float(above).unwrap() > *bound);
    }

    proptest! {
        #[test]
        fn limits_are_tight(numer in 1u64.., denom in 1u64.., up in 0u32..150, down in 0u32..150) {
            let numer = BigUint::from(numer) << up;
            limit_is_tight_f32(&convert::rational(false, numer, BigUint::from(denom) << down));
        }

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
        fn the_three_scales_agree(k in any::<u64>(), d in any::<u64>(), shift in -150i32..4, m: u64) {
            let (k, d) = (k >> 3, d | 1);
            let (small, small_lost) = scale_small(k.into(), d, shift, m);
            let (words, words_lost) = scale_words(Wide([k, 0, 0]), d, shift, m);
            let (big, big_lost) = scale_big(&k.into(), &d.into(), shift, m);
            prop_assert_eq!(BigUint::from(small), big.clone());
            prop_assert_eq!(words.to_big(), big);
            prop_assert_eq!((small_lost, words_lost), (big_lost, big_lost));
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

    #[test]
    fn split_gives_the_value() {
        for bits in [0u32, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x7f7f_ffff, 0xbf80_0001] {
            let (negative, m, e) = f32::from_bits(bits).split();
            let value = m as f64 * f64::from(e).exp2();
            assert_eq!(f64::from(f32::from_bits(bits)).abs(), value);
            assert_eq!(negative, bits >> 31 == 1);
        }
        assert_eq!((-1.5f64).split(), (true, 3 << 51, -52));
        assert_eq!(f64::from_bits(1).split(), (false, 1, -1074));
        assert_eq!(i64::MIN.split(), (true, 1 << 63, 0));
    }
}
