//! Same seeds, configs, scalars and weights: same masks and masked models, byte for byte.

mod every_config;

use every_config::{for_every_config, persistent};
use pet_oracle::{
    old, ours,
    strategies::{
        all_configs, any_pair, any_scalar, any_seed, pair_with, ratios_for, weights_for, MAX_LEN,
    },
    Weights,
};
use proptest::{collection::vec, prelude::*};

#[test]
fn parameters_of_every_config() {
    assert_eq!(all_configs().count(), 240);
    for config in all_configs() {
        assert_eq!(ours::config_parameters(config), old::config_parameters(config), "{config:?}");
    }
}

#[test]
fn masks() {
    for_every_config(
        |config| (any_seed(), pair_with(config), 0..=MAX_LEN),
        |(seed, pair, len)| {
            prop_assert_eq!(
                hex::encode(ours::derive_mask(&seed, pair, len)),
                hex::encode(old::derive_mask(&seed, pair, len))
            );
            Ok(())
        },
    );
}

#[test]
fn masked_models() {
    for_every_config(
        |config| (any_seed(), pair_with(config), any_scalar(), weights_for(config, 0..=MAX_LEN)),
        |(seed, pair, scalar, weights)| {
            prop_assert_eq!(
                ours::mask(&seed, pair, scalar, &weights).map(hex::encode),
                Ok(hex::encode(old::mask(&seed, pair, scalar, &weights)))
            );
            Ok(())
        },
    );
}

#[test]
fn masked_fractions() {
    for_every_config(
        |config| (any_seed(), pair_with(config), any_scalar(), ratios_for(config, 1..=3)),
        |(seed, pair, scalar, weights)| {
            prop_assert_eq!(
                ours::mask(&seed, pair, scalar, &weights).map(hex::encode),
                Ok(hex::encode(old::mask(&seed, pair, scalar, &weights)))
            );
            Ok(())
        },
    );
}

proptest! {
    #![proptest_config(persistent())]

    /// Longer than any block that ours works in, and in steps that fit no block.
    #[test]
    fn long_models_in_steps(
        seed in any_seed(),
        (pair, weights) in any_pair().prop_flat_map(|pair| {
            (Just(pair), weights_for(pair.vect, 1..=1500))
        }),
        scalar in any_scalar(),
        step in 1..=700usize,
        prefix in vec(any::<u8>(), 0..=8),
    ) {
        let model = ours::model(&weights).expect("a typed model");
        let masked = ours::mask_in_steps(prefix.clone(), &seed, pair, scalar, model, step).unwrap();
        let (kept, object) = masked.split_at(prefix.len());
        prop_assert_eq!(kept, prefix);
        prop_assert!(object == old::mask(&seed, pair, scalar, &weights));
    }

    #[test]
    fn long_masks(seed in any_seed(), pair in any_pair(), len in 0..=3000usize) {
        prop_assert!(ours::derive_mask(&seed, pair, len) == old::derive_mask(&seed, pair, len));
    }
}

/// The old crate clamps these silently: 0 for a NaN weight, the largest one for an infinite one,
/// a scalar of 0 for a negative one.
#[test]
fn what_the_old_one_clamps_silently_ours_refuses() {
    let (seed, pair) = ([7; 32], [1, 0, 0, 3].into());
    for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let weights = Weights::F32(vec![0.5, weight]);
        assert_eq!(old::mask(&seed, pair, 1.0, &weights).len(), 30);
        let error = ours::mask(&seed, pair, 1.0, &weights).unwrap_err();
        assert!(error.contains("weight 1"), "{error}");
    }
    let weights = Weights::F32(vec![0.5]);
    assert_eq!(old::mask(&seed, pair, -1.0, &weights), old::mask(&seed, pair, 0.0, &weights));
    for scalar in [-1.0, f64::NAN, f64::INFINITY] {
        ours::mask(&seed, pair, scalar, &weights).unwrap_err();
    }
}
