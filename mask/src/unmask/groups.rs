//! Tests of what is under the masks of several groups, without and with noise.

use std::sync::Arc;

use bytes::Bytes;
use num_bigint::{BigInt, BigUint};
use num_traits::ToPrimitive;
use proptest::prelude::*;

use super::{NoisyUnmaskError, NoisyUnmasker, UnmaskError, Unmasker};
use crate::encode::encode_exact;
use crate::model::{convert, DataType, Model, Scalar};
use crate::noise::{Clip, HeadRoom, Noise, NoiseSeed, NOISE_BLOCK};
use crate::object::{MaskObjectError, MaskObjectPart, MaskObjectView};
use crate::{
    mask_model, Aggregation, GroupMask, MaskConfig, MaskConfigPair, MaskObject, MaskSeed, MaskSum,
    Masker,
};

fn config(name: &str) -> MaskConfigPair {
    name.parse::<MaskConfig>().unwrap().into()
}

/// The seed of an updater for a group.
fn seed(updater: usize, group: usize) -> MaskSeed {
    let mut bytes = [7; 32];
    (bytes[0], bytes[1], bytes[2]) = (updater as u8, (updater >> 8) as u8, group as u8);
    MaskSeed::new(bytes)
}

/// The sum of models, each under the masks of all groups.
fn sum(config: MaskConfigPair, models: &[(Scalar, Model)], groups: usize) -> Aggregation {
    let mut aggregation = Aggregation::new(config, models[0].1.len());
    for (updater, (scalar, model)) in models.iter().enumerate() {
        let seeds: Vec<_> = (0..groups).map(|group| seed(updater, group)).collect();
        let model = Arc::new(model.clone());
        let masker = Masker::behind_all(&[], 0, &seeds, config, scalar, model).unwrap();
        let (masked, _) = masker.finish().unwrap();
        aggregation.aggregate(&MaskObjectView::parse_exact(&masked).unwrap()).unwrap();
    }
    aggregation
}

fn noise_seed(group: usize) -> NoiseSeed {
    NoiseSeed::new([group as u8 + 100; 32])
}

/// The masks of all groups.
fn masks(
    config: MaskConfigPair,
    length: usize,
    models: usize,
    groups: usize,
    noise: Option<&Noise>,
) -> Vec<Bytes> {
    let mask = |group| {
        let seeds = (0..models).map(|updater| seed(updater, group));
        let mut mask = GroupMask::new(config, length, seeds).unwrap();
        if let Some(noise) = noise {
            mask = mask.with_noise(noise, noise_seed(group)).unwrap();
        }
        mask.finish().to_bytes().unwrap().into()
    };
    (0..groups).map(mask).collect()
}

fn model(config: MaskConfig, weights: &[f64]) -> Model {
    match config.data_type() {
        DataType::F32 => Model::F32(weights.iter().map(|w| *w as f32).collect()),
        DataType::F64 => Model::F64(weights.to_vec()),
        DataType::I32 => Model::I32(weights.iter().map(|w| *w as i32).collect()),
        DataType::I64 => Model::I64(weights.iter().map(|w| *w as i64).collect()),
    }
}

#[test]
fn without_noise_the_global_model_is_that_of_old() {
    let words = MaskConfig::all().filter(|config| config.group_type().is_word());
    for (i, vect) in words.enumerate() {
        let config = MaskConfigPair::from(vect);
        let (groups, length) = (1 + i % 4, 300);
        let scalars = [(1u32, 1u32), (2, 3), (1, 2)];
        let models: Vec<_> = (0..3)
            .map(|u| {
                let weights: Vec<_> =
                    (0..length).map(|w| ((w * 7 + u) as f64).sin() * 1.2).collect();
                let (n, d) = scalars[u];
                (Scalar::from_ratio(n.into(), d.into()).unwrap(), model(vect, &weights))
            })
            .collect();
        let mut old = Aggregation::new(config, length);
        let mut mask = MaskSum::new(config, length);
        for (u, (scalar, model)) in models.iter().enumerate() {
            let (masked, _) = mask_model(&seed(u, 9), config, scalar, model).unwrap();
            old.aggregate(&MaskObjectView::parse_exact(&masked).unwrap()).unwrap();
            mask.add_seeds([seed(u, 9)]);
        }
        let mask = mask.finish().to_bytes().unwrap();
        let expected = Unmasker::model_only(old, mask).and_then(Unmasker::finish).map(|u| u.model);

        let aggregation = Arc::new(sum(config, &models, groups));
        let masks = masks(config, length, 3, groups, None);
        let begin = || Unmasker::of_groups(aggregation.clone(), masks.clone());
        let found = begin().and_then(Unmasker::finish).map(|u| u.model);
        assert_eq!(found, expected, "{config}, {groups} groups");
        // In parts.
        let Ok(mut unmasker) = begin() else { continue };
        unmasker.step(100);
        unmasker.split(3).into_iter().for_each(|part| unmasker.absorb(part));
        assert_eq!(unmasker.finish().map(|u| u.model), expected);
    }
}

#[test]
fn impossible_sums_are_named_as_of_old() {
    let config = config("Word32/F32/B0/M3");
    let models = vec![(Scalar::one(), Model::F32(vec![0.5; 200])); 2];
    let masks = masks(config, 200, 2, 3, None);
    let with = |change: &dyn Fn(&mut Vec<BigUint>)| {
        let aggregation = sum(config, &models, 3);
        let mut numbers = aggregation.object().numbers();
        change(&mut numbers);
        let unit = aggregation.object().unit();
        let object = MaskObject::from_numbers(config, &numbers, unit).unwrap();
        let aggregation = Aggregation::with_nb_models(object, 2);
        Unmasker::of_groups(aggregation, masks.clone()).and_then(Unmasker::finish)
    };
    assert!(with(&|_| {}).is_ok());
    let order = config.vect.order();
    let refused = with(&|numbers| numbers[150] = (&numbers[150] + (1u32 << 30)) % &order);
    let part = MaskObjectPart::Vector;
    assert_eq!(refused.unwrap_err(), UnmaskError::ImpossibleSum { part, index: 150, nb_models: 2 });
    // One group's mask is missing: what is left is not what two models add up to.
    let aggregation = Arc::new(sum(config, &models, 3));
    let fewer = Unmasker::of_groups(aggregation.clone(), masks[..2].to_vec());
    assert!(matches!(fewer.and_then(Unmasker::finish), Err(UnmaskError::ImpossibleSum { .. })));
    // Masks that do not fit.
    assert_eq!(
        Unmasker::of_groups(aggregation.clone(), vec![]).map(|_| ()),
        Err(UnmaskError::NoMask)
    );
    let longer = self::masks(config, 201, 2, 1, None);
    let wrong = [masks[0].clone(), longer[0].clone(), masks[2].clone()];
    let refused = Unmasker::of_groups(aggregation.clone(), wrong.to_vec()).map(|_| ());
    assert!(matches!(refused, Err(UnmaskError::MaskManyMismatch { found_len: 201, .. })));
    let wrong = [masks[0].clone(), masks[1].slice(1..), masks[2].clone()];
    let refused = Unmasker::of_groups(aggregation, wrong.to_vec()).map(|_| ());
    assert!(matches!(refused, Err(UnmaskError::InvalidMask(_))));
}

/// A number of several masks that is not below the order is found in whichever mask it is.
#[test]
fn numbers_that_are_none_are_found_in_every_mask() {
    let config = config("Prime/F32/B0/M3");
    let length = 300;
    let mask = |i: usize| crate::derive_mask(&seed(i, 0), config, length).to_bytes().unwrap();
    let model = Model::F32(vec![0.25; length]);
    let (masked, _) = mask_model(&seed(0, 0), config, &Scalar::one(), &model).unwrap();
    let mut aggregation = Aggregation::new(config, length);
    for bytes in [masked, mask(1), mask(2)] {
        aggregation.aggregate(&MaskObjectView::parse_exact(&bytes).unwrap()).unwrap();
    }
    let aggregation = Arc::new(Aggregation::with_nb_models(aggregation.object().clone(), 1));
    let unmask = |masks: Vec<Vec<u8>>| {
        let masks = masks.into_iter().map(Bytes::from).collect();
        Unmasker::of_groups(aggregation.clone(), masks).unwrap().finish()
    };
    let all: Vec<_> = (0..3).map(mask).collect();
    assert_eq!(unmask(all.clone()).unwrap().model, Ok(model));
    for wrong in 0..3 {
        let mut masks = all.clone();
        masks[wrong][8 + 6 * 200..][..6].fill(0xff);
        let part = MaskObjectPart::Vector;
        let error = MaskObjectError::NotBelowOrder { part, index: 200 };
        assert_eq!(unmask(masks).unwrap_err(), UnmaskError::InvalidMask(error));
    }
}

/// d of a weight, from the models and the noise.
fn expected(
    noise: &Noise,
    models: &[Model],
    groups: usize,
    clip: f64,
    previous: Option<&Model>,
) -> Vec<f64> {
    let config = noise.config();
    let length = models[0].len();
    let one = num_rational::BigRational::from_integer(1.into());
    let zero = BigInt::from(config.add_shift_integer() * config.exp_shift());
    let mut sums = vec![BigInt::default(); length];
    for model in models {
        for (i, sum) in sums.iter_mut().enumerate() {
            let weight = match model {
                Model::F32(weights) => convert::from_f32(weights[i]).unwrap(),
                Model::F64(weights) => convert::from_f64(weights[i]).unwrap(),
                _ => unreachable!(),
            };
            *sum += BigInt::from(encode_exact(&weight, &one, config).0) - &zero;
        }
    }
    for group in 0..groups {
        for (block, sums) in sums.chunks_mut(NOISE_BLOCK).enumerate() {
            let mut of_block = vec![0; sums.len()];
            noise.gaussian().fill_block(&noise_seed(group), block as u64, &mut of_block);
            sums.iter_mut().zip(of_block).for_each(|(sum, y)| *sum += y);
        }
    }
    let next = |(i, sum): (usize, BigInt)| {
        let d = sum.to_i64().unwrap() as f64;
        let mean = d / (noise.step() as f64 * models.len() as f64);
        let previous = match previous {
            Some(Model::F32(weights)) => f64::from(weights[i]),
            Some(Model::F64(weights)) => weights[i],
            _ => 0.0,
        };
        previous + clip * mean
    };
    sums.into_iter().enumerate().map(next).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Rounds from the local models to the next global one.
    #[test]
    fn with_noise_the_next_model_is_exact(
        locals in prop::collection::vec(prop::collection::vec(-2.0f64..2.0, 3000), 1..5), length in 1usize..3000,
        global in prop::collection::vec(-1.0f64..1.0, 3000), first: bool, clip in 0.01f64..10.0, z in 100u32..20_000,
        groups in 1usize..4, double: bool, wide: bool, step in 1usize..2000,
    ) {
        let config = config(match (wide, double) {
            (true, true) => "Word64/F64/B0/M3",
            (true, false) => "Word64/F32/B0/M3",
            (false, true) => "Word32/F64/B0/M3",
            (false, false) => "Word32/F32/B0/M3",
        });
        let noise = Noise::new(config.vect, length, z).unwrap();
        prop_assert_eq!(HeadRoom::new(noise, groups).check(locals.len() as u64), Ok(()));
        let previous = (!first).then(|| Arc::new(model(config.vect, &global[..length])));
        let differences: Vec<_> = locals.iter().map(|local| {
            let local = Arc::new(model(config.vect, &local[..length]));
            Clip::new(noise, local, previous.clone(), clip).and_then(Clip::finish).unwrap().model
        }).collect();
        let models: Vec<_> = differences.iter().map(|d| (Scalar::one(), d.clone())).collect();
        let aggregation = Arc::new(sum(config, &models, groups));
        let masks = masks(config, length, models.len(), groups, Some(&noise));

        let expected = expected(&noise, &differences, groups, clip, previous.as_deref());
        let expected = model(config.vect, &expected);
        let begin = || NoisyUnmasker::new(aggregation.clone(), masks.clone(), clip, previous.clone()).unwrap();
        prop_assert!(begin().finish().unwrap() == expected);
        let mut stepped = begin();
        while !stepped.step(step) {}
        prop_assert!(stepped.finish().unwrap() == expected);
        let mut shared = begin();
        shared.step(step);
        let mut parts = shared.split(3);
        parts.iter_mut().skip(1).for_each(|part| { part.step(step); });
        parts.into_iter().for_each(|part| shared.absorb(part));
        prop_assert!(shared.finish().unwrap() == expected);
    }
}

/// The specification says to lift first and then to take off the shift. That takes twice the head-room.
#[test]
fn lifting_before_the_shift_is_off_would_be_wrong_by_the_order() {
    let config = config("Word32/F32/B0/M3");
    let noise = Noise::new(config.vect, 1, 100).unwrap();
    let (step, models) = (noise.step(), 600);
    // By a wide margin, for three groups.
    assert_eq!(HeadRoom::new(noise, 3).check(models), Ok(()));
    let all: Vec<_> = (0..models).map(|_| (Scalar::one(), Model::F32(vec![0.75]))).collect();
    let aggregation = sum(config, &all, 1);
    let masks = masks(config, 1, models as usize, 1, None);
    let found = NoisyUnmasker::new(aggregation.clone(), masks.clone(), 1.0, None).unwrap();
    assert!(found.finish().unwrap() == Model::F32(vec![0.75]));

    let order = BigInt::from(config.vect.order());
    let half = &order / 2;
    let lift = |number: BigInt| if number > half { number - &order } else { number };
    let mask = MaskObject::from_bytes(&masks[0]).unwrap();
    let left = (BigInt::from(aggregation.object().numbers()[0].clone())
        - BigInt::from(mask.numbers()[0].clone())
        + &order)
        % &order;
    let shift = BigInt::from(models * step);
    let sum = BigInt::from(models * step / 4 * 3);
    // As the specification says, and as it has to be.
    assert_eq!(lift(left.clone()) - &shift, &sum - &order);
    assert_eq!(lift((left - &shift + &order) % &order), sum);
}

/// Between -q/2, which is not one, and q/2, which is.
#[test]
fn sums_are_lifted_up_to_half_of_the_order() {
    for name in ["Word32/F64/B0/M3", "Word64/F64/B0/M3"] {
        let config = config(name);
        let (order, bits) = (config.vect.order(), config.vect.number_bits() as i32);
        let e = config.vect.exp_shift();
        let half = &order >> 1u32;
        let d = |offset: BigUint| {
            let number = (&e + offset) % &order;
            let unit = BigUint::default();
            let object = MaskObject::from_numbers(config, &[number], unit.clone()).unwrap();
            let mask = MaskObject::from_numbers(config, &[BigUint::default()], unit).unwrap();
            let masks = vec![mask.to_bytes().unwrap().into()];
            let clip = e.to_f64().unwrap();
            let next =
                NoisyUnmasker::new(Aggregation::with_nb_models(object, 1), masks, clip, None);
            let Model::F64(weights) = next.unwrap().finish().unwrap() else { panic!("F64") };
            weights[0]
        };
        let two_to = |exponent: i32| 2f64.powi(exponent);
        assert_eq!(d(half.clone()), two_to(bits - 1), "{name}");
        // (A double of 64-bit numbers has no place for the 1.)
        assert_eq!(d(&half + 1u32), -((&half - 1u32).to_f64().unwrap()));
        assert_eq!(d(&half - 1u32), (&half - 1u32).to_f64().unwrap());
        assert_eq!(d(&order - 1u32), -1.0);
        assert_eq!(d(BigUint::default()).to_bits(), 0.0f64.to_bits());
    }
}

#[test]
fn what_is_no_round_with_noise_is_refused_by_name() {
    let one = |config: MaskConfigPair, length: usize| {
        Aggregation::with_nb_models(Aggregation::new(config, length).object().clone(), 1)
    };
    let mask = |config: MaskConfigPair, length: usize| {
        Bytes::from(Aggregation::new(config, length).object().to_bytes().unwrap())
    };
    for vect in MaskConfig::all() {
        let pair = MaskConfigPair::from(vect);
        let found = NoisyUnmasker::new(one(pair, 2), vec![mask(pair, 2)], 1.0, None).map(|_| ());
        let possible = Noise::new(vect, 2, 1000).is_ok();
        let expected =
            if possible { Ok(()) } else { Err(NoisyUnmaskError::NoConfigForNoise(vect)) };
        assert_eq!(found, expected, "{vect}");
    }
    let config = config("Word32/F32/B0/M3");
    let refused = |masks: Vec<Bytes>, clip: f64, previous: Option<Model>| {
        NoisyUnmasker::new(one(config, 2), masks, clip, previous.map(Arc::new))
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(refused(vec![], 1.0, None), NoisyUnmaskError::Unmask(UnmaskError::NoMask));
    for clip in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(refused(vec![mask(config, 2)], clip, None), NoisyUnmaskError::Norm(clip));
    }
    assert!(matches!(refused(vec![mask(config, 2)], f64::NAN, None), NoisyUnmaskError::Norm(_)));
    assert!(matches!(
        refused(vec![mask(config, 2), mask(config, 3)], 1.0, None),
        NoisyUnmaskError::Unmask(UnmaskError::MaskManyMismatch { found_len: 3, .. })
    ));
    for previous in [Model::F32(vec![0.0; 3]), Model::F64(vec![0.0; 2])] {
        let (found, found_len) = (previous.data_type(), previous.len());
        let (expected, expected_len) = (DataType::F32, 2);
        assert_eq!(
            refused(vec![mask(config, 2)], 1.0, Some(previous)),
            NoisyUnmaskError::OtherPrevious { expected, expected_len, found, found_len }
        );
    }
    let none = NoisyUnmasker::new(Aggregation::new(config, 2), vec![mask(config, 2)], 1.0, None);
    assert_eq!(none.map(|_| ()), Err(NoisyUnmaskError::Unmask(UnmaskError::NoModel)));
    // Two thirds of the largest float, twice.
    let previous = Arc::new(Model::F32(vec![0.0, f32::MAX]));
    let sum = sum(config, &[(Scalar::one(), Model::F32(vec![1.0; 2]))], 1);
    let masks = masks(config, 2, 1, 1, None);
    let far = NoisyUnmasker::new(sum, masks, f64::from(f32::MAX) / 2.0, Some(previous)).unwrap();
    assert_eq!(far.finish(), Err(NoisyUnmaskError::NotFinite { index: 1 }));
}
