//! Unmasked numbers to weights in memory: floats correctly rounded, integers truncated toward zero.
//!
//! Nearly all weights come from an approximation whose error is known, and known not to matter. Only the
//! others, in the middle between two floats or very small or large, are divided exactly.

use num_traits::One;

use super::factors::Factors;
use super::number::Number;
use crate::model::weight::{FromRatio, Rounded};
use crate::model::OutOfRange;
use crate::simd::{Kernel, Level};

/// Numbers that are converted at once.
pub(super) const BLOCK: usize = 128;

/// `p / q` in two approximations.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// The nearest double, if it is far from the ends of their range.
    double: Option<f64>,
    rounded: Option<Rounded>,
}

impl Scale {
    pub(super) fn new(factors: &Factors) -> Self {
        let double = f64::from_big(false, &factors.p, &factors.q).ok();
        Scale {
            double: double.filter(|value| (1e-250..1e250).contains(value)),
            rounded: Rounded::quotient(&factors.p, &factors.q),
        }
    }
}

/// Appends the weights of at most [`BLOCK`] numbers. The error has the index of the first that is out
/// of range, the ones before it are appended.
pub(super) fn push<E: Number, W: FromRatio>(
    level: Level,
    factors: &Factors,
    scale: Scale,
    numbers: &[E],
    weights: &mut Vec<W>,
) -> Result<(), (usize, OutOfRange)> {
    let offset = E::from_biguint(&factors.offset);
    let mut block = [W::default(); BLOCK];
    let mut uncertain = [false; BLOCK];
    let out = &mut block[..numbers.len()];
    let kernel = Approximate { numbers, offset, scale, out, uncertain: &mut uncertain };
    if E::run(level, kernel) {
        for (i, &number) in numbers.iter().enumerate() {
            if uncertain[i] {
                match exact(factors, offset, number) {
                    Ok(weight) => block[i] = weight,
                    Err(error) => {
                        weights.extend_from_slice(&block[..i]);
                        return Err((i, error));
                    }
                }
            }
        }
    }
    weights.extend_from_slice(&block[..numbers.len()]);
    Ok(())
}

/// Converts numbers whose conversion is certain, and marks the others.
struct Approximate<'a, E, W> {
    numbers: &'a [E],
    offset: E,
    scale: Scale,
    out: &'a mut [W],
    uncertain: &'a mut [bool; BLOCK],
}

impl<E: Number, W: FromRatio> Kernel for Approximate<'_, E, W> {
    /// Is any uncertain?
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { numbers, offset, scale, out, uncertain } = self;
        let mut any = false;
        if let (Some(factor), true) = (scale.double, E::WORDS == 1 && W::FROM_DOUBLE) {
            // This one is made to become vector instructions.
            for ((number, out), uncertain) in numbers.iter().zip(out).zip(uncertain) {
                let (less, distance) = number.distance(offset);
                let value = distance.word(0) as f64 * factor;
                let (weight, certain) = W::from_double(less, value);
                (*out, *uncertain) = (weight, !certain);
                any |= !certain;
            }
        } else if let Some(factor) = scale.rounded {
            for ((number, out), uncertain) in numbers.iter().zip(out).zip(uncertain) {
                let (less, distance) = number.distance(offset);
                let weight = match distance.rounded() {
                    Some(distance) => W::from_estimate(less, distance.times(factor)),
                    None => Some(W::default()),
                };
                (*out, *uncertain) = (weight.unwrap_or_default(), weight.is_none());
                any |= weight.is_none();
            }
        } else {
            uncertain.fill(true);
            any = true;
        }
        any
    }
}

/// The exact way.
#[cold]
fn exact<E: Number, W: FromRatio>(
    factors: &Factors,
    offset: E,
    number: E,
) -> Result<W, OutOfRange> {
    let (negative, distance) = number.distance(offset);
    if let (Some((p, q)), Some(distance)) = (factors.small, distance.to_u128()) {
        if let Some(numer) = distance.checked_mul(p) {
            return W::from_small(negative, numer, q);
        }
    }
    let mut numer = distance.to_biguint();
    if !factors.p.is_one() {
        numer *= &factors.p;
    }
    W::from_big(negative, &numer, &factors.q)
}
