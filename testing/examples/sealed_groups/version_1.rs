//! The same attack on version 1: there the coordinator and one who sums are enough.

use pet_core::crypto::RoundSeed;
use pet_core::crypto::{EncryptKeyPair, Seed, Task};
use pet_core::mask::{derive_mask, mask_model, MaskConfig};
use pet_core::message::UpdatePayload;
use pet_core::model::{Model, Scalar};
use pet_core::round::{RoundParameters, SumDict};
use pet_testing::by_hand::Hand;
use pet_testing::v2::words;

use crate::{print, Failure};

/// How many add up masks: however many there are, one of them is enough.
const SUMMERS: usize = 3;

/// Has an updater mask these weights for a round of version 1, with three who sum. One of those opens its seed, and takes its mask
/// off the masked model that the coordinator has. Prints what is left, `left NUMBER...`.
pub fn run(weights: &[&str]) -> Result<(), Failure> {
    let weights: Vec<f32> =
        weights.iter().map(|weight| weight.parse()).collect::<Result<_, _>>()?;
    let length = weights.len();
    // Bound 100, steps of 2^-14, as in the demo's rounds of version 2.
    let config = "Word32/F32/B2/M3".parse::<MaskConfig>()?.into();
    let parameters = RoundParameters {
        pk: EncryptKeyPair::from_seed(&Seed::new([71; 32])).public(),
        sum: 0.5,
        update: 0.9,
        seed: RoundSeed::new([1; 32]),
        mask_config: config,
        model_length: length as u64,
    };
    let summers = Hand::with_task(Task::Sum, SUMMERS, &parameters);
    let updaters = Hand::with_task(Task::Update, 1, &parameters);
    let (updater, summer) = updaters.first().zip(summers.first()).ok_or("nobody takes part")?;
    let mut sums = SumDict::new();
    for summer in &summers {
        sums.insert(summer.key(), summer.ephemeral().public());
    }
    let seed = updater.mask_seed();
    let (masked, _) = mask_model(&seed, config, &Scalar::one(), &Model::F32(weights))?;
    let sent = updater.update_payload(&sums, &masked);
    let payload = UpdatePayload::parse(&sent)?;
    let sealed = payload.seeds.get(&summer.key()).ok_or("no seed for one who sums")?;
    let opened = sealed.open(&summer.ephemeral())?;
    let mask = words::of(&derive_mask(&opened, config, length));
    print("left", words::sub(&words::vector(&masked), &mask));
    Ok(())
}
