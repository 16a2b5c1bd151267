//! Scalars: the weight of one participant's model in the average.

use std::fmt;

use num_bigint::{BigInt, BigUint};
use num_rational::{BigRational, Ratio};
use num_traits::{One, Signed};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::convert;

/// An exact non-negative rational number that a model is multiplied by before it is masked.
///
/// The global model is `sum(s_i * w_i) / sum(s_i)`. With serde it is the pair of numerator and
/// denominator, as big integers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scalar(Ratio<BigUint>);

/// A number that cannot be a scalar.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScalarError {
    /// Below zero.
    #[error("a scalar must not be negative, and {0:?} is; use 0 or more")]
    Negative(f64),
    /// NaN or infinite.
    #[error("a scalar must be a finite number, and {0:?} is not")]
    NotFinite(f64),
    /// A fraction whose denominator is 0.
    #[error("the denominator of a scalar must not be 0")]
    ZeroDenominator,
}

impl Scalar {
    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        convert::nearest_f64(&self.to_rational())
    }

    /// The exact value of a double (negative zero is zero).
    ///
    /// # Errors
    /// For a negative or non-finite number.
    pub fn from_f64(value: f64) -> Result<Self, ScalarError> {
        let exact = BigRational::from_float(value).ok_or(ScalarError::NotFinite(value))?;
        Self::from_rational(&exact).ok_or(ScalarError::Negative(value))
    }

    /// `numer / denom`.
    ///
    /// # Errors
    /// For a denominator of 0.
    pub fn from_ratio(numer: BigUint, denom: BigUint) -> Result<Self, ScalarError> {
        if denom == BigUint::default() {
            return Err(ScalarError::ZeroDenominator);
        }
        Ok(Scalar(Ratio::new(numer, denom)))
    }

    /// The exact value, or None for a negative one.
    pub fn from_rational(value: &BigRational) -> Option<Self> {
        if value.is_negative() {
            return None;
        }
        Some(Scalar(Ratio::new(
            value.numer().magnitude().clone(),
            value.denom().magnitude().clone(),
        )))
    }

    /// 1: every model counts the same.
    pub fn one() -> Self {
        Scalar(Ratio::one())
    }

    /// The numerator, in lowest terms.
    pub fn numer(&self) -> &BigUint {
        self.0.numer()
    }

    /// The denominator, in lowest terms; never 0.
    pub fn denom(&self) -> &BigUint {
        self.0.denom()
    }

    /// The same value among the signed rationals.
    pub fn to_rational(&self) -> BigRational {
        BigRational::new_raw(BigInt::from(self.numer().clone()), BigInt::from(self.denom().clone()))
    }
}

impl From<u64> for Scalar {
    fn from(value: u64) -> Self {
        Scalar(Ratio::from_integer(value.into()))
    }
}

/// 1.
impl Default for Scalar {
    fn default() -> Self {
        Scalar::one()
    }
}

/// `2/3`, or `2` for an integer.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.numer(), self.denom()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (numer, denom) = Deserialize::deserialize(deserializer)?;
        Scalar::from_ratio(numer, denom).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_enter_exactly() {
        let tenth = Scalar::from_f64(0.1).unwrap();
        assert_eq!(tenth.to_string(), "3602879701896397/36028797018963968");
        assert_eq!(tenth.to_f64(), 0.1);
        assert_eq!(Scalar::from_f64(-0.0), Ok(Scalar::from(0)));
        assert_eq!(Scalar::from_f64(1.0), Ok(Scalar::one()));
    }

    #[test]
    fn no_other_numbers() {
        assert_eq!(Scalar::from_f64(-1.5), Err(ScalarError::Negative(-1.5)));
        assert!(matches!(Scalar::from_f64(f64::NAN), Err(ScalarError::NotFinite(_))));
        assert!(matches!(Scalar::from_f64(f64::INFINITY), Err(ScalarError::NotFinite(_))));
        assert_eq!(Scalar::from_ratio(1u32.into(), 0u32.into()), Err(ScalarError::ZeroDenominator));
    }

    #[test]
    fn serde_round_trip_in_lowest_terms() {
        let scalar = Scalar::from_ratio(4u32.into(), 6u32.into()).unwrap();
        let bytes = bincode::serialize(&scalar).unwrap();
        let back: Scalar = bincode::deserialize(&bytes).unwrap();
        assert_eq!(back.to_string(), "2/3");
        let zero = bincode::serialize(&(BigUint::from(1u32), BigUint::default())).unwrap();
        assert!(bincode::deserialize::<Scalar>(&zero).is_err());
    }
}
