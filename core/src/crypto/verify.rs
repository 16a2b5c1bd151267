//! Checking Ed25519 signatures, of one message or of several at the same time.
//!
//! Most of the time for a long message goes to SHA-512, where libsodium is not the fastest. So the hash is another
//! library's, or for several messages [`pet_mask::sha512`]'s, and what it is for is computed here.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use pet_mask::sha512;
use sha2::{Digest as _, Sha512};

use super::{PublicSigningKey, Signature};

/// Whether it is the key's owner's signature over the message.
pub(super) fn verify(key: &PublicSigningKey, signature: &Signature, message: &[u8]) -> bool {
    let Some(equation) = Equation::new(key, signature) else { return false };
    let hash = Sha512::new_with_prefix(equation.head).chain_update(message).finalize();
    equation.holds(&hash.into())
}

/// A signature that may have been made over a message.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// By whom.
    pub key: PublicSigningKey,
    /// The signature.
    pub signature: Signature,
    /// Over what.
    pub message: &'a [u8],
}

impl Signed<'_> {
    /// Whether the signature is right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        verify(&self.key, &self.signature, self.message)
    }
}

/// Whether signatures are right, in their order: each as [`PublicSigningKey::verify`] tells. Where the processor can
/// hash several messages at the same time, a few long ones of equal length take a third of the time.
#[must_use]
pub fn verify_all(all: &[Signed<'_>]) -> Vec<bool> {
    if !sha512::gains(all.len()) {
        return all.iter().map(Signed::is_right).collect();
    }
    verify_with(all, sha512::hash_all)
}

/// The same, with a hash for all texts that there are. (It is right on every processor, also where it gains nothing.)
fn verify_with(
    all: &[Signed<'_>],
    hash_all: impl FnOnce(&[sha512::Text<'_>]) -> Vec<[u8; 64]>,
) -> Vec<bool> {
    let equations: Vec<_> = all.iter().map(|one| Equation::new(&one.key, &one.signature)).collect();
    let texts: Vec<_> = equations
        .iter()
        .zip(all)
        .filter_map(|(equation, one)| Some((&equation.as_ref()?.head, one.message)))
        .collect();
    let mut hashes = hash_all(&texts).into_iter();
    let right = equations.iter().map(|equation| match equation {
        Some(equation) => hashes.next().is_some_and(|hash| equation.holds(&hash)),
        None => false,
    });
    right.collect()
}

/// What must hold of a signature, `R = S B - h A`, but for the message's hash `h`.
///
/// Ed25519's specifications leave open what becomes of keys and signatures that nobody honest makes. Here they fare as
/// with `crypto_sign_verify_detached` of libsodium 1.0.18, which is what other implementations of the protocol call: no
/// multiples of the cofactor, everything in canonical form, and neither `A` nor `R` of low order.
struct Equation {
    /// What is hashed before the message: `R` and `A`.
    head: [u8; 64],
    minus_a: EdwardsPoint,
    s: Scalar,
}

impl Equation {
    /// Nothing for what is not right whatever was signed.
    fn new(key: &PublicSigningKey, signature: &Signature) -> Option<Self> {
        let (r, s) = signature.as_bytes().split_first_chunk::<32>()?;
        let s: Option<Scalar> = Scalar::from_canonical_bytes(s.try_into().ok()?).into();
        // (To compress the point again and compare would take an inversion more.)
        if !is_reduced(key.as_bytes()) {
            return None;
        }
        let a = CompressedEdwardsY(*key.as_bytes()).decompress()?;
        if a.is_small_order() {
            return None;
        }
        let mut head = [0; 64];
        head[..32].copy_from_slice(r);
        head[32..].copy_from_slice(key.as_bytes());
        Some(Self { head, minus_a: -a, s: s? })
    }

    /// With the hash of [`head`](Self::head) and message.
    fn holds(&self, hash: &[u8; 64]) -> bool {
        let h = Scalar::from_bytes_mod_order_wide(hash);
        // Nothing of this is secret.
        let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&h, &self.minus_a, &self.s);
        r.compress().0 == self.head[..32] && !r.is_small_order()
    }
}

/// Whether a point's `y` is below the prime, 2^255 - 19. That is all of the canonical form but for the sign of an `x` that is zero, and
/// the two points that have such an `x` are of low order.
fn is_reduced(point: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = point;
    *first < 0xed || middle.iter().any(|byte| *byte != 0xff) || last & 0x7f != 0x7f
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::{Blake2b, Seed, SigningKeyPair};

    mod apart;

    /// The order of the group that the base point generates.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    /// What libsodium says.
    #[cfg(feature = "libsodium")]
    fn expected(key: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> bool {
        crate::crypto::backend::Libsodium::verify(key, signature, message)
    }

    /// Without libsodium there are its recorded verdicts.
    #[cfg(not(feature = "libsodium"))]
    fn expected(key: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> bool {
        PublicSigningKey::new(*key).verify(&Signature::new(*signature), message)
    }

    /// What libsodium says, which this must say, too, alone and beside others.
    fn check(key: [u8; 32], signature: [u8; 64], message: &[u8]) -> bool {
        let expected = expected(&key, &signature, message);
        let (key, signature) = (PublicSigningKey::new(key), Signature::new(signature));
        let case = || format!("{key} {signature} {message:?}");
        assert_eq!(key.verify(&signature, message), expected, "{}", case());
        let honest = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        let right = honest.sign(b"beside it");
        let beside = Signed { key: honest.public(), signature: right, message: b"beside it" };
        let this = Signed { key, signature, message };
        let all = [beside, this, beside, this];
        for right in [verify_all(&all), verify_with(&all, sha512::hash_all)] {
            assert_eq!(right, [true, expected, true, expected], "{}", case());
        }
        expected
    }

    /// All verdicts in a row are those that libsodium gave, also where there is no libsodium.
    fn assert_recorded(verdicts: &[bool], digest: &str) {
        let bytes: Vec<u8> = verdicts.iter().map(|right| u8::from(*right)).collect();
        assert_eq!(Blake2b::hash(&[&bytes]).to_string()[..16], *digest);
    }

    fn scalar(number: u64) -> Scalar {
        Scalar::from(number) * Scalar::from(0x1234_5678_9abc_def1_u64)
    }

    /// The signature of somebody who knows what honest people do not do: the point `r` and the key `a` may have parts of
    /// low order, `s` fits the rest of them.
    fn dishonest(
        (r, torsion_r): (Scalar, EdwardsPoint),
        (a, torsion_a): (Scalar, EdwardsPoint),
        message: &[u8],
    ) -> ([u8; 32], [u8; 64]) {
        let key = (EdwardsPoint::mul_base(&a) + torsion_a).compress().0;
        let point = (EdwardsPoint::mul_base(&r) + torsion_r).compress().0;
        let hash = Sha512::new().chain_update(point).chain_update(key).chain_update(message);
        let h = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&point);
        signature[32..].copy_from_slice((r + h * a).as_bytes());
        (key, signature)
    }

    /// Points of low and mixed order in either place or both, on messages whose hashes take the low part away and on
    /// others: what libraries disagree about (Chalkias, Garillot, Nikolaenko, *Taming the many EdDSAs*, 2020).
    #[test]
    fn points_of_low_and_mixed_order() {
        let mut verdicts = Vec::new();
        for torsion_r in EIGHT_TORSION {
            for torsion_a in EIGHT_TORSION {
                for (r, a) in [(0, 0), (0, 5), (7, 0), (7, 5)] {
                    for number in 0..8u8 {
                        let (r, a) = ((scalar(r), torsion_r), (scalar(a), torsion_a));
                        let (key, signature) = dishonest(r, a, &[number]);
                        verdicts.push(check(key, signature, &[number]));
                    }
                }
            }
        }
        let right = verdicts.iter().filter(|right| **right).count();
        assert!(
            right > 20 && verdicts.len() - right > 1000,
            "{right} right: the cases are too few"
        );
        assert_recorded(&verdicts, "558b0c96283be29b");
    }

    /// `s` and what comes out of it when the group's order is added as often as it fits.
    #[test]
    fn numbers_that_are_not_reduced() {
        let pair = SigningKeyPair::from_seed(&Seed::new([5; 32]));
        let mut signature = *pair.sign(b"m").as_bytes();
        assert!(check(*pair.public().as_bytes(), signature, b"m"));
        for _ in 0..15 {
            let mut carry = 0;
            for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
                let sum = u16::from(*byte) + u16::from(order) + carry;
                (*byte, carry) = (sum as u8, sum >> 8);
            }
            assert!(!check(*pair.public().as_bytes(), signature, b"m"));
        }
        let zero = dishonest((scalar(0), EIGHT_TORSION[0]), (scalar(3), EIGHT_TORSION[0]), b"m");
        check(zero.0, zero.1, b"m");
    }

    /// Encodings with a `y` beyond the prime, and with the sign of a zero.
    #[test]
    fn points_that_are_not_in_canonical_form() {
        let pair = SigningKeyPair::from_seed(&Seed::new([5; 32]));
        let honest = *pair.sign(b"m").as_bytes();
        let mut verdicts = Vec::new();
        for low in 0xe0..=0xff_u8 {
            for top in [0x7f, 0xff] {
                let mut odd = [0xff; 32];
                (odd[0], odd[31]) = (low, top);
                for s in [[0; 32], honest[32..].try_into().unwrap()] {
                    let signature = |r: [u8; 32]| {
                        let mut signature = [0; 64];
                        signature[..32].copy_from_slice(&r);
                        signature[32..].copy_from_slice(&s);
                        signature
                    };
                    let honest = honest[..32].try_into().unwrap();
                    verdicts.push(check(odd, signature(odd), b"m"));
                    verdicts.push(check(odd, signature(honest), b"m"));
                    verdicts.push(check(*pair.public().as_bytes(), signature(odd), b"m"));
                }
            }
        }
        for low in 0..32 {
            for top in [0, 0x80] {
                let mut small = [0; 32];
                (small[0], small[31]) = (low, top);
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&small);
                verdicts.push(check(small, signature, b"m"));
                verdicts.push(check(*pair.public().as_bytes(), signature, b"m"));
            }
        }
        assert_recorded(&verdicts, "82894bcc5e10b09d");
    }

    proptest! {
        #[test]
        fn honest_ones_and_those_with_a_bit_flipped(
            seed: [u8; 32], message: Vec<u8>, bit in 0..(32 + 64) * 8_usize,
        ) {
            let pair = SigningKeyPair::from_seed(&Seed::new(seed));
            let signature = *pair.sign(&message).as_bytes();
            prop_assert!(check(*pair.public().as_bytes(), signature, &message));
            let mut both = [&pair.public().as_bytes()[..], &signature].concat();
            both[bit / 8] ^= 1 << (bit % 8);
            let (key, signature) = both.split_at(32);
            prop_assert!(!check(key.try_into().unwrap(), signature.try_into().unwrap(), &message));
        }

        /// Whatever bytes come.
        #[test]
        fn any_bytes(key: [u8; 32], r: [u8; 32], s: [u8; 32], message: Vec<u8>) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(&s);
            check(key, signature, &message);
        }

        /// A valid signature with parts of low order added, in any combination.
        #[test]
        fn low_parts_anywhere(
            r: u64, a: u64, torsion_r in 0..8_usize, torsion_a in 0..8_usize, message: Vec<u8>,
        ) {
            let (r, a) = ((scalar(r), EIGHT_TORSION[torsion_r]), (scalar(a), EIGHT_TORSION[torsion_a]));
            let (key, signature) = dishonest(r, a, &message);
            check(key, signature, &message);
        }
    }

    /// Each point with a `y` near the prime, and those with an `x` that is zero: as if they were compressed again.
    #[test]
    fn what_is_reduced_is_what_it_would_be_compressed_to() {
        let mut refused = 0;
        for first in 0..=u8::MAX {
            for middle in [0, 0xff] {
                for last in [0, 0x7f, 0x80, 0xff] {
                    let mut bytes = [middle; 32];
                    (bytes[0], bytes[31]) = (first, last);
                    let Some(point) = CompressedEdwardsY(bytes).decompress() else { continue };
                    if !point.is_small_order() {
                        let same = point.compress().as_bytes() == &bytes;
                        assert_eq!(is_reduced(&bytes), same, "{bytes:?}");
                        refused += usize::from(!same);
                    }
                }
            }
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn several_messages_are_checked_each_by_itself() {
        let pairs: Vec<_> =
            (0..20).map(|i| SigningKeyPair::from_seed(&Seed::new([i; 32]))).collect();
        let messages: Vec<_> = (0..20_usize).map(|i| vec![i as u8; i * i * 17]).collect();
        let mut all: Vec<_> = pairs
            .iter()
            .zip(&messages)
            .map(|(pair, message)| Signed {
                key: pair.public(),
                signature: pair.sign(message),
                message,
            })
            .collect();
        all[3].message = b"another one";
        all[4].key = PublicSigningKey::new([0; 32]);
        all[17].signature = Signature::new([0xff; 64]);
        let expected: Vec<_> = (0..20).map(|i| ![3, 4, 17].contains(&i)).collect();
        // Together as well where one after another is the faster way; and with another library's hash.
        let with_sha2 = |texts: &[sha512::Text<'_>]| -> Vec<[u8; 64]> {
            let hash = |(head, rest): &sha512::Text<'_>| {
                Sha512::new_with_prefix(head).chain_update(rest).finalize().into()
            };
            texts.iter().map(hash).collect()
        };
        for right in [
            verify_all(&all),
            verify_with(&all, sha512::hash_all),
            verify_with(&all, with_sha2),
            all.iter().map(Signed::is_right).collect(),
        ] {
            assert_eq!(right, expected);
        }
        assert_eq!(verify_all(&[]), [true; 0]);
        assert_eq!(verify_with(&[], sha512::hash_all), [true; 0]);
    }
}
