//! Whether sum and noise fit the group.

use num_bigint::BigUint;

use super::terms::Noise;
use crate::config::MaskConfig;

/// The noise of a sum is within so many standard deviations: beyond them it is once in 10^15 weights.
const DEVIATIONS: u32 = 8;

/// A round's sum and noise fit the group: `n·E + 8·sqrt(k)·σ < 2^(bits-1)`.
///
/// The models add up to integers of at most n·E in absolute value, the noise of k groups has a deviation of `sqrt(k)·σ`, and what
/// is beyond half of the group comes out with the wrong sign, which nobody could see: so settings without room are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRoom {
    noise: Noise,
    groups: usize,
    most_models: u64,
}

/// Sum and noise do not fit the group. The settings are at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room for the noise: n*E + 8*sqrt(k)*sigma is {models}*{step} + 8*sqrt({groups})*{sigma} = {needed}, and must be below \
     2^{} = {} in {config}; {}",
    .bits - 1, BigUint::from(1u32) << (.bits - 1), advice(*.most_models)
)]
#[non_exhaustive]
pub struct NoHeadRoom {
    /// The config of the vector.
    pub config: MaskConfig,
    /// n: how many models.
    pub models: u64,
    /// E: steps in 1.
    pub step: u64,
    /// k: how many groups add noise.
    pub groups: usize,
    /// σ of each, in steps.
    pub sigma: u64,
    /// The length of the group's numbers in bits.
    pub bits: u32,
    /// What would have to fit, rounded up.
    pub needed: BigUint,
    /// How many models there is room for: maybe none.
    pub most_models: u64,
}

fn advice(most_models: u64) -> String {
    let others = "use a lower noise multiplier or the group type Word64";
    match most_models {
        0 => format!("there is no room for any model: {others}"),
        most => format!("let at most {most} models into a round, or {others}"),
    }
}

impl HeadRoom {
    /// The room that this noise of `groups` groups leaves for models.
    pub fn new(noise: Noise, groups: usize) -> Self {
        let half = BigUint::from(1u32) << (noise.config().number_bits() - 1);
        let needed = noise_bound(noise, groups);
        let most =
            if needed < half { (half - 1u32 - needed) / noise.step() } else { BigUint::default() };
        let most_models = u64::try_from(most).unwrap_or(u64::MAX);
        HeadRoom { noise, groups, most_models }
    }

    /// The most models that sum up without reaching the end of the group. The config may allow fewer.
    pub fn most_models(&self) -> u64 {
        self.most_models
    }

    /// Checks that there is room for so many models.
    ///
    /// # Errors
    /// If not, with the numbers.
    pub fn check(&self, models: u64) -> Result<(), NoHeadRoom> {
        if models <= self.most_models {
            return Ok(());
        }
        let Self { noise, groups, most_models } = *self;
        Err(NoHeadRoom {
            config: noise.config(),
            models,
            step: noise.step(),
            groups,
            sigma: noise.sigma(),
            bits: noise.config().number_bits() as u32,
            needed: noise_bound(noise, groups) + BigUint::from(models) * noise.step(),
            most_models,
        })
    }
}

/// `8·sqrt(k)·σ`, rounded up.
fn noise_bound(noise: Noise, groups: usize) -> BigUint {
    let square = BigUint::from(noise.sigma()) * noise.sigma() * groups * (DEVIATIONS * DEVIATIONS);
    let root = square.sqrt();
    if &root * &root < square {
        root + 1u32
    } else {
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(name: &str, length: usize, z: u32) -> Noise {
        Noise::new(name.parse().unwrap(), length, z).unwrap()
    }

    proptest! {
        /// The inequality itself, squared: no root is taken here.
        #[test]
        fn there_is_room_exactly_where_the_inequality_holds(
            length in 1usize..1 << 30, z in 1u32..200_000, groups in 1usize..17, models in 1u64..1000, wide: bool,
        ) {
            let noise = noise(if wide { "Word64/F32/B0/M3" } else { "Word32/F32/B0/M3" }, length, z);
            let half = BigUint::from(1u32) << (noise.config().number_bits() - 1);
            let sum = BigUint::from(models) * noise.step();
            let holds = sum < half && {
                let left = half - sum;
                let sigma = BigUint::from(noise.sigma());
                &left * &left > &sigma * &sigma * (64u32 * groups as u32)
            };
            let room = HeadRoom::new(noise, groups);
            prop_assert_eq!(room.check(models).is_ok(), holds);
            prop_assert_eq!(models <= room.most_models(), holds);
        }
    }

    #[test]
    fn the_error_shows_the_numbers() {
        let noise = noise("Word32/F32/B0/M3", 1_000_000, 4000);
        let room = HeadRoom::new(noise, 3);
        assert_eq!(room.check(room.most_models()), Ok(()));
        let error = room.check(1000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no room for the noise: n*E + 8*sqrt(k)*sigma is 1000*2097152 + 8*sqrt(3)*8392608 = 2213443388, and must be \
             below 2^31 = 2147483648 in Word32/F32/B0/M3; let at most 968 models into a round, or use a lower noise \
             multiplier or the group type Word64"
        );
        let none =
            HeadRoom::new(self::noise("Word32/F32/B0/M3", 1, 200_000), 3).check(1).unwrap_err();
        assert!(none.to_string().contains("no room for any model"), "{none}");
    }
}
