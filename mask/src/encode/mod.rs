//! Encoding scaled weights as numbers, exactly: `floor((clamp(s * w, -A, A) + A) * E)` (spec section 5).
//!
//! A is an integer, so this is `A * E + floor(s * w * E)` within the bounds. A weight is `±m * 2^e` with an integer m
//! of at most 64 bits, and `s * E` is a rational number. [`double`] and [`fixed`] do nearly all of it; [`exact`] the rest.

mod double;
mod exact;
mod factor;
mod fixed;
#[cfg(test)]
pub(crate) mod samples;
mod weight;

use num_bigint::BigUint;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::config::MaskConfig;
use super::element::Element;
use crate::model::Scalar;
use crate::simd::Level;
use double::Doubles;
use exact::Exact;
use factor::Factor;
use fixed::{Flags, Lanes128, Lanes64};
pub(crate) use weight::Weight;

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

/// Encodes weights of one type with one config and scalar.
pub(crate) struct Encoder<E: Element, W: Weight> {
    limit: W::Limit,
    lanes: Lanes,
    exact: Exact<E>,
}

enum Lanes {
    Double(Doubles),
    Narrow(Lanes64),
    Wide(Lanes128),
    /// Everything takes the exact path.
    None,
}

/// How many weights were clamped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Clamped {
    pub(crate) count: u64,
    /// The largest of them in absolute value, not scaled.
    pub(crate) largest: f64,
}

impl Clamped {
    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.largest = self.largest.max(other.largest);
    }
}

impl<E: Element, W: Weight> Encoder<E, W> {
    /// Which lanes are of use with these types: the others need not even be compiled.
    const DOUBLE: bool = W::IS_FLOAT && W::BITS < 32 && E::BYTES <= 8;
    const NARROW: bool = W::BITS <= 32 && E::BYTES <= 16;
    const WIDE: bool = (W::BITS > 32 || !W::IS_FLOAT) && E::BYTES <= 24;

    /// For a scalar that is already clamped.
    pub(crate) fn new(config: MaskConfig, scalar: &BigRational) -> Self {
        let zero = config.add_shift_integer() * config.exp_shift();
        let factor = Factor::new(config, scalar);
        let bound = (!scalar.is_zero()).then(|| config.add_shift() / scalar);
        let limit = W::limit(bound.as_ref());
        let mut lanes = Lanes::None;
        if const { Self::DOUBLE } {
            lanes = Doubles::new::<W>(&factor, &zero).map_or(lanes, Lanes::Double);
        }
        if const { Self::NARROW } && matches!(lanes, Lanes::None) {
            lanes = Lanes64::new::<W>(&factor, &zero, limit).map_or(lanes, Lanes::Narrow);
        }
        if const { Self::WIDE } && matches!(lanes, Lanes::None) {
            lanes = Lanes128::new::<W>(&factor, &zero, limit).map_or(lanes, Lanes::Wide);
        }
        Encoder { limit, lanes, exact: Exact::new(factor, &zero) }
    }

    /// Writes the numbers of a block of weights to `numbers`, which is as long.
    ///
    /// The error is the index of a weight that is not finite.
    pub(crate) fn encode(
        &self,
        level: Level,
        weights: &[W],
        numbers: &mut [E],
        clamped: &mut Clamped,
    ) -> Result<(), usize> {
        let limit = self.limit;
        let flags = match &self.lanes {
            Lanes::Double(doubles) if const { Self::DOUBLE } => {
                doubles.encode_block(level, weights, numbers)
            }
            Lanes::Narrow(lanes) if const { Self::NARROW } => {
                let flags = lanes.encode_block(level, weights, limit, numbers);
                if flags.undecided {
                    let choose = |weight| lanes.encode(weight, limit).undecided;
                    self.encode_exactly(weights, numbers, choose);
                }
                flags
            }
            Lanes::Wide(lanes) if const { Self::WIDE } => {
                let flags = lanes.encode_block(level, weights, limit, numbers);
                if flags.undecided {
                    let choose = |weight| lanes.encode(weight, limit).undecided;
                    self.encode_exactly(weights, numbers, choose);
                }
                flags
            }
            _ => self.encode_exactly(weights, numbers, |_| true),
        };
        if flags.outside {
            self.count_clamped(weights, clamped)?;
        }
        Ok(())
    }

    /// Takes the exact path for some of the weights.
    fn encode_exactly(
        &self,
        weights: &[W],
        numbers: &mut [E],
        choose: impl Fn(W) -> bool,
    ) -> Flags {
        let mut outside = false;
        for (number, &weight) in numbers.iter_mut().zip(weights) {
            if choose(weight) {
                let (negative, m, e) = weight.split();
                *number = if weight.is_within(self.limit) {
                    self.exact.number(negative, m, e)
                } else {
                    outside = true;
                    self.exact.clamped(negative)
                };
            }
        }
        Flags { outside, undecided: false }
    }

    fn count_clamped(&self, weights: &[W], clamped: &mut Clamped) -> Result<(), usize> {
        for (i, &weight) in weights.iter().enumerate() {
            if !weight.is_within(self.limit) {
                if !weight.is_finite() {
                    return Err(i);
                }
                clamped.count += 1;
                clamped.largest = clamped.largest.max(weight.as_f64().abs());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::with_element_type;
    use super::fixed::Steps;
    use super::samples::{any_f64, any_scalar, model};
    use super::*;
    use crate::model::{convert, DataType, Model};
    use num_bigint::BigInt;
    use proptest::prelude::*;

    trait Exact {
        fn exact(self) -> BigRational;
    }

    impl Exact for f32 {
        fn exact(self) -> BigRational {
            convert::from_f32(self).unwrap()
        }
    }

    impl Exact for f64 {
        fn exact(self) -> BigRational {
            convert::from_f64(self).unwrap()
        }
    }

    impl Exact for i32 {
        fn exact(self) -> BigRational {
            BigRational::from_integer(self.into())
        }
    }

    impl Exact for i64 {
        fn exact(self) -> BigRational {
            BigRational::from_integer(self.into())
        }
    }

    /// Every level gives what exact rational arithmetic gives.
    fn check<E: Element, W: Weight + Exact>(
        config: MaskConfig,
        scalar: &BigRational,
        weights: &[W],
    ) {
        let expected: Vec<_> =
            weights.iter().map(|weight| encode_exact(&weight.exact(), scalar, config)).collect();
        let encoder = Encoder::<E, W>::new(config, scalar);
        for level in Level::available() {
            let mut numbers = vec![E::default(); weights.len()];
            let mut clamped = Clamped::default();
            encoder.encode(*level, weights, &mut numbers, &mut clamped).unwrap();
            for ((number, (expected, _)), weight) in numbers.iter().zip(&expected).zip(weights) {
                let found = number.to_biguint();
                assert_eq!(found, *expected, "{config} {level:?} {scalar} {}", weight.exact());
            }
            let count = expected.iter().filter(|(_, clamped)| *clamped).count();
            assert_eq!(clamped.count, count as u64, "{config} {level:?} {scalar}");
        }
    }

    fn check_model(config: MaskConfig, scalar: &BigRational, model: &Model) {
        with_element_type!(config, E => match model {
            Model::F32(weights) => check::<E, _>(config, scalar, weights),
            Model::F64(weights) => check::<E, _>(config, scalar, weights),
            Model::I32(weights) => check::<E, _>(config, scalar, weights),
            Model::I64(weights) => check::<E, _>(config, scalar, weights),
        });
    }

    /// Weights near which the number changes: with `s * w * E` next to a given integer.
    fn at_steps(config: MaskConfig, scalar: &BigRational, shares: &[f64]) -> Vec<f64> {
        let step = BigRational::from_integer(BigInt::from(config.exp_shift())) * scalar;
        if step.is_zero() {
            return Vec::new();
        }
        let top = config.add_shift() * BigRational::from_integer(config.exp_shift().into());
        let mut weights = Vec::new();
        for share in shares {
            let number = (&top * share.exact()).floor();
            let near = convert::nearest_f64(&(number / &step));
            for bits in near.to_bits().saturating_sub(2)..near.to_bits() + 3 {
                let weight = convert::bounded_f64(f64::from_bits(bits));
                weights.extend([weight, -weight]);
                let single = weight as f32;
                weights.extend(
                    [single.to_bits().saturating_sub(1), single.to_bits() + 1]
                        .map(|bits| f64::from(convert::bounded_f32(f32::from_bits(bits)))),
                );
            }
        }
        weights
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn every_level_encodes_exactly(
            scalar in any_scalar(), weights in prop::collection::vec(any_f64(), 3..20), share in 0.0..1.0,
            tiny in 0i32..60,
        ) {
            let scalar = scalar.to_rational();
            for config in MaskConfig::all() {
                let (scalar, _) = clamp_scalar_to(&scalar, config);
                let mut weights = weights.clone();
                let shares = [1.0, share, share * f64::from(-tiny).exp2()];
                weights.extend(at_steps(config, &scalar, &shares));
                check_model(config, &scalar, &model(config.data_type(), &weights));
            }
        }
    }

    /// No scalar that the unit of any config lets through.
    fn clamp_scalar_to(scalar: &BigRational, config: MaskConfig) -> (BigRational, bool) {
        let bound = config.add_shift() * BigRational::from_integer(1_000_000_000.into());
        (scalar.clone().min(bound), false)
    }

    /// What each way through the fast path is for.
    #[test]
    fn the_usual_scalars_need_no_exact_path() {
        let config: MaskConfig = "Prime/F32/B0/M3".parse().unwrap();
        let lanes = |scalar: Scalar| Encoder::<u64, f32>::new(config, &scalar.to_rational()).lanes;
        let is_double = |scalar| matches!(lanes(scalar), Lanes::Double(_));
        let steps = |scalar| match lanes(scalar) {
            Lanes::Narrow(lanes) => Some(lanes.steps),
            _ => None,
        };
        let ratio = |n: u64, d: u64| Scalar::from_ratio(n.into(), d.into()).unwrap();
        assert!([Scalar::one(), Scalar::from(0), ratio(1, 1000)].into_iter().all(is_double));
        // E is 5^10 times a power of 2: with 3, it has 25 bits of the 29 that a double has room for; with 255, 32.
        assert!(is_double(ratio(3, 1)));
        assert_eq!(steps(ratio(255, 1)), Some(Steps::Half));
        assert_eq!(steps(ratio(1, 3)), Some(Steps::Certain));
        assert_eq!(steps(Scalar::from_f64(0.1).unwrap()), Some(Steps::Doubtful));
        for config in MaskConfig::all() {
            let is_large = config.number_bits() > 128 && config.data_type() != DataType::I64;
            with_element_type!(config, E => {
                let scalar = BigRational::one();
                let is_fast = match config.data_type() {
                    DataType::F32 => Encoder::<E, f32>::new(config, &scalar).is_fast(),
                    DataType::F64 => Encoder::<E, f64>::new(config, &scalar).is_fast(),
                    DataType::I32 => Encoder::<E, i32>::new(config, &scalar).is_fast(),
                    DataType::I64 => Encoder::<E, i64>::new(config, &scalar).is_fast(),
                };
                assert_eq!(is_fast, !is_large, "{config}");
            });
        }
    }

    impl<E: Element, W: Weight> Encoder<E, W> {
        fn is_fast(&self) -> bool {
            !matches!(self.lanes, Lanes::None)
        }
    }
}
