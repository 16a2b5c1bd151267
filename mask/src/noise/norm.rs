//! The norm of a difference as it is encoded: in integers, without rounding.

use std::ops::Range;

use super::terms::Noise;
use crate::model::Model;
use crate::simd::{Kernel, Level};

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
    // A power of two, which a double holds.
    let step = step as f64;
    let level = Level::detected();
    let mut sum = 0u128;
    for weights in weights.chunks(BLOCK) {
        let mut numbers = [0i64; BLOCK];
        if !level.run(Encode { step, weights, numbers: &mut numbers }) {
            return None;
        }
        if step <= f64::from(1u32 << 26) {
            // At most 2^27 each, so that the squares of a block fit 64 bits.
            sum += u128::from(level.run(Squares { numbers: &numbers }));
        } else {
            // At most 2^64 each, and 2^32 weights.
            let squares = numbers.iter().map(|number| u128::from(number.unsigned_abs()).pow(2));
            sum = squares.fold(sum, u128::saturating_add);
        }
    }
    Some(sum)
}

/// `floor(weight * step)` of a block.
struct Encode<'a, W> {
    step: f64,
    weights: &'a [W],
    numbers: &'a mut [i64; BLOCK],
}

impl<W: Copy + Into<f64>> Kernel for Encode<'_, W> {
    /// Are all weights finite and within 2?
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { step, weights, numbers } = self;
        let mut within = true;
        for (number, &weight) in numbers.iter_mut().zip(weights) {
            let weight: f64 = weight.into();
            // (Also false for NaN.)
            within &= weight.abs() <= 2.0;
            // The product is exact, as a power of two makes no weight smaller.
            *number = (weight * step).floor() as i64;
        }
        within
    }
}

/// The sum of squares, of numbers for which it fits.
struct Squares<'a> {
    numbers: &'a [i64; BLOCK],
}

impl Kernel for Squares<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let squares = self.numbers.iter().map(|number| number.wrapping_mul(*number) as u64);
        squares.fold(0u64, u64::wrapping_add)
    }
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
