//! Exact rationals to floats and integers, and back (spec section 5, "Model to primitives").
//!
//! Floats are the correctly rounded value, nearest with ties to even; integers truncate toward zero.

use num_bigint::{BigInt, BigUint, Sign};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::DataType;

/// A value beyond the finite range of the type that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is beyond the range of {0}")]
pub struct OutOfRange(pub DataType);

/// The double nearest to `value` (ties to even); infinite from half a step beyond the largest.
pub fn nearest_f64(value: &BigRational) -> f64 {
    let (numer, denom) = magnitudes(value);
    with_sign(value.is_negative(), f64::from_bits(nearest_bits(numer, denom, Format::F64)))
}

/// The float nearest to `value` (ties to even); infinite from half a step beyond the largest.
pub fn nearest_f32(value: &BigRational) -> f32 {
    let (numer, denom) = magnitudes(value);
    with_sign(value.is_negative(), f32::from_bits(nearest_bits(numer, denom, Format::F32) as u32))
}

/// The double nearest to `value`.
///
/// # Errors
/// If `value` lies beyond the finite doubles, by however little.
pub fn to_f64(value: &BigRational) -> Result<f64, OutOfRange> {
    let (numer, denom) = magnitudes(value);
    f64_from(value.is_negative(), numer, denom)
}

/// The float nearest to `value`.
///
/// # Errors
/// If `value` lies beyond the finite floats, by however little.
pub fn to_f32(value: &BigRational) -> Result<f32, OutOfRange> {
    let (numer, denom) = magnitudes(value);
    f32_from(value.is_negative(), numer, denom)
}

/// `value` without its fractional part.
///
/// # Errors
/// If that is beyond the range.
pub fn to_i32(value: &BigRational) -> Result<i32, OutOfRange> {
    let (numer, denom) = magnitudes(value);
    i32_from(value.is_negative(), numer, denom)
}

/// `value` without its fractional part.
///
/// # Errors
/// If that is beyond the range.
pub fn to_i64(value: &BigRational) -> Result<i64, OutOfRange> {
    let (numer, denom) = magnitudes(value);
    i64_from(value.is_negative(), numer, denom)
}

fn magnitudes(value: &BigRational) -> (&BigUint, &BigUint) {
    (value.numer().magnitude(), value.denom().magnitude())
}

fn with_sign<T: std::ops::Neg<Output = T>>(negative: bool, magnitude: T) -> T {
    if negative {
        -magnitude
    } else {
        magnitude
    }
}

/// [`to_f32`] of `±numer / denom`, which need not be in lowest terms; `denom` is not 0.
pub(crate) fn f32_from(neg: bool, numer: &BigUint, denom: &BigUint) -> Result<f32, OutOfRange> {
    let magnitude = f32::from_bits(nearest_bits(numer, denom, Format::F32) as u32);
    // Rounding leads to the largest from beyond it as well.
    if magnitude < f32::MAX || *numer <= denom * Format::F32.largest() {
        Ok(with_sign(neg, magnitude))
    } else {
        Err(OutOfRange(DataType::F32))
    }
}

/// [`to_f64`] of `±numer / denom`, which need not be in lowest terms; `denom` is not 0.
pub(crate) fn f64_from(neg: bool, numer: &BigUint, denom: &BigUint) -> Result<f64, OutOfRange> {
    let magnitude = f64::from_bits(nearest_bits(numer, denom, Format::F64));
    if magnitude < f64::MAX || *numer <= denom * Format::F64.largest() {
        Ok(with_sign(neg, magnitude))
    } else {
        Err(OutOfRange(DataType::F64))
    }
}

/// [`to_i32`] of `±numer / denom`, which need not be in lowest terms; `denom` is not 0.
pub(crate) fn i32_from(neg: bool, numer: &BigUint, denom: &BigUint) -> Result<i32, OutOfRange> {
    truncate(neg, numer, denom).and_then(|v| v.to_i32()).ok_or(OutOfRange(DataType::I32))
}

/// [`to_i64`] of `±numer / denom`, which need not be in lowest terms; `denom` is not 0.
pub(crate) fn i64_from(neg: bool, numer: &BigUint, denom: &BigUint) -> Result<i64, OutOfRange> {
    truncate(neg, numer, denom).and_then(|v| v.to_i64()).ok_or(OutOfRange(DataType::I64))
}

/// The value without its fractional part; None if it is far beyond 64 bits.
fn truncate(negative: bool, numer: &BigUint, denom: &BigUint) -> Option<i128> {
    // Without this, dividing hostile input could take long.
    if numer.bits() > denom.bits() + 64 {
        return None;
    }
    let magnitude = (numer / denom).to_i128()?;
    Some(with_sign(negative, magnitude))
}

/// The exact value; None if it is not finite.
pub fn from_f32(value: f32) -> Option<BigRational> {
    BigRational::from_float(value)
}

/// The exact value; None if it is not finite.
pub fn from_f64(value: f64) -> Option<BigRational> {
    BigRational::from_float(value)
}

/// The nearest finite value: NaN is 0, the infinities are the largest finite values.
pub fn bounded_f32(value: f32) -> f32 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(f32::MIN, f32::MAX)
    }
}

/// The nearest finite value: NaN is 0, the infinities are the largest finite values.
pub fn bounded_f64(value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(f64::MIN, f64::MAX)
    }
}

/// An IEEE-754 binary format.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// Bits of the significand, the implied one included.
    precision: i64,
    /// Exponent of the last place of the subnormal numbers.
    least_exponent: i64,
    /// Exponent of the last place of the largest finite numbers.
    greatest_exponent: i64,
}

impl Format {
    pub(crate) const F32: Format =
        Format { precision: 24, least_exponent: -149, greatest_exponent: 104 };
    pub(crate) const F64: Format =
        Format { precision: 53, least_exponent: -1074, greatest_exponent: 971 };

    /// The largest finite number.
    fn largest(self) -> BigUint {
        ((BigUint::one() << self.precision) - 1u32) << self.greatest_exponent
    }

    /// The bits of the float nearest to `significand * 2^exponent`, plus a bit more than that if
    /// `sticky`. The significand has either all its `precision + 2` bits or `sticky` is false.
    pub(crate) fn round(self, significand: u128, exponent: i64, sticky: bool) -> u64 {
        let bits = i64::from(128 - significand.leading_zeros());
        if bits == 0 {
            return 0;
        }
        // Exponent of the last place of the result.
        let last = (exponent + bits - self.precision).max(self.least_exponent);
        let drop = last - exponent;
        let mut kept = match u32::try_from(drop) {
            // Exact; a shift to the left has room as the result has at most `precision` bits.
            Err(_) => (significand << -drop) as u64,
            Ok(drop) => {
                let kept = significand.checked_shr(drop).unwrap_or(0) as u64;
                let half = drop.checked_sub(1).and_then(|d| 1u128.checked_shl(d)).unwrap_or(0);
                let is_half = half != 0 && significand & half != 0;
                let below = half != 0 && significand & (half - 1) != 0;
                // Beyond 128 bits all of the significand is below half.
                let odd = kept & 1 == 1;
                kept + u64::from(is_half && (below || sticky || odd))
            }
        };
        let mut last = last;
        if kept >> self.precision != 0 {
            kept >>= 1;
            last += 1;
        }
        let fraction_bits = self.precision - 1;
        let infinity = ((self.greatest_exponent - self.least_exponent + 2) as u64) << fraction_bits;
        if last > self.greatest_exponent {
            return infinity;
        }
        // A subnormal has biased exponent 0; the implied bit of a normal one adds the 1.
        (((last - self.least_exponent) as u64) << fraction_bits) + kept
    }

    /// The bits of the float nearest to a value from `significand * 2^exponent` on and less than
    /// `(significand + error) * 2^exponent`; the highest bit of `significand` is set. None if that can be
    /// either of two floats, or is subnormal or close to infinity.
    #[inline(always)]
    pub(crate) fn round_estimate(self, significand: u64, error: u64, exponent: i32) -> Option<u64> {
        let drop = 64 - self.precision as u32;
        let (low, half) = (significand & ((1 << drop) - 1), 1 << (drop - 1));
        let last = i64::from(exponent) + i64::from(drop);
        // At half itself it depends on what comes after it, and below it on whether the error leads there.
        let near = low.wrapping_sub(half - error) <= error;
        if near || last < self.least_exponent || last >= self.greatest_exponent {
            return None;
        }
        let kept = (significand >> drop) + u64::from(low > half);
        // As in `round`. If `kept` has a bit too many, then all its others are 0, and the sum is right too.
        Some((((last - self.least_exponent) as u64) << (self.precision - 1)) + kept)
    }
}

/// The bits of the float nearest to `numer / denom`; `denom` is not 0.
pub(crate) fn nearest_bits(numer: &BigUint, denom: &BigUint, format: Format) -> u64 {
    if numer.is_zero() || denom.is_zero() {
        return 0;
    }
    // A quotient of 64 or 65 bits and whether something is left: more than any format rounds from.
    let shift = 64 - (numer.bits() as i64 - denom.bits() as i64);
    let (quotient, remainder) = if shift >= 0 {
        (numer << shift).div_rem(denom)
    } else {
        numer.div_rem(&(denom << -shift))
    };
    let significand = quotient.to_u128().unwrap_or(u128::MAX);
    format.round(significand, -shift, !remainder.is_zero())
}

/// The bits of the float nearest to `numer / denom`; `denom` is not 0.
#[inline]
pub(crate) fn nearest_bits_small(numer: u128, denom: u128, format: Format) -> u64 {
    if numer == 0 || denom == 0 {
        return 0;
    }
    // Both with their highest bit at the top: the quotient is above 1/2 and below 2.
    let (up, down) = (numer.leading_zeros(), denom.leading_zeros());
    let (numer, denom) = (numer << up, denom << down);
    let whole = numer >= denom;
    let rest = if whole { numer - denom } else { numer };
    let (quotient, exact) = divide_shifted(rest, denom);
    let significand = u128::from(whole) << 64 | u128::from(quotient);
    format.round(significand, i64::from(down) - i64::from(up) - 64, !exact)
}

/// `numer * 2^64 / denom` and whether that is exact; `numer < denom`, and the highest bit of `denom` is set.
#[inline]
fn divide_shifted(numer: u128, denom: u128) -> (u64, bool) {
    let (high, low) = ((denom >> 64) as u64, denom as u64);
    // The estimate from the upper half of the divisor is at most 2 too large (Knuth, 4.3.1 B).
    let mut quotient = (numer / u128::from(high)).min(u64::MAX.into()) as u64;
    loop {
        // quotient * denom, in 192 bits, against numer * 2^64.
        let lower = u128::from(quotient) * u128::from(low);
        let product_low = lower as u64;
        let product_high = (u128::from(quotient) * u128::from(high)).checked_add(lower >> 64);
        match product_high {
            Some(product_high) if (product_high, product_low) <= (numer, 0) => {
                return (quotient, (product_high, product_low) == (numer, 0));
            }
            _ => quotient -= 1,
        }
    }
}

/// `sign * numer / denom` in lowest terms.
pub(crate) fn rational(negative: bool, numer: BigUint, denom: BigUint) -> BigRational {
    let sign = if negative { Sign::Minus } else { Sign::Plus };
    if denom.is_one() {
        return BigRational::from_integer(BigInt::from_biguint(sign, numer));
    }
    BigRational::new(BigInt::from_biguint(sign, numer), denom.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Neighbouring floats.
    trait Neighbours: Copy {
        fn next(self, down: bool) -> Self;
    }

    macro_rules! neighbours {
        ($type:ty) => {
            impl Neighbours for $type {
                fn next(self, down: bool) -> Self {
                    match (self == 0.0, self.is_sign_negative() == down) {
                        (true, _) => {
                            if down {
                                -<$type>::from_bits(1)
                            } else {
                                <$type>::from_bits(1)
                            }
                        }
                        (false, true) => <$type>::from_bits(self.to_bits() + 1),
                        (false, false) => <$type>::from_bits(self.to_bits() - 1),
                    }
                }
            }
        };
    }

    neighbours!(f32);
    neighbours!(f64);

    fn up<F: Neighbours>(value: F) -> F {
        value.next(false)
    }

    fn down<F: Neighbours>(value: F) -> F {
        value.next(true)
    }

    fn exact(value: f64) -> BigRational {
        BigRational::from_float(value).unwrap()
    }

    /// `found` is nearest to `value` among itself and its neighbours, and even if another is as near.
    fn assert_nearest_f64(value: &BigRational, found: f64) {
        let distance = |f: f64| (exact(f) - value).abs();
        for neighbour in [up(found), down(found)] {
            if neighbour.is_finite() {
                let (ours, theirs) = (distance(found), distance(neighbour));
                assert!(ours < theirs || (ours == theirs && found.to_bits() & 1 == 0));
            }
        }
    }

    fn assert_nearest_f32(value: &BigRational, found: f32) {
        let distance = |f: f32| (exact(f.into()) - value).abs();
        for neighbour in [up(found), down(found)] {
            if neighbour.is_finite() {
                let (ours, theirs) = (distance(found), distance(neighbour));
                assert!(ours < theirs || (ours == theirs && found.to_bits() & 1 == 0));
            }
        }
    }

    fn big(words: &[u32], shift: u32) -> BigUint {
        BigUint::new(words.to_vec()) << shift
    }

    proptest! {
        #[test]
        fn finite_floats_are_kept(bits: u64, bits32: u32) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(nearest_f64(&exact(value)).abs().to_bits(), value.abs().to_bits());
            }
            let value = f32::from_bits(bits32);
            if value.is_finite() {
                prop_assert_eq!(nearest_f32(&exact(value.into())).abs().to_bits(), value.abs().to_bits());
            }
        }

        #[test]
        fn rounds_to_nearest(
            numer in prop::collection::vec(any::<u32>(), 1..6), numer_shift in 0u32..1200,
            denom in prop::collection::vec(any::<u32>(), 1..6), denom_shift in 0u32..1200,
            negative: bool,
        ) {
            let denom = big(&denom, denom_shift);
            prop_assume!(!denom.is_zero());
            let value = rational(negative, big(&numer, numer_shift), denom);
            let double = nearest_f64(&value);
            if double.is_finite() {
                assert_nearest_f64(&value, double);
            } else {
                prop_assert!(value.abs() > exact(f64::MAX));
            }
            let single = nearest_f32(&value);
            if single.is_finite() {
                assert_nearest_f32(&value, single);
            } else {
                prop_assert!(value.abs() > exact(f32::MAX.into()));
            }
        }

        /// Midpoints between floats and what is next to them, subnormal ones included.
        #[test]
        fn rounds_ties_to_even(bits in any::<u64>(), nudge in -1i32..=1) {
            let low = f64::from_bits(bits).abs();
            prop_assume!(up(low).is_finite());
            let two = BigInt::from(2);
            let tiny = BigRational::new(nudge.into(), BigInt::one() << 1300u32);
            let value = (exact(low) + exact(up(low))) / two + tiny;
            assert_nearest_f64(&value, nearest_f64(&value));
            let low = f32::from_bits(bits as u32).abs();
            prop_assume!(up(low).is_finite());
            let tiny = BigRational::new(nudge.into(), BigInt::one() << 1300u32);
            let value = (exact(low.into()) + exact(up(low).into())) / BigInt::from(2) + tiny;
            assert_nearest_f32(&value, nearest_f32(&value));
        }

        #[test]
        fn small_path_is_the_same(numer: u128, cut in 0u32..128, denom: u128, cut_denom in 0u32..128) {
            let (numer, denom) = (numer >> cut, (denom >> cut_denom).max(1));
            let (big_numer, big_denom) = (BigUint::from(numer), BigUint::from(denom));
            for format in [Format::F32, Format::F64] {
                prop_assert_eq!(
                    nearest_bits_small(numer, denom, format),
                    nearest_bits(&big_numer, &big_denom, format)
                );
            }
        }
    }

    #[test]
    fn just_beyond_the_largest_is_out_of_range() {
        let max = exact(f32::MAX.into());
        assert_eq!(to_f32(&max), Ok(f32::MAX));
        let beyond = max + BigRational::one();
        assert_eq!(nearest_f32(&beyond), f32::MAX);
        assert_eq!(to_f32(&beyond), Err(OutOfRange(DataType::F32)));
        assert_eq!(to_f32(&-beyond), Err(OutOfRange(DataType::F32)));
        assert_eq!(to_f64(&exact(f64::MAX)), Ok(f64::MAX));
        let beyond = exact(f64::MAX) + BigRational::one();
        assert_eq!(to_f64(&beyond), Err(OutOfRange(DataType::F64)));
    }

    #[test]
    fn integers_truncate() {
        let value = |n: i64, d: i64| BigRational::new(n.into(), d.into());
        assert_eq!(to_i32(&value(-7, 4)), Ok(-1));
        assert_eq!(to_i32(&value((1i64 << 32) - 1, 2)), Ok(i32::MAX));
        assert_eq!(to_i32(&value(1i64 << 31, 1)), Err(OutOfRange(DataType::I32)));
        assert_eq!(to_i64(&value(i64::MIN, 1)), Ok(i64::MIN));
    }
}
