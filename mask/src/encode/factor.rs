//! What weights are multiplied by, `s * E`: exactly, and approximated from above.

use num_bigint::BigUint;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Zero};

use crate::config::MaskConfig;

/// `s * E = k / d * 2^twos`, with no common factors and no factors of 2 in k and d. For a scalar of 0, k is 0.
#[derive(Clone)]
pub(super) struct Factor {
    pub(super) k: BigUint,
    pub(super) d: BigUint,
    pub(super) twos: i32,
}

/// A fixed-point approximation: `value / 2^point` is at least the factor, and less than
/// `(value + 1) / 2^point`.
pub(super) struct Approximation {
    /// Of exactly as many bits as were asked for, unless the factor is 0.
    pub(super) value: BigUint,
    pub(super) point: i64,
    /// `value / 2^point` is the factor.
    pub(super) is_exact: bool,
}

impl Factor {
    pub(super) fn new(config: MaskConfig, scalar: &BigRational) -> Self {
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
        let twos = (k_twos as i64 - d_twos as i64).clamp(-(1 << 30), 1 << 30) as i32;
        Factor { k, d, twos }
    }

    pub(super) fn approximate(&self, bits: u64) -> Approximation {
        let Factor { k, d, twos } = self;
        let at = |up: i64| up - i64::from(*twos);
        let is_exact = d.is_one() && k.bits() <= bits;
        if is_exact {
            let up = if k.is_zero() { 0 } else { bits - k.bits() };
            return Approximation { value: k << up, point: at(up as i64), is_exact };
        }
        let scaled = |up: i64| match u64::try_from(up) {
            Ok(up) => (k << up) / d,
            Err(_) => k / (d << up.unsigned_abs()),
        };
        // As many bits, or one more.
        let mut up = (bits + d.bits()) as i64 - k.bits() as i64;
        let mut floor = scaled(up);
        if floor.bits() > bits {
            up -= 1;
            floor = scaled(up);
        }
        let mut value = floor + 1u32;
        if value.bits() > bits {
            value >>= 1u32;
            up -= 1;
        }
        Approximation { value, point: at(up), is_exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn approximates(k: u128, d: u128, twos: i32, bits: u64) {
        let common = (k | 1).gcd(&(d | 1));
        let factor = Factor { k: ((k | 1) / common).into(), d: ((d | 1) / common).into(), twos };
        let Approximation { value, point, is_exact } = factor.approximate(bits);
        assert_eq!(value.bits(), bits);
        // value / 2^point against k / d * 2^twos.
        let up = point + i64::from(twos);
        let shift = |n: BigUint, by: i64| n << u64::try_from(by).unwrap_or(0);
        let ours = shift(&value * &factor.d, -up);
        let below = shift((&value - 1u32) * &factor.d, -up);
        let exact = shift(factor.k.clone(), up);
        assert!(below < exact && exact <= ours);
        assert_eq!(exact == ours, is_exact);
    }

    proptest! {
        #[test]
        fn approximations_are_close_and_not_below(k: u128, d: u128, twos in -99i32..99, cut in 0u32..128) {
            for (k, d) in [(k, d), (k >> cut, d), (k, d >> cut), (k >> cut, d >> cut), (k, 1)] {
                approximates(k, d, twos, 64);
                approximates(k, d, twos, 128);
            }
        }
    }

    #[test]
    fn just_below_a_power_of_two() {
        for bits in [64, 128] {
            approximates(u128::MAX, 1, 0, bits);
            approximates(u128::MAX, u128::MAX - 2, 0, bits);
        }
    }
}
