//! The old form of a model: exact rationals in bincode (spec section 3).
//!
//! A u64 count, and for each weight numerator and denominator. Each is a big integer: its sign as one
//! signed byte (-1, 0, 1), the number of its u32 digits as u64, and the digits, least significant first.

use std::fmt;

use num_bigint::{BigInt, BigUint, Sign};
use num_rational::BigRational;

use super::convert;
use super::weight::{with_weights, FromRatio, Rounded};
use super::{DataType, Model, OutOfRange};

/// The most u32 digits of a numerator or denominator: ten times as many as any mask config leads to.
pub const MAX_DIGITS: usize = 1024;

/// Fewest bytes of a weight: 9 of a numerator of 0, 13 of a denominator of one digit.
const MIN_WEIGHT: usize = 22;

/// Bytes that are not a model in the old form, or not of the wanted data type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RatioError {
    /// The bytes end too early.
    #[error("the model is cut short in weight {index} of {count}")]
    TooShort {
        /// The first weight that is not complete.
        index: usize,
        /// How many weights there should be.
        count: u64,
    },
    /// The bytes end before the number of weights.
    #[error("the model is cut short: it has {0} bytes, and its length takes 8")]
    NoCount(usize),
    /// Something follows the last weight.
    #[error("{0} bytes follow the model's last weight")]
    TrailingBytes(usize),
    /// The sign is not valid, or does not fit the digits.
    #[error("weight {index} of the model is malformed: its sign is {sign} with {digits} digits")]
    Sign {
        /// The weight.
        index: usize,
        /// The sign.
        sign: i8,
        /// How many digits the number has.
        digits: u64,
    },
    /// More digits than any mask config leads to.
    #[error("weight {index} of the model has a number of {digits} digits; at most 1024 are read")]
    TooManyDigits {
        /// The weight.
        index: usize,
        /// How many digits the number has.
        digits: u64,
    },
    /// A denominator that is not positive.
    #[error("weight {index} of the model has a denominator that is not positive")]
    Denominator {
        /// The weight.
        index: usize,
    },
    /// A weight beyond the range of the data type.
    #[error("weight {index} of the model: {source}")]
    OutOfRange {
        /// The weight.
        index: usize,
        /// The range.
        source: OutOfRange,
    },
    /// Not the fault of the bytes.
    #[error("there is not enough memory for a model of {count} weights")]
    OutOfMemory {
        /// How many weights.
        count: usize,
    },
}

/// Decodes a model of the old form, in steps.
///
/// Memory: 4 or 8 bytes a weight, which is less than half of what the input has for it.
pub struct RatioDecoder<B> {
    bytes: B,
    position: usize,
    count: usize,
    model: Model,
    error: Option<RatioError>,
}

/// Shows the progress, not the weights.
impl<B> fmt::Debug for RatioDecoder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RatioDecoder({:?} of {} weights)", self.model, self.count)
    }
}

impl<B: AsRef<[u8]>> RatioDecoder<B> {
    /// Begins with the bytes of a whole model, borrowed or owned.
    ///
    /// # Errors
    /// If the number of weights is missing, there are more than the bytes can hold, or there is not
    /// enough memory.
    pub fn new(bytes: B, data_type: DataType) -> Result<Self, RatioError> {
        let input = bytes.as_ref();
        let (count, rest) = input.split_first_chunk().ok_or(RatioError::NoCount(input.len()))?;
        let count = u64::from_le_bytes(*count);
        let most = rest.len() / MIN_WEIGHT;
        match usize::try_from(count) {
            Ok(count) if count <= most => {
                let mut model = Model::empty(data_type);
                model.try_reserve_exact(count).map_err(|_| RatioError::OutOfMemory { count })?;
                Ok(RatioDecoder { bytes, position: 8, count, model, error: None })
            }
            _ => Err(RatioError::TooShort { index: most, count }),
        }
    }

    /// Decodes at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        if self.error.is_none() {
            let end = self.count.min(self.model.len().saturating_add(max_weights));
            if let Err(error) = self.decode_up_to(end) {
                self.error = Some(error);
            }
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.error.is_some() || self.model.len() == self.count
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.model.len(), self.count)
    }

    /// The model; decodes what is left of it.
    ///
    /// # Errors
    /// If the bytes are no model, or not of the data type.
    pub fn finish(mut self) -> Result<Model, RatioError> {
        self.step(usize::MAX);
        if let Some(error) = self.error {
            return Err(error);
        }
        match self.bytes.as_ref().len() - self.position {
            0 => Ok(self.model),
            extra => Err(RatioError::TrailingBytes(extra)),
        }
    }

    fn decode_up_to(&mut self, end: usize) -> Result<(), RatioError> {
        let Self { bytes, position, count, model, .. } = self;
        with_weights!(model, weights => {
            decode_weights(bytes.as_ref(), position, *count, end, weights)
        })
    }
}

/// Decodes weights from `position` on until there are `end` of `count`.
fn decode_weights<W: FromRatio>(
    bytes: &[u8],
    position: &mut usize,
    count: usize,
    end: usize,
    weights: &mut Vec<W>,
) -> Result<(), RatioError> {
    for index in weights.len()..end {
        if let Some((weight, len)) =
            Short::read(bytes, *position).and_then(|short| Some((short.weight()?, short.len)))
        {
            weights.push(weight);
            *position += len;
            continue;
        }
        let mut cursor = Cursor { bytes, position: *position, index, count };
        let numer = cursor.number()?;
        let denom = cursor.number()?;
        if denom.sign <= 0 {
            return Err(RatioError::Denominator { index });
        }
        *position = cursor.position;
        let weight = number_weight(&numer, &denom)
            .map_err(|source| RatioError::OutOfRange { index, source })?;
        weights.push(weight);
    }
    Ok(())
}

/// A well-formed weight of at most four digits each, as most are.
struct Short {
    negative: bool,
    numer: u128,
    denom: u128,
    /// Bytes that it takes.
    len: usize,
}

impl Short {
    /// The weight, unless that takes the exact way.
    #[inline(always)]
    fn weight<W: FromRatio>(&self) -> Option<W> {
        let &Short { negative, numer, denom, .. } = self;
        match (u64::try_from(numer), u64::try_from(denom)) {
            (Ok(numer), Ok(denom)) => W::from_words(negative, numer, denom),
            _ => None,
        }
        .or_else(|| {
            let estimate = Rounded::small(numer)?.over(Rounded::small(denom)?);
            W::from_estimate(negative, estimate)
        })
    }

    /// None if there is no such weight, or if it is too close to the end to be read in one go.
    #[inline(always)]
    fn read(bytes: &[u8], position: usize) -> Option<Self> {
        /// A number of four digits.
        const MOST: usize = 9 + 16;
        let window: &[u8; 2 * MOST] = bytes.get(position..)?.first_chunk()?;
        let (sign, numer, numer_len) = short_number(window.first_chunk()?)?;
        let (denom_sign, denom, denom_len) = short_number(window.get(numer_len..)?.first_chunk()?)?;
        let sign_fits = match sign {
            0 => numer == 0,
            1 | -1 => numer != 0,
            _ => false,
        };
        (sign_fits && denom_sign == 1 && denom != 0).then_some(Short {
            negative: sign < 0,
            numer,
            denom,
            len: numer_len + denom_len,
        })
    }
}

/// Sign, magnitude and length in bytes of a number of at most four digits.
#[inline(always)]
fn short_number(window: &[u8; 25]) -> Option<(i8, u128, usize)> {
    const MASKS: [u128; 5] = [0, u32::MAX as u128, u64::MAX as u128, u128::MAX >> 32, u128::MAX];
    let [sign, rest @ ..] = window;
    let digits = u64::from_le_bytes(*rest.first_chunk()?);
    let value = u128::from_le_bytes(*rest.last_chunk()?);
    let mask = MASKS.get(usize::try_from(digits).ok()?)?;
    Some((*sign as i8, value & mask, 9 + 4 * digits as usize))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    index: usize,
    count: usize,
}

/// A big integer as it is in the input.
struct Number<'a> {
    sign: i8,
    digits: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RatioError> {
        let taken = self.bytes[self.position..]
            .get(..len)
            .ok_or(RatioError::TooShort { index: self.index, count: self.count as u64 })?;
        self.position += len;
        Ok(taken)
    }

    fn number(&mut self) -> Result<Number<'a>, RatioError> {
        let index = self.index;
        let header = self.take(9)?;
        let sign = header[0] as i8;
        let digits = header[1..].try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        if digits > MAX_DIGITS as u64 {
            return Err(RatioError::TooManyDigits { index, digits });
        }
        let bytes = self.take(4 * digits as usize)?;
        let is_zero = bytes.iter().all(|&byte| byte == 0);
        if !matches!((sign, is_zero), (0, true) | (1 | -1, false)) {
            return Err(RatioError::Sign { index, sign, digits });
        }
        // Leading zeros mean nothing; without them most numbers are small.
        let significant = bytes.len() - bytes.iter().rev().take_while(|&&byte| byte == 0).count();
        Ok(Number { sign, digits: &bytes[..significant] })
    }
}

impl Number<'_> {
    fn small<const N: usize>(&self) -> Option<[u8; N]> {
        let mut value = [0; N];
        value.get_mut(..self.digits.len())?.copy_from_slice(self.digits);
        Some(value)
    }

    /// The first 64 bits from the highest one that is set; None for 0.
    fn rounded(&self) -> Option<Rounded> {
        let Some((rest, top)) = self.digits.split_last_chunk() else {
            return Rounded::small(u128::from_le_bytes(self.small()?));
        };
        let (top, below) = (u64::from_le_bytes(*top), rest.last().copied().unwrap_or(0));
        // Less than 8, as the last byte is not 0.
        let up = top.leading_zeros();
        let bits = top << up | u64::from(below) >> (8 - up);
        Some(Rounded { bits, exponent: 8 * rest.len() as i32 - up as i32 })
    }

    fn big(&self) -> BigUint {
        BigUint::from_bytes_le(self.digits)
    }
}

fn number_weight<W: FromRatio>(numer: &Number<'_>, denom: &Number<'_>) -> Result<W, OutOfRange> {
    let negative = numer.sign < 0;
    let estimate = numer.rounded().zip(denom.rounded()).map(|(numer, denom)| numer.over(denom));
    if let Some(weight) = estimate.and_then(|estimate| W::from_estimate(negative, estimate)) {
        return Ok(weight);
    }
    match (numer.small().map(u128::from_le_bytes), denom.small().map(u128::from_le_bytes)) {
        (Some(numer), Some(denom)) => W::from_small(negative, numer, denom),
        _ => W::from_big(negative, &numer.big(), &denom.big()),
    }
}

/// The bytes of a weight whose numerator and denominator have at most so many bits. Saturating.
pub(crate) fn max_weight_len(numer_bits: u64, denom_bits: u64) -> usize {
    let digits = numer_bits.div_ceil(32).saturating_add(denom_bits.div_ceil(32));
    usize::try_from(digits).unwrap_or(usize::MAX).saturating_mul(4).saturating_add(18)
}

/// Begins a model of `count` weights.
pub fn write_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(count as u64).to_le_bytes());
}

/// Appends one weight.
pub fn write_weight(weight: &BigRational, out: &mut Vec<u8>) {
    write_number(weight.numer(), out);
    write_number(weight.denom(), out);
}

fn write_number(number: &BigInt, out: &mut Vec<u8>) {
    let sign = match number.sign() {
        Sign::Minus => -1i8,
        Sign::NoSign => 0,
        Sign::Plus => 1,
    };
    let digits = number.iter_u32_digits();
    write_header(sign, digits.len(), out);
    for digit in digits {
        out.extend_from_slice(&digit.to_le_bytes());
    }
}

fn write_header(sign: i8, digits: usize, out: &mut Vec<u8>) {
    out.push(sign as u8);
    out.extend_from_slice(&(digits as u64).to_le_bytes());
}

/// Appends one weight that is a finite float: its exact value, as [`write_weight`] writes it. (Of what is not finite it
/// writes something.)
pub fn write_float(weight: f64, out: &mut Vec<u8>) {
    let bits = weight.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
    let significand = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    if significand == 0 {
        write_header(0, 0, out);
        return write_shifted(1, 1, 0, out);
    }
    // In lowest terms: an odd number times a power of two.
    let zeros = significand.trailing_zeros();
    let power = exponent.max(1) - 1075 + i64::from(zeros);
    let sign = if weight < 0.0 { -1 } else { 1 };
    write_shifted(sign, significand >> zeros, power.max(0) as u32, out);
    write_shifted(1, 1, (-power).max(0) as u32, out);
}

/// Appends a number times a power of two.
fn write_shifted(sign: i8, number: u64, power: u32, out: &mut Vec<u8>) {
    let bits = u64::BITS - number.leading_zeros() + power;
    let (digits, zeros) = (bits.div_ceil(32) as usize, (power / 32) as usize);
    write_header(sign, digits, out);
    out.resize(out.len() + 4 * zeros, 0);
    let rest = u128::from(number) << (power % 32);
    out.extend_from_slice(&rest.to_le_bytes()[..4 * (digits - zeros)]);
}

/// The old form of a model of exact weights.
pub fn encode_ratios(weights: &[BigRational]) -> Vec<u8> {
    let mut out = Vec::new();
    write_count(weights.len(), &mut out);
    for weight in weights {
        write_weight(weight, &mut out);
    }
    out
}

/// The old form of a model; each weight as its exact value.
///
/// # Errors
/// The index of the first weight that is not finite.
pub fn encode_model(model: &Model) -> Result<Vec<u8>, usize> {
    let mut out = Vec::new();
    write_count(model.len(), &mut out);
    for index in 0..model.len() {
        let value = match model {
            Model::F32(weights) => convert::from_f32(weights[index]),
            Model::F64(weights) => convert::from_f64(weights[index]),
            Model::I32(weights) => Some(BigRational::from_integer(weights[index].into())),
            Model::I64(weights) => Some(BigRational::from_integer(weights[index].into())),
        };
        write_weight(&value.ok_or(index)?, &mut out);
    }
    Ok(out)
}

/// Decodes a model of the old form at once.
///
/// # Errors
/// As [`RatioDecoder`].
pub fn decode(bytes: &[u8], data_type: DataType) -> Result<Model, RatioError> {
    RatioDecoder::new(bytes, data_type)?.finish()
}

/// Decodes a model of the old form to exact weights (slow: for tests and tools).
///
/// # Errors
/// If the bytes are no model.
pub fn decode_ratios(bytes: &[u8]) -> Result<Vec<BigRational>, RatioError> {
    // The data type is not looked at.
    let mut decoder = RatioDecoder::new(bytes, DataType::F32)?;
    let mut weights = Vec::new();
    for index in 0..decoder.count {
        let mut cursor = Cursor { bytes, position: decoder.position, index, count: decoder.count };
        let (numer, denom) = (cursor.number()?, cursor.number()?);
        if denom.sign <= 0 {
            return Err(RatioError::Denominator { index });
        }
        decoder.position = cursor.position;
        weights.push(convert::rational(numer.sign < 0, numer.big(), denom.big()));
    }
    match bytes.len() - decoder.position {
        0 => Ok(weights),
        extra => Err(RatioError::TrailingBytes(extra)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weight::push_big;
    use num_traits::Signed;
    use proptest::prelude::*;

    /// What serde and bincode make of num-bigint's own types is the definition of the format.
    fn with_serde(weights: &[BigRational]) -> Vec<u8> {
        let pairs: Vec<(&BigInt, &BigInt)> =
            weights.iter().map(|weight| (weight.numer(), weight.denom())).collect();
        bincode::serialize(&pairs).unwrap()
    }

    fn any_ratio() -> impl Strategy<Value = BigRational> {
        let digits = || prop::collection::vec(any::<u32>(), 0..6);
        (any::<bool>(), digits(), digits()).prop_map(|(negative, numer, denom)| {
            convert::rational(negative, BigUint::new(numer), BigUint::new(denom) + 1u32)
        })
    }

    proptest! {
        #[test]
        fn encodes_as_serde_does(weights in prop::collection::vec(any_ratio(), 0..10)) {
            prop_assert_eq!(encode_ratios(&weights), with_serde(&weights));
            prop_assert_eq!(decode_ratios(&with_serde(&weights)), Ok(weights));
        }

        #[test]
        fn decodes_as_the_conversions_say(weights in prop::collection::vec(any_ratio(), 0..10), step in 1usize..4) {
            let bytes = encode_ratios(&weights);
            for data_type in DataType::ALL {
                let mut decoder = RatioDecoder::new(&bytes, *data_type).unwrap();
                while !decoder.step(step) {}
                let mut expected = Model::empty(*data_type);
                let result = weights.iter().try_for_each(|w| {
                    push_big(&mut expected, w.is_negative(), w.numer().magnitude(), w.denom().magnitude())
                });
                match (decoder.finish(), result) {
                    (Ok(model), Ok(())) => prop_assert_eq!(model, expected),
                    (Err(RatioError::OutOfRange { index, source }), Err(error)) => {
                        prop_assert_eq!((index, source), (expected.len(), error));
                    }
                    (found, expected) => prop_assert!(false, "{:?} {:?}", found, expected),
                }
            }
        }

        #[test]
        fn floats_are_written_as_their_exact_values(bits: u64, single: u32) {
            let single = f64::from(f32::from_bits(single));
            for float in [f64::from_bits(bits), single, f64::from_bits(bits >> 12), 0.0, -0.0, 1.0, f64::MAX] {
                let Some(exact) = convert::from_f64(float) else { continue };
                let (mut written, mut expected) = (Vec::new(), Vec::new());
                write_float(float, &mut written);
                write_weight(&exact, &mut expected);
                prop_assert_eq!(written, expected, "{}", float);
            }
        }

        #[test]
        fn models_come_back(weights: Vec<i64>, bits: Vec<u32>) {
            let model = Model::I64(weights);
            prop_assert_eq!(decode(&encode_model(&model).unwrap(), DataType::I64), Ok(model));
            // Zero has no sign in this form.
            let weights = bits.into_iter().map(f32::from_bits).filter(|w| w.is_finite());
            let model = Model::F32(weights.map(|w| w + 0.0).collect());
            prop_assert_eq!(decode(&encode_model(&model).unwrap(), DataType::F32), Ok(model));
        }

        #[test]
        fn any_bytes_are_safe(bytes: Vec<u8>, count in 0u64..5) {
            let _ = decode(&bytes, DataType::F64);
            let mut framed = count.to_le_bytes().to_vec();
            framed.extend(bytes);
            let _ = decode(&framed, DataType::F32);
        }
    }

    #[test]
    fn malformed_models_are_refused() {
        let good = encode_ratios(&[BigRational::new(1.into(), 3.into())]);
        assert!(decode(&good, DataType::F32).is_ok());
        for len in 0..good.len() {
            assert!(decode(&good[..len], DataType::F32).is_err(), "{len}");
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(decode(&long, DataType::F32), Err(RatioError::TrailingBytes(1)));
        let mut huge = good.clone();
        huge[..8].fill(0xff);
        assert!(matches!(decode(&huge, DataType::F32), Err(RatioError::TooShort { .. })));
        let mut digits = good.clone();
        digits[9..17].fill(0xff);
        assert!(matches!(decode(&digits, DataType::F32), Err(RatioError::TooManyDigits { .. })));
        let mut sign = good.clone();
        sign[8] = 2;
        assert!(matches!(decode(&sign, DataType::F32), Err(RatioError::Sign { .. })));
        let mut negative = good.clone();
        negative[21] = 0xff;
        assert_eq!(decode(&negative, DataType::F32), Err(RatioError::Denominator { index: 0 }));
        let mut zero = good;
        zero[21] = 0;
        zero[30] = 0;
        assert_eq!(decode(&zero, DataType::F32), Err(RatioError::Denominator { index: 0 }));
    }
}
