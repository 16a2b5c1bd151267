//! Tests of models under the masks of several seeds.

use std::sync::Arc;

use num_bigint::BigUint;
use proptest::prelude::*;

use super::{mask_model, MaskError, Masker};
use crate::model::{Model, Scalar};
use crate::{
    derive_mask, GroupType, MaskConfig, MaskConfigPair, MaskObject, MaskReport, MaskSeed, MaskSum,
};

fn seeds(count: usize) -> Vec<MaskSeed> {
    (0..count).map(|i| MaskSeed::new([i as u8 + 1; 32])).collect()
}

fn waves(config: MaskConfig, len: usize) -> Model {
    use crate::DataType::*;
    let weights = (0..len).map(|i| (i as f64).sin() * 1.1);
    match config.data_type() {
        F32 => Model::F32(weights.map(|w| w as f32).collect()),
        F64 => Model::F64(weights.collect()),
        I32 => Model::I32(weights.map(|w| (w * 3.0) as i32).collect()),
        I64 => Model::I64(weights.map(|w| (w * 3.0) as i64).collect()),
    }
}

fn words() -> impl Iterator<Item = MaskConfig> {
    MaskConfig::all().filter(|config| config.group_type().is_word())
}

/// All pairs of word configs with the same other choices: a unit of another width puts the vector of 64-bit words in the middle
/// of one.
fn pairs() -> impl Iterator<Item = MaskConfigPair> {
    let mixed = words().filter_map(|vect| {
        let unit = MaskConfig::new(
            GroupType::Word32,
            vect.data_type(),
            vect.bound_type(),
            vect.model_type(),
        );
        Some(MaskConfigPair { vect, unit: unit.ok()? })
    });
    words().map(MaskConfigPair::from).chain(mixed)
}

/// The model under the first mask, and the other masks added with big integers.
fn one_by_one(
    config: MaskConfigPair,
    scalar: &Scalar,
    model: &Model,
    seeds: &[MaskSeed],
) -> (Vec<u8>, MaskReport) {
    let (masked, report) = mask_model(&seeds[0], config, scalar, model).unwrap();
    let masked = MaskObject::from_bytes(&masked).unwrap();
    let (mut numbers, mut unit) = (masked.numbers(), masked.unit());
    for seed in &seeds[1..] {
        let mask = derive_mask(seed, config, model.len());
        for (number, mask) in numbers.iter_mut().zip(mask.numbers()) {
            *number = (&*number + mask) % config.vect.order();
        }
        unit = (unit + mask.unit()) % config.unit.order();
    }
    let sum = MaskObject::from_numbers(config, &numbers, unit).unwrap();
    (sum.to_bytes().unwrap(), report)
}

#[test]
fn all_masks_are_added_in_every_word_group() {
    let scalar = Scalar::from_ratio(2u32.into(), 3u32.into()).unwrap();
    for (i, config) in pairs().enumerate() {
        let model = waves(config.vect, 5000 + i);
        let seeds = seeds(1 + i % 5);
        let expected = one_by_one(config, &scalar, &model, &seeds);
        let masker =
            Masker::behind_all(b"before", 3, &seeds, config, &scalar, Arc::new(model)).unwrap();
        let (bytes, report) = masker.finish().unwrap();
        assert_eq!((&bytes[..6], &bytes[6..]), (&b"before"[..], &expected.0[..]), "{config}");
        assert_eq!(report, expected.1);
    }
}

#[test]
fn one_seed_gives_the_bytes_of_old_for_all_configs() {
    for config in MaskConfig::all() {
        let (model, seed) = (waves(config, 100), seeds(1));
        let expected = mask_model(&seed[0], config.into(), &Scalar::one(), &model).unwrap();
        let masker =
            Masker::behind_all(&[], 0, &seed, config.into(), &Scalar::one(), model.into()).unwrap();
        assert_eq!(masker.finish().unwrap(), expected, "{config}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever the steps and parts.
    #[test]
    fn steps_and_parts_give_the_same_bytes(
        bytes in prop::collection::vec(any::<[u8; 32]>(), 1..6), len in 1usize..300_000, step in 1usize..100_000, parts in 2usize..5,
        wide: bool,
    ) {
        let name = if wide { "Word64/F32/B0/M3" } else { "Word32/F32/B0/M3" };
        let config: MaskConfigPair = name.parse::<MaskConfig>().unwrap().into();
        let seeds: Vec<_> = bytes.into_iter().map(MaskSeed::new).collect();
        let model = Arc::new(waves(config.vect, len));
        let masker = || Masker::behind_all(&[], 0, &seeds, config, &Scalar::one(), model.clone()).unwrap();
        let whole = masker().finish().unwrap();
        prop_assert_eq!(&whole, &one_by_one(config, &Scalar::one(), &model, &seeds));
        let mut stepped = masker();
        while !stepped.step(step) {}
        prop_assert_eq!(&stepped.finish().unwrap(), &whole);
        let mut shared = masker();
        shared.step(step);
        loop {
            let mut pieces = shared.split(parts);
            if pieces.is_empty() {
                break;
            }
            for piece in pieces.iter_mut().rev() {
                while !piece.step() {}
            }
            pieces.into_iter().for_each(|piece| shared.absorb(piece));
        }
        prop_assert_eq!(&shared.finish().unwrap(), &whole);
    }
}

/// To take them off takes the sums of all groups' masks, and no fewer.
#[test]
fn the_sums_of_all_groups_masks_open_the_sum() {
    let config: MaskConfigPair = "Word32/I32/B2/M3".parse::<MaskConfig>().unwrap().into();
    let model = Model::I32(vec![1, -2, 3, 100]);
    let seeds = seeds(3);
    let masker = Masker::behind_all(&[], 0, &seeds, config, &Scalar::one(), model.into()).unwrap();
    let masked = MaskObject::from_bytes(&masker.finish().unwrap().0).unwrap();
    let e = config.vect.exp_shift();
    let plain: Vec<BigUint> = [101u32, 98, 103, 200].map(|w| w * &e).into();
    let left = |seeds: &[MaskSeed]| {
        let mut sum = MaskSum::new(config, 4);
        sum.add_seeds(seeds.iter().cloned());
        let order = config.vect.order();
        let masks = sum.finish().numbers();
        let numbers = masked.numbers();
        numbers.iter().zip(masks).map(|(n, m)| (n + &order - m) % &order).collect::<Vec<_>>()
    };
    assert_eq!(left(&seeds), plain);
    for missing in 0..3 {
        let mut fewer = seeds.clone();
        fewer.remove(missing);
        assert!(left(&fewer).iter().zip(&plain).all(|(left, plain)| left != plain));
    }
}

#[test]
fn only_word_groups_have_several_masks_and_no_model_has_none() {
    let begin = |config: MaskConfigPair, seeds: &[MaskSeed]| {
        let model = waves(config.vect, 3);
        Masker::behind_all(&[], 0, seeds, config, &Scalar::one(), model.into()).map(|_| ())
    };
    for config in MaskConfig::all() {
        let pair = MaskConfigPair::from(config);
        assert_eq!(begin(pair, &[]), Err(MaskError::NoSeed));
        assert_eq!(begin(pair, &seeds(1)), Ok(()));
        let refused = Err(MaskError::NoWordGroup { config: pair, seeds: 3 });
        let expected = if config.group_type().is_word() { Ok(()) } else { refused };
        assert_eq!(begin(pair, &seeds(3)), expected, "{config}");
    }
    // Both parts have to be.
    let (word, prime) = ("Word32/F32/B0/M3".parse().unwrap(), "Prime/F32/B0/M3".parse().unwrap());
    for (vect, unit) in [(word, prime), (prime, word)] {
        let config = MaskConfigPair { vect, unit };
        let error = begin(config, &seeds(2)).unwrap_err();
        assert_eq!(error, MaskError::NoWordGroup { config, seeds: 2 });
        assert!(error.to_string().contains("Word32 or Word64"), "{error}");
    }
}
