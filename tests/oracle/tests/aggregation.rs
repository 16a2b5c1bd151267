//! Sums of masked models and of masks, unmasked: same bytes, same fractions.

mod every_config;

use every_config::{for_every_config, persistent};
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};
use pet_core::model::Model;
use pet_oracle::{
    old, ours,
    strategies::{
        any_config, any_pair, any_ratio, any_seed, pair_with, positive_scalar, weights_for, MAX_LEN,
    },
    ConfigBytes, PairBytes, Weights,
};
use proptest::{collection::vec, prelude::*, sample::Index};

#[derive(Clone, Debug)]
struct Participant {
    seed: [u8; 32],
    scalar: f64,
    weights: Weights,
}

/// Some participants with models of the same length.
fn participants(config: ConfigBytes) -> impl Strategy<Value = Vec<Participant>> {
    (1..=MAX_LEN).prop_flat_map(move |len| {
        let participant = (any_seed(), positive_scalar(), weights_for(config, len..=len))
            .prop_map(|(seed, scalar, weights)| Participant { seed, scalar, weights });
        vec(participant, 1..=5)
    })
}

#[test]
fn global_models() {
    for_every_config(
        |config| (pair_with(config), participants(config), 1..=MAX_LEN),
        |(pair, participants, step)| {
            let len = participants[0].weights.len();
            let (mut old_sum, mut old_mask) =
                (old::Aggregation::new(pair, len), old::Aggregation::new(pair, len));
            let mut sum = ours::Aggregation::new(pair, len);
            for Participant { seed, scalar, weights } in &participants {
                let masked = old::mask(seed, pair, *scalar, weights);
                prop_assert_eq!(old_sum.add(&masked), Ok(()));
                prop_assert_eq!(old_mask.add(&old::derive_mask(seed, pair, len)), Ok(()));
                prop_assert_eq!(sum.add(&masked), Ok(()));
            }
            prop_assert_eq!(hex::encode(sum.to_bytes()), hex::encode(old_sum.to_bytes()));
            let seeds: Vec<_> = participants.iter().map(|participant| participant.seed).collect();
            let mask = ours::sum_masks(&seeds, pair, len, step);
            prop_assert_eq!(hex::encode(&mask), hex::encode(old_mask.to_bytes()));

            let expected = old_sum.unmask(&mask).expect("a mask that fits");
            prop_assert_eq!(sum.unmask(&mask), Ok(expected.clone()));
            let (published, model) = sum.publish(&mask, step).expect("a mask that fits");
            prop_assert_eq!(
                hex::encode(&published),
                hex::encode(old::ratio_model_to_bincode(&expected))
            );
            check_primitives(&expected, model.as_ref(), pair.vect)?;
            if let Some(model) = model {
                prop_assert_eq!(ours::read_published(&published, pair.vect), Ok(model));
            }
            Ok(())
        },
    );
}

/// The model in the round's data type is what old participants make of the exact fractions.
fn check_primitives(
    exact: &[BigRational],
    model: Option<&Model>,
    config: ConfigBytes,
) -> Result<(), TestCaseError> {
    match model {
        Some(Model::F32(weights)) => {
            let convertible = |weight: &&BigRational| fits(weight, |bits| bits <= 127);
            for (ours, exact) in weights.iter().zip(exact).filter(|(_, exact)| convertible(exact)) {
                let old = old::to_f32(std::slice::from_ref(exact))[0];
                prop_assert!(
                    old.is_some_and(|old| ulps32(old, *ours) <= MAX_ULPS),
                    "{exact}: {old:?} and {ours}"
                );
            }
        }
        Some(Model::F64(weights)) => {
            let convertible = |weight: &&BigRational| fits(weight, |bits| bits <= 1023);
            for (ours, exact) in weights.iter().zip(exact).filter(|(_, exact)| convertible(exact)) {
                let old = old::to_f64(std::slice::from_ref(exact))[0];
                prop_assert!(
                    old.is_some_and(|old| ulps64(old, *ours) <= MAX_ULPS),
                    "{exact}: {old:?} and {ours}"
                );
            }
        }
        Some(Model::I32(weights)) => {
            let weights: Vec<_> = weights.iter().copied().map(Some).collect();
            prop_assert_eq!(weights, old::to_i32(exact));
        }
        Some(Model::I64(weights)) => {
            let weights: Vec<_> = weights.iter().copied().map(Some).collect();
            prop_assert_eq!(weights, old::to_i64(exact));
        }
        // Out of the type's range; where that is an integer, the old one finds so too.
        None => match config[1] {
            2 => prop_assert!(old::to_i32(exact).contains(&None)),
            3 => prop_assert!(old::to_i64(exact).contains(&None)),
            _ => {}
        },
    }
    Ok(())
}

/// The old conversion divides two rounded floats, so that three roundings move it: for instance
/// -738008707620000000000/101285528519662462783 comes out two units from the nearest `f32`.
const MAX_ULPS: u64 = 2;

/// Numerator and denominator are within a float's range: elsewhere the old conversion to floats
/// gives up or never returns.
fn fits(weight: &BigRational, within: impl Fn(u64) -> bool) -> bool {
    within(weight.numer().bits()) && within(weight.denom().bits())
}

fn ulps32(a: f32, b: f32) -> u64 {
    let key = |float: f32| {
        let bits = i64::from(float.to_bits() & 0x7fff_ffff);
        if float.is_sign_negative() {
            -bits
        } else {
            bits
        }
    };
    key(a).abs_diff(key(b))
}

fn ulps64(a: f64, b: f64) -> u64 {
    let key = |float: f64| {
        let bits = i128::from(float.to_bits() & 0x7fff_ffff_ffff_ffff);
        if float.is_sign_negative() {
            -bits
        } else {
            bits
        }
    };
    key(a).abs_diff(key(b)) as u64
}

proptest! {
    #![proptest_config(persistent())]

    #[test]
    fn merged_sums(
        (pair, participants) in any_pair().prop_flat_map(|pair| (Just(pair), participants(pair.vect))),
        split in any::<Index>(),
    ) {
        let len = participants[0].weights.len();
        let split = split.index(participants.len() + 1);
        let mut expected = old::Aggregation::new(pair, len);
        let mut parts = [ours::Aggregation::new(pair, len), ours::Aggregation::new(pair, len)];
        for (index, Participant { seed, scalar, weights }) in participants.iter().enumerate() {
            let masked = old::mask(seed, pair, *scalar, weights);
            expected.add(&masked).unwrap();
            parts[usize::from(index >= split)].add(&masked).unwrap();
        }
        let [mut sum, other] = parts;
        prop_assert_eq!(sum.merge(&other), Ok(()));
        prop_assert!(sum.to_bytes() == expected.to_bytes());

        let seeds: Vec<_> = participants.iter().map(|participant| participant.seed).collect();
        let mut mask = old::Aggregation::new(pair, len);
        for seed in &seeds {
            mask.add(&old::derive_mask(seed, pair, len)).unwrap();
        }
        prop_assert!(ours::sum_masks_in_parts(&seeds, pair, len, split) == mask.to_bytes());
    }

    /// A sum of one object, and an object that may fit it or not: both say the same.
    #[test]
    fn validation(
        pair in any_pair(),
        other in prop_oneof![Just(None), any_pair().prop_map(Some), any_config().prop_map(|unit| {
            Some(PairBytes { vect: unit, unit })
        })],
        seeds in [any_seed(), any_seed()],
        lens in [1..=4usize, 1..=4usize],
        spoiled in prop::option::of(any::<Index>()),
    ) {
        let mut object = old::derive_mask(&seeds[1], other.unwrap_or(pair), lens[1]);
        if let Some(spoiled) = spoiled {
            spoil(&mut object, other.unwrap_or(pair), lens[1], spoiled);
        }
        let first = old::derive_mask(&seeds[0], pair, lens[0]);
        let (mut old_sum, mut sum) =
            (old::Aggregation::new(pair, lens[0]), ours::Aggregation::new(pair, lens[0]));
        old_sum.add(&first).unwrap();
        sum.add(&first).unwrap();

        // Ours refuses sums that honest participants cannot have made, which those of bare masks are, but for the
        // rarest: where the old one unmasks any, or finds a number that is not below its order.
        let expected = check_unmask(old_sum.clone(), &object);
        match sum.unmask(&object).map(|_| ()) {
            Err(error) if error == "ImpossibleSum" => prop_assert!(matches!(
                expected.as_ref().map_err(String::as_str),
                Ok(()) | Err("ScalarSumZero" | "InvalidMask")
            ), "{expected:?}"),
            found => prop_assert_eq!(found, expected),
        }
        let expected = old_sum.add(&object);
        prop_assert_eq!(sum.add(&object), expected);
        prop_assert_eq!(hex::encode(sum.to_bytes()), hex::encode(old_sum.to_bytes()));
    }

    #[test]
    fn published_fractions(weights in vec(any_ratio(), 0..=8)) {
        let published = ours::write_published(&weights);
        prop_assert_eq!(hex::encode(&published), hex::encode(old::ratio_model_to_bincode(&weights)));
        prop_assert_eq!(old::ratio_model_from_bincode(&published), Ok(weights.clone()));
        let integers = |config| ours::read_published(&published, [0, config, 0, 3]).ok();
        let all: Option<Vec<_>> = old::to_i32(&weights).into_iter().collect();
        prop_assert_eq!(integers(2), all.map(Model::I32));
        let all: Option<Vec<_>> = old::to_i64(&weights).into_iter().collect();
        prop_assert_eq!(integers(3), all.map(Model::I64));
    }
}

/// Puts a number of an object on all ones: not below its order.
fn spoil(object: &mut [u8], pair: PairBytes, len: usize, which: Index) {
    let vect = old::config_parameters(pair.vect).bytes_per_number;
    let unit = old::config_parameters(pair.unit).bytes_per_number;
    let number = which.index(len + 1);
    let from = if number < len { 8 + number * vect } else { object.len() - unit };
    let width = if number < len { vect } else { unit };
    object[from..from + width].fill(u8::MAX);
}

/// Unmasking with any old object gives garbage or divides by zero: only whether it is tried counts.
fn check_unmask(sum: old::Aggregation, mask: &[u8]) -> Result<(), String> {
    match std::panic::catch_unwind(|| sum.unmask(mask)) {
        Ok(result) => result.map(|_| ()),
        Err(_) => Err("ScalarSumZero".to_owned()),
    }
}

/// The old crate divides by zero.
#[test]
fn a_scalar_sum_of_zero_is_an_error() {
    let (seed, pair) = ([1; 32], PairBytes::from([1, 0, 0, 3]));
    let masked = old::mask(&seed, pair, 0.0, &Weights::F32(vec![0.25, -0.5]));
    let mask = old::derive_mask(&seed, pair, 2);
    let mut sum = ours::Aggregation::new(pair, 2);
    sum.add(&masked).unwrap();
    assert_eq!(sum.unmask(&mask), Err("ScalarSumZero".to_owned()));
    assert_eq!(sum.publish(&mask, 1).unwrap_err(), "ScalarSumZero");
}

/// Found by `global_models`: the nearest single, and what dividing two rounded ones gives.
#[test]
fn the_old_conversion_to_floats_is_two_units_off() {
    let weight = "-738008707620000000000/101285528519662462783".parse::<BigRational>().unwrap();
    let old = old::to_f32(std::slice::from_ref(&weight))[0].unwrap();
    let published = ours::write_published(&[weight]);
    let ours = ours::read_published(&published, [0, 0, 2, 9]).unwrap();
    assert_eq!(ours, Model::F32(vec![-7.286_418]));
    assert_eq!(ulps32(old, -7.286_418), 2);
}

#[test]
fn both_stop_at_the_same_number_of_models() {
    for pair in [
        PairBytes::from([1, 0, 0, 3]),
        PairBytes { vect: [1, 0, 0, 6], unit: [0, 1, 4, 3] },
        PairBytes { vect: [2, 3, 255, 3], unit: [1, 0, 0, 12] },
    ] {
        let object = old::derive_mask(&[3; 32], pair, 1);
        let (mut old, mut ours) = (old::Aggregation::new(pair, 1), ours::Aggregation::new(pair, 1));
        for _ in 0..1000 {
            old.add(&object).unwrap();
            ours.add(&object).unwrap();
        }
        let refused = old.add(&object);
        assert!(refused.is_err());
        assert_eq!(ours.add(&object), refused);
        assert_eq!(ours.to_bytes(), old.to_bytes());
    }
}

/// What old and new weights come to is what was masked: a sanity check of the comparison itself.
#[test]
fn one_model_comes_back() {
    let (seed, pair) = ([9; 32], PairBytes::from([1, 1, 2, 6]));
    let masked = old::mask(&seed, pair, 0.5, &Weights::F64(vec![0.25, -80.0]));
    let mut sum = ours::Aggregation::new(pair, 2);
    sum.add(&masked).unwrap();
    let weights = sum.unmask(&old::derive_mask(&seed, pair, 2)).unwrap();
    for (weight, expected) in weights.iter().zip([0.25, -80.0]) {
        assert!((weight.to_f64().unwrap() - expected).abs() < 1e-15, "{weight}");
        assert!(!weight.is_positive() || expected > 0.0);
    }
}
