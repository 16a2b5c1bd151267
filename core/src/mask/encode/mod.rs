//! Encoding scaled weights as numbers, exactly: `floor((clamp(s * w, -A, A) + A) * E)` (spec section 5).
//!
//! A is an integer, so this is `A * E + floor(s * w * E)` within the bounds. A weight is `±m * 2^e` with an integer m
//! of at most 64 bits, and `s * E` is a rational number. [`fixed`] does nearly all of it; [`exact`] the rest.

mod exact;
mod factor;
mod fixed;
mod weight;

use num_bigint::BigUint;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::config::MaskConfig;
use super::element::Element;
use crate::model::Scalar;
use crate::simd::Level;
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

impl<E: Element, W: Weight> Encoder<E, W> {
    /// For a scalar that is already clamped.
    pub(crate) fn new(config: MaskConfig, scalar: &BigRational) -> Self {
        let zero = config.add_shift_integer() * config.exp_shift();
        let factor = Factor::new(config, scalar);
        let bound = (!scalar.is_zero()).then(|| config.add_shift() / scalar);
        let limit = W::limit(bound.as_ref());
        let lanes = Lanes64::new::<W>(&factor, &zero, limit).map(Lanes::Narrow);
        let wide = || Lanes128::new::<W>(&factor, &zero, limit).map(Lanes::Wide);
        Encoder {
            limit,
            lanes: lanes.or_else(wide).unwrap_or(Lanes::None),
            exact: Exact::new(factor, &zero),
        }
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
            Lanes::Narrow(lanes) => lanes.encode_block(level, weights, limit, numbers),
            Lanes::Wide(lanes) => lanes.encode_block(level, weights, limit, numbers),
            Lanes::None => self.encode_exactly(weights, numbers, |_| true),
        };
        if flags.undecided {
            match &self.lanes {
                Lanes::Narrow(lanes) => self.encode_exactly(weights, numbers, |weight| {
                    lanes.encode(weight, limit).undecided
                }),
                Lanes::Wide(lanes) => self.encode_exactly(weights, numbers, |weight| {
                    lanes.encode(weight, limit).undecided
                }),
                Lanes::None => Flags::default(),
            };
        }
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
                clamped.largest = clamped.largest.max(weight.abs_f64());
            }
        }
        Ok(())
    }
}
