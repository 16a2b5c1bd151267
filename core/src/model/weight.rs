//! Ratios to weights of each data type: a fast way for most, and an exact one for all.

use num_bigint::BigUint;

use super::convert::{self, Format, OutOfRange};
use super::DataType;
#[cfg(test)]
use super::Model;

/// A positive factor as 64 bits and a power of two, rounded down: it is at least `bits * 2^exponent` and
/// less than `(bits + 1) * 2^exponent`. The highest bit of `bits` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounded {
    pub(crate) bits: u64,
    pub(crate) exponent: i32,
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
}

/// A weight in memory.
pub(crate) trait FromRatio: Copy + Default + Send + Sync + 'static {
    /// The weight nearest to `±a * b` (integers: truncated), where `a` and `b` are what was rounded; None if
    /// what was lost could matter, or the weight is not an ordinary one.
    fn from_product(negative: bool, a: Rounded, b: Rounded) -> Option<Self>;

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

/// The bits of the float nearest to `a * b`.
#[inline(always)]
fn product_bits(a: Rounded, b: Rounded, format: Format) -> Option<u64> {
    // The product is less than (a.bits + 1) * (b.bits + 1), which is less than 3 * 2^64 above this.
    let product = ((u128::from(a.bits) * u128::from(b.bits)) >> 64) as u64;
    // At least 2^62.
    let up = product.leading_zeros();
    format.round_estimate(product << up, 3 << up, a.exponent + b.exponent + 64 - up as i32)
}

/// The whole part of `a * b`.
#[inline(always)]
fn product_whole(a: Rounded, b: Rounded) -> Option<u64> {
    let product = (u128::from(a.bits) * u128::from(b.bits)) >> 64;
    let down = u32::try_from(-(a.exponent + b.exponent + 64)).ok()?;
    if down > 66 {
        return Some(0);
    }
    let (low, high) = (product >> down, (product + 3) >> down);
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
            fn from_product(negative: bool, a: Rounded, b: Rounded) -> Option<Self> {
                let magnitude = <$type>::from_bits(product_bits(a, b, $format)? as $bits);
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
            fn from_product(negative: bool, a: Rounded, b: Rounded) -> Option<Self> {
                signed(negative, product_whole(a, b)?).and_then(|value| value.try_into().ok())
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
