//! How much noise a round has.

use super::block::DiscreteGaussian;
use super::gaussian::MAX_SIGMA;
use crate::config::{BoundType, DataType, MaskConfig};

/// The largest norm of an encoded difference: `E + ceil(sqrt(L))`, for steps of 1/E and L weights.
///
/// The difference has a norm of at most 1, so times E of at most E; rounding each number down moves it by less than 1, and so
/// the vector by less than `sqrt(L)`.
pub fn sensitivity(step: u64, length: usize) -> u64 {
    let length = length as u64;
    let root = length.isqrt();
    step.saturating_add(root + u64::from(root * root < length))
}

/// The noise that each group adds in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    config: MaskConfig,
    length: usize,
    step: u64,
    sensitivity: u64,
    gaussian: DiscreteGaussian,
}

/// Why a round cannot have noise. Its settings are at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// Another group than Word32 or Word64.
    #[error("noise can only be added in a word group, and the round has {0}: use the group type Word32 or Word64")]
    NoWordGroup(MaskConfig),
    /// Another bound than 1.
    #[error("with noise, models are differences of norm 1, and the round has {0}: use the bound type B0")]
    Bound(MaskConfig),
    /// Whole numbers: a difference of norm 1 would have one of them at most.
    #[error("noise is for floats, and the round has {0}: use the data type F32 or F64")]
    Integers(MaskConfig),
    /// A multiplier of 0 is no noise.
    #[error("the noise multiplier is 0, which is no noise: use at least 0.001, or leave noise out of the terms")]
    NoMultiplier,
    /// A σ beyond what can be sampled.
    #[error("the noise would have a sigma of {sigma}, and the most is {MAX_SIGMA}: use a lower noise multiplier than {multiplier_thousandths}/1000")]
    TooMuch {
        /// The multiplier in thousandths.
        multiplier_thousandths: u32,
        /// σ.
        sigma: u128,
    },
}

impl Noise {
    /// The noise for models of `length` weights, with the noise multiplier z in thousandths.
    ///
    /// # Errors
    /// If the config is none for noise, or the multiplier 0 or beyond what can be sampled.
    pub fn new(
        config: MaskConfig,
        length: usize,
        multiplier_thousandths: u32,
    ) -> Result<Self, NoiseError> {
        let step = match config.exp_shift().try_into() {
            Ok(step) if config.group_type().is_word() => step,
            _ => return Err(NoiseError::NoWordGroup(config)),
        };
        if config.bound_type() != BoundType::B0 {
            return Err(NoiseError::Bound(config));
        }
        if matches!(config.data_type(), DataType::I32 | DataType::I64) {
            return Err(NoiseError::Integers(config));
        }
        if multiplier_thousandths == 0 {
            return Err(NoiseError::NoMultiplier);
        }
        let sensitivity = sensitivity(step, length);
        let sigma = (u128::from(multiplier_thousandths) * u128::from(sensitivity)).div_ceil(1000);
        let gaussian = u64::try_from(sigma).ok().and_then(|s| DiscreteGaussian::new(s).ok());
        match gaussian {
            Some(gaussian) => Ok(Noise { config, length, step, sensitivity, gaussian }),
            None => Err(NoiseError::TooMuch { multiplier_thousandths, sigma }),
        }
    }

    /// The config of the vector.
    pub fn config(&self) -> MaskConfig {
        self.config
    }

    /// The number of weights.
    pub fn length(&self) -> usize {
        self.length
    }

    /// E: weights are encoded with steps of 1/E.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The [`sensitivity`].
    pub fn sensitivity(&self) -> u64 {
        self.sensitivity
    }

    /// The distribution that each group samples.
    pub fn gaussian(&self) -> DiscreteGaussian {
        self.gaussian
    }

    /// σ, in steps.
    pub fn sigma(&self) -> u64 {
        self.gaussian.sigma()
    }

    /// The standard deviation of the noise in each weight of the mean difference of `models` models, of `groups` groups and
    /// with the clipping norm `clip`: for people, before they turn it on.
    pub fn deviation_of_mean(&self, groups: usize, models: u64, clip: f64) -> f64 {
        let of_sum = (groups as f64).sqrt() * self.sigma() as f64 / self.step as f64;
        of_sum * clip / models as f64
    }

    /// How large the noise of the whole mean is, as a vector, compared with the largest mean that there is: about
    /// `z · sqrt(k · L) / n`. Noise is of use only where this is well below 1.
    pub fn share_of_mean(&self, groups: usize, models: u64) -> f64 {
        self.deviation_of_mean(groups, models, 1.0) * (self.length as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn config(name: &str) -> MaskConfig {
        name.parse().unwrap()
    }

    #[test]
    fn roots_are_rounded_up() {
        for (length, root) in
            [(0, 0), (1, 1), (2, 2), (4, 2), (5, 3), (1_000_000, 1000), (1_000_001, 1001)]
        {
            assert_eq!(sensitivity(1 << 21, length), (1 << 21) + root);
        }
        assert_eq!(sensitivity(u64::MAX, 9), u64::MAX);
    }

    proptest! {
        #[test]
        fn sigma_is_the_least_integer_that_is_enough(length in 0usize..=u32::MAX as usize, z in 1u32..400_000, wide: bool) {
            let noise = Noise::new(config(if wide { "Word64/F32/B0/M3" } else { "Word32/F32/B0/M3" }), length, z).unwrap();
            let exact = BigUint::from(z) * noise.sensitivity();
            let sigma = BigUint::from(noise.sigma());
            prop_assert!(&sigma * 1000u32 >= exact && (sigma - 1u32) * 1000u32 < exact);
            let root = noise.sensitivity() - noise.step();
            prop_assert!(root * root >= length as u64 && (root == 0 || (root - 1) * (root - 1) < length as u64));
        }
    }

    #[test]
    fn what_is_no_config_for_noise_is_refused_by_name() {
        for config in MaskConfig::all() {
            let found = Noise::new(config, 1000, 4000);
            let expected = if !config.group_type().is_word() {
                Some(NoiseError::NoWordGroup(config))
            } else if config.bound_type() != BoundType::B0 {
                Some(NoiseError::Bound(config))
            } else if matches!(config.data_type(), DataType::I32 | DataType::I64) {
                Some(NoiseError::Integers(config))
            } else {
                None
            };
            assert_eq!(found.err(), expected, "{config}");
        }
        let config = config("Word64/F32/B0/M3");
        assert_eq!(Noise::new(config, 1, 0), Err(NoiseError::NoMultiplier));
        let sigma = (u128::from(u32::MAX) * ((1 << 53) + 1)).div_ceil(1000);
        let error = Noise::new(config, 1, u32::MAX).unwrap_err();
        assert_eq!(error, NoiseError::TooMuch { multiplier_thousandths: u32::MAX, sigma });
        assert!(error.to_string().contains(&sigma.to_string()));
    }

    #[test]
    fn what_to_expect_of_the_mean() {
        let noise = Noise::new(config("Word32/F32/B0/M3"), 10_000, 4000).unwrap();
        let deviation = noise.deviation_of_mean(3, 500, 0.5);
        assert!((deviation / (3f64.sqrt() * 4.0 * 0.5 / 500.0) - 1.0).abs() < 1e-3, "{deviation}");
        let share = noise.share_of_mean(3, 500);
        assert!((share / (4.0 * (3.0 * 10_000f64).sqrt() / 500.0) - 1.0).abs() < 1e-3, "{share}");
    }
}
