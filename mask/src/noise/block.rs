//! Noise for the weights of a model, block by block.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::coins::Coins;
use super::gaussian::{sample, MAX_SIGMA};
use crate::keystream::Key;
use crate::simd::Level;

/// Weights whose noise comes from one stretch of randomness: those from `i * NOISE_BLOCK` on from the key stream of the seed with
/// nonce `i`. So any core makes the noise of any block, and all find the same.
pub const NOISE_BLOCK: usize = 1024;

/// The seed of a group's noise in one round: whoever knows it can take the noise off.
///
/// Wiped on drop, shown by no `Debug`.
pub struct NoiseSeed(Box<Zeroizing<[u8; 32]>>);

/// Directly from heap to heap.
impl Clone for NoiseSeed {
    fn clone(&self) -> Self {
        let mut seed = NoiseSeed(Box::default());
        seed.0.copy_from_slice(&self.0[..]);
        seed
    }
}

impl fmt::Debug for NoiseSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseSeed(secret)")
    }
}

impl NoiseSeed {
    /// Takes 32 bytes that are uniform for whoever does not know them, and belong to this round and group alone.
    pub fn new(mut bytes: [u8; 32]) -> Self {
        // Moving a value leaves a copy behind: it is copied to where it stays, and the caller's argument is wiped.
        let mut seed = NoiseSeed(Box::default());
        seed.0.copy_from_slice(&bytes);
        bytes.zeroize();
        seed
    }
}

/// The discrete Gaussian: the integers, `y` with a probability proportional to `exp(-y² / 2σ²)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscreteGaussian {
    sigma: u64,
}

/// A σ that cannot be sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sigma must be from 1 to {MAX_SIGMA}, and is {0}")]
pub struct SigmaOutOfRange(pub u128);

impl DiscreteGaussian {
    /// That of this σ.
    ///
    /// # Errors
    /// If σ is 0, or above [`MAX_SIGMA`].
    pub fn new(sigma: u64) -> Result<Self, SigmaOutOfRange> {
        if sigma == 0 || sigma > MAX_SIGMA {
            return Err(SigmaOutOfRange(sigma.into()));
        }
        Ok(DiscreteGaussian { sigma })
    }

    /// σ.
    pub fn sigma(self) -> u64 {
        self.sigma
    }

    /// The noise of the weights of block `index`, the first ones if there is less room than for [`NOISE_BLOCK`] of them (more is
    /// left as it is). A full block takes about 0.1 ms.
    pub fn fill_block(self, seed: &NoiseSeed, index: u64, noise: &mut [i128]) {
        let mut noise = noise.iter_mut();
        self.each_in_block(Level::detected(), seed, index, |sample| match noise.next() {
            Some(to) => {
                *to = sample;
                noise.len() > 0
            }
            None => false,
        });
    }

    /// Hands out the noise of the weights of block `index` one by one, until there is no more or no more is wanted.
    pub(crate) fn each_in_block(
        self,
        level: Level,
        seed: &NoiseSeed,
        index: u64,
        mut give: impl FnMut(i128) -> bool,
    ) {
        let key = Key::with_nonce(&seed.0, index);
        let mut coins = Coins::new(level, &key);
        for _ in 0..NOISE_BLOCK {
            if !give(sample(&mut coins, self.sigma)) {
                break;
            }
        }
    }
}
