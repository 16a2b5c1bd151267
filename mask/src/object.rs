//! Mask objects: masked models and aggregated masks, in their form on the wire (spec section 4).
//!
//! Vector: 4 config bytes, u32 big-endian count, count numbers of `bytes_per_number` bytes, little-endian.
//! Unit: 4 config bytes, one number.

use std::fmt;
use std::ops::Range;

use num_bigint::BigUint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config::{InvalidMaskConfig, MaskConfig, MaskConfigPair};
use super::element::Element;
use super::group::{with_element_type, with_elements, Elements, Group, Numbers};
use super::wire::WireNumbers;
use crate::simd::Level;

/// Bytes before the numbers of the vector: config and count.
const VECTOR_HEADER: usize = 8;
/// Bytes before the number of the unit: the config.
const UNIT_HEADER: usize = 4;

/// The part of a mask object that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskObjectPart {
    /// The masked weights.
    Vector,
    /// The masked scalar.
    Unit,
}

impl fmt::Display for MaskObjectPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MaskObjectPart::Vector => "vector",
            MaskObjectPart::Unit => "unit",
        })
    }
}

/// Bytes that are not a valid mask object: the sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskObjectError {
    /// The bytes end too early.
    #[error(
        "the mask object is cut short in its {part}: {needed} bytes expected, {available} there"
    )]
    TooShort {
        /// In which part.
        part: MaskObjectPart,
        /// How many bytes it must have from its beginning.
        needed: u64,
        /// How many bytes there are.
        available: usize,
    },
    /// Something follows the mask object where it should end.
    #[error("{extra} bytes follow the mask object")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
    /// A config that does not exist.
    #[error("the {part} of the mask object has an unknown config: {source}")]
    Config {
        /// In which part.
        part: MaskObjectPart,
        /// What is wrong with it.
        source: InvalidMaskConfig,
    },
    /// A number that is not an element of the group.
    #[error("number {index} in the {part} of the mask object is not below the order of its group")]
    NotBelowOrder {
        /// In which part.
        part: MaskObjectPart,
        /// Its index there; 0 for the unit.
        index: usize,
    },
    /// More numbers than the count field or this machine's memory can take.
    #[error("a mask object of {count} numbers cannot be written (the limit is 4294967295)")]
    TooLong {
        /// How many numbers.
        count: usize,
    },
}

/// A mask object in the bytes of a message, where it stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MaskObjectView<'a> {
    config: MaskConfigPair,
    count: usize,
    /// `count` numbers of `bytes_per_number` bytes.
    vector: &'a [u8],
    /// One number.
    unit: &'a [u8],
}

/// Shows the shape, not the numbers.
impl fmt::Debug for MaskObjectView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskObjectView({}, {} numbers)", self.config, self.count)
    }
}

impl<'a> MaskObjectView<'a> {
    /// Reads the layout of a mask object at the beginning of `bytes`; returns it and what follows it.
    ///
    /// Whether the numbers are below their orders is left to [`check_elements`](Self::check_elements).
    ///
    /// # Errors
    /// If the bytes end too early or name an unknown config.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), MaskObjectError> {
        let part = MaskObjectPart::Vector;
        let (header, rest) = split(bytes, VECTOR_HEADER as u64, part)?;
        let vect = read_config(header, part)?;
        let count = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        // At most 2^32 * 268: no overflow in 64 bits, and too long for any slice where usize has 32.
        let (vector, rest) = split(rest, u64::from(count) * vect.bytes_per_number() as u64, part)?;
        let part = MaskObjectPart::Unit;
        let (header, rest) = split(rest, UNIT_HEADER as u64, part)?;
        let unit_config = read_config(header, part)?;
        let (unit, rest) = split(rest, unit_config.bytes_per_number() as u64, part)?;
        let config = MaskConfigPair { vect, unit: unit_config };
        let count = vector.len() / vect.bytes_per_number();
        Ok((MaskObjectView { config, count, vector, unit }, rest))
    }

    /// Like [`parse`](Self::parse), for bytes that hold a mask object and nothing else.
    ///
    /// # Errors
    /// As for `parse`, and if something follows.
    pub fn parse_exact(bytes: &'a [u8]) -> Result<Self, MaskObjectError> {
        match Self::parse(bytes)? {
            (view, []) => Ok(view),
            (_, rest) => Err(MaskObjectError::TrailingBytes { extra: rest.len() }),
        }
    }

    /// The configs of the two parts.
    pub fn config(&self) -> MaskConfigPair {
        self.config
    }

    /// How many numbers the vector has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the vector has no numbers.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The numbers of the vector, little-endian, `config().vect.bytes_per_number()` bytes each.
    pub fn vector(&self) -> &'a [u8] {
        self.vector
    }

    /// The number of the unit, little-endian, `config().unit.bytes_per_number()` bytes.
    pub fn unit(&self) -> &'a [u8] {
        self.unit
    }

    /// Length in bytes of a mask object with `count` numbers, or None if that cannot be: more numbers
    /// than the count field holds, or more bytes than this machine can address.
    pub fn serialized_len(config: MaskConfigPair, count: usize) -> Option<usize> {
        u32::try_from(count).ok()?;
        count
            .checked_mul(config.vect.bytes_per_number())?
            .checked_add(VECTOR_HEADER + UNIT_HEADER + config.unit.bytes_per_number())
    }

    /// Whether the object has these configs and this many numbers.
    pub fn matches(&self, config: MaskConfigPair, count: usize) -> bool {
        self.config == config && self.count == count
    }

    /// Checks that every number is below the order of its group.
    ///
    /// # Errors
    /// [`MaskObjectError::NotBelowOrder`] with the first number that is not.
    pub fn check_elements(&self) -> Result<(), MaskObjectError> {
        self.check_range(0..self.count)?;
        self.check_unit()
    }

    /// The part of [`check_elements`](Self::check_elements) for some numbers of the vector (indices beyond
    /// its end are left out), so that the work can be split.
    ///
    /// # Errors
    /// As for `check_elements`.
    pub fn check_range(&self, range: Range<usize>) -> Result<(), MaskObjectError> {
        let range = clip(range, self.count);
        let first_bad = with_element_type!(self.config.vect, E => {
            let group = Group::<E>::new(self.config.vect);
            WireNumbers::new(Level::detected(), &group, self.vector, range.clone())
                .first_not_below()
                .map(|index| range.start + index)
        });
        match first_bad {
            None => Ok(()),
            Some(index) => {
                Err(MaskObjectError::NotBelowOrder { part: MaskObjectPart::Vector, index })
            }
        }
    }

    /// The part of [`check_elements`](Self::check_elements) for the unit.
    ///
    /// # Errors
    /// As for `check_elements`.
    pub fn check_unit(&self) -> Result<(), MaskObjectError> {
        if self.unit_number() < self.config.unit.order() {
            Ok(())
        } else {
            Err(MaskObjectError::NotBelowOrder { part: MaskObjectPart::Unit, index: 0 })
        }
    }

    /// The unit's number. The copy is not wiped.
    pub(crate) fn unit_number(&self) -> BigUint {
        BigUint::from_bytes_le(self.unit)
    }

    /// The unit's number, in its group.
    pub(crate) fn unit_element(&self) -> Elements {
        with_element_type!(self.config.unit, E => {
            let mut unit = Numbers::<E>::new(self.config.unit, Vec::with_capacity(1));
            unit.vector.push(unit.group.load(self.unit, 0));
            unit.into()
        })
    }
}

pub(crate) fn clip(range: Range<usize>, len: usize) -> Range<usize> {
    let start = range.start.min(len);
    start..range.end.clamp(start, len)
}

fn split(bytes: &[u8], len: u64, part: MaskObjectPart) -> Result<(&[u8], &[u8]), MaskObjectError> {
    usize::try_from(len)
        .ok()
        .and_then(|len| bytes.split_at_checked(len))
        .ok_or(MaskObjectError::TooShort { part, needed: len, available: bytes.len() })
}

fn read_config(header: &[u8], part: MaskObjectPart) -> Result<MaskConfig, MaskObjectError> {
    MaskConfig::from_bytes([header[0], header[1], header[2], header[3]])
        .map_err(|source| MaskObjectError::Config { part, source })
}

/// Appends config and count; the vector's numbers follow.
pub(crate) fn write_vector_header(
    config: MaskConfig,
    count: usize,
    out: &mut Vec<u8>,
) -> Result<(), MaskObjectError> {
    let count = u32::try_from(count).map_err(|_| MaskObjectError::TooLong { count })?;
    out.extend_from_slice(&config.to_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    Ok(())
}

/// Appends the unit part.
pub(crate) fn write_unit(config: MaskConfig, number: &Elements, out: &mut Vec<u8>) {
    out.extend_from_slice(&config.to_bytes());
    with_elements!(number, unit => unit.group.write(&unit.vector, out));
}

/// A mask object in memory: every number is below its order.
///
/// It may be a secret mask: the numbers are wiped on drop, and comparing takes as long as they agree.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskObject {
    pub(crate) config: MaskConfigPair,
    pub(crate) vector: Elements,
    /// A single number.
    pub(crate) unit: Elements,
}

/// Shows the shape, not the numbers.
impl fmt::Debug for MaskObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskObject({}, {} numbers)", self.config, self.len())
    }
}

impl MaskObject {
    /// Copies a mask object out of a message.
    ///
    /// # Errors
    /// If a number is not below its order.
    pub fn from_view(view: &MaskObjectView<'_>) -> Result<Self, MaskObjectError> {
        view.check_elements()?;
        let vector = with_element_type!(view.config.vect, E => {
            let mut numbers = Numbers::<E>::new(view.config.vect, vec![E::default(); view.count]);
            let width = numbers.group.wire_bytes;
            E::unpack(Level::detected(), view.vector, width, &mut numbers.vector);
            numbers.into()
        });
        Ok(MaskObject { config: view.config, vector, unit: view.unit_element() })
    }

    /// Reads bytes that hold a mask object and nothing else.
    ///
    /// # Errors
    /// If they are no valid mask object.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MaskObjectError> {
        Self::from_view(&MaskObjectView::parse_exact(bytes)?)
    }

    /// Builds one from big integers.
    ///
    /// # Errors
    /// If a number is not below its order.
    pub fn from_numbers(
        config: MaskConfigPair,
        vector: &[BigUint],
        unit: BigUint,
    ) -> Result<Self, MaskObjectError> {
        let order = config.vect.order();
        if let Some(index) = vector.iter().position(|number| *number >= order) {
            return Err(MaskObjectError::NotBelowOrder { part: MaskObjectPart::Vector, index });
        }
        if unit >= config.unit.order() {
            return Err(MaskObjectError::NotBelowOrder { part: MaskObjectPart::Unit, index: 0 });
        }
        let vector = with_element_type!(config.vect, E => {
            Numbers::<E>::new(config.vect, vector.iter().map(E::from_biguint).collect()).into()
        });
        Ok(MaskObject { config, vector, unit: Elements::one(config.unit, &unit) })
    }

    /// The configs of the two parts.
    pub fn config(&self) -> MaskConfigPair {
        self.config
    }

    /// How many numbers the vector has.
    pub fn len(&self) -> usize {
        self.vector.len()
    }

    /// Whether the vector has no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of the vector as big integers (slow: for tests and tools).
    pub fn numbers(&self) -> Vec<BigUint> {
        with_elements!(&self.vector, numbers => {
            numbers.vector.iter().map(|number| number.to_biguint()).collect()
        })
    }

    /// The number of the unit as a big integer.
    pub fn unit(&self) -> BigUint {
        self.unit.first()
    }

    /// Appends the form on the wire.
    ///
    /// # Errors
    /// [`MaskObjectError::TooLong`] beyond 2^32 - 1 numbers.
    pub fn write_to(&self, out: &mut Vec<u8>) -> Result<(), MaskObjectError> {
        let count = self.len();
        let len = MaskObjectView::serialized_len(self.config, count)
            .ok_or(MaskObjectError::TooLong { count })?;
        out.reserve(len);
        write_vector_header(self.config.vect, count, out)?;
        with_elements!(&self.vector, numbers => numbers.group.write(&numbers.vector, out));
        write_unit(self.config.unit, &self.unit, out);
        Ok(())
    }

    /// The bytes of its form on the wire.
    ///
    /// # Errors
    /// [`MaskObjectError::TooLong`] beyond 2^32 - 1 numbers.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MaskObjectError> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }
}

/// The old bincode form: numbers as big integers, then the config, for the vector and for the unit.
#[derive(Serialize, Deserialize)]
struct OldForm {
    vector: (Vec<BigUint>, MaskConfig),
    unit: (BigUint, MaskConfig),
}

impl Serialize for MaskObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let MaskConfigPair { vect, unit } = self.config;
        let form = OldForm { vector: (self.numbers(), vect), unit: (self.unit(), unit) };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MaskObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = OldForm::deserialize(deserializer)?;
        let config = MaskConfigPair { vect: form.vector.1, unit: form.unit.1 };
        MaskObject::from_numbers(config, &form.vector.0, form.unit.0)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_config() -> impl Strategy<Value = MaskConfig> {
        prop::sample::select(MaskConfig::all().collect::<Vec<_>>())
    }

    /// A number that is nearly always below the order, given the order.
    fn below(order: &BigUint, bytes: &[u8]) -> BigUint {
        BigUint::from_bytes_le(&bytes.repeat(17)) % order
    }

    proptest! {
        #[test]
        fn bytes_round_trip(
            vect in any_config(), unit in any_config(),
            numbers in prop::collection::vec(prop::array::uniform16(any::<u8>()), 0..8),
            after: Vec<u8>,
        ) {
            let config = MaskConfigPair { vect, unit };
            let vector: Vec<_> = numbers.iter().map(|bytes| below(&vect.order(), bytes)).collect();
            let unit = below(&unit.order(), &[3, 1, 4]);
            let object = MaskObject::from_numbers(config, &vector, unit.clone()).unwrap();
            let mut bytes = object.to_bytes().unwrap();
            prop_assert_eq!(Some(bytes.len()), MaskObjectView::serialized_len(config, vector.len()));
            prop_assert_eq!(MaskObject::from_bytes(&bytes).unwrap(), object.clone());
            prop_assert_eq!(object.numbers(), vector.clone());
            prop_assert_eq!(object.unit(), unit.clone());
            let old: MaskObject = bincode::deserialize(&bincode::serialize(&object).unwrap()).unwrap();
            prop_assert_eq!(old, object);
            for len in 0..bytes.len() {
                let cut = MaskObjectView::parse(&bytes[..len]);
                let is_too_short = matches!(cut, Err(MaskObjectError::TooShort { .. }));
                prop_assert!(is_too_short, "{}", len);
            }
            bytes.extend(&after);
            let (view, rest) = MaskObjectView::parse(&bytes).unwrap();
            prop_assert_eq!(rest, &after[..]);
            prop_assert!(view.matches(config, vector.len()));
            prop_assert!(!view.matches(config, vector.len() + 1));
            prop_assert_eq!((view.config(), view.len()), (config, vector.len()));
            let numbers = view.vector().chunks_exact(vect.bytes_per_number());
            prop_assert_eq!(numbers.map(BigUint::from_bytes_le).collect::<Vec<_>>(), vector);
            prop_assert_eq!(BigUint::from_bytes_le(view.unit()), unit);
        }

        #[test]
        fn any_bytes_are_safe(mut bytes in prop::collection::vec(any::<u8>(), 0..100), config in any_config(), count in 0u32..9) {
            let _ = MaskObjectView::parse(&bytes).map(|(view, _)| view.check_elements());
            if let Some(header) = bytes.first_chunk_mut::<8>() {
                header[..4].copy_from_slice(&config.to_bytes());
                header[4..].copy_from_slice(&count.to_be_bytes());
                let _ = MaskObjectView::parse(&bytes).map(|(view, _)| view.check_elements());
            }
        }
    }

    #[test]
    fn numbers_must_be_below_the_order() {
        for config in MaskConfig::all() {
            let order = config.order();
            let fits = order.bits().div_ceil(8) as usize == config.bytes_per_number();
            let small = BigUint::from(1u32);
            let mut object = MaskObject::from_numbers(
                config.into(),
                &[small.clone(), &order - 1u32, small.clone()],
                &order - 1u32,
            )
            .unwrap()
            .to_bytes()
            .unwrap();
            let mut set = |at: usize, value: &BigUint| {
                let bytes = value.to_bytes_le();
                object[at..at + bytes.len()].copy_from_slice(&bytes);
                MaskObjectView::parse_exact(&object).unwrap().check_elements()
            };
            let from_numbers = |vector: &[BigUint], unit: &BigUint| {
                MaskObject::from_numbers(config.into(), vector, unit.clone()).map(|_| ())
            };
            let not_below = |part, index| Err(MaskObjectError::NotBelowOrder { part, index });
            assert_eq!(
                from_numbers(&[small.clone(), order.clone()], &small),
                not_below(MaskObjectPart::Vector, 1)
            );
            assert_eq!(
                from_numbers(&[], &MaskConfigPair::from(config).unit.order()),
                not_below(MaskObjectPart::Unit, 0)
            );
            let len = config.bytes_per_number();
            let (second, unit) = (VECTOR_HEADER + len, VECTOR_HEADER + 3 * len + UNIT_HEADER);
            assert_eq!(set(second, &(&order - 1u32)), Ok(()));
            if !fits {
                continue;
            }
            assert_eq!(set(second, &order), not_below(MaskObjectPart::Vector, 1), "{config}");
            assert_eq!(set(second, &(&order - 1u32)), Ok(()));
            assert_eq!(set(unit, &order), not_below(MaskObjectPart::Unit, 0), "{config}");
        }
    }

    #[test]
    fn a_huge_count_is_only_too_short() {
        let bytes = [1, 1, 255, 12, 255, 255, 255, 255, 0, 0];
        let needed = 268 * u64::from(u32::MAX);
        assert_eq!(
            MaskObjectView::parse(&bytes),
            Err(MaskObjectError::TooShort { part: MaskObjectPart::Vector, needed, available: 2 })
        );
        #[cfg(target_pointer_width = "64")]
        {
            let config = MaskConfig::from_bytes([1, 1, 255, 12]).unwrap();
            assert_eq!(MaskObjectView::serialized_len(config.into(), u32::MAX as usize + 1), None);
        }
    }
}
