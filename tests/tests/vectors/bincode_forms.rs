//! The bincode forms of what is published. (Those of models and mask objects are among the numbers.)

use std::sync::Arc;

use pet_core::crypto::{
    EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RoundSeed, SecretEncryptKey, Seed,
    Signature, SigningKeyPair,
};
use pet_core::mask::{MaskConfig, MaskConfigPair, MaskSeed};
use pet_core::message::{EncryptedMaskSeed, LocalSeedDict};
use pet_core::round::{RoundParameters, SeedDict, SumDict, UpdateSeedDict};

use crate::{array, bytes, cases, f64_bits, list, text};

#[test]
fn round_parameters() {
    for case in cases("bincode.json", "round_parameters") {
        let config = |field: &str| {
            let config = MaskConfig::from_bytes(array(&case, &format!("{field}_bytes"))).unwrap();
            assert_eq!(config.to_string(), text(&case, field));
            config
        };
        let expected = RoundParameters {
            pk: PublicEncryptKey::new(array(&case, "pk")),
            sum: f64_bits(&case, "sum"),
            update: f64_bits(&case, "update"),
            seed: RoundSeed::new(array(&case, "seed")),
            mask_config: MaskConfigPair {
                vect: config("vect_config"),
                unit: config("unit_config"),
            },
            model_length: text(&case, "model_length").parse().unwrap(),
        };
        let bytes = bytes(&case, "bincode");
        assert_eq!(expected.to_bytes(), bytes, "{case}");
        assert_eq!(RoundParameters::from_bytes(&bytes), Ok(expected), "{case}");
    }
}

#[test]
fn sum_dicts() {
    for case in cases("bincode.json", "sum_dict") {
        let expected: SumDict = list(&case, "entries")
            .iter()
            .map(|entry| {
                let participant = PublicSigningKey::new(array(entry, "sum_participant_pk"));
                (participant, PublicEncryptKey::new(array(entry, "ephm_pk")))
            })
            .collect();
        let bytes = bytes(&case, "bincode");
        assert_eq!(expected.to_bytes(), bytes, "{case}");
        assert_eq!(SumDict::from_bytes(&bytes), Ok(expected), "{case}");
    }
}

#[test]
fn update_seed_dicts() {
    for case in cases("bincode.json", "update_seed_dict") {
        let expected: UpdateSeedDict = list(&case, "entries")
            .iter()
            .map(|entry| {
                let participant = PublicSigningKey::new(array(entry, "update_participant_pk"));
                (
                    participant,
                    EncryptedMaskSeed::new(array(entry, "encrypted_mask_seed")),
                )
            })
            .collect();
        let bytes = bytes(&case, "bincode");
        assert_eq!(expected.to_bytes(), bytes, "{case}");
        assert_eq!(UpdateSeedDict::from_bytes(&bytes), Ok(expected), "{case}");
    }
}

/// The whole seed dictionary never travels; its columns do. They must be what the old form holds.
#[test]
fn seed_dicts() {
    for case in cases("bincode.json", "seed_dict") {
        let sum_participant = PublicSigningKey::new(array(&case, "sum_participant_pk"));
        let mut dict = SeedDict::new();
        for entry in list(&case, "entries") {
            let seed = EncryptedMaskSeed::new(array(entry, "encrypted_mask_seed"));
            let local = LocalSeedDict::new(vec![(sum_participant, seed)]).unwrap();
            let participant = PublicSigningKey::new(array(entry, "update_participant_pk"));
            assert!(dict.insert(participant, Arc::new(local)));
        }
        let mut whole = 1u64.to_le_bytes().to_vec();
        whole.extend(bincode_of_key(&sum_participant));
        whole.extend(dict.column(&sum_participant).to_bytes());
        assert_eq!(whole, bytes(&case, "bincode"), "{case}");
    }
}

fn bincode_of_key(key: &PublicSigningKey) -> Vec<u8> {
    [&32u64.to_le_bytes()[..], key.as_bytes()].concat()
}

#[test]
fn keys_and_seeds() {
    for case in cases("bincode.json", "other") {
        let expected = bytes(&case, "bincode");
        let forms = match text(&case, "what") {
            "MaskSeed" => vec![length_and(MaskSeed::new(array(&case, "value")).as_bytes())],
            "Signature" => vec![length_and(Signature::new(array(&case, "value")).as_bytes())],
            "SigningKeyPair" => {
                let secret: [u8; 64] = array(&case, "secret");
                let seed = Seed::from_slice(&secret[..32]).unwrap();
                let pair = SigningKeyPair::from_seed(&seed);
                vec![
                    length_and(pair.public().as_bytes()),
                    length_and(pair.secret().as_bytes()),
                ]
            }
            "EncryptKeyPair" => {
                let secret = SecretEncryptKey::new(array(&case, "secret"));
                let pair = EncryptKeyPair::from_secret(secret);
                vec![
                    length_and(pair.public().as_bytes()),
                    length_and(pair.secret().as_bytes()),
                ]
            }
            // Tags go over the wire as one byte, and never in bincode.
            other => {
                assert!(other.starts_with("Tag::"), "{case}");
                continue;
            }
        };
        assert_eq!(forms.concat(), expected, "{case}");
    }
}

fn length_and(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}
