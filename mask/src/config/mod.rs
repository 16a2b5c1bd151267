//! Mask configs: which group the numbers live in, and how weights are scaled into it.
//!
//! Spec section 5. Everything here follows from the four choices by formula, with two exceptions: the
//! primes above the integer orders and the lengths in bits, which are tables (both checked against the
//! formulas or the test vectors by tests). The word groups are not in the specification: see
//! `docs/word-groups.md`.

mod choices;
mod error;
mod order;
mod precision;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::word::{self, UnusableMaskConfig};
pub use choices::{BoundType, DataType, GroupType, ModelType};
pub use error::{InvalidMaskConfig, MaskConfigNameError, UnknownMaskConfigName};
pub use precision::Precision;

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

    /// The largest number of models that may be added up.
    pub const fn max_nb_models(self) -> u64 {
        self.model_type.max_nb_models()
    }
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
    fn a_pair_allows_as_many_models_as_both_do() {
        let [few, many] =
            [[1, 0, 0, 3], [1, 0, 0, 9]].map(|bytes| MaskConfig::from_bytes(bytes).unwrap());
        for (vect, unit) in [(few, many), (many, few), (few, few)] {
            assert_eq!(MaskConfigPair { vect, unit }.max_nb_models(), 1000);
        }
        assert_eq!(MaskConfigPair::from(many).max_nb_models(), 1_000_000_000);
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
