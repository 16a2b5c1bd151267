//! The groups of whole machine words: an extension of ours (see `docs/word-groups.md`).
//!
//! Their order is fixed, 2^32 or 2^64, so it is the scaling that follows from the other three choices: E
//! is the largest power of two with which the sum of the most models allowed stays below the order. What
//! that leaves of a weight may be too little to be of any use. Such configs are refused: they cannot be
//! made, and so never get onto the wire.

use std::fmt;

use super::config::{BoundType, DataType, GroupType, MaskConfig, ModelType};

/// Floats: the bound must be at least 2^16 steps. A weight of a hundredth of the bound then still has
/// 9 bits, about as many as a bfloat16.
const MIN_BITS: u32 = 16;

/// Floats: a step must be at most 2^-7. Otherwise hardly anything is left of weights around 1, however large
/// those may be that the bound is meant for.
const MIN_EXPONENT: u32 = 7;

/// A combination with one of the groups [`Word32`](GroupType::Word32) and [`Word64`](GroupType::Word64) that
/// leaves too little of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnusableMaskConfig {
    /// The kind of group.
    pub group_type: GroupType,
    /// The type of the weights.
    pub data_type: DataType,
    /// The bound on scaled weights.
    pub bound_type: BoundType,
    /// The bound on the number of models.
    pub model_type: ModelType,
}

impl UnusableMaskConfig {
    /// What comes nearest among the combinations that can be used: with one of the four choices changed.
    /// The last one is an old group, which always can.
    fn alternatives(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let Self { group_type: group, data_type: data, bound_type: bound, model_type: model } =
            self;
        let fits = |config: Result<MaskConfig, _>| config.is_ok();
        let word64 = fits(MaskConfig::new(GroupType::Word64, data, bound, model))
            .then_some(("group type", "Word64"));
        let models = ModelType::ALL
            .iter()
            .rfind(|&&m| m < model && fits(MaskConfig::new(group, data, bound, m)))
            .map(|m| ("model type", m.name()));
        let bounds = BoundType::ALL
            .iter()
            .rfind(|&&b| b < bound && fits(MaskConfig::new(group, data, b, model)))
            .map(|b| ("bound type", b.name()));
        let old = Some(("group type", GroupType::Prime.name()));
        [word64, models, bounds, old].into_iter().flatten()
    }
}

impl fmt::Display for UnusableMaskConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group_type, data_type, bound_type, model_type } = *self;
        write!(f, "{group_type}/{data_type}/{bound_type}/{model_type} is of no use: ")?;
        match exponent(group_type, data_type, bound_type, model_type) {
            Some(e) => write!(f, "weights would be rounded down to multiples of 1/{}", 1u128 << e)?,
            None => f.write_str("not even multiples of 1 could be added up")?,
        }
        for (i, (what, name)) in self.alternatives().enumerate() {
            write!(f, "{} {what} {name}", if i == 0 { "; use" } else { " or" })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnusableMaskConfig {}

/// Length in bits of the numbers of a word group; None for the other groups.
pub(super) const fn bits(group: GroupType) -> Option<u32> {
    match group {
        GroupType::Word32 => Some(32),
        GroupType::Word64 => Some(64),
        _ => None,
    }
}

/// The exponent e of E = 2^e, the largest with `max_nb_models * 2 * A * E < order`. None if there is no such
/// e >= 0, or for another kind of group.
pub(super) const fn exponent(
    group: GroupType,
    data: DataType,
    bound: BoundType,
    model: ModelType,
) -> Option<u32> {
    let (Some(bits), Some(bound)) = (bits(group), small_bound(data, bound)) else {
        return None;
    };
    // At most 2^63 * 2 * 10^12 < 2^104.
    let range = 2 * bound * model.max_nb_models() as u128;
    ((1u128 << bits) - 1).checked_div(range).unwrap().checked_ilog2()
}

/// Is the combination good for anything?
pub(super) const fn is_usable(
    group: GroupType,
    data: DataType,
    bound: BoundType,
    model: ModelType,
) -> bool {
    match exponent(group, data, bound, model) {
        None => false,
        Some(e) => match data {
            // With a scalar of 1, or any whole number, these are exact whatever E is.
            DataType::I32 | DataType::I64 => true,
            DataType::F32 | DataType::F64 => {
                let bits = match small_bound(data, bound) {
                    Some(bound) => (bound << e).ilog2(),
                    None => 0,
                };
                e >= MIN_EXPONENT && bits >= MIN_BITS
            }
        },
    }
}

/// A, where it has at most 64 bits.
const fn small_bound(data: DataType, bound: BoundType) -> Option<u128> {
    Some(match (bound, data) {
        (BoundType::B0, _) => 1,
        (BoundType::B2, _) => 100,
        (BoundType::B4, _) => 10_000,
        (BoundType::B6, _) => 1_000_000,
        (BoundType::Bmax, DataType::I32) => 1 << 31,
        (BoundType::Bmax, DataType::I64) => 1 << 63,
        (BoundType::Bmax, DataType::F32 | DataType::F64) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
    use num_traits::One;

    fn words() -> impl Iterator<Item = MaskConfig> {
        MaskConfig::all().filter(|config| config.group_type().is_word())
    }

    #[test]
    fn the_most_models_never_wrap_and_twice_as_fine_steps_would() {
        for config in words() {
            let most = config.add_shift_integer() * 2u32 * config.max_nb_models();
            let e = config.exp_shift();
            assert_eq!(e.trailing_zeros(), Some(e.bits() - 1), "{config}");
            assert!(&most * &e < config.order(), "{config}");
            assert!(most * 2u32 * e >= config.order(), "{config}");
        }
    }

    /// The rule in words, with big integers.
    #[test]
    fn floats_keep_sixteen_bits_and_integers_are_whole() {
        let mut refused = 0;
        for group in [GroupType::Word32, GroupType::Word64] {
            for &data in DataType::ALL {
                for &bound in BoundType::ALL {
                    for &model in ModelType::ALL {
                        let old = MaskConfig::new(GroupType::Prime, data, bound, model).unwrap();
                        let order =
                            BigUint::one() << if group == GroupType::Word32 { 32 } else { 64u32 };
                        let a = old.add_shift_integer();
                        let e = (order - 1u32) / (&a * 2u32 * old.max_nb_models());
                        // In whole bits, as E is a power of two.
                        let e = if e.bits() == 0 { e } else { BigUint::one() << (e.bits() - 1) };
                        let float = matches!(data, DataType::F32 | DataType::F64);
                        let usable = if float {
                            e >= BigUint::from(128u32) && a * &e >= BigUint::from(1u32 << 16)
                        } else {
                            e >= BigUint::one()
                        };
                        let config = MaskConfig::new(group, data, bound, model);
                        assert_eq!(config.is_ok(), usable, "{group}/{data}/{bound}/{model}");
                        refused += u32::from(!usable);
                    }
                }
            }
        }
        assert_eq!(refused, 160 - 85);
    }

    #[test]
    fn errors_say_what_to_use_instead() {
        let error = |text: &str| text.parse::<MaskConfig>().unwrap_err().to_string();
        assert_eq!(
            error("Word32/F32/B0/M6"),
            "mask config Word32/F32/B0/M6 is of no use: weights would be rounded down to multiples of \
             1/2048; use group type Word64 or model type M3 or group type Prime"
        );
        assert_eq!(
            error("Word64/F32/Bmax/M3"),
            "mask config Word64/F32/Bmax/M3 is of no use: not even multiples of 1 could be added up; use \
             bound type B6 or group type Prime"
        );
        for &group in [GroupType::Word32, GroupType::Word64].iter() {
            for (&data, &bound) in DataType::ALL.iter().zip(BoundType::ALL) {
                for &model in ModelType::ALL {
                    let Err(error) = MaskConfig::new(group, data, bound, model) else { continue };
                    for (what, name) in error.alternatives() {
                        let other = match what {
                            "group type" => {
                                MaskConfig::new(name.parse().unwrap(), data, bound, model)
                            }
                            "bound type" => {
                                MaskConfig::new(group, data, name.parse().unwrap(), model)
                            }
                            _ => MaskConfig::new(group, data, bound, name.parse().unwrap()),
                        };
                        assert!(other.is_ok(), "{error}");
                    }
                }
            }
        }
    }

    /// Neither from bytes nor from a snapshot nor from text.
    #[test]
    fn what_is_of_no_use_cannot_be_read() {
        let bytes = [16, 0, 6, 3];
        assert!(matches!(
            MaskConfig::from_bytes(bytes),
            Err(super::super::InvalidMaskConfig::Unusable(_))
        ));
        let indices = |bound: u8| [[3, 0, 0, 0], [0; 4], [bound, 0, 0, 0], [0; 4]].concat();
        let config: MaskConfig = bincode::deserialize(&indices(2)).unwrap();
        assert_eq!(config.to_bytes(), [16, 0, 4, 3]);
        assert_eq!(bincode::serialize(&config).unwrap(), indices(2));
        assert!(bincode::deserialize::<MaskConfig>(&indices(3)).is_err());
    }

    #[test]
    fn the_unit_is_a_word64_and_exists() {
        use super::super::MaskConfigPair;
        for config in words() {
            let pair = MaskConfigPair::from(config);
            assert_eq!((pair.vect, pair.unit.group_type()), (config, GroupType::Word64));
            assert_eq!(MaskConfig::from_bytes(pair.unit.to_bytes()), Ok(pair.unit));
        }
    }
}
