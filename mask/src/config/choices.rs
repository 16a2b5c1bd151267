//! The four choices that a mask config is made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::word;
use super::{InvalidMaskConfig, UnknownMaskConfigName};

/// The group type, which says how the order is chosen above the largest sum of encoded weights.
///
/// The last two are an extension: only this implementation knows them. They are the fastest, and how precise
/// they are follows from the other choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
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
#[non_exhaustive]
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
#[non_exhaustive]
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
    /// Whether the order is that of a machine word, whatever the other choices are.
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
