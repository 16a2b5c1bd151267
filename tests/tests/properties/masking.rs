//! Masked, added up and unmasked, models come to their weighted mean: for every mask config there is.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{Signed, Zero};
use pet_core::mask::{
    derive_mask, mask_model, unmask_ratios, Aggregation, MaskConfig, MaskConfigPair,
    MaskObjectView, MaskSeed, MaskSum,
};
use pet_core::model::{Model, Scalar};
use pet_testing::strategies::{mask_configs, models};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// One participant's model, its weight, and the seed that it is masked with.
#[derive(Debug, Clone)]
struct Part {
    model: Model,
    scalar: (u32, u32),
    seed: [u8; 32],
}

fn parts(config: MaskConfig) -> impl Strategy<Value = Vec<Part>> {
    // At most 1: a scaled weight within the bound stays there. And with some configs a scalar has few steps.
    let fine = config.exp_shift() >= BigUint::from(1u32 << 12);
    (1usize..4).prop_flat_map(move |length| {
        let numer = if fine { 1u32..=16 } else { 16..=16 };
        let part = (models(config, length), numer, any::<[u8; 32]>())
            .prop_map(|(model, numer, seed)| Part { model, scalar: (numer, 16), seed });
        vec(part, 1..6)
    })
}

fn exact(model: &Model) -> Vec<BigRational> {
    let float = |weight: f64| BigRational::from_float(weight).expect("finite");
    match model {
        Model::F32(weights) => weights.iter().map(|weight| float((*weight).into())).collect(),
        Model::F64(weights) => weights.iter().map(|weight| float(*weight)).collect(),
        Model::I32(weights) => weights.iter().map(|weight| BigInt::from(*weight).into()).collect(),
        Model::I64(weights) => weights.iter().map(|weight| BigInt::from(*weight).into()).collect(),
    }
}

fn rational(numer: impl Into<BigInt>, denom: impl Into<BigInt>) -> BigRational {
    BigRational::new(numer.into(), denom.into())
}

/// Whether a mean is the exact one, but for what is cut off by the config's precision: less than one step of
/// each weight and of each scalar.
fn is_mean(parts: &[Part], config: MaskConfigPair, mean: &[BigRational]) -> bool {
    let step = |config: MaskConfig| rational(1, BigInt::from(config.exp_shift()));
    let count = BigRational::from(BigInt::from(parts.len()));
    let (weights_off, scalars_off) = (&count * step(config.vect), &count * step(config.unit));
    let scalars: BigRational =
        parts.iter().map(|part| rational(part.scalar.0, part.scalar.1)).sum();
    mean.iter().enumerate().all(|(index, weight)| {
        let sum: BigRational = parts
            .iter()
            .map(|part| rational(part.scalar.0, part.scalar.1) * &exact(&part.model)[index])
            .sum();
        let expected = sum / &scalars;
        let most = (expected.abs() * &scalars_off + &weights_off) / (&scalars - &scalars_off);
        (weight - expected).abs() <= most
    })
}

fn masked(part: &Part, config: MaskConfigPair) -> Vec<u8> {
    let scalar = Scalar::from_ratio(part.scalar.0.into(), part.scalar.1.into()).unwrap();
    mask_model(&MaskSeed::new(part.seed), config, &scalar, &part.model).unwrap().0
}

fn aggregate(objects: &[Vec<u8>], config: MaskConfigPair, length: usize) -> Aggregation {
    let mut sum = Aggregation::new(config, length);
    for object in objects {
        sum.aggregate(&MaskObjectView::parse_exact(object).unwrap()).unwrap();
    }
    sum
}

#[test]
fn unmasked_sums_are_means_within_the_precision_of_every_config() {
    let configs: Vec<_> = MaskConfig::all().collect();
    assert!(configs.len() >= 240);
    for config in configs {
        let pair = MaskConfigPair::from(config);
        let mut runner =
            TestRunner::new(Config { cases: 6, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&parts(config), |parts| {
            let length = parts[0].model.len();
            let objects: Vec<_> = parts.iter().map(|part| masked(part, pair)).collect();
            let mut mask = MaskSum::new(pair, length);
            mask.add_seeds(parts.iter().map(|part| MaskSeed::new(part.seed)));
            let mask = mask.finish().to_bytes().unwrap();
            let mask = MaskObjectView::parse_exact(&mask).unwrap();
            let mean = unmask_ratios(&aggregate(&objects, pair, length), &mask).unwrap();
            prop_assert!(is_mean(&parts, pair, &mean), "{mean:?}");
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{config}: {failure}");
        }
    }
}

#[test]
fn a_mean_that_is_off_is_found() {
    let config = MaskConfigPair::from("Prime/F32/B0/M3".parse::<MaskConfig>().unwrap());
    let part = |weight| Part { model: Model::F32(vec![weight]), scalar: (1, 2), seed: [1; 32] };
    let parts = [part(0.5), part(0.25)];
    assert!(is_mean(&parts, config, &[rational(3, 8)]));
    let step = rational(1, 1_000_000_000);
    assert!(!is_mean(&parts, config, &[rational(3, 8) + &step]));
    assert!(!is_mean(&parts, config, &[rational(3, 8) - &step]));
    assert!(!is_mean(&parts, config, &[BigRational::zero()]));
}

proptest! {
    /// In any order, and in any groups.
    #[test]
    fn aggregation_is_commutative_associative_and_mergeable(
        config in mask_configs(),
        unit in prop::option::of(mask_configs()),
        seeds in vec(any::<[u8; 32]>(), 1..8),
        length in 0usize..20,
        order in any::<u64>(),
        cuts in [any::<Index>(), any::<Index>()],
    ) {
        let pair = MaskConfigPair { vect: config, unit: unit.unwrap_or(config) };
        let objects: Vec<_> = seeds
            .iter()
            .map(|seed| derive_mask(&MaskSeed::new(*seed), pair, length).to_bytes().unwrap())
            .collect();
        let expected = aggregate(&objects, pair, length);
        let bytes = |sum: &Aggregation| sum.object().to_bytes().unwrap();

        let mut shuffled = objects.clone();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, (order.rotate_left(index as u32 * 7) % (index as u64 + 1)) as usize);
        }
        prop_assert_eq!(bytes(&aggregate(&shuffled, pair, length)), bytes(&expected));

        let mut cuts = cuts.map(|cut| cut.index(objects.len() + 1));
        cuts.sort_unstable();
        let [a, b, c] = [&shuffled[..cuts[0]], &shuffled[cuts[0]..cuts[1]], &shuffled[cuts[1]..]]
            .map(|group| aggregate(group, pair, length));
        // (a + b) + c
        let mut left = a.clone();
        left.merge(&b).unwrap();
        left.merge(&c).unwrap();
        // a + (b + c), from the other side
        let mut right = c;
        right.merge(&b).unwrap();
        right.merge(&a).unwrap();
        for sum in [left, right] {
            prop_assert_eq!(bytes(&sum), bytes(&expected));
            prop_assert_eq!(sum.nb_models(), objects.len() as u64);
        }
        // And it is a sum: every number is that of the plain integers, modulo the order.
        let order: BigUint = config.order();
        for (index, number) in expected.object().numbers().iter().enumerate() {
            let plain: BigUint = seeds
                .iter()
                .map(|seed| derive_mask(&MaskSeed::new(*seed), pair, length).numbers()[index].clone())
                .sum();
            prop_assert_eq!(number, &(plain % &order));
        }
    }
}
