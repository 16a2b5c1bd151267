use super::super::config::{MaskConfig, MaskConfigPair};
use super::super::encode::{clamp_scalar, encode_exact, encode_unit};
use super::super::masker::mask_model;
use super::super::seed::MaskSeed;
use super::super::sum::MaskSum;
use super::super::BoundType;
use super::*;
use crate::model::weight::push_big;
use crate::model::{convert, ratio, RatioError, Scalar};
use crate::{DataType, GroupType, MaskObject};
use num_bigint::BigInt;
use num_traits::Signed;
use proptest::prelude::*;

/// A round: models masked, added up, and their masks too.
fn round(config: MaskConfigPair, models: &[(Scalar, Model)]) -> (Aggregation, Vec<u8>) {
    let length = models[0].1.len();
    let mut aggregation = Aggregation::new(config, length);
    let mut masks = MaskSum::new(config, length);
    for (i, (scalar, model)) in models.iter().enumerate() {
        let seed = MaskSeed::new([i as u8; 32]);
        let (bytes, _) = mask_model(&seed, config, scalar, model).unwrap();
        aggregation.aggregate(&MaskObjectView::parse_exact(&bytes).unwrap()).unwrap();
        masks.add_seeds([seed]);
    }
    (aggregation, masks.finish().to_bytes().unwrap())
}

/// What the round must give, without any masks.
fn expected(config: MaskConfigPair, models: &[(Scalar, Model)]) -> Vec<BigRational> {
    let integer = |n: BigUint| BigRational::from_integer(n.into());
    let (e, e1) = (integer(config.vect.exp_shift()), integer(config.unit.exp_shift()));
    let count = integer(models.len().into());
    let mut scalars = -&count * config.unit.add_shift();
    let mut sums = vec![-&count * config.vect.add_shift(); models[0].1.len()];
    for (scalar, model) in models {
        let (scalar, _) = clamp_scalar(scalar, config.unit);
        scalars += integer(encode_unit(&scalar, config.unit)) / &e1;
        let exact = ratio::decode_ratios(&ratio::encode_model(model).unwrap()).unwrap();
        for (sum, weight) in sums.iter_mut().zip(exact) {
            *sum += integer(encode_exact(&weight, &scalar, config.vect).0) / &e;
        }
    }
    sums.into_iter().map(|sum| sum / &scalars).collect()
}

fn model(data_type: DataType, weights: &[f64]) -> Model {
    match data_type {
        DataType::F32 => Model::F32(weights.iter().map(|w| *w as f32).collect()),
        DataType::F64 => Model::F64(weights.to_vec()),
        DataType::I32 => Model::I32(weights.iter().map(|w| *w as i32).collect()),
        DataType::I64 => Model::I64(weights.iter().map(|w| *w as i64).collect()),
    }
}

fn check(config: MaskConfigPair, models: &[(Scalar, Model)]) {
    let (aggregation, mask) = round(config, models);
    let exact = expected(config, models);
    let view = MaskObjectView::parse_exact(&mask).unwrap();
    assert_eq!(unmask_ratios(&aggregation, &view).unwrap(), exact, "{config}");
    let unmasker = Unmasker::new(aggregation, mask).unwrap();
    let reserved = unmasker.output.ratios.capacity();
    let unmasked = unmasker.finish().unwrap();
    assert_eq!(unmasked.ratios.capacity(), reserved, "{config}");
    assert_eq!(unmasked.ratios, ratio::encode_ratios(&exact), "{config}");
    let mut model = Model::empty(config.vect.data_type);
    let result = exact.iter().try_for_each(|weight| {
        let (numer, denom) = (weight.numer().magnitude(), weight.denom().magnitude());
        push_big(&mut model, weight.is_negative(), numer, denom)
    });
    match unmasked.model {
        Ok(found) => assert_eq!((found, result), (model, Ok(())), "{config}"),
        Err(error) => assert_eq!((error.index, Err(error.source)), (model.len(), result)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn all_configs_give_the_average(
        weights in prop::collection::vec(prop::array::uniform4(-200.0..200.0), 1..5),
        scalars in prop::array::uniform5((1u32..500, 1u32..500)),
        tiny: bool,
    ) {
        for config in MaskConfig::all() {
            let scale = if tiny { 1e-12 } else { 1.0 };
            let models: Vec<_> = weights
                .iter()
                .zip(scalars)
                .map(|(weights, (numer, denom))| {
                    // Where a scalar's steps are coarse only whole numbers are more than 0.
                    let coarse = MaskConfigPair::from(config).unit.exp_shift() < 512u32.into();
                    let denom = if coarse { 1 } else { denom };
                    let scalar = Scalar::from_ratio(numer.into(), denom.into()).unwrap();
                    (scalar, model(config.data_type, &weights.map(|w| w * scale)))
                })
                .collect();
            check(config.into(), &models);
            // Configs whose E differ: then p is not 1.
            let unit = MaskConfig::new(config.group_type(), DataType::F64, BoundType::B2, config.model_type())
                .unwrap_or(MaskConfigPair::from(config).unit);
            check(MaskConfigPair { vect: config, unit }, &models);
        }
    }
}

fn config(bytes: [u8; 4]) -> MaskConfigPair {
    MaskConfig::from_bytes(bytes).unwrap().into()
}

#[test]
fn quick_work_is_for_one_thread() {
    let gains = |name: &str, both: bool| {
        let config: MaskConfigPair = name.parse::<MaskConfig>().unwrap().into();
        let (sum, mask) = round(config, &[(Scalar::one(), Model::F32(vec![0.5; 3]))]);
        let unmasker = match both {
            true => Unmasker::new(sum, mask),
            false => Unmasker::model_only(sum, mask),
        };
        unmasker.unwrap().gains_from_threads()
    };
    for name in ["Prime/F32/B0/M3", "Word32/F32/B0/M3"] {
        assert_eq!([gains(name, false), gains(name, true)], [false, false], "{name}");
    }
    let wide = "Prime/F32/Bmax/M3";
    assert_eq!([gains(wide, false), gains(wide, true)], [true, true]);
}

/// A scalar of 1/3 is rounded down, and the average of the largest float comes out above it.
#[test]
fn an_average_beyond_the_range_is_an_error_with_its_index() {
    let scalar = Scalar::from_ratio(1u32.into(), 3u32.into()).unwrap();
    let model = Model::F32(vec![1.0, f32::MAX, f32::MAX]);
    let config = MaskConfigPair {
        vect: MaskConfig::from_bytes([1, 0, 255, 3]).unwrap(),
        unit: MaskConfig::from_bytes([1, 0, 0, 3]).unwrap(),
    };
    let (aggregation, mask) = round(config, &[(scalar, model)]);
    let unmasked = Unmasker::new(aggregation, mask).unwrap().finish().unwrap();
    let source = OutOfRange(DataType::F32);
    assert_eq!(unmasked.model, Err(WeightOutOfRange { index: 1, source }));
    assert_eq!(ratio::decode_ratios(&unmasked.ratios).unwrap().len(), 3);
}

/// Aggregates of chosen numbers and a mask of zeros, so that the weights can be anything.
fn chosen(
    config: MaskConfigPair,
    numbers: &[BigUint],
    unit: BigUint,
    count: u64,
) -> (Arc<Aggregation>, Bytes) {
    let object = |numbers: &[BigUint], unit| MaskObject::from_numbers(config, numbers, unit);
    let zeros = object(&vec![BigUint::default(); numbers.len()], BigUint::default());
    let sum = object(numbers, unit).unwrap();
    let mask = zeros.unwrap().to_bytes().unwrap();
    (Arc::new(Aggregation::with_nb_models(sum, count)), mask.into())
}

/// Every level, in steps, in parts and to the model alone gives what exact arithmetic gives.
fn check_chosen(config: MaskConfigPair, numbers: &[BigUint], unit: BigUint, count: u64) {
    let (aggregation, mask) = chosen(config, numbers, unit, count);
    let exact = unmask_ratios(&aggregation, &MaskObjectView::parse_exact(&mask).unwrap()).unwrap();
    let mut model = Model::empty(config.vect.data_type());
    let result = exact.iter().try_for_each(|weight| {
        let (numer, denom) = (weight.numer().magnitude(), weight.denom().magnitude());
        push_big(&mut model, weight.is_negative(), numer, denom)
    });
    let model = result
        .map(|()| model.clone())
        .map_err(|source| WeightOutOfRange { index: model.len(), source });
    for level in Level::available() {
        let begin = |ratios| {
            Unmasker::with_forms(aggregation.clone(), vec![mask.clone()], ratios, *level).unwrap()
        };
        let both = begin(true).finish().unwrap();
        assert_eq!(both.model, model, "{config} {level:?}");
        assert_eq!(both.ratios, ratio::encode_ratios(&exact), "{config} {level:?}");
        let alone = begin(false).finish().unwrap();
        assert_eq!((&alone.model, alone.ratios), (&model, Vec::new()), "{config} {level:?}");
        let mut stepped = begin(true);
        while !stepped.step(3) {}
        assert_eq!(stepped.finish().unwrap(), both, "{config} {level:?}");
    }
    // What is written is read as the same again.
    match (ratio::decode(&ratio::encode_ratios(&exact), config.vect.data_type()), model) {
        (Ok(read), Ok(model)) => assert_eq!(read, model, "{config}"),
        (Err(RatioError::OutOfRange { index, .. }), Err(error)) => {
            assert_eq!(index, error.index)
        }
        (read, model) => panic!("{config}: {read:?} and {model:?}"),
    }
}

/// Numbers whose weights lie at, or next to, midpoints between two floats and whole numbers.
fn critical_numbers(
    config: MaskConfigPair,
    unit: &BigUint,
    count: u64,
    bits: &[u64],
) -> Vec<BigUint> {
    let (aggregation, mask) = chosen(config, &[], unit.clone(), count);
    let view = MaskObjectView::parse_exact(&mask).unwrap();
    let factors = Factors::new(&aggregation, &[view]).unwrap();
    let [offset, p, q] = [&factors.offset, &factors.p, &factors.q].map(|n| BigInt::from(n.clone()));
    let largest = BigRational::new(BigInt::from(factors.max_numer()), q.clone());
    let mut numbers = vec![BigUint::default(), factors.offset.clone(), factors.most.clone()];
    for &bits in bits {
        // Somewhere among the weights that there can be, in a float that has neighbours.
        let at = &largest * BigRational::new(bits.into(), BigInt::from(u64::MAX) << (bits % 40));
        let middle = match config.vect.data_type() {
            DataType::F32 => {
                let low = convert::nearest_f32(&at);
                let high = f32::from_bits(low.to_bits() + 1);
                convert::from_f32(low).zip(convert::from_f32(high))
            }
            DataType::F64 => {
                let low = convert::nearest_f64(&at);
                let high = f64::from_bits(low.to_bits() + 1);
                convert::from_f64(low).zip(convert::from_f64(high))
            }
            DataType::I32 | DataType::I64 => Some((at.floor(), at.floor())),
        };
        let Some((low, high)) = middle else { continue };
        let middle = (low + high) / BigInt::from(2);
        let distance = (middle * &q / &p).floor().to_integer();
        for x in [-1, 0, 1].map(|nudge: i32| &distance + nudge) {
            for number in [&offset + &x, &offset - &x] {
                numbers.extend(BigInt::to_biguint(&number).filter(|n| *n <= factors.most));
            }
        }
    }
    numbers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn weights_in_the_middle_are_rounded_right(
        bits in prop::collection::vec(any::<u64>(), 1..16),
        scalars in 0u32..3,
        below in 0u64..1000,
        count in 1u64..900,
    ) {
        for vect in MaskConfig::all() {
            let narrow = MaskConfigPair::from(vect).unit;
            let wide = MaskConfig::new(GroupType::Integer, DataType::F64, BoundType::B2, vect.model_type());
            for unit_config in [narrow, wide.unwrap()] {
                let config = MaskConfigPair { vect, unit: unit_config };
                let shift = unit_config.exp_shift();
                let zero = unit_config.add_shift_integer() * &shift * count;
                // The sum of the scalars: whole, ragged, a power of two (then there are ties).
                let unit = match scalars {
                    0 => &zero + &shift * count.div_ceil(3),
                    1 => &zero + (&shift + 1u32) * count.div_ceil(2) - below % 2,
                    _ => &zero + (BigUint::from(1u32) << (shift.bits() - below % shift.bits().min(30))),
                };
                if unit >= unit_config.order() || unit > &zero * 2u32 {
                    continue;
                }
                let numbers = critical_numbers(config, &unit, count, &bits);
                check_chosen(config, &numbers, unit, count);
            }
        }
    }
}

#[test]
fn the_offset_is_below_the_order() {
    for config in MaskConfig::all() {
        let offset = config.add_shift_integer() * config.exp_shift() * config.max_nb_models();
        assert!(offset < config.order(), "{config}");
    }
}

#[test]
fn parts_give_the_same() {
    for bytes in [[1, 0, 0, 3], [1, 3, 255, 12]] {
        let config = config(bytes);
        let weights: Vec<f64> = (0..100_000).map(|i| f64::from(i) / 100_001.0).collect();
        let model = model(config.vect.data_type(), &weights);
        let (aggregation, mask) = round(config, &[(Scalar::one(), model)]);
        let (aggregation, mask) = (Arc::new(aggregation), Bytes::from(mask));
        let whole = Unmasker::new(aggregation.clone(), mask.clone()).unwrap().finish().unwrap();
        for count in [1, 2, 3, 7] {
            let mut unmasker = Unmasker::new(aggregation.clone(), mask.clone()).unwrap();
            let mut rounds = 0;
            loop {
                let mut parts = unmasker.split(count);
                assert!(parts.len() <= count);
                if parts.is_empty() {
                    break;
                }
                // As much as there is memory for, in whole blocks.
                let weight = unmasker.source.max_weight_len() + 8;
                let most = (PART_BYTES / weight).next_multiple_of(BLOCK);
                let (done, all) = unmasker.progress();
                let size = (all - done).div_ceil(count).min(most);
                assert_eq!(parts[0].progress(), (0, size));
                for part in &mut parts {
                    while !part.step(1000) {}
                    assert_eq!(part.progress().0, part.progress().1);
                }
                // One that comes too early is left out, and what it had to do is done later.
                if rounds == 1 {
                    parts.reverse();
                }
                parts.into_iter().for_each(|part| unmasker.absorb(part));
                rounds += 1;
            }
            assert!(rounds > 1 || count > 3);
            assert_eq!(unmasker.progress(), (100_000, 100_000));
            assert_eq!(unmasker.finish().unwrap(), whole);
        }
    }
}

#[test]
fn parts_are_of_one_size_and_tell_how_far_they_are() {
    let config = config([1, 0, 0, 3]);
    let (aggregation, mask) = round(config, &[(Scalar::one(), Model::F32(vec![0.5; 5000]))]);
    let mut unmasker = Unmasker::new(aggregation, mask).unwrap();
    unmasker.step(4000);
    let mut parts = unmasker.split(2);
    assert_eq!(parts.iter().map(UnmaskPart::progress).collect::<Vec<_>>(), [(0, 500); 2]);
    assert!(!parts[1].step(200));
    assert_eq!(parts[1].progress(), (200, 500));
    for part in parts {
        unmasker.absorb(part);
    }
    assert_eq!(unmasker.progress(), (5000, 5000));
}

#[test]
fn the_first_error_of_all_parts_counts() {
    let config = config([1, 0, 0, 3]);
    let (aggregation, mut mask) = round(config, &[(Scalar::one(), Model::F32(vec![0.5; 1000]))]);
    for index in [300, 301, 900] {
        mask[8 + 6 * index..][..6].fill(0xff);
    }
    let mut unmasker = Unmasker::new(aggregation, mask).unwrap();
    for mut part in unmasker.split(4) {
        while !part.step(100) {}
        unmasker.absorb(part);
    }
    assert!(unmasker.split(4).is_empty());
    let part = MaskObjectPart::Vector;
    let error = MaskObjectError::NotBelowOrder { part, index: 300 };
    assert_eq!(unmasker.finish(), Err(UnmaskError::InvalidMask(error)));
}

#[test]
fn scalars_that_vanish_are_an_error() {
    // Not zero, but below the resolution of the unit.
    let scalar = Scalar::from_f64(1e-11).unwrap();
    let (aggregation, mask) = round(config([1, 0, 0, 3]), &[(scalar, Model::F32(vec![1.0]))]);
    assert_eq!(Unmasker::new(aggregation, mask).unwrap_err(), UnmaskError::ScalarSumZero);
}

/// The bounds of all sums, to the last number, for each config and number of models.
#[test]
fn what_honest_models_cannot_add_up_to_is_found() {
    for vect in MaskConfig::all() {
        let config = MaskConfigPair::from(vect);
        for count in [1, 3, vect.max_nb_models()] {
            let count = count.min(config.unit.max_nb_models());
            let limit = |config: MaskConfig| {
                let half = config.add_shift_integer() * config.exp_shift() * count;
                (half.clone(), (half * 2u32).min(config.order() - 1u32), config.order())
            };
            let (zero, most, order) = limit(vect);
            let (unit_zero, unit_most, unit_order) = limit(config.unit);
            let unmask = |numbers: &[BigUint], unit: &BigUint| {
                let (aggregation, mask) = chosen(config, numbers, unit.clone(), count);
                let view = MaskObjectView::parse_exact(&mask).unwrap();
                let exact = unmask_ratios(&aggregation, &view).map(|_| ());
                for level in Level::available() {
                    let begin = |ratios| {
                        let (sum, mask) = (aggregation.clone(), mask.clone());
                        Unmasker::with_forms(sum, vec![mask], ratios, *level)
                    };
                    let found = begin(false).and_then(Unmasker::finish).map(|_| ());
                    assert_eq!(found, exact, "{config} {count} {level:?}");
                    let found = begin(true).and_then(Unmasker::finish).map(|_| ());
                    assert_eq!(found, exact, "{config} {count} {level:?}");
                }
                exact
            };
            let impossible =
                |part, index| Err(UnmaskError::ImpossibleSum { part, index, nb_models: count });
            let good = [BigUint::default(), zero, most.clone()];
            for unit in [&unit_zero + 1u32, unit_most.clone()] {
                assert_eq!(unmask(&good, &unit), Ok(()), "{config} {count}");
            }
            // The first of two is named, in a later block than the first.
            let mut bad = vec![most.clone(); 300];
            (bad[200], bad[250]) = (&most + 1u32, &order - 1u32);
            if &most + 1u32 < order {
                let found = unmask(&bad, &unit_most);
                assert_eq!(found, impossible(MaskObjectPart::Vector, 200), "{config} {count}");
            }
            let bad = [BigUint::default(), &unit_zero - 1u32, &unit_most + 1u32];
            for unit in bad.iter().filter(|unit| **unit < unit_order) {
                let found = unmask(&good, unit);
                assert_eq!(found, impossible(MaskObjectPart::Unit, 0), "{config} {count}");
            }
            assert_eq!(unmask(&good, &unit_zero), Err(UnmaskError::ScalarSumZero));
        }
    }
}

/// Nearly always: the group is a thousand times larger than what one model needs.
#[test]
fn a_wrong_mask_is_found_and_never_panics() {
    let mut found = 0;
    for mask_config in MaskConfig::all() {
        let config = mask_config.into();
        let model = model(mask_config.data_type, &[0.5, -1.0]);
        let (aggregation, _) = round(config, &[(Scalar::one(), model)]);
        // As if it were many models: a sum of scalars is possible half of the time.
        for count in [1, 900] {
            let aggregation = Aggregation::with_nb_models(aggregation.object().clone(), count);
            for seed in 10..14 {
                let mask = super::super::derive_mask(&MaskSeed::new([seed; 32]), config, 2);
                let mask = mask.to_bytes().unwrap();
                let unmasked = Unmasker::new(aggregation.clone(), mask.clone())
                    .and_then(Unmasker::finish)
                    .map(|unmasked| unmasked.ratios);
                let view = MaskObjectView::parse_exact(&mask).unwrap();
                let exact = unmask_ratios(&aggregation, &view);
                found += i32::from(exact.is_err() && count == 1);
                let exact = exact.map(|exact| ratio::encode_ratios(&exact));
                assert_eq!(unmasked, exact, "{mask_config}");
            }
        }
    }
    let all = 4 * MaskConfig::all().count() as i32;
    assert!(found > all * 99 / 100, "{found} of {all}");
}

#[test]
fn a_number_not_below_the_order_is_found_on_the_way() {
    let (aggregation, mut mask) =
        round(config([1, 0, 0, 3]), &[(Scalar::one(), Model::F32(vec![0.5; 9]))]);
    mask[8 + 6 * 7..][..6].fill(0xff);
    let mut unmasker = Unmasker::new(aggregation, mask).unwrap();
    assert!(!unmasker.step(7));
    assert!(unmasker.step(1));
    let part = MaskObjectPart::Vector;
    assert_eq!(
        unmasker.finish(),
        Err(UnmaskError::InvalidMask(MaskObjectError::NotBelowOrder { part, index: 7 }))
    );
}
