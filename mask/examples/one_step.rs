//! Does one step of masking so often as it is told, and nothing else: for programs that count its instructions.
//!
//!     cargo run --release -p pet-mask --example one_step -- STEP CONFIG LENGTH REPEATS
//!
//! Steps: `stream` (LENGTH bytes of key stream), `derive`, `sum` (of ten masks), `mask`, `aggregate`, `unmask` (LENGTH weights).
//! What a step takes is the difference between two runs with different REPEATS, divided by that difference.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that is told what to do"
)]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use pet_mask::model::{Model, Scalar};
use pet_mask::{
    derive_mask, mask_model, Aggregation, DataType, KeyStream, MaskConfig, MaskConfigPair,
    MaskObjectView, MaskSeed, MaskSum, Masker, Unmasker,
};

/// Masks that are added up by `sum`.
const MASKS: u8 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [step, config, length, repeats] = &arguments[..] else {
        return Err("usage: one_step STEP CONFIG LENGTH REPEATS".into());
    };
    let config: MaskConfigPair = config.parse::<MaskConfig>()?.into();
    let (length, repeats) = (length.parse()?, repeats.parse()?);
    let mut step = prepared(step, config, length)?;
    for _ in 0..repeats {
        step()?;
    }
    Ok(())
}

type Step = Box<dyn FnMut() -> Result<(), Box<dyn Error>>>;

/// Makes what the step needs.
fn prepared(step: &str, config: MaskConfigPair, length: usize) -> Result<Step, Box<dyn Error>> {
    let (seed, scalar) = (MaskSeed::new([7; 32]), Scalar::one());
    let model = Arc::new(model(config, length));
    let masked = || mask_model(&seed, config, &scalar, &model).map(|(masked, _)| masked);
    Ok(match step {
        "stream" => {
            let (stream, mut bytes) = (KeyStream::new(&[7; 32], 0), vec![0; length]);
            Box::new(move || {
                stream.xor(0, black_box(&mut bytes));
                Ok(())
            })
        }
        "derive" => Box::new(move || {
            black_box(derive_mask(&seed, config, length));
            Ok(())
        }),
        "sum" => Box::new(move || {
            let mut sum = MaskSum::new(config, length);
            sum.add_seeds((1..=MASKS).map(|i| MaskSeed::new([i; 32])));
            while !sum.step(usize::MAX) {}
            black_box(sum.finish());
            Ok(())
        }),
        "mask" => Box::new(move || {
            black_box(Masker::new(&seed, config, &scalar, model.clone())?.finish()?);
            Ok(())
        }),
        "aggregate" => {
            let (masked, mut sum) = (masked()?, Aggregation::new(config, length));
            Box::new(move || {
                let view = MaskObjectView::parse_exact(black_box(&masked))?;
                sum.aggregate(&view)?;
                Ok(())
            })
        }
        "unmask" => {
            let mut sum = Aggregation::new(config, length);
            sum.aggregate(&MaskObjectView::parse_exact(&masked()?)?)?;
            let sum = Arc::new(sum);
            let mask = Bytes::from(derive_mask(&seed, config, length).to_bytes()?);
            Box::new(move || {
                black_box(Unmasker::model_only(sum.clone(), mask.clone())?.finish()?);
                Ok(())
            })
        }
        other => return Err(format!("there is no step {other}").into()),
    })
}

/// Weights from -1 to 1.
fn model(config: MaskConfigPair, length: usize) -> Model {
    let weights = (0..length).map(|i| (i % 2001) as f64 / 1000.0 - 1.0);
    match config.vect.data_type() {
        DataType::F64 => Model::F64(weights.collect()),
        _ => Model::F32(weights.map(|weight| weight as f32).collect()),
    }
}
