//! What is the same for all weights of a model.

use num_bigint::{BigInt, BigUint};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};

use crate::aggregation::{Aggregation, UnmaskError};
use crate::model::ratio::max_weight_len;
use crate::object::{MaskObjectPart, MaskObjectView};

/// `weight = (number - offset) * p / q`, with p and q in lowest terms.
pub(super) struct Factors {
    /// `count * A * E`, the number of a sum of zero. It is below the order: the most models allowed make it
    /// at most half of it.
    pub(super) offset: BigUint,
    /// The largest number that models within the bounds add up to: `2 * count * A * E`, or what is below
    /// the order of it (the order of some Bmax configs is a little less than the most models need).
    pub(super) most: BigUint,
    pub(super) p: BigUint,
    pub(super) q: BigUint,
    /// p and q, where they fit.
    pub(super) small: Option<(u128, u128)>,
}

impl Factors {
    pub(super) fn new(
        aggregation: &Aggregation,
        masks: &[MaskObjectView<'_>],
    ) -> Result<Self, UnmaskError> {
        let (config, count) = (aggregation.config(), aggregation.nb_models());
        let (e, e1) = (config.vect.exp_shift(), config.unit.exp_shift());
        let order = config.unit.order();
        let unit = masks.iter().fold(aggregation.object().unit(), |unit, mask| {
            (unit + &order - mask.unit_number()) % &order
        });
        // Each scalar is from 0 to A1, shifted by A1.
        let zero = config.unit.add_shift_integer() * &e1 * count;
        if unit < zero || unit > &zero * 2u32 {
            let part = MaskObjectPart::Unit;
            return Err(UnmaskError::ImpossibleSum { part, index: 0, nb_models: count });
        }
        let scalars = unit - zero;
        if scalars.is_zero() {
            return Err(UnmaskError::ScalarSumZero);
        }
        let q = &e * scalars;
        let common = e1.gcd(&q);
        let (p, q) = (e1 / &common, q / common);
        let offset = config.vect.add_shift_integer() * e * count;
        let most = (&offset * 2u32).min(config.vect.order() - 1u32);
        let small = p.to_u128().zip(q.to_u128());
        Ok(Factors { offset, most, p, q, small })
    }

    /// The longest numerator of a weight, not yet in lowest terms: no number is further from the offset
    /// than 0 is.
    pub(super) fn max_numer(&self) -> BigUint {
        &self.offset * &self.p
    }

    /// The most bytes that a weight takes in the old form.
    pub(super) fn max_weight_len(&self) -> usize {
        max_weight_len(self.max_numer().bits(), self.q.bits())
    }

    /// The exact weight of an unmasked number.
    pub(super) fn weight(&self, number: BigUint) -> BigRational {
        let x = (BigInt::from(number) - BigInt::from(self.offset.clone()))
            * BigInt::from(self.p.clone());
        BigRational::new(x, BigInt::from(self.q.clone()))
    }
}
