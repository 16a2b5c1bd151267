//! Ratios to weights of each data type: a fast way for most, and an exact one for all.

use num_bigint::BigUint;

use super::convert::{self, Format, OutOfRange};
use super::DataType;
#[cfg(test)]
use super::Model;

/// A positive number as 64 bits and a power of two, rounded down: it is at least `bits * 2^exponent` and
/// less than `(bits + 1) * 2^exponent`. The highest bit of `bits` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounded {
    pub(crate) bits: u64,
    pub(crate) exponent: i32,
}

/// A number that is at least `bits * 2^exponent` and less than `(bits + error) * 2^exponent`. At least 62
/// of the 64 bits are significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    bits: u64,
    error: u64,
    exponent: i32,
}

impl Rounded {
    /// `numer / denom`, neither of them 0; None if its exponent is absurd.
    pub(crate) fn quotient(numer: &BigUint, denom: &BigUint) -> Option<Self> {
        let shift = 65 - (numer.bits() as i64 - denom.bits() as i64);
        // 65 or 66 bits.
        let quotient =
            if shift >= 0 { (numer << shift) / denom } else { numer / (denom << -shift) };
        let surplus = quotient.bits() as i64 - 64;
        let bits = u64::try_from(quotient >> surplus).ok()?;
        Some(Rounded { bits, exponent: i32::try_from(surplus - shift).ok()? })
    }

    /// None for 0.
    #[inline(always)]
    pub(crate) fn small(value: u128) -> Option<Self> {
        let up = value.leading_zeros();
        let bits = (value.checked_shl(up)? >> 64) as u64;
        Some(Rounded { bits, exponent: 64 - up as i32 })
    }

    /// `self * other`.
    #[inline(always)]
    pub(crate) fn times(self, other: Self) -> Estimate {
        // The product is less than (self.bits + 1) * (other.bits + 1), which is less than 2 * 2^64 above that
        // of the bits, and cutting it takes up to another 2^64.
        let bits = ((u128::from(self.bits) * u128::from(other.bits)) >> 64) as u64;
        Estimate { bits, error: 3, exponent: self.exponent + other.exponent + 64 }
    }

    /// `self / other`.
    #[inline(always)]
    pub(crate) fn over(self, other: Self) -> Estimate {
        // Below 2^64 as both have their highest bit set. The numerator may be larger by a part of 1, which
        // makes the quotient at most 1 larger, and cutting it takes up to another 1; the denominator may
        // be larger by a part of 1, which makes it at most 2 smaller.
        let quotient = ((u128::from(self.bits) << 63) / u128::from(other.bits)) as u64;
        Estimate { bits: quotient - 2, error: 4, exponent: self.exponent - other.exponent - 63 }
    }
}

/// A weight in memory.
pub(crate) trait FromRatio: Copy + Default + Send + Sync + 'static {
    /// The weight nearest to a number whose magnitude is estimated (integers: truncated); None if the error
    /// could matter, or the weight is not an ordinary one.
    fn from_estimate(negative: bool, magnitude: Estimate) -> Option<Self>;

    /// Is [`from_double`](Self::from_double) good for anything?
    const FROM_DOUBLE: bool;

    /// The weight nearest to a value whose magnitude is known as a double that was rounded at most three
    /// times, and whether that is certain.
    fn from_double(negative: bool, magnitude: f64) -> (Self, bool);

    /// The weight nearest to `±numer / denom`; None for a `denom` of 0, and for what is left to the
    /// exact way.
    fn from_words(negative: bool, numer: u64, denom: u64) -> Option<Self>;

    /// The weight nearest to `±numer / denom`; `denom` is not 0.
    fn from_small(negative: bool, numer: u128, denom: u128) -> Result<Self, OutOfRange>;

    /// The weight nearest to `±numer / denom`; `denom` is not 0.
    fn from_big(negative: bool, numer: &BigUint, denom: &BigUint) -> Result<Self, OutOfRange>;
}

/// Runs an expression with the vector of weights, whatever their type.
macro_rules! with_weights {
    ($model:expr, $weights:ident => $body:expr) => {
        match $model {
            $crate::model::Model::F32($weights) => $body,
            $crate::model::Model::F64($weights) => $body,
            $crate::model::Model::I32($weights) => $body,
            $crate::model::Model::I64($weights) => $body,
        }
    };
}

pub(crate) use with_weights;

/// Appends `±numer / denom` to a model; `denom` is not 0.
#[cfg(test)]
pub(crate) fn push_big(
    model: &mut Model,
    negative: bool,
    numer: &BigUint,
    denom: &BigUint,
) -> Result<(), OutOfRange> {
    with_weights!(model, weights => weights.push(FromRatio::from_big(negative, numer, denom)?));
    Ok(())
}

/// How far from a midpoint between two floats a double must be, in its last places, so that three roundings
/// on the way to it do not matter: each of them is half of a last place, and may double when the next one
/// leads to a smaller power of two.
const MARGIN: u64 = 4;

/// The float nearest to a non-negative value of which `value` is the result of at most three roundings
/// (of a factor, of another, of their product or quotient), and whether that is certain.
#[inline(always)]
pub(crate) fn narrow(value: f64) -> (f32, bool) {
    /// Bits that a double has more than a float, and half of their range.
    const LOW: u64 = (1 << 29) - 1;
    const MIDDLE: u64 = 1 << 28;
    /// From here to there floats are normal, and infinity is far.
    const LEAST: f64 = 4.0 * f32::MIN_POSITIVE as f64;
    const MOST: f64 = f32::MAX as f64 / 2.0;
    let near = ((value.to_bits() & LOW).wrapping_sub(MIDDLE - MARGIN)) <= 2 * MARGIN;
    let ordinary = (LEAST..=MOST).contains(&value);
    (value as f32, (ordinary & !near) | (value == 0.0))
}

/// The bits of the float nearest to a number.
#[inline(always)]
fn float_bits(Estimate { bits, error, exponent }: Estimate, format: Format) -> Option<u64> {
    // At most 2.
    let up = bits.leading_zeros();
    format.round_estimate(bits << up, error << up, exponent - up as i32)
}

/// The whole part of a number.
#[inline(always)]
fn whole(Estimate { bits, error, exponent }: Estimate) -> Option<u64> {
    let down = u32::try_from(-exponent).ok()?;
    let bits = u128::from(bits);
    let (low, high) = match down {
        0..=65 => (bits >> down, (bits + u128::from(error)) >> down),
        _ => (0, 0),
    };
    (low == high).then_some(low as u64)
}

macro_rules! float_weight {
    ($type:ty, $bits:ty, $format:expr, $from_big:ident, $from_words:ident, $double:literal, $narrow:expr) => {
        impl FromRatio for $type {
            const FROM_DOUBLE: bool = $double;

            #[inline(always)]
            fn from_double(negative: bool, magnitude: f64) -> (Self, bool) {
                let (magnitude, certain): ($type, bool) = $narrow(magnitude);
                // The difference is the negative, except that there is no negative 0.
                (if negative { 0.0 - magnitude } else { magnitude }, certain)
            }

            #[inline(always)]
            fn from_estimate(negative: bool, magnitude: Estimate) -> Option<Self> {
                let magnitude = <$type>::from_bits(float_bits(magnitude, $format)? as $bits);
                Some(if negative { -magnitude } else { magnitude })
            }

            #[inline(always)]
            fn from_words(negative: bool, numer: u64, denom: u64) -> Option<Self> {
                $from_words(numer, denom).map(|value| if negative { -value } else { value })
            }

            fn from_small(negative: bool, numer: u128, denom: u128) -> Result<Self, OutOfRange> {
                let bits = convert::nearest_bits_small(numer, denom, $format);
                let magnitude = <$type>::from_bits(bits as $bits);
                // The largest float is just below 2^128, and rounding leads to it from beyond it too.
                if magnitude >= <$type>::MAX {
                    return Self::from_big(negative, &numer.into(), &denom.into());
                }
                Ok(if negative { -magnitude } else { magnitude })
            }

            fn from_big(negative: bool, n: &BigUint, d: &BigUint) -> Result<Self, OutOfRange> {
                convert::$from_big(negative, n, d)
            }
        }
    };
}

#[inline(always)]
fn f32_from_words(numer: u64, denom: u64) -> Option<f32> {
    let (magnitude, certain) = narrow(numer as f64 / denom as f64);
    (certain & (denom != 0)).then_some(magnitude)
}

#[inline(always)]
fn f64_from_words(numer: u64, denom: u64) -> Option<f64> {
    // Both are exact, so that there is only one rounding.
    let exact = (numer | denom) >> 53 == 0 && denom != 0;
    exact.then_some(numer as f64 / denom as f64)
}

float_weight!(f32, u32, Format::F32, f32_from, f32_from_words, true, narrow);
float_weight!(f64, u64, Format::F64, f64_from, f64_from_words, false, |_| (0.0, false));

macro_rules! integer_weight {
    ($type:ident, $data_type:ident, $from_big:ident) => {
        impl FromRatio for $type {
            #[inline(always)]
            fn from_estimate(negative: bool, magnitude: Estimate) -> Option<Self> {
                signed(negative, whole(magnitude)?).and_then(|value| value.try_into().ok())
            }

            const FROM_DOUBLE: bool = false;

            #[inline(always)]
            fn from_double(_: bool, _: f64) -> (Self, bool) {
                (0, false)
            }

            #[inline(always)]
            fn from_words(negative: bool, numer: u64, denom: u64) -> Option<Self> {
                signed(negative, numer.checked_div(denom)?).and_then(|value| value.try_into().ok())
            }

            fn from_small(negative: bool, numer: u128, denom: u128) -> Result<Self, OutOfRange> {
                let magnitude = match (u64::try_from(numer), u64::try_from(denom)) {
                    (Ok(numer), Ok(denom)) => u128::from(numer / denom),
                    _ => numer / denom,
                };
                u64::try_from(magnitude)
                    .ok()
                    .and_then(|magnitude| signed(negative, magnitude))
                    .and_then(|value| value.try_into().ok())
                    .ok_or(OutOfRange(DataType::$data_type))
            }

            fn from_big(negative: bool, n: &BigUint, d: &BigUint) -> Result<Self, OutOfRange> {
                convert::$from_big(negative, n, d)
            }
        }
    };
}

#[inline(always)]
fn signed(negative: bool, magnitude: u64) -> Option<i64> {
    if negative {
        // Also right for 2^63.
        (magnitude <= 1 << 63).then_some((magnitude as i64).wrapping_neg())
    } else {
        i64::try_from(magnitude).ok()
    }
}

integer_weight!(i32, I32, i32_from);
integer_weight!(i64, I64, i64_from);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each of the fast ways that is certain gives what the exact one gives.
    fn check<W: FromRatio + PartialEq + std::fmt::Debug>(negative: bool, numer: u128, denom: u128) {
        let exact = W::from_big(negative, &numer.into(), &denom.into());
        assert_eq!(W::from_small(negative, numer, denom), exact, "{numer} / {denom}");
        let [a, b] = [numer, denom].map(|value| Rounded::small(value).unwrap());
        let factor = Rounded::quotient(&1u32.into(), &denom.into()).unwrap();
        let words = u64::try_from(numer).ok().zip(u64::try_from(denom).ok());
        let (double, certain) = words
            .map(|(numer, denom)| W::from_double(negative, numer as f64 * (1.0 / denom as f64)))
            .unwrap_or_default();
        let found = [
            W::from_estimate(negative, a.over(b)),
            W::from_estimate(negative, a.times(factor)),
            words.and_then(|(numer, denom)| W::from_words(negative, numer, denom)),
            (W::FROM_DOUBLE && certain).then_some(double),
        ];
        for weight in found.into_iter().flatten() {
            assert_eq!(Ok(weight), exact, "{numer} / {denom}");
        }
    }

    fn check_all(numer: u128, denom: u128) {
        for negative in [false, true] {
            check::<f32>(negative, numer, denom);
            check::<f64>(negative, numer, denom);
            check::<i32>(negative, numer, denom);
            check::<i64>(negative, numer, denom);
        }
    }

    proptest! {
        #[test]
        fn fast_ways_agree_with_the_exact_one(
            numer in 1u128.., cut in 0u32..128, denom in 1u128.., cut_denom in 0u32..128,
        ) {
            check_all((numer >> cut).max(1), (denom >> cut_denom).max(1));
        }

        /// What is next to the middle between two floats, or to a whole number.
        #[test]
        fn also_where_it_matters(bits: u32, denom in 1u64.., cut in 0u32..64, nudge in -6i64..=6) {
            let denom = (denom >> cut).max(1);
            for fraction in [25, 54] {
                // An odd number with one bit more than a float has: a middle.
                let middle = (u128::from(bits) << 32 | u128::from(bits)) | 1 << 63;
                let middle = (middle & (u64::MAX as u128)) >> (64 - fraction) | 1;
                let numer = middle.checked_mul(denom.into()).unwrap();
                check_all(numer.saturating_add_signed(nudge.into()).max(1), denom.into());
                check_all(numer, u128::from(denom) << 3);
                check_all(numer.saturating_add_signed(nudge.into()).max(1), u128::from(denom) << 40);
                let numer = numer >> cut;
                check_all(numer.saturating_add_signed(nudge.into()).max(1), u128::from(denom >> cut).max(1));
            }
        }

        #[test]
        fn estimates_are_right(numer in 1u128.., cut in 0u32..128, denom in 1u128.., cut_denom in 0u32..128) {
            let (numer, denom) = ((numer >> cut).max(1), (denom >> cut_denom).max(1));
            let [a, b] = [numer, denom].map(|value| Rounded::small(value).unwrap());
            let factor = Rounded::quotient(&1u32.into(), &denom.into()).unwrap();
            for Estimate { bits, error, exponent } in [a.over(b), a.times(factor)] {
                prop_assert!(bits.leading_zeros() <= 2);
                // numer / denom against bits * 2^exponent, both times 2^400 * denom.
                let value = BigUint::from(numer) << 400u32;
                let bound = |bits: u128| (BigUint::from(bits) * denom) << (400 + exponent);
                prop_assert!(bound(bits.into()) <= value);
                prop_assert!(value < bound(u128::from(bits) + u128::from(error)));
            }
        }
    }

    /// The fast ways are not just always uncertain.
    #[test]
    fn ordinary_weights_take_the_fast_ways() {
        let [a, b] = [1u128 << 45, 30_000_000_001].map(|value| Rounded::small(value).unwrap());
        let value = (1u64 << 45) as f64 / 30_000_000_001.0;
        assert_eq!(f32::from_estimate(true, a.over(b)), Some(-value as f32));
        assert_eq!(f64::from_estimate(false, a.over(b)), Some(value));
        assert_eq!(i32::from_estimate(true, a.over(b)), Some(-(value as i32)));
        assert_eq!(i64::from_estimate(true, a.over(b)), Some(-(value as i64)));
        assert_eq!(narrow(value), (value as f32, true));
        assert_eq!(narrow(0.0), (0.0, true));
        assert!(f32::from_double(true, 0.0).0.is_sign_positive());
        for odd in [f64::NAN, 1e-40, 3e38, 1.0 + f64::from(f32::EPSILON) / 2.0] {
            assert!(!narrow(odd).1, "{odd}");
        }
    }
}
