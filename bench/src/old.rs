//! The published crate, called through its public API only, with short models: it is slow.

use std::convert::TryFrom;

use xaynet_core::crypto::ByteObject;
use xaynet_core::mask::{
    Aggregation, BoundType, DataType, FromPrimitives, GroupType, IntoPrimitives, MaskConfig,
    MaskObject, MaskSeed, Masker, Model, ModelType,
};
use xaynet_core::message::{FromBytes, ToBytes};

use crate::ours::{weights, AGGREGATE, DEFAULT, DERIVE, MASK, READ, UNMASK, WRITE};
use crate::runner::{Kind, Row, Runner};

/// How many weights its models have here, whatever ours have: its time for a weight does not depend on it.
const LENGTH: usize = 20_000;

/// The name of the old crate's row.
pub fn id(step: &'static str, config: &str) -> String {
    row(step, config).id()
}

fn row(step: &'static str, config: &str) -> Row {
    Row::new(step, format!("{config} (old)"), LENGTH).of(Kind::Old)
}

fn config(name: &str) -> MaskConfig {
    let bytes = name.parse::<pet_core::mask::MaskConfig>().expect("an old config").to_bytes();
    MaskConfig {
        group_type: GroupType::try_from(bytes[0]).expect("a group type"),
        data_type: DataType::try_from(bytes[1]).expect("a data type"),
        bound_type: BoundType::try_from(bytes[2]).expect("a bound type"),
        model_type: ModelType::try_from(bytes[3]).expect("a model type"),
    }
}

fn seed(number: u8) -> MaskSeed {
    MaskSeed::from_slice_unchecked(&[number; 32])
}

fn bytes(object: &MaskObject) -> Vec<u8> {
    let mut buffer = vec![0; object.buffer_length()];
    object.to_bytes(&mut buffer);
    buffer
}

fn masked(number: u8, config: MaskConfig, weights: &[f64]) -> MaskObject {
    let model = match config.data_type {
        DataType::F64 => Model::from_primitives_bounded(weights.iter().copied()),
        _ => Model::from_primitives_bounded(weights.iter().map(|w| *w as f32)),
    };
    Masker::with_seed(config.into(), seed(number)).mask(1.0, &model).1
}

/// Measures those rows of it that ours are compared with.
pub fn measure(runner: &mut Runner) {
    let weights = weights(LENGTH);
    // A weight of its longest numbers takes it tens of microseconds.
    for name in [DEFAULT, "Integer/F64/B2/M6", "Prime/F32/Bmax/M3"] {
        let config = config(name);
        runner.measure(row(DERIVE, name), || (), |()| seed(1).derive_mask(LENGTH, config.into()));
    }
    for name in [DEFAULT, "Integer/F64/B2/M6"] {
        let config = config(name);
        runner.measure(row(MASK, name), || (), |()| bytes(&masked(1, config, &weights)));
        let message = bytes(&masked(1, config, &weights));
        let mut sum = Aggregation::new(config.into(), LENGTH);
        sum.aggregate(masked(2, config, &weights));
        runner.measure(
            row(AGGREGATE, name),
            || sum.clone(),
            |mut sum| {
                let object = MaskObject::from_byte_slice(&message).expect("a mask object");
                sum.validate_aggregation(&object).expect("it fits");
                sum.aggregate(object);
                sum
            },
        );
    }
    for name in [DEFAULT, "Prime/F64/B0/M3", "Prime/F32/Bmax/M3"] {
        let config = config(name);
        let mut sum = Aggregation::new(config.into(), LENGTH);
        let mut masks = Aggregation::new(config.into(), LENGTH);
        for number in 0..3 {
            sum.aggregate(masked(number, config, &weights));
            masks.aggregate(seed(number).derive_mask(LENGTH, config.into()));
        }
        let mask: MaskObject = masks.into();
        // What both rows begin with, each in bytes as it came.
        let unmask = |(sum, mask): (Aggregation, MaskObject)| {
            sum.validate_unmasking(&mask).expect("it fits");
            sum.unmask(mask)
        };
        runner.measure(
            row(UNMASK, name),
            || (sum.clone(), mask.clone()),
            |input| {
                let model = unmask(input);
                match config.data_type {
                    DataType::F64 => {
                        let weights: Vec<f64> = primitives(model);
                        weights.len()
                    }
                    _ => {
                        let weights: Vec<f32> = primitives(model);
                        weights.len()
                    }
                }
            },
        );
        if name == DEFAULT {
            runner.measure(
                row(WRITE, name),
                || (sum.clone(), mask.clone()),
                |input| bincode::serialize(&unmask(input)).expect("a model"),
            );
            let bytes = bincode::serialize(&unmask((sum, mask))).expect("a model");
            runner.measure(
                row(READ, name),
                || (),
                |()| {
                    let weights: Vec<f32> =
                        primitives(bincode::deserialize(&bytes).expect("a model"));
                    weights
                },
            );
        }
    }
}

fn primitives<P: 'static>(model: Model) -> Vec<P>
where
    Model: IntoPrimitives<P>,
{
    let count = model.len();
    let weights: Vec<P> = model.into_primitives().filter_map(Result::ok).collect();
    assert_eq!(weights.len(), count);
    weights
}
