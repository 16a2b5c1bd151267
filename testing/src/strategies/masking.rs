//! Mask configs, models and scalars.

use num_bigint::BigUint;
use pet_core::mask::{DataType, MaskConfig, MaskConfigPair};
use pet_core::model::{Model, Scalar};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Every mask config that there is.
pub fn mask_configs() -> impl Strategy<Value = MaskConfig> {
    select(MaskConfig::all().collect::<Vec<_>>())
}

/// Any two of them, for weights and scalars.
pub fn mask_config_pairs() -> impl Strategy<Value = MaskConfigPair> {
    (mask_configs(), mask_configs()).prop_map(|(vect, unit)| MaskConfigPair { vect, unit })
}

/// Models of so many weights within a config's bound, its very edge included: masked with a scalar of at most 1
/// nothing of them is clamped.
pub fn models(config: MaskConfig, length: usize) -> BoxedStrategy<Model> {
    let whole = config.add_shift().to_integer();
    let small = i64::try_from(&whole).unwrap_or(i64::MAX);
    match config.data_type() {
        DataType::F32 => {
            let edge = if small == i64::MAX { f32::MAX } else { small as f32 };
            let weight = prop_oneof![8 => -edge..=edge, 1 => select(vec![0.0, edge, -edge, 1e-7])];
            vec(weight, length).prop_map(Model::F32).boxed()
        }
        DataType::F64 => {
            let edge = if small == i64::MAX { f64::MAX / 2.0 } else { small as f64 };
            let weight = prop_oneof![8 => -edge..=edge, 1 => select(vec![0.0, edge, -edge, 1e-17])];
            vec(weight, length).prop_map(Model::F64).boxed()
        }
        DataType::I32 => {
            let edge = i32::try_from(small).unwrap_or(i32::MAX);
            vec(-edge..=edge, length).prop_map(Model::I32).boxed()
        }
        DataType::I64 => vec(-small..=small, length).prop_map(Model::I64).boxed(),
    }
}

/// Scalars from 0 to 2.
pub fn scalars() -> impl Strategy<Value = Scalar> {
    (0u32..=32, 1u32..=16).prop_map(|(numer, denom)| {
        let ratio = Scalar::from_ratio(BigUint::from(numer.min(2 * denom)), BigUint::from(denom));
        ratio.unwrap_or_else(|_| Scalar::one())
    })
}
