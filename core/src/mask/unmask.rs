//! Unmasking an aggregate (spec section 5): to the round's data type, and to the old exact form.
//!
//! `weight = (n / E - count * A) / S` and `S = n_unit / E1 - count * A1`. With X = n - count*A*E and
//! U = n_unit - count*A1*E1, both integers, that is `X * p / q` where `p / q = E1 / (E * U)` in lowest
//! terms is the same for all weights.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::{BigInt, BigUint};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::aggregation::{Aggregation, UnmaskError};
use super::element::Element;
use super::group::with_elements;
use super::object::{MaskObjectError, MaskObjectPart, MaskObjectView};
use crate::model::ratio::{
    max_weight_len, push_big, push_small, write_count, write_weight, write_weight_small,
};
use crate::model::{Model, OutOfRange};

/// A weight of the global model that is beyond the range of the round's data type.
///
/// It can happen only at the very ends of the range (Bmax), where rounded-down scalars let an average come
/// out slightly too large. The exact form has it nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weight {index} of the global model: {source}")]
pub struct WeightOutOfRange {
    /// The index of the first one.
    pub index: usize,
    /// The range.
    pub source: OutOfRange,
}

/// A global model.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmasked {
    /// The weights in the round's data type: floats correctly rounded, integers truncated toward zero.
    pub model: Result<Model, WeightOutOfRange>,
    /// The exact weights in the old form (see [`crate::model::ratio`]).
    pub ratios: Vec<u8>,
}

/// Unmasks an aggregate, in steps; one pass makes both forms of the model.
pub struct Unmasker {
    aggregation: Arc<Aggregation>,
    mask: Bytes,
    factors: Factors,
    model: Result<Model, WeightOutOfRange>,
    ratios: Vec<u8>,
    done: usize,
    error: Option<UnmaskError>,
}

/// Shows the shape and the progress.
impl fmt::Debug for Unmasker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unmasker({:?}, {} weights done)", self.aggregation, self.done)
    }
}

/// What is the same for all weights.
struct Factors {
    /// `count * A * E`.
    offset: BigUint,
    negative: bool,
    p: BigUint,
    q: BigUint,
    small: Option<SmallFactors>,
}

/// The same, where it fits.
#[derive(Clone, Copy)]
struct SmallFactors {
    offset: u128,
    p: u128,
    q: u128,
}

impl Factors {
    fn new(aggregation: &Aggregation, mask: &MaskObjectView<'_>) -> Result<Self, UnmaskError> {
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
        let small = match (offset.to_u128(), p.to_u128(), q.to_u128()) {
            (Some(offset), Some(p), Some(q)) => Some(SmallFactors { offset, p, q }),
            _ => None,
        };
        Ok(Factors { offset, negative: scalars.is_negative(), p, q, small })
    }

    /// The most bytes that a weight takes in the old form, for numbers below an order.
    fn max_weight_len(&self, order: &BigUint) -> usize {
        let above = if *order > self.offset { order - &self.offset } else { BigUint::zero() };
        let magnitude = above.max(self.offset.clone());
        max_weight_len((magnitude * &self.p).bits(), self.q.bits())
    }

    /// The exact weight of an unmasked number.
    fn weight(&self, number: BigUint) -> BigRational {
        let mut x = (BigInt::from(number) - BigInt::from(self.offset.clone()))
            * BigInt::from(self.p.clone());
        if self.negative {
            x = -x;
        }
        BigRational::new(x, BigInt::from(self.q.clone()))
    }
}

impl SmallFactors {
    /// Sign, numerator and denominator in lowest terms.
    #[inline(always)]
    fn weight(&self, number: u128) -> Option<(bool, u128, u128)> {
        let (magnitude, negative) = match number.checked_sub(self.offset) {
            Some(magnitude) => (magnitude, false),
            None => (self.offset - number, true),
        };
        // p and q have no common factor.
        let common = gcd(magnitude, self.q);
        Some((negative, (magnitude / common).checked_mul(self.p)?, self.q / common))
    }
}

/// `b` is not 0.
#[inline(always)]
fn gcd(a: u128, b: u128) -> u128 {
    match (u64::try_from(a), u64::try_from(b)) {
        (Ok(a), Ok(b)) => a.gcd(&b).into(),
        (Err(_), Ok(small)) => ((a % b) as u64).gcd(&small).into(),
        _ => a.gcd(&b),
    }
}

impl Unmasker {
    /// Begins to unmask with a mask as it travels. The time does not depend on the model's length.
    ///
    /// # Errors
    /// If there are no or too many models, the mask does not fit, the scalars' sum is zero, or there is
    /// not enough memory for the global model.
    pub fn new(
        aggregation: impl Into<Arc<Aggregation>>,
        mask: impl Into<Bytes>,
    ) -> Result<Self, UnmaskError> {
        let (aggregation, mask) = (aggregation.into(), mask.into());
        let view = MaskObjectView::parse_exact(&mask)?;
        aggregation.validate_mask_shape(&view)?;
        view.check_unit()?;
        let factors = Factors::new(&aggregation, &view)?;
        let (len, config) = (aggregation.len(), aggregation.config().vect);
        // Never more than this, so that no step has to move what is there already. Memory that is not
        // used in the end is not touched either.
        let bytes = factors.max_weight_len(&config.order()).saturating_mul(len).saturating_add(8);
        let (mut model, mut ratios) = (Model::empty(config.data_type), Vec::new());
        ratios
            .try_reserve_exact(bytes)
            .and_then(|()| model.try_reserve_exact(len))
            .map_err(|_| UnmaskError::OutOfMemory { len, bytes })?;
        write_count(len, &mut ratios);
        Ok(Unmasker { aggregation, mask, factors, model: Ok(model), ratios, done: 0, error: None })
    }

    /// Unmasks at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        let len = self.aggregation.len();
        if self.error.is_none() {
            let range = self.done..len.min(self.done.saturating_add(max_weights));
            self.done = range.end;
            self.error = self.unmask(range).err();
        }
        self.error.is_some() || self.done == len
    }

    /// Weights done, and in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.aggregation.len())
    }

    /// The global model; unmasks what is left of it.
    ///
    /// # Errors
    /// If a number of the mask is not below its order.
    pub fn finish(mut self) -> Result<Unmasked, UnmaskError> {
        self.step(usize::MAX);
        match self.error {
            Some(error) => Err(error),
            None => Ok(Unmasked { model: self.model, ratios: self.ratios }),
        }
    }

    fn unmask(&mut self, range: Range<usize>) -> Result<(), UnmaskError> {
        let Self { aggregation, mask, factors, model, ratios, .. } = self;
        let view = MaskObjectView::parse_exact(mask)?;
        with_elements!(&aggregation.object().vector, sums => {
            let group = *sums.group;
            for index in range {
                let mask = group.load(view.vector(), index);
                if mask > group.max {
                    let part = MaskObjectPart::Vector;
                    return Err(MaskObjectError::NotBelowOrder { part, index }.into());
                }
                let number = group.sub(sums.vector[index], mask);
                unmask_one(factors, number, index, model, ratios);
            }
        });
        Ok(())
    }
}

#[inline(always)]
fn unmask_one<E: Element>(
    factors: &Factors,
    number: E,
    index: usize,
    model: &mut Result<Model, WeightOutOfRange>,
    ratios: &mut Vec<u8>,
) {
    let small = factors.small.zip(number.to_u128()).and_then(|(f, number)| f.weight(number));
    let pushed = match small {
        Some((negative, numer, denom)) => {
            let negative = negative != factors.negative;
            write_weight_small(negative, numer, denom, ratios);
            model.as_mut().map_or(Ok(()), |model| push_small(model, negative, numer, denom))
        }
        None => {
            let weight = factors.weight(number.to_biguint());
            write_weight(&weight, ratios);
            model.as_mut().map_or(Ok(()), |model| {
                let (numer, denom) = (weight.numer().magnitude(), weight.denom().magnitude());
                push_big(model, weight.is_negative(), numer, denom)
            })
        }
    };
    if let Err(source) = pushed {
        *model = Err(WeightOutOfRange { index, source });
    }
}

/// Unmasks to exact weights at once (slow: for tests and tools).
///
/// # Errors
/// As [`Unmasker`].
pub fn unmask_ratios(
    aggregation: &Aggregation,
    mask: &MaskObjectView<'_>,
) -> Result<Vec<BigRational>, UnmaskError> {
    aggregation.validate_unmasking(mask)?;
    let factors = Factors::new(aggregation, mask)?;
    let group_order = aggregation.config().vect.order();
    let numbers = aggregation.object().numbers();
    let chunks = mask.vector().chunks_exact(mask.config().vect.bytes_per_number());
    let weights = numbers.iter().zip(chunks).map(|(sum, mask)| {
        factors.weight((sum + &group_order - BigUint::from_bytes_le(mask)) % &group_order)
    });
    Ok(weights.collect())
}

#[cfg(test)]
mod tests {
    use super::super::config::{MaskConfig, MaskConfigPair};
    use super::super::encode::{clamp_scalar, encode_exact, encode_unit};
    use super::super::masker::mask_model;
    use super::super::seed::MaskSeed;
    use super::super::sum::MaskSum;
    use super::super::BoundType;
    use super::*;
    use crate::mask::DataType;
    use crate::model::{convert, ratio, Scalar};
    use proptest::prelude::*;

    /// A round: models masked, added up, and their masks too.
    fn round(config: MaskConfigPair, models: &[(Scalar, Model)]) -> (Aggregation, Vec<u8>) {
        let length = models[0].1.len();
        let mut aggregation = Aggregation::new(config, length);
        let mut masks = MaskSum::new(config, length);
        for (i, (scalar, model)) in models.iter().enumerate() {
            let seed = MaskSeed::new([i as u8; 32]);
            let (bytes, _) = mask_model(&seed, config, scalar, model).unwrap();
            aggregation.aggregate(&MaskObjectView::parse_exact(&bytes).unwrap()).unwrap();
            masks.add_seeds([seed]);
        }
        (aggregation, masks.finish().to_bytes().unwrap())
    }

    /// What the round must give, without any masks.
    fn expected(config: MaskConfigPair, models: &[(Scalar, Model)]) -> Vec<BigRational> {
        let integer = |n: BigUint| BigRational::from_integer(n.into());
        let (e, e1) = (integer(config.vect.exp_shift()), integer(config.unit.exp_shift()));
        let count = integer(models.len().into());
        let mut scalars = -&count * config.unit.add_shift();
        let mut sums = vec![-&count * config.vect.add_shift(); models[0].1.len()];
        for (scalar, model) in models {
            let (scalar, _) = clamp_scalar(scalar, config.unit);
            scalars += integer(encode_unit(&scalar, config.unit)) / &e1;
            let exact = ratio::decode_ratios(&ratio::encode_model(model).unwrap()).unwrap();
            for (sum, weight) in sums.iter_mut().zip(exact) {
                *sum += integer(encode_exact(&weight, &scalar, config.vect).0) / &e;
            }
        }
        sums.into_iter().map(|sum| sum / &scalars).collect()
    }

    fn model(data_type: DataType, weights: &[f64]) -> Model {
        match data_type {
            DataType::F32 => Model::F32(weights.iter().map(|w| *w as f32).collect()),
            DataType::F64 => Model::F64(weights.to_vec()),
            DataType::I32 => Model::I32(weights.iter().map(|w| *w as i32).collect()),
            DataType::I64 => Model::I64(weights.iter().map(|w| *w as i64).collect()),
        }
    }

    fn check(config: MaskConfigPair, models: &[(Scalar, Model)]) {
        let (aggregation, mask) = round(config, models);
        let exact = expected(config, models);
        let view = MaskObjectView::parse_exact(&mask).unwrap();
        assert_eq!(unmask_ratios(&aggregation, &view).unwrap(), exact, "{config}");
        let unmasker = Unmasker::new(aggregation, mask).unwrap();
        let reserved = unmasker.ratios.capacity();
        let unmasked = unmasker.finish().unwrap();
        assert_eq!(unmasked.ratios.capacity(), reserved, "{config}");
        assert_eq!(unmasked.ratios, ratio::encode_ratios(&exact), "{config}");
        let mut model = Model::empty(config.vect.data_type);
        let result = exact.iter().try_for_each(|weight| {
            let (numer, denom) = (weight.numer().magnitude(), weight.denom().magnitude());
            push_big(&mut model, weight.is_negative(), numer, denom)
        });
        match unmasked.model {
            Ok(found) => assert_eq!((found, result), (model, Ok(())), "{config}"),
            Err(error) => assert_eq!((error.index, Err(error.source)), (model.len(), result)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn all_configs_give_the_average(
            weights in prop::collection::vec(prop::array::uniform4(-200.0..200.0), 1..5),
            scalars in prop::array::uniform5((1u32..500, 1u32..500)),
            tiny: bool,
        ) {
            for config in MaskConfig::all() {
                let scale = if tiny { 1e-12 } else { 1.0 };
                let models: Vec<_> = weights
                    .iter()
                    .zip(scalars)
                    .map(|(weights, (numer, denom))| {
                        // Where a scalar's steps are coarse only whole numbers are more than 0.
                        let coarse = MaskConfigPair::from(config).unit.exp_shift() < 512u32.into();
                        let denom = if coarse { 1 } else { denom };
                        let scalar = Scalar::from_ratio(numer.into(), denom.into()).unwrap();
                        (scalar, model(config.data_type, &weights.map(|w| w * scale)))
                    })
                    .collect();
                check(config.into(), &models);
                // Configs whose E differ: then p is not 1.
                let unit = MaskConfig::new(config.group_type(), DataType::F64, BoundType::B2, config.model_type())
                    .unwrap_or(MaskConfigPair::from(config).unit);
                check(MaskConfigPair { vect: config, unit }, &models);
            }
        }
    }

    fn config(bytes: [u8; 4]) -> MaskConfigPair {
        MaskConfig::from_bytes(bytes).unwrap().into()
    }

    /// A scalar of 1/3 is rounded down, and the average of the largest float comes out above it.
    #[test]
    fn an_average_beyond_the_range_is_an_error_with_its_index() {
        let scalar = Scalar::from_ratio(1u32.into(), 3u32.into()).unwrap();
        let model = Model::F32(vec![1.0, f32::MAX, f32::MAX]);
        let config = MaskConfigPair {
            vect: MaskConfig::from_bytes([1, 0, 255, 3]).unwrap(),
            unit: MaskConfig::from_bytes([1, 0, 0, 3]).unwrap(),
        };
        let (aggregation, mask) = round(config, &[(scalar, model)]);
        let unmasked = Unmasker::new(aggregation, mask).unwrap().finish().unwrap();
        let source = OutOfRange(DataType::F32);
        assert_eq!(unmasked.model, Err(WeightOutOfRange { index: 1, source }));
        assert_eq!(ratio::decode_ratios(&unmasked.ratios).unwrap().len(), 3);
    }

    #[test]
    fn scalars_that_vanish_are_an_error() {
        // Not zero, but below the resolution of the unit.
        let scalar = Scalar::from_f64(1e-11).unwrap();
        let (aggregation, mask) = round(config([1, 0, 0, 3]), &[(scalar, Model::F32(vec![1.0]))]);
        assert_eq!(Unmasker::new(aggregation, mask).unwrap_err(), UnmaskError::ScalarSumZero);
    }

    #[test]
    fn a_wrong_mask_gives_garbage_but_no_panic() {
        for mask_config in MaskConfig::all() {
            let config = mask_config.into();
            let model = model(mask_config.data_type, &[0.5, -1.0]);
            let (aggregation, _) = round(config, &[(Scalar::one(), model)]);
            // As if it were many models: half of the sums of scalars are below zero.
            let aggregation = Aggregation::with_nb_models(aggregation.object().clone(), 900);
            for seed in 10..14 {
                let mask = super::super::derive_mask(&MaskSeed::new([seed; 32]), config, 2);
                let unmasker =
                    Unmasker::new(aggregation.clone(), mask.to_bytes().unwrap()).unwrap();
                let reserved = unmasker.ratios.capacity();
                let unmasked = unmasker.finish().unwrap();
                assert_eq!(unmasked.ratios.capacity(), reserved, "{mask_config}");
                let exact = unmask_ratios(
                    &aggregation,
                    &MaskObjectView::parse_exact(&mask.to_bytes().unwrap()).unwrap(),
                )
                .unwrap();
                assert_eq!(unmasked.ratios, ratio::encode_ratios(&exact), "{mask_config}");
                if let Ok(Model::F64(weights)) = unmasked.model {
                    assert_eq!(Ok(weights[0]), convert::to_f64(&exact[0]));
                }
            }
        }
    }

    #[test]
    fn a_number_not_below_the_order_is_found_on_the_way() {
        let (aggregation, mut mask) =
            round(config([1, 0, 0, 3]), &[(Scalar::one(), Model::F32(vec![0.5; 9]))]);
        mask[8 + 6 * 7..][..6].fill(0xff);
        let mut unmasker = Unmasker::new(aggregation, mask).unwrap();
        assert!(!unmasker.step(7));
        assert!(unmasker.step(1));
        let part = MaskObjectPart::Vector;
        assert_eq!(
            unmasker.finish(),
            Err(UnmaskError::InvalidMask(MaskObjectError::NotBelowOrder { part, index: 7 }))
        );
    }
}
