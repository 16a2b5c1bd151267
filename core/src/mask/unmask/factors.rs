//! What is the same for all weights of a model.

use num_bigint::{BigInt, BigUint};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use crate::mask::aggregation::{Aggregation, UnmaskError};
use crate::mask::object::MaskObjectView;
use crate::model::ratio::max_weight_len;

/// `weight = ±(number - offset) * p / q`, with p and q in lowest terms.
pub(super) struct Factors {
    /// `count * A * E`. It is below the order: the most models allowed make it at most half of it.
    pub(super) offset: BigUint,
    /// Is the sum of the scalars negative? Only with a wrong mask.
    pub(super) negative: bool,
    pub(super) p: BigUint,
    pub(super) q: BigUint,
    /// p and q, where they fit.
    pub(super) small: Option<(u128, u128)>,
}

impl Factors {
    pub(super) fn new(
        aggregation: &Aggregation,
        mask: &MaskObjectView<'_>,
    ) -> Result<Self, UnmaskError> {
        let (config, count) = (aggregation.config(), aggregation.nb_models());
        let (e, e1) = (config.vect.exp_shift(), config.unit.exp_shift());
        let order = config.unit.order();
        let unit = (aggregation.object().unit() + &order - mask.unit_number()) % order;
        let scalars = BigInt::from(unit)
            - BigInt::from(config.unit.add_shift_integer() * &e1 * BigUint::from(count));
        if scalars.is_zero() {
            return Err(UnmaskError::ScalarSumZero);
        }
        let q = &e * scalars.magnitude();
        let common = e1.gcd(&q);
        let (p, q) = (e1 / &common, q / common);
        let offset = config.vect.add_shift_integer() * e * count;
        let small = p.to_u128().zip(q.to_u128());
        Ok(Factors { offset, negative: scalars.is_negative(), p, q, small })
    }

    /// The largest `|number - offset|` for numbers below an order.
    pub(super) fn max_distance(&self, order: &BigUint) -> BigUint {
        let above = if *order > self.offset { order - &self.offset } else { BigUint::zero() };
        above.max(self.offset.clone())
    }

    /// The most bytes that a weight takes in the old form, for numbers below an order.
    pub(super) fn max_weight_len(&self, order: &BigUint) -> usize {
        max_weight_len((self.max_distance(order) * &self.p).bits(), self.q.bits())
    }

    /// The exact weight of an unmasked number.
    pub(super) fn weight(&self, number: BigUint) -> BigRational {
        let mut x = (BigInt::from(number) - BigInt::from(self.offset.clone()))
            * BigInt::from(self.p.clone());
        if self.negative {
            x = -x;
        }
        BigRational::new(x, BigInt::from(self.q.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_distance_is_to_one_of_the_ends() {
        let distance = |offset: u32, order: u32| {
            let [offset, p, q] = [offset, 1, 1].map(BigUint::from);
            let factors = Factors { offset, negative: false, p, q, small: None };
            factors.max_distance(&order.into())
        };
        assert_eq!(distance(4, 10), 6u32.into());
        assert_eq!(distance(7, 10), 7u32.into());
        assert_eq!(distance(10, 10), 10u32.into());
    }
}
