//! The bincode forms of what is published. (Those of models and mask objects are among the numbers.)

use std::fmt::Debug;
use std::sync::Arc;

use pet_core::crypto::{
    EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RoundSeed, SecretEncryptKey,
    SecretSigningKey, Signature, SigningKeyPair,
};
use pet_core::mask::{MaskConfig, MaskConfigPair, MaskSeed};
use pet_core::message::{EncryptedMaskSeed, LocalSeedDict};
use pet_core::round::{RoundParameters, SeedDict, SumDict, UpdateSeedDict};
use serde_json::Value;

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

/// Reads a dictionary and writes it again. The old code writes entries in any order, ours sorted.
fn check_dict<D: PartialEq + Debug, E: PartialEq + Debug>(
    case: &Value,
    expected: &D,
    to_bytes: impl Fn(&D) -> Vec<u8>,
    from_bytes: impl Fn(&[u8]) -> Result<D, E>,
) {
    let bytes = bytes(case, "bincode");
    assert_eq!(from_bytes(&bytes).as_ref(), Ok(expected), "{case}");
    let written = to_bytes(expected);
    assert_eq!(from_bytes(&written).as_ref(), Ok(expected), "{case}");
    if list(case, "entries").len() < 2 {
        assert_eq!(written, bytes, "{case}");
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
        check_dict(&case, &expected, SumDict::to_bytes, SumDict::from_bytes);
    }
}

fn update_seed_dict(case: &Value) -> UpdateSeedDict {
    let entry = |entry: &Value| {
        let participant = PublicSigningKey::new(array(entry, "update_participant_pk"));
        (participant, EncryptedMaskSeed::new(array(entry, "encrypted_mask_seed")))
    };
    list(case, "entries").iter().map(entry).collect()
}

#[test]
fn update_seed_dicts() {
    for case in cases("bincode.json", "update_seed_dict") {
        let expected = update_seed_dict(&case);
        check_dict(&case, &expected, UpdateSeedDict::to_bytes, UpdateSeedDict::from_bytes);
    }
}

/// The whole seed dictionary never travels; its columns do. They must be what the old form holds.
#[test]
fn seed_dicts() {
    for case in cases("bincode.json", "seed_dict") {
        let bytes = bytes(&case, "bincode");
        let (columns, rest) =
            bytes.split_first_chunk().map(|(n, rest)| (u64::from_le_bytes(*n), rest)).unwrap();
        if columns == 0 {
            assert!(rest.is_empty(), "{case}");
            assert!(list(&case, "entries").is_empty(), "{case}");
            continue;
        }
        let sum_participant = PublicSigningKey::new(array(&case, "sum_participant_pk"));
        let expected = update_seed_dict(&case);
        let mut dict = SeedDict::new();
        for (participant, seed) in expected.iter() {
            let local = LocalSeedDict::new(vec![(sum_participant, *seed)]).unwrap();
            assert!(dict.insert(*participant, Arc::new(local)));
        }
        let column = dict.column(&sum_participant);
        assert_eq!(column, expected, "{case}");
        let key = bincode::serialize(&sum_participant).unwrap();
        assert_eq!(columns, 1, "{case}");
        let rest = rest.strip_prefix(&key[..]).unwrap();
        assert_eq!(UpdateSeedDict::from_bytes(rest).as_ref(), Ok(&column), "{case}");
        if expected.len() < 2 {
            assert_eq!(column.to_bytes(), rest, "{case}");
        }
    }
}

/// Writes a value and reads it again.
macro_rules! check_bincode {
    ($case:expr, $value:expr) => {{
        let bytes = bytes(&$case, "bincode");
        let [value, read] = [$value, bincode::deserialize(&bytes).unwrap()];
        assert_eq!(read, value, "{}", $case);
        assert_eq!(bincode::serialize(&value).unwrap(), bytes, "{}", $case);
    }};
}

#[test]
fn keys_and_seeds() {
    for case in cases("bincode.json", "other") {
        match text(&case, "what") {
            "MaskSeed" => check_bincode!(case, MaskSeed::new(array(&case, "value"))),
            "Signature" => check_bincode!(case, Signature::new(array(&case, "value"))),
            "SigningKeyPair" => {
                let pair =
                    SigningKeyPair::from_secret(SecretSigningKey::new(array(&case, "secret")));
                assert_eq!(pair.public().as_bytes(), &array(&case, "public"), "{case}");
                check_bincode!(case, (pair.public(), pair.secret().clone()));
            }
            "EncryptKeyPair" => {
                let pair =
                    EncryptKeyPair::from_secret(SecretEncryptKey::new(array(&case, "secret")));
                assert_eq!(pair.public().as_bytes(), &array(&case, "public"), "{case}");
                check_bincode!(case, (pair.public(), pair.secret().clone()));
            }
            // Tags go over the wire as one byte, and never in bincode.
            other => assert!(other.starts_with("Tag::"), "{case}"),
        }
    }
}
