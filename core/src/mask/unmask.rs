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
use super::group::{with_elements, Group};
use super::object::{MaskObjectError, MaskObjectPart, MaskObjectView};
use crate::model::ratio::{
    push_rational, push_small, write_count, write_weight, write_weight_small,
};
use crate::model::{Model, OutOfRange};

/// Bytes of a weight in the old form, most of the time: 28 for F32/B0, up to 58.
const USUAL_RATIO_BYTES: usize = 32;

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
        write!(
            f,
            "Unmasker({:?}, {} weights done)",
            self.aggregation, self.done
        )
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
        Ok(Factors {
            offset,
            negative: scalars.is_negative(),
            p,
            q,
            small,
        })
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
        Some((
            negative,
            (magnitude / common).checked_mul(self.p)?,
            self.q / common,
        ))
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
    /// If there are no or too many models, the mask does not fit, or the scalars' sum is zero.
    pub fn new(
        aggregation: impl Into<Arc<Aggregation>>,
        mask: impl Into<Bytes>,
    ) -> Result<Self, UnmaskError> {
        let (aggregation, mask) = (aggregation.into(), mask.into());
        let view = MaskObjectView::parse_exact(&mask)?;
        aggregation.validate_mask_shape(&view)?;
        view.check_unit()?;
        let factors = Factors::new(&aggregation, &view)?;
        let len = aggregation.len();
        let mut ratios = Vec::with_capacity(8 + len.saturating_mul(USUAL_RATIO_BYTES));
        write_count(len, &mut ratios);
        let model = Ok(Model::with_capacity(
            aggregation.config().vect.data_type,
            len,
        ));
        Ok(Unmasker {
            aggregation,
            mask,
            factors,
            model,
            ratios,
            done: 0,
            error: None,
        })
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
            None => Ok(Unmasked {
                model: self.model,
                ratios: self.ratios,
            }),
        }
    }

    fn unmask(&mut self, range: Range<usize>) -> Result<(), UnmaskError> {
        let Self {
            aggregation,
            mask,
            factors,
            model,
            ratios,
            ..
        } = self;
        let view = MaskObjectView::parse_exact(mask)?;
        with_elements!(&aggregation.object().vector, sums => {
            let group = Group::new(view.config.vect);
            for index in range {
                let mask = group.load(view.vector, index);
                if mask > group.max {
                    let part = MaskObjectPart::Vector;
                    return Err(MaskObjectError::NotBelowOrder { part, index }.into());
                }
                let number = group.sub(sums[index], mask);
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
    let small = factors
        .small
        .zip(number.to_u128())
        .and_then(|(f, number)| f.weight(number));
    let pushed = match small {
        Some((negative, numer, denom)) => {
            let negative = negative != factors.negative;
            write_weight_small(negative, numer, denom, ratios);
            match (model.as_mut(), u64::try_from(denom)) {
                (Err(_), _) => Ok(()),
                (Ok(model), Ok(denom)) => push_small(model, negative, numer, denom),
                (Ok(model), Err(_)) => {
                    let numer =
                        crate::model::convert::rational(negative, numer.into(), denom.into());
                    push_rational(model, &numer)
                }
            }
        }
        None => {
            let weight = factors.weight(number.to_biguint());
            write_weight(&weight, ratios);
            model
                .as_mut()
                .map_or(Ok(()), |model| push_rational(model, &weight))
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
    let chunks = mask
        .vector
        .chunks_exact(mask.config.vect.bytes_per_number());
    let weights = numbers.iter().zip(chunks).map(|(sum, mask)| {
        factors.weight((sum + &group_order - BigUint::from_bytes_le(mask)) % &group_order)
    });
    Ok(weights.collect())
}
