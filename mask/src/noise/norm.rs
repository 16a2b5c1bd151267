//! The norm of a difference as it is encoded: in integers, without rounding.

use std::ops::Range;

use super::terms::Noise;
use crate::model::Model;

/// Weights whose squares are added up at a time.
const BLOCK: usize = 256;

/// The sum of the squares of some of a model's weights, each encoded as `floor(w * E)`: exactly. To be compared with the square of the
/// [sensitivity](Noise::sensitivity).
///
/// None for weights that no difference has, whose square no sensitivity is near: not finite, or beyond 2 in absolute value. Models
/// of integers have none either. Weights beyond 1 count with their whole length, although masking would clamp them.
pub fn squared_norm(noise: &Noise, model: &Model, range: Range<usize>) -> Option<u128> {
    match model {
        Model::F32(weights) => add_up(noise.step(), weights.get(range)?),
        Model::F64(weights) => add_up(noise.step(), weights.get(range)?),
        Model::I32(_) | Model::I64(_) => None,
    }
}

fn add_up<W: Copy + Into<f64>>(step: u64, weights: &[W]) -> Option<u128> {
    // A power of two that a double holds, and so a product that is exact (for the smallest weights, below 2^-1022, too: it
    // is larger than they are).
    let step = step as f64;
    let mut sum = 0u128;
    for weights in weights.chunks(BLOCK) {
        let mut numbers = [0i64; BLOCK];
        let mut within = true;
        for (number, &weight) in numbers.iter_mut().zip(weights) {
            let weight: f64 = weight.into();
            // (Also false for NaN.)
            within &= weight.abs() <= 2.0;
            *number = (weight * step).floor() as i64;
        }
        if !within {
            return None;
        }
        if step <= f64::from(1u32 << 26) {
            // At most 2^27 each, so that the squares of a block fit 64 bits.
            let squares = numbers.iter().map(|number| number.wrapping_mul(*number) as u64);
            sum += u128::from(squares.fold(0u64, u64::wrapping_add));
        } else {
            // At most 2^64 each, and 2^32 weights.
            let squares = numbers.iter().map(|number| u128::from(number.unsigned_abs()).pow(2));
            sum = squares.fold(sum, u128::saturating_add);
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encode_exact;
    use crate::model::convert;
    use num_bigint::{BigInt, BigUint};
    use num_rational::BigRational;
    use num_traits::One;
    use proptest::prelude::*;

    fn noise(name: &str) -> Noise {
        Noise::new(name.parse().unwrap(), 1, 1000).unwrap()
    }

    proptest! {
        /// What is squared is what is masked, less the shift.
        #[test]
        fn it_is_the_norm_of_what_is_masked(
            weights in prop::collection::vec(prop_oneof![-1.0f64..1.0, -1e-9..1e-9, Just(1.0), Just(-1.0), Just(-f64::from_bits(1))], 0..600),
            double: bool, wide: bool,
        ) {
            let name = match (wide, double) {
                (true, true) => "Word64/F64/B0/M3",
                (true, false) => "Word64/F32/B0/M3",
                (false, true) => "Word32/F64/B0/M3",
                (false, false) => "Word32/F32/B0/M3",
            };
            let noise = noise(name);
            let config = noise.config();
            let zero = BigInt::from(config.add_shift_integer() * config.exp_shift());
            let model = if double { Model::F64(weights.clone()) } else { Model::F32(weights.iter().map(|w| *w as f32).collect()) };
            let expected: BigUint = weights.iter().map(|&weight| {
                let exact = if double { convert::from_f64(weight) } else { convert::from_f32(weight as f32) };
                let (number, _) = encode_exact(&exact.unwrap(), &BigRational::one(), config);
                let number = BigInt::from(number) - &zero;
                number.magnitude() * number.magnitude()
            }).sum();
            let found = squared_norm(&noise, &model, 0..weights.len()).unwrap();
            prop_assert_eq!(BigUint::from(found), expected);
        }
    }

    #[test]
    fn what_no_difference_has_is_no_norm() {
        let noise = noise("Word32/F64/B0/M3");
        for weight in [f64::NAN, f64::INFINITY, -2.1, 1e300] {
            assert_eq!(
                squared_norm(&noise, &Model::F64(vec![0.0, weight]), 0..2),
                None,
                "{weight}"
            );
        }
        assert_eq!(squared_norm(&noise, &Model::F64(vec![0.0]), 0..2), None);
        assert_eq!(squared_norm(&noise, &Model::I32(vec![0]), 0..1), None);
        // Rounded down: a little below zero is a whole step.
        assert_eq!(squared_norm(&noise, &Model::F64(vec![-1e-300, 1e-300]), 0..2), Some(1));
    }
}
