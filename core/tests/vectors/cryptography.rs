//! Keys, sealed boxes, signatures, hashes, eligibility.

use pet_core::crypto::{
    is_eligible, sha256, CryptoError, EncryptKeyPair, PublicEncryptKey, PublicSigningKey,
    RoundSeed, SecretEncryptKey, SecretSigningKey, Seed, Signature, SigningKeyPair, Task,
    TaskSignatures,
};

use crate::{are_our_own, array, bytes, cases, f64_bits, flag, text};

#[test]
fn signing_keys() {
    for case in cases("sealed.json", "signing_keys") {
        let pair = SigningKeyPair::from_seed(&Seed::new(array(&case, "seed")));
        assert_eq!(pair.public(), PublicSigningKey::new(array(&case, "pk")), "{case}");
        assert_eq!(*pair.secret(), SecretSigningKey::new(array(&case, "sk")), "{case}");
        assert_eq!(SigningKeyPair::from_secret(pair.secret().clone()), pair);
    }
}

#[test]
fn encrypt_keys() {
    for case in cases("sealed.json", "encrypt_keys") {
        let pair = EncryptKeyPair::from_seed(&Seed::new(array(&case, "seed")));
        assert_eq!(pair.public(), PublicEncryptKey::new(array(&case, "pk")), "{case}");
        assert_eq!(*pair.secret(), SecretEncryptKey::new(array(&case, "sk")), "{case}");
    }
}

#[test]
fn sealed_boxes() {
    let (mut sealed_again, mut refused) = (0, 0);
    for case in cases("sealed.json", "sealed_boxes") {
        let pk = PublicEncryptKey::new(array(&case, "pk"));
        let pair = EncryptKeyPair::from_secret(SecretEncryptKey::new(array(&case, "sk")));
        let ciphertext = bytes(&case, "ciphertext");
        // Ours derives the public key from the secret one, so that a wrong pair cannot be made up;
        // such a case says nothing about opening.
        if pair.public() != pk {
            assert!(!flag(&case, "decrypts"), "{case}");
            continue;
        }
        if !flag(&case, "decrypts") {
            assert_eq!(pair.open(&ciphertext), Err(CryptoError::DoesNotOpen), "{case}");
            refused += 1;
            continue;
        }
        let plaintext = bytes(&case, "plaintext");
        assert_eq!(pair.open(&ciphertext).as_ref(), Ok(&plaintext), "{case}");
        if !case["ephemeral_sk"].is_null() {
            let secret = SecretEncryptKey::new(array(&case, "ephemeral_sk"));
            let ephemeral = EncryptKeyPair::from_secret(secret);
            assert_eq!(pk.seal(&plaintext, &ephemeral), Ok(ciphertext), "{case}");
            sealed_again += 1;
        }
    }
    assert!(!are_our_own() || (sealed_again > 0 && refused > 0));
}

#[test]
fn signatures() {
    for case in cases("sealed.json", "signatures") {
        let pair = SigningKeyPair::from_seed(&Seed::new(array(&case, "signing_seed")));
        assert_eq!(pair.public(), PublicSigningKey::new(array(&case, "pk")), "{case}");
        let (message, signature) =
            (bytes(&case, "message"), Signature::new(array(&case, "signature")));
        assert_eq!(pair.sign(&message), signature, "{case}");
        assert!(pair.public().verify(&signature, &message), "{case}");
    }
}

#[test]
fn hashes() {
    for case in cases("sealed.json", "sha256") {
        let digest: [u8; 32] = array(&case, "sha256");
        assert_eq!(sha256(&bytes(&case, "message")).as_bytes(), &digest, "{case}");
    }
}

#[test]
fn eligibility() {
    for case in cases("eligibility.json", "eligibility") {
        let signature = Signature::new(array(&case, "signature"));
        let eligible = is_eligible(&signature, f64_bits(&case, "threshold"));
        // Where the old code panics (NaN) nothing is eligible.
        assert_eq!(eligible, case["eligible"].as_bool().unwrap_or(false), "{case}");
    }
}

#[test]
fn task_signatures() {
    for case in cases("eligibility.json", "task_signatures") {
        let keys = SigningKeyPair::from_seed(&Seed::new(array(&case, "signing_seed")));
        assert_eq!(keys.public(), PublicSigningKey::new(array(&case, "pk")), "{case}");
        let seed = RoundSeed::new(array(&case, "round_seed"));
        let signatures = TaskSignatures::sign(&keys, &seed);
        assert_eq!(signatures.sum, Signature::new(array(&case, "sum_signature")), "{case}");
        assert_eq!(signatures.update, Signature::new(array(&case, "update_signature")), "{case}");
        assert!(seed.verify_task(&keys.public(), &signatures.sum, Task::Sum), "{case}");
        assert!(seed.verify_task(&keys.public(), &signatures.update, Task::Update), "{case}");

        let (sum, update) = (f64_bits(&case, "sum_threshold"), f64_bits(&case, "update_threshold"));
        assert_eq!(is_eligible(&signatures.sum, sum), flag(&case, "sum_eligible"), "{case}");
        assert_eq!(
            is_eligible(&signatures.update, update),
            flag(&case, "update_eligible"),
            "{case}"
        );
        assert_eq!(signatures.task(sum, update).to_string(), text(&case, "task"), "{case}");
    }
}
