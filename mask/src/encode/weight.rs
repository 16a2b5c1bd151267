//! The types of weights, as sign, integer and exponent: `±m * 2^e`.

use num_rational::BigRational;
use num_traits::ToPrimitive;

use crate::model::{convert, Cast};

/// A type of weights.
pub(crate) trait Weight: Cast + Send + Sync {
    /// How long m may be, in bits; its full length for all floats but the denormal ones.
    const BITS: u32;

    /// Whether e differs from weight to weight.
    const IS_FLOAT: bool;

    /// Tells weights that are clamped from others.
    type Limit: Copy + Send + Sync;

    /// The limit for scaled weights that are at most `bound / scalar` in absolute value; None for a
    /// scalar of 0, that is: no limit.
    fn limit(bound: Option<&BigRational>) -> Self::Limit;

    /// False for what is clamped or not finite.
    fn is_within(self, limit: Self::Limit) -> bool;

    fn is_finite(self) -> bool;

    /// Sign, m and e of `±m * 2^e`.
    fn split(self) -> (bool, u64, i32);

    /// The double next to it; of a float the same.
    fn as_f64(self) -> f64;

    /// m and e of the largest weight that is not clamped.
    fn largest(limit: Self::Limit) -> (u64, i32);
}

macro_rules! float_weight {
    ($type:ty, $fraction:literal, $bias:literal, $nearest:path) => {
        impl Weight for $type {
            const BITS: u32 = $fraction + 1;
            const IS_FLOAT: bool = true;

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

            #[inline(always)]
            fn as_f64(self) -> f64 {
                self.into()
            }

            fn largest(limit: $type) -> (u64, i32) {
                let (_, m, e) = limit.split();
                (m, e)
            }
        }
    };
}

float_weight!(f32, 23, 127, convert::nearest_f32);
float_weight!(f64, 52, 1023, convert::nearest_f64);

macro_rules! integer_weight {
    ($type:ty) => {
        impl Weight for $type {
            const BITS: u32 = <$type>::BITS;
            const IS_FLOAT: bool = false;

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

            fn as_f64(self) -> f64 {
                self as f64
            }

            fn largest(limit: u64) -> (u64, i32) {
                (limit.min(<$type>::MIN.unsigned_abs().into()), 0)
            }
        }
    };
}

integer_weight!(i32);
integer_weight!(i64);

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
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
