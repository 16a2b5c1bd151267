//! Mask configs: which group the numbers live in, and how weights are scaled into it.
//!
//! Spec section 5. Everything here follows from the four choices by formula, with two exceptions: the
//! primes above the integer orders and the lengths in bits, which are tables (both checked against the
//! formulas or the test vectors by tests). The word groups are not in the specification: see
//! `docs/word-groups.md`.

use std::fmt;
use std::str::FromStr;

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Pow};
use serde::{Deserialize, Serialize};

use super::word::{self, UnusableMaskConfig};

/// The kind of group, that is: how its order is chosen above the largest sum of encoded weights.
///
/// The last two are an extension: only this implementation knows them. They are the fastest, and how precise
/// they are follows from the other choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupType {
    /// The order is just large enough.
    Integer,
    /// The order is a prime.
    Prime,
    /// The order is a power of two.
    Power2,
    /// The order is 2^32. Numbers are machine words that wrap around.
    Word32,
    /// The order is 2^64.
    Word64,
}

/// The type of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// 32-bit signed integers.
    I32,
    /// 64-bit signed integers.
    I64,
}

/// The bound that scaled weights are clamped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BoundType {
    /// At most 1 in absolute value.
    B0,
    /// At most 100.
    B2,
    /// At most 10,000.
    B4,
    /// At most 1,000,000.
    B6,
    /// The whole range of the data type.
    Bmax,
}

/// How many models may be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ModelType {
    /// At most 1,000.
    M3,
    /// At most 1,000,000.
    M6,
    /// At most 1,000,000,000.
    M9,
    /// At most 1,000,000,000,000.
    M12,
}

/// Four bytes that stand for no mask config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMaskConfig {
    /// One of the bytes has no meaning.
    #[error(
        "byte {position} of the mask config is {value}, which names no {what} (allowed: {allowed})"
    )]
    UnknownByte {
        /// Which of the four bytes is wrong (0 to 3).
        position: usize,
        /// What the byte names: "group type", "data type", "bound type" or "model type".
        what: &'static str,
        /// The byte.
        value: u8,
        /// The values that it may have.
        allowed: &'static str,
    },
    /// Each has one, but the combination is of no use.
    #[error("mask config {0}")]
    Unusable(#[from] UnusableMaskConfig),
}

/// A name that is none of the values of a part of a mask config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" is no {what}; use one of {allowed}")]
pub struct UnknownMaskConfigName {
    /// What was looked for: "group type", "data type", "bound type" or "model type".
    pub what: &'static str,
    /// The name given.
    pub value: String,
    /// The names that there are.
    pub allowed: &'static str,
}

/// Text that names no mask config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskConfigNameError {
    /// It is not made of four known names.
    #[error(transparent)]
    Unknown(#[from] UnknownMaskConfigName),
    /// It is, but the combination is of no use.
    #[error("mask config {0}")]
    Unusable(#[from] UnusableMaskConfig),
}

/// The values of one enum: its variants in order, with name and wire byte.
macro_rules! names {
    ($type:ident, $what:literal, $position:literal, $allowed:literal, $bytes:literal,
     $($variant:ident $name:literal $byte:literal),*) => {
        impl $type {
            /// All values, in the order of their bincode indices.
            pub const ALL: &'static [$type] = &[$($type::$variant),*];

            /// The name in settings and in text, for instance `B0`.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }

            /// The byte that stands for it in a message (not its bincode index).
            pub const fn to_byte(self) -> u8 {
                match self { $($type::$variant => $byte),* }
            }

            /// Reads the byte of a message.
            pub const fn from_byte(value: u8) -> Result<Self, InvalidMaskConfig> {
                match value {
                    $($byte => Ok($type::$variant),)*
                    _ => Err(InvalidMaskConfig::UnknownByte {
                        position: $position, what: $what, value, allowed: $bytes,
                    }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        /// Case does not matter: the old settings files write `prime` as well as `Prime`.
        impl FromStr for $type {
            type Err = UnknownMaskConfigName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|v| v.name().eq_ignore_ascii_case(name)).ok_or_else(
                    || UnknownMaskConfigName { what: $what, value: name.into(), allowed: $allowed },
                )
            }
        }
    };
}

names!(GroupType, "group type", 0, "Integer, Prime, Power2, Word32, Word64", "0, 1, 2, 16, 17",
    Integer "Integer" 0, Prime "Prime" 1, Power2 "Power2" 2, Word32 "Word32" 16, Word64 "Word64" 17);
names!(DataType, "data type", 1, "F32, F64, I32, I64", "0, 1, 2, 3",
    F32 "F32" 0, F64 "F64" 1, I32 "I32" 2, I64 "I64" 3);
names!(BoundType, "bound type", 2, "B0, B2, B4, B6, Bmax", "0, 2, 4, 6, 255",
    B0 "B0" 0, B2 "B2" 2, B4 "B4" 4, B6 "B6" 6, Bmax "Bmax" 255);
names!(ModelType, "model type", 3, "M3, M6, M9, M12", "3, 6, 9, 12",
    M3 "M3" 3, M6 "M6" 6, M9 "M9" 9, M12 "M12" 12);

impl GroupType {
    /// Is the order that of a machine word, whatever the other choices are?
    pub const fn is_word(self) -> bool {
        word::bits(self).is_some()
    }
}

impl ModelType {
    /// The largest number of models that may be added up.
    pub const fn max_nb_models(self) -> u64 {
        match self {
            ModelType::M3 => 1_000,
            ModelType::M6 => 1_000_000,
            ModelType::M9 => 1_000_000_000,
            ModelType::M12 => 1_000_000_000_000,
        }
    }
}

/// How weights are encoded and masked: the group, its order and the scaling (spec section 5).
///
/// All 240 combinations with the groups of the specification exist. With a word group some do not, because
/// too little would be left of the weights: see [`UnusableMaskConfig`].
///
/// serde (and so bincode) writes the four variant indices in this order, and refuses to read a combination
/// that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Choices")]
pub struct MaskConfig {
    pub(super) group_type: GroupType,
    pub(super) data_type: DataType,
    pub(super) bound_type: BoundType,
    pub(super) model_type: ModelType,
}

/// A mask config before it is checked.
#[derive(Deserialize)]
#[serde(rename = "MaskConfig")]
struct Choices {
    group_type: GroupType,
    data_type: DataType,
    bound_type: BoundType,
    model_type: ModelType,
}

impl TryFrom<Choices> for MaskConfig {
    type Error = UnusableMaskConfig;

    fn try_from(choices: Choices) -> Result<Self, Self::Error> {
        let Choices { group_type, data_type, bound_type, model_type } = choices;
        Self::new(group_type, data_type, bound_type, model_type)
    }
}

/// `bits(order - 1)` by data, bound and model type; the same for all three old group types.
const BITS: [[[u16; 4]; 5]; 4] = [
    [[45, 55, 65, 75], [51, 61, 71, 81], [58, 68, 78, 88], [65, 75, 85, 95], [289, 299, 309, 319]],
    [
        [78, 88, 98, 108],
        [85, 95, 104, 114],
        [91, 101, 111, 121],
        [98, 108, 118, 128],
        [2112, 2122, 2132, 2142],
    ],
    [[45, 55, 65, 75], [51, 61, 71, 81], [58, 68, 78, 88], [65, 75, 85, 95], [76, 86, 96, 106]],
    [[45, 55, 65, 75], [51, 61, 71, 81], [58, 68, 78, 88], [65, 75, 85, 95], [108, 118, 128, 138]],
];

/// How far the prime order lies above the integer one, by data, bound and model type. F64/Bmax (0) has
/// primes of its own.
const PRIME_OFFSETS: [[[u16; 4]; 5]; 4] = [
    [[20, 2, 10, 2], [20, 56, 68, 2], [2, 88, 68, 26], [10, 2, 8, 130], [280, 322, 190, 82]],
    [[68, 26, 16, 158], [8, 130, 46, 202], [38, 70, 16, 40], [16, 158, 2, 22], [0, 0, 0, 0]],
    [[20, 2, 10, 2], [20, 56, 68, 2], [2, 88, 68, 26], [10, 2, 8, 130], [28, 48, 42, 108]],
    [[20, 2, 10, 2], [20, 56, 68, 2], [2, 88, 68, 26], [10, 2, 8, 130], [72, 12, 166, 88]],
];

/// The prime orders of F64/Bmax by model type: hexadecimal top digits, the exponent of the power of two
/// that they are multiplied by, and what is added.
const F64_BMAX_PRIMES: [(&str, u32, u16); 4] = [
    ("134ca80da894b87fbc1c4d08ac7dc993", 1987, 0x225),
    ("12d8dc1d56a13c2cbdb3a33a7872d6d981b", 1985, 0x70f),
    ("933e37a534cba61d8a0b6b38cd012e83455db", 1984, 0x2d),
    ("23f2b095d563b80e3633c9ad5e0cc9db0c6f6129", 1984, 0x141),
];

impl MaskConfig {
    /// The config of these four choices.
    ///
    /// # Errors
    /// If the combination is of no use, which only happens with the word groups.
    pub const fn new(
        group_type: GroupType,
        data_type: DataType,
        bound_type: BoundType,
        model_type: ModelType,
    ) -> Result<Self, UnusableMaskConfig> {
        if group_type.is_word() && !word::is_usable(group_type, data_type, bound_type, model_type) {
            return Err(UnusableMaskConfig { group_type, data_type, bound_type, model_type });
        }
        Ok(MaskConfig { group_type, data_type, bound_type, model_type })
    }

    /// All configs, sorted: the 240 of the specification, then those of the word groups.
    pub fn all() -> impl Iterator<Item = MaskConfig> {
        (0..80 * GroupType::ALL.len()).filter_map(|i| {
            MaskConfig::new(
                GroupType::ALL[i / 80],
                DataType::ALL[i / 20 % 4],
                BoundType::ALL[i / 4 % 5],
                ModelType::ALL[i % 4],
            )
            .ok()
        })
    }

    /// The kind of group.
    pub const fn group_type(self) -> GroupType {
        self.group_type
    }

    /// The type of the weights.
    pub const fn data_type(self) -> DataType {
        self.data_type
    }

    /// The bound on scaled weights.
    pub const fn bound_type(self) -> BoundType {
        self.bound_type
    }

    /// The bound on the number of models.
    pub const fn model_type(self) -> ModelType {
        self.model_type
    }

    /// The four bytes that stand for it in a message.
    pub const fn to_bytes(self) -> [u8; 4] {
        [
            self.group_type.to_byte(),
            self.data_type.to_byte(),
            self.bound_type.to_byte(),
            self.model_type.to_byte(),
        ]
    }

    /// Reads the four bytes of a message; the error names the first bad one.
    pub const fn from_bytes(bytes: [u8; 4]) -> Result<Self, InvalidMaskConfig> {
        let [group, data, bound, model] = bytes;
        let group_type = match GroupType::from_byte(group) {
            Ok(value) => value,
            Err(error) => return Err(error),
        };
        let data_type = match DataType::from_byte(data) {
            Ok(value) => value,
            Err(error) => return Err(error),
        };
        let bound_type = match BoundType::from_byte(bound) {
            Ok(value) => value,
            Err(error) => return Err(error),
        };
        let model_type = match ModelType::from_byte(model) {
            Ok(value) => value,
            Err(error) => return Err(error),
        };
        match MaskConfig::new(group_type, data_type, bound_type, model_type) {
            Ok(config) => Ok(config),
            Err(error) => Err(InvalidMaskConfig::Unusable(error)),
        }
    }

    /// The order q of the group: every number on the wire is below it.
    pub fn order(self) -> BigUint {
        match self.group_type {
            GroupType::Integer => self.integer_order(),
            GroupType::Prime => self.prime_order(),
            GroupType::Power2 | GroupType::Word32 | GroupType::Word64 => {
                BigUint::one() << self.number_bits()
            }
        }
    }

    fn integer_order(self) -> BigUint {
        use {BoundType::Bmax, DataType::*};
        // Width of the range of scaled weights, times exp_shift. For Bmax the deployed orders round the
        // float bounds to decimals and count the integer ranges exactly, unlike add_shift.
        let range = match (self.bound_type, self.data_type) {
            (Bmax, F32) => BigUint::from(2u32 * 34_028_235) * ten_to(31) * ten_to(45),
            (Bmax, F64) => BigUint::from(2u64 * 17_976_931_348_623_155) * ten_to(292) * ten_to(324),
            (Bmax, I32) => BigUint::from(u32::MAX) * self.exp_shift(),
            (Bmax, I64) => BigUint::from(u64::MAX) * self.exp_shift(),
            _ => BigUint::from(2u32) * self.add_shift_integer() * self.exp_shift(),
        };
        range * self.max_nb_models() + 1u32
    }

    fn prime_order(self) -> BigUint {
        if let (DataType::F64, BoundType::Bmax) = (self.data_type, self.bound_type) {
            let (top, exponent, low) = F64_BMAX_PRIMES[self.model_type as usize];
            let top = BigUint::parse_bytes(top.as_bytes(), 16).unwrap_or_default();
            return (top << exponent) + low;
        }
        self.integer_order() + self.table(&PRIME_OFFSETS)
    }

    const fn table(self, table: &[[[u16; 4]; 5]; 4]) -> u16 {
        table[self.data_type as usize][self.bound_type as usize][self.model_type as usize]
    }

    /// Length in bits of the largest number, order - 1.
    pub const fn number_bits(self) -> usize {
        match word::bits(self.group_type) {
            Some(bits) => bits as usize,
            None => self.table(&BITS) as usize,
        }
    }

    /// Length in bytes of a number on the wire.
    pub const fn bytes_per_number(self) -> usize {
        self.number_bits().div_ceil(8)
    }

    /// Length in bytes of one draw from the key stream: the bytes of the order itself, which for powers
    /// of two can be one more than those of the largest number. In a word group every word is an element,
    /// and a draw is just one of them.
    pub(crate) const fn bytes_per_draw(self) -> usize {
        match self.group_type {
            GroupType::Power2 => self.number_bits() / 8 + 1,
            _ => self.bytes_per_number(),
        }
    }

    /// A: scaled weights are clamped to -A..=A and shifted by A. Always an integer.
    pub fn add_shift(self) -> BigRational {
        BigRational::from_integer(BigInt::from(self.add_shift_integer()))
    }

    pub(crate) fn add_shift_integer(self) -> BigUint {
        match (self.bound_type, self.data_type) {
            (BoundType::B0, _) => BigUint::from(1u32),
            (BoundType::B2, _) => BigUint::from(100u32),
            (BoundType::B4, _) => BigUint::from(10_000u32),
            (BoundType::B6, _) => BigUint::from(1_000_000u32),
            (BoundType::Bmax, DataType::F32) => BigUint::from((1u32 << 24) - 1) << 104u32,
            (BoundType::Bmax, DataType::F64) => BigUint::from((1u64 << 53) - 1) << 971u32,
            (BoundType::Bmax, DataType::I32) => BigUint::one() << 31u32,
            (BoundType::Bmax, DataType::I64) => BigUint::one() << 63u32,
        }
    }

    /// E: shifted weights are multiplied by it before they are cut to integers. In a word group: the largest
    /// power of two with which the most models allowed can be added up.
    pub fn exp_shift(self) -> BigUint {
        let Self { group_type, data_type, bound_type, model_type } = self;
        if let Some(e) = word::exponent(group_type, data_type, bound_type, model_type) {
            return BigUint::one() << e;
        }
        ten_to(match (self.data_type, self.bound_type) {
            (DataType::F32, BoundType::Bmax) => 45,
            (DataType::F64, BoundType::Bmax) => 324,
            (DataType::F64, _) => 20,
            _ => 10,
        })
    }

    /// The largest number of models that may be added up.
    pub const fn max_nb_models(self) -> u64 {
        self.model_type.max_nb_models()
    }
}

fn ten_to(exponent: u32) -> BigUint {
    Pow::pow(BigUint::from(10u32), exponent)
}

/// `Prime/F32/B0/M3`.
impl fmt::Display for MaskConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group_type, data_type, bound_type, model_type } = self;
        write!(f, "{group_type}/{data_type}/{bound_type}/{model_type}")
    }
}

/// Reads what `Display` writes: the four names with slashes between them.
impl FromStr for MaskConfig {
    type Err = MaskConfigNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = name.split('/').collect();
        let [group_type, data_type, bound_type, model_type] = parts[..] else {
            return Err(UnknownMaskConfigName {
                what: "mask config",
                value: name.into(),
                allowed: "names such as Prime/F32/B0/M3",
            }
            .into());
        };
        Ok(Self::new(
            group_type.parse()?,
            data_type.parse()?,
            bound_type.parse()?,
            model_type.parse()?,
        )?)
    }
}

/// The configs of the two parts of a mask object: of the vector, and of the unit (the scalar).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MaskConfigPair {
    /// The config of the vector of weights.
    pub vect: MaskConfig,
    /// The config of the unit.
    pub unit: MaskConfig,
}

/// The same config twice, as old deployments use it; except that the unit of a word group is always a
/// `Word64`. It is a single number, and small scalars are the first to suffer from coarse steps.
impl From<MaskConfig> for MaskConfigPair {
    fn from(config: MaskConfig) -> Self {
        let unit = match config.group_type {
            // There is one wherever there is a Word32: the same choices with 2^32 times finer steps.
            GroupType::Word32 => MaskConfig { group_type: GroupType::Word64, ..config },
            _ => config,
        };
        MaskConfigPair { vect: config, unit }
    }
}

impl MaskConfigPair {
    /// The largest number of models that both configs allow.
    pub fn max_nb_models(self) -> u64 {
        self.vect.max_nb_models().min(self.unit.max_nb_models())
    }
}

impl fmt::Display for MaskConfigPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vect == self.unit {
            self.vect.fmt(f)
        } else {
            write!(f, "{} (unit {})", self.vect, self.unit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_bytes_are_those_of_the_order() {
        for config in MaskConfig::all() {
            let order = config.order();
            assert_eq!((&order - 1u32).bits() as usize, config.number_bits(), "{config}");
            let drawn = match config.group_type.is_word() {
                true => &order - 1u32,
                false => order.clone(),
            };
            assert_eq!(drawn.bits().div_ceil(8) as usize, config.bytes_per_draw(), "{config}");
            let (num, den) = config.add_shift().into();
            assert!(den.is_one());
            let range = num * 2 * BigInt::from(config.exp_shift());
            assert!(range < BigInt::from(order), "{config}: a single model must fit");
        }
    }

    #[test]
    fn wire_bytes_round_trip_for_all_and_only_for_all() {
        let all: Vec<_> = MaskConfig::all().collect();
        assert_eq!(all.iter().filter(|config| !config.group_type.is_word()).count(), 240);
        assert_eq!(all.len(), 240 + 85);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        for config in all {
            assert_eq!(MaskConfig::from_bytes(config.to_bytes()), Ok(config));
        }
        for (bytes, position) in
            [([3, 0, 0, 3], 0), ([0, 4, 0, 3], 1), ([0, 0, 1, 3], 2), ([0, 0, 0, 0], 3)]
        {
            match MaskConfig::from_bytes(bytes) {
                Err(InvalidMaskConfig::UnknownByte { position: found, .. }) => {
                    assert_eq!(found, position);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("bMAX".parse(), Ok(BoundType::Bmax));
        assert_eq!("power2".parse(), Ok(GroupType::Power2));
        assert_eq!("M12".parse(), Ok(ModelType::M12));
        let error = "F16".parse::<DataType>().unwrap_err();
        assert_eq!(error.to_string(), "\"F16\" is no data type; use one of F32, F64, I32, I64");
        for config in MaskConfig::all() {
            let text = config.to_string();
            let parts: Vec<_> = text.split('/').collect();
            assert_eq!(parts[0].parse(), Ok(config.group_type));
            assert_eq!(parts[1].parse(), Ok(config.data_type));
            assert_eq!(parts[2].parse(), Ok(config.bound_type));
            assert_eq!(parts[3].parse(), Ok(config.model_type));
        }
    }

    #[test]
    fn bincode_writes_variant_indices() {
        let config = MaskConfig::from_bytes([1, 2, 255, 12]).unwrap();
        let bytes = bincode::serialize(&config).unwrap();
        assert_eq!(bytes, [1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(bincode::deserialize::<MaskConfig>(&bytes).unwrap(), config);
    }
}
