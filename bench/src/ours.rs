//! Our steps, on one thread: the calls that the jobs of participants and coordinator are made of.

use std::sync::Arc;

use bytes::Bytes;
use pet_core::mask::{
    derive_mask, Aggregation, MaskConfig, MaskConfigPair, MaskObjectView, MaskSeed, MaskSum,
    Masker, Unmasker,
};
use pet_core::model::{ratio, DataType, Model, Scalar};

use crate::limits::{key_stream_bytes, longest, LENGTHS};
use crate::old;
use crate::runner::{id, Limit, Row, Runner, Target};

/// The steps.
pub const DERIVE: &str = "derive a mask";
pub const MASK: &str = "array to payload";
pub const AGGREGATE: &str = "parse, check, aggregate";
pub const MERGE: &str = "merge aggregates";
pub const UNMASK: &str = "unmask";
/// And, in the same pass, the array.
pub const WRITE: &str = "write old form";
pub const READ: &str = "read old form";
pub const SUM2: &str = "Sum2 of 100 masks";

/// The config of most deployments.
pub const DEFAULT: &str = "Prime/F32/B0/M3";
const WORD32: &str = "Word32/F32/B0/M3";
const WORD64: &str = "Word64/F32/B0/M3";

/// How many masks are added up.
pub const MASKS: usize = 100;

fn config(name: &str) -> MaskConfigPair {
    name.parse::<MaskConfig>().expect("a usable config").into()
}

/// Weights as training makes them: small, of both signs.
pub fn weights(length: usize) -> Vec<f64> {
    (0..length).map(|i| ((i * 31 + 17) % 2001) as f64 / 1000.0 - 1.0).collect()
}

fn model(data_type: DataType, length: usize) -> Model {
    let weights = weights(length);
    match data_type {
        DataType::F32 => Model::F32(weights.iter().map(|w| *w as f32).collect()),
        DataType::F64 => Model::F64(weights),
        DataType::I32 => Model::I32(weights.iter().map(|w| *w as i32).collect()),
        DataType::I64 => Model::I64(weights.iter().map(|w| *w as i64).collect()),
    }
}

fn seed(number: u8) -> MaskSeed {
    MaskSeed::new([number; 32])
}

fn masked(number: u8, config: MaskConfigPair, length: usize) -> Vec<u8> {
    let model = model(config.vect.data_type(), length);
    Masker::new(&seed(number), config, &Scalar::one(), model)
        .and_then(Masker::finish)
        .expect("finite weights")
        .0
}

/// Bytes of a number in a message.
fn wire(config: MaskConfigPair) -> f64 {
    config.vect.bytes_per_number() as f64
}

/// Bytes of a number while it is computed with.
fn element(config: MaskConfigPair) -> f64 {
    match config.vect.bytes_per_number() {
        0..=4 => 4.0,
        5..=8 => 8.0,
        9..=16 => 16.0,
        more => more.div_ceil(8) as f64 * 8.0,
    }
}

/// Measures all of them.
pub fn measure(runner: &mut Runner) {
    derive(runner);
    mask(runner);
    sum2(runner);
    aggregate(runner);
    unmask(runner);
    old_form(runner);
}

fn derive(runner: &mut Runner) {
    let [short, middle, long] = LENGTHS;
    let cases: [(&str, &[usize], &[Target]); 6] = [
        (DEFAULT, &[short, middle, long], &[Target::OfLimit(0.85), Target::TimesOld(9.5)]),
        ("Integer/F64/B2/M6", &[short, middle], &[Target::OfLimit(0.7)]),
        ("Prime/F32/Bmax/M3", &[short], &[Target::OfLimit(0.7)]),
        ("Integer/F64/Bmax/M3", &[short / 10], &[Target::OfLimit(0.7)]),
        (WORD32, &[short, middle, long], &[Target::Nanoseconds(2.5)]),
        (WORD64, &[short, middle], &[]),
    ];
    for (name, all, targets) in cases {
        let pair = config(name);
        let longest = longest(runner);
        for &length in all.iter().filter(|length| **length <= longest) {
            let mut row = Row::new(DERIVE, name, length)
                .limit(Limit::KeyStream(key_stream_bytes(pair.vect)))
                .old(old::id(DERIVE, name));
            row.targets = targets.to_vec();
            let seed = seed(1);
            runner.measure(row, || (), |()| derive_mask(&seed, pair, length));
        }
    }
}

fn mask(runner: &mut Runner) {
    let third = Scalar::from_ratio(1u32.into(), 3u32.into()).expect("3 is not 0");
    let [short, middle, long] = LENGTHS;
    let cases: [(&str, &str, Scalar, &[usize]); 5] = [
        (DEFAULT, "", Scalar::one(), &[short, middle, long]),
        (DEFAULT, ", scalar 1/3", third.clone(), &[middle]),
        ("Integer/F64/B2/M6", "", Scalar::one(), &[middle]),
        (WORD32, "", Scalar::one(), &[short, middle, long]),
        (WORD32, ", scalar 1/3", third, &[middle]),
    ];
    for (name, note, scalar, all) in cases {
        let pair = config(name);
        let longest = longest(runner);
        for &length in all.iter().filter(|length| **length <= longest) {
            let message = MaskObjectView::serialized_len(pair, length).expect("a short model");
            let mut row = Row::new(MASK, format!("{name}{note}"), length)
                .limit(Limit::KeyStream(key_stream_bytes(pair.vect)))
                .old(old::id(MASK, name));
            if name == WORD32 {
                row = row.target(Target::Nanoseconds(4.0));
            } else if name == DEFAULT {
                let derived = id(DERIVE, name, length, 1);
                row = row
                    .target(Target::TimesRow { wanted: 1.25, id: derived, count: 1.0 })
                    .target(Target::TimesOld(50.0));
            }
            let model = Arc::new(model(pair.vect.data_type(), length));
            // 4 or 8 bytes a weight.
            row = row.inputs(length * if name.contains("F64") { 8 } else { 4 });
            if length == long {
                let bytes = message as u64;
                row = row.target(Target::Memory { wanted: 2.5, of: "the message", bytes });
            }
            let seed = seed(1);
            runner.measure(
                row,
                || model.clone(),
                |model| {
                    Masker::new(&seed, pair, &scalar, model)
                        .and_then(Masker::finish)
                        .expect("finite weights")
                },
            );
        }
    }
}

fn sum2(runner: &mut Runner) {
    let length = if runner.is_quick() { LENGTHS[0] } else { LENGTHS[1] };
    for name in [DEFAULT, WORD32] {
        let pair = config(name);
        let bytes = MaskObjectView::serialized_len(pair, length).expect("a short model") as u64;
        // Per weight and mask: a weight of this row is a number drawn and added.
        let derived = id(DERIVE, name, length, 1);
        let row = Row::new(SUM2, name, length * MASKS)
            .limit(Limit::KeyStream(key_stream_bytes(pair.vect)))
            .target(Target::TimesRow { wanted: 1.1, id: derived, count: 1.0 })
            .target(Target::Memory { wanted: 3.0, of: "the output", bytes });
        runner.measure(
            row,
            || (),
            |()| {
                let mut sum = MaskSum::new(pair, length);
                sum.add_seeds((0..MASKS as u8).map(seed));
                sum.finish().to_bytes().expect("a short model")
            },
        );
    }
}

fn aggregate(runner: &mut Runner) {
    let [short, middle, long] = LENGTHS;
    let cases: [(&str, &[usize]); 3] = [
        (DEFAULT, &[short, middle, long]),
        ("Integer/F64/B2/M6", &[middle]),
        (WORD32, &[short, middle, long]),
    ];
    for (name, all) in cases {
        let pair = config(name);
        let longest = longest(runner);
        for &length in all.iter().filter(|length| **length <= longest) {
            let message = masked(1, pair, length);
            let mut row = Row::new(AGGREGATE, name, length)
                .old(old::id(AGGREGATE, name))
                .limit(Limit::Memory(wire(pair) + 2.0 * element(pair)))
                .inputs(message.len());
            if name == DEFAULT {
                let rate = Target::Rate { wanted: 2e9, per_weight: wire(pair) };
                row = row.target(rate).target(Target::TimesOld(20.0));
            } else if name == WORD32 {
                row = row.target(Target::Nanoseconds(1.0));
            }
            // Now and then from the beginning: only so many models may be added up.
            let mut aggregation = Aggregation::new(pair, length);
            runner.measure(
                row,
                || (),
                |()| {
                    if aggregation.nb_models() == pair.max_nb_models() {
                        let sum = aggregation.object().clone();
                        aggregation = Aggregation::with_nb_models(sum, 0);
                    }
                    let view = MaskObjectView::parse_exact(&message).expect("a mask object");
                    aggregation.aggregate(&view).expect("it fits");
                },
            );
        }
    }
    let pair = config(DEFAULT);
    let mut part = Aggregation::new(pair, middle);
    let message = masked(1, pair, middle);
    part.aggregate(&MaskObjectView::parse_exact(&message).expect("a mask object"))
        .expect("it fits");
    let row = Row::new(MERGE, DEFAULT, middle).limit(Limit::Memory(3.0 * element(pair)));
    let sum = part.clone();
    runner.measure(
        row,
        || sum.clone(),
        |mut sum| {
            sum.merge(&part).expect("it fits");
            sum
        },
    );
}

/// The sum of three masked models, and the sum of their masks.
pub fn aggregated(pair: MaskConfigPair, length: usize) -> (Arc<Aggregation>, Bytes) {
    let mut aggregation = Aggregation::new(pair, length);
    let mut masks = MaskSum::new(pair, length);
    for number in 0..3 {
        let message = masked(number, pair, length);
        let view = MaskObjectView::parse_exact(&message).expect("a mask object");
        aggregation.aggregate(&view).expect("it fits");
        masks.add_seeds([seed(number)]);
    }
    (Arc::new(aggregation), masks.finish().to_bytes().expect("a short model").into())
}

fn unmask(runner: &mut Runner) {
    let [short, middle, long] = LENGTHS;
    let cases: [(&str, &[usize]); 4] = [
        (DEFAULT, &[short, middle, long]),
        ("Prime/F64/B0/M3", &[middle]),
        ("Prime/F32/Bmax/M3", &[short]),
        (WORD32, &[middle]),
    ];
    for (name, all) in cases {
        let pair = config(name);
        let longest = longest(runner);
        for &length in all.iter().filter(|length| **length <= longest) {
            let (aggregation, mask) = aggregated(pair, length);
            let weight = if name.contains("F64") { 8.0 } else { 4.0 };
            let bytes = (element(pair) + wire(pair)) * length as f64;
            let mut row = Row::new(UNMASK, name, length)
                .old(old::id(UNMASK, name))
                .limit(Limit::Memory(element(pair) + wire(pair) + weight))
                .inputs(bytes as usize);
            if name == DEFAULT {
                row = row.target(Target::Nanoseconds(10.0)).target(Target::TimesOld(300.0));
            }
            runner.measure(
                row,
                || (aggregation.clone(), mask.clone()),
                |(aggregation, mask)| {
                    Unmasker::model_only(aggregation, mask)
                        .and_then(Unmasker::finish)
                        .expect("it fits")
                },
            );
        }
    }
}

fn old_form(runner: &mut Runner) {
    let pair = config(DEFAULT);
    for &length in &LENGTHS[..2] {
        let (aggregation, mask) = aggregated(pair, length);
        let write = || {
            Unmasker::new(aggregation.clone(), mask.clone())
                .and_then(Unmasker::finish)
                .expect("it fits")
                .ratios
        };
        let bytes = write();
        let per_weight = bytes.len() as f64 / length as f64;
        let row = Row::new(WRITE, DEFAULT, length)
            .old(old::id(WRITE, DEFAULT))
            .limit(Limit::Memory(element(pair) + wire(pair) + per_weight))
            .target(Target::Nanoseconds(150.0));
        runner.measure(row, || (), |()| write());
        let row = Row::new(READ, DEFAULT, length)
            .old(old::id(READ, DEFAULT))
            .limit(Limit::Memory(per_weight + 4.0))
            .target(Target::Nanoseconds(60.0));
        runner.measure(row, || (), |()| ratio::decode(&bytes, DataType::F32).expect("a model"));
    }
}
