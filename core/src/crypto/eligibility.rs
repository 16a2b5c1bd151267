//! Who does what in a round: task signatures and the threshold they are held against
//! (specification, section 2).

use num_bigint::BigUint;
use num_traits::One;
use serde::{Deserialize, Serialize};

use super::{sha256, PublicSigningKey, RoundSeed, Signature, SigningKeyPair};

/// What a participant does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Task {
    /// Nothing.
    None,
    /// Send an ephemeral key, later the sum of the masks.
    Sum,
    /// Send a masked model.
    Update,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Sum => "sum",
            Self::Update => "update",
        })
    }
}

/// A participant's two signatures over the round seed: they decide its task, and prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSignatures {
    /// `sign(round_seed || "sum")`
    pub sum: Signature,
    /// `sign(round_seed || "update")`
    pub update: Signature,
}

impl TaskSignatures {
    /// Signs a round's seed.
    pub fn sign(keys: &SigningKeyPair, seed: &RoundSeed) -> Self {
        Self {
            sum: keys.sign(&task_text(seed, Task::Sum)),
            update: keys.sign(&task_text(seed, Task::Update)),
        }
    }

    /// The task that the signatures entitle to, given the round's probabilities. Sum comes first.
    pub fn task(&self, sum_prob: f64, update_prob: f64) -> Task {
        if is_eligible(&self.sum, sum_prob) {
            Task::Sum
        } else if is_eligible(&self.update, update_prob) {
            Task::Update
        } else {
            Task::None
        }
    }
}

impl RoundSeed {
    /// Whether the key's owner signed this task in the round with this seed. Always false for
    /// [`Task::None`], for which nobody signs.
    pub fn verify_task(&self, key: &PublicSigningKey, signature: &Signature, task: Task) -> bool {
        task != Task::None && key.verify(signature, &task_text(self, task))
    }

    /// The seed of the next round: `sha256(sign(seed || le(sum) || le(update)))`, signed by the
    /// Ed25519 pair derived from the 32 bytes of the new round's secret encryption key.
    pub fn next(&self, signer: &SigningKeyPair, sum_prob: f64, update_prob: f64) -> Self {
        let mut text = [0; 48];
        text[..32].copy_from_slice(self.as_bytes());
        text[32..40].copy_from_slice(&sum_prob.to_le_bytes());
        text[40..].copy_from_slice(&update_prob.to_le_bytes());
        Self::new(*sha256(signer.sign(&text).as_bytes()).as_bytes())
    }
}

fn task_text(seed: &RoundSeed, task: Task) -> Vec<u8> {
    let name: &[u8] = match task {
        Task::None => b"",
        Task::Sum => b"sum",
        Task::Update => b"update",
    };
    [seed.as_bytes(), name].concat()
}

/// Whether a signature is eligible for a threshold: its SHA-256, read as a little-endian integer and
/// divided by `2^256 - 1`, is at most the threshold's exact rational value.
///
/// Below 0 nothing is eligible, above 1 everything; no signature is eligible for NaN.
pub fn is_eligible(signature: &Signature, threshold: f64) -> bool {
    if threshold.is_nan() || threshold < 0.0 {
        return false;
    }
    if threshold > 1.0 {
        return true;
    }
    is_at_most(sha256(signature.as_bytes()).as_bytes(), threshold)
}

/// The comparison, for a threshold from 0 to 1.
fn is_at_most(hash: &[u8; 32], threshold: f64) -> bool {
    let hash = BigUint::from_bytes_le(hash);
    let max = (BigUint::one() << 256u32) - 1u32;
    // threshold = mantissa * 2^-shift with an exact integer mantissa; so the comparison
    // hash / max <= threshold is hash << shift <= mantissa * max.
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, shift) = match exponent {
        0 => (fraction, 1074),
        _ => (fraction | 1 << 52, 1075 - exponent),
    };
    (hash << shift) <= BigUint::from(mantissa) * max
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use num_rational::BigRational;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Seed;

    /// A half of 2^256 - 1 is no whole number: 2^255 is the first above it.
    #[test]
    fn the_largest_hash_is_one() {
        let mut half = [0; 32];
        half[31] = 0x80;
        assert!(!is_at_most(&half, 0.5));
        let mut below = [0xff; 32];
        below[31] = 0x7f;
        assert!(is_at_most(&below, 0.5));
        assert!(is_at_most(&[0xff; 32], 1.0));
    }

    proptest! {
        #[test]
        fn equals_the_comparison_of_exact_fractions(bytes: [u8; 32], threshold in 0.0f64..=1.0) {
            let signature = Signature::new([bytes, bytes].concat().try_into().unwrap());
            let max = (BigInt::from(1) << 256) - 1;
            let hash = BigInt::from_bytes_le(
                num_bigint::Sign::Plus,
                sha256(signature.as_bytes()).as_bytes(),
            );
            let expected = BigRational::new(hash, max) <= BigRational::from_float(threshold).unwrap();
            prop_assert_eq!(is_eligible(&signature, threshold), expected);
        }
    }

    #[test]
    fn edges() {
        let signature = Signature::new([9; 64]);
        for never in [f64::NAN, f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE, 0.0, 5e-324] {
            assert!(!is_eligible(&signature, never), "{never}");
        }
        for always in [1.0, 1.5, f64::INFINITY] {
            assert!(is_eligible(&signature, always), "{always}");
        }
    }

    #[test]
    fn the_share_of_eligible_signatures_matches_the_threshold() {
        let eligible = (0..2000u64)
            .filter(|i| {
                let mut bytes = [0; 64];
                bytes[..8].copy_from_slice(&i.to_le_bytes());
                is_eligible(&Signature::new(bytes), 0.3)
            })
            .count();
        // Six standard deviations of a binomial distribution with n = 2000, p = 0.3.
        assert!((600 - 123..=600 + 123).contains(&eligible), "{eligible}");
    }

    #[test]
    fn sum_comes_before_update() {
        let keys = SigningKeyPair::from_seed(&Seed::new([3; 32]));
        let seed = RoundSeed::new([4; 32]);
        let signatures = TaskSignatures::sign(&keys, &seed);
        assert_eq!(signatures.task(1.0, 1.0), Task::Sum);
        assert_eq!(signatures.task(0.0, 1.0), Task::Update);
        assert_eq!(signatures.task(0.0, 0.0), Task::None);
        assert!(seed.verify_task(&keys.public(), &signatures.sum, Task::Sum));
        assert!(!seed.verify_task(&keys.public(), &signatures.sum, Task::Update));
        assert!(!seed.verify_task(&keys.public(), &signatures.sum, Task::None));
    }
}
