//! Messages written by either and read by the other; seals, signatures, and what is published.

use std::panic::catch_unwind;

use pet_oracle::{
    old, ours,
    strategies::{any_bytes, any_message, any_pair, any_seed, any_sum2, any_update, Addressed},
    Body, Parameters, Plain,
};
use proptest::{
    collection::{btree_map, vec},
    num,
    prelude::*,
    sample::Index,
    test_runner::FileFailurePersistence,
};

fn persistent() -> ProptestConfig {
    let file = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(file)), ..ProptestConfig::default() }
}

/// The old crate writes dictionaries in an order of its own, ours sorts them.
fn bytes_are_determined(body: &Body) -> bool {
    !matches!(body, Body::Update { seed_dict, .. } if seed_dict.len() > 1)
}

proptest! {
    #![proptest_config(persistent())]

    #[test]
    fn written_by_one_and_read_by_the_other(message in any_message()) {
        let Addressed { plain, signing_key, .. } = message;
        let written = ours::write(&plain, &signing_key);
        prop_assert_eq!(old::read(&written), Ok(plain.clone()));
        let written_by_old = old::write(&plain, &signing_key);
        prop_assert_eq!(ours::read(&written_by_old), Ok(plain.clone()));
        if bytes_are_determined(&plain.body) {
            prop_assert_eq!(hex::encode(written), hex::encode(written_by_old));
        }
    }

    #[test]
    fn sealed_by_one_and_opened_by_the_other(message in any_message(), ephemeral in any_seed()) {
        let Addressed { plain, signing_key, opening_key } = message;
        let sealed = ours::write_sealed(&plain, &signing_key, &ephemeral);
        let opened = old::open(&plain.coordinator_pk, &opening_key, &sealed);
        prop_assert_eq!(opened.map(|message| old::read(&message)), Some(Ok(plain.clone())));

        let sealed = old::seal(&plain.coordinator_pk, &old::write(&plain, &signing_key));
        let opened = ours::open(&opening_key, &sealed);
        prop_assert_eq!(opened.map(|message| ours::read(&message)), Some(Ok(plain)));
    }

    /// Parts that ours splits, each read by the old one, make up what the old one reads whole.
    #[test]
    fn multipart_from_ours(
        message in any_message(),
        body in prop_oneof![any_update(), any_sum2()],
        max_payload in 9..400usize,
        message_id in any::<u16>(),
    ) {
        let Addressed { plain, signing_key, .. } = message;
        let plain = Plain { body, ..plain };
        let size = max_payload + 136 + 48;
        let (payload, parts) = ours::split(&plain.body, size, message_id).unwrap();
        if payload.len() <= max_payload {
            prop_assert!(parts.is_empty());
            return Ok(());
        }
        let whole = ours::write(&plain, &signing_key);
        prop_assert_eq!(&whole[136..], &payload[..]);
        prop_assert_eq!(parts.len(), payload.len().div_ceil(max_payload - 8));
        let mut collected = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let written =
                ours::write(&Plain { body: part.clone(), ..plain.clone() }, &signing_key);
            prop_assert!(written.len() + 48 <= size);
            match old::read(&written).map(|plain| plain.body) {
                Ok(Body::Chunk { id, message_id: read_id, last, data, .. }) => {
                    prop_assert_eq!((usize::from(id), read_id), (index, message_id));
                    prop_assert_eq!(last, index + 1 == parts.len());
                    collected.extend(data);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(collected, payload);
        prop_assert_eq!(old::read(&whole), Ok(plain));
    }

    /// Parts that the old one writes, in any order, make up the payload in ours.
    #[test]
    fn multipart_from_the_old_one(
        message in any_message(),
        body in prop_oneof![any_update(), any_sum2()],
        data_length in 1..400usize,
        message_id in any::<u16>(),
        order in any::<u64>(),
    ) {
        let Addressed { plain, signing_key, .. } = message;
        let task = match body {
            Body::Update { .. } => pet_oracle::Task::Update,
            _ => pet_oracle::Task::Sum2,
        };
        let plain = Plain { body, ..plain };
        let whole = old::write(&plain, &signing_key);
        let chunks: Vec<_> = whole[136..].chunks(data_length).collect();
        let mut parts: Vec<_> = chunks
            .iter()
            .enumerate()
            .map(|(index, data)| Plain {
                body: Body::Chunk {
                    task,
                    id: index as u16,
                    message_id,
                    last: index + 1 == chunks.len(),
                    data: data.to_vec(),
                },
                ..plain.clone()
            })
            .map(|part| old::write(&part, &signing_key))
            .collect();
        parts.sort_by_key(|part| old::sha256(&[&order.to_le_bytes()[..], part].concat()));
        prop_assert_eq!(ours::reassemble(&parts), Ok(Some(whole[136..].to_vec())));
        prop_assert_eq!(ours::read(&whole), Ok(plain));
    }

    /// Ours is the stricter reader: what it accepts, the old one accepts and understands alike.
    #[test]
    fn a_message_that_ours_accepts_means_the_same_to_the_old_one(
        message in any_message(),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        header_changes in vec((128..136usize, any::<u8>()), 0..2),
        cut in prop::option::of(any::<Index>()),
        tail in vec(any::<u8>(), 0..3),
    ) {
        let Addressed { plain, signing_key, .. } = message;
        let mut bytes = old::write(&plain, &signing_key);
        for (index, byte) in changes {
            let index = 136 + index.index(bytes.len() - 136);
            bytes[index] = byte;
        }
        for (index, byte) in header_changes {
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            let keep = 136 + cut.index(bytes.len() - 136);
            bytes.truncate(keep);
        }
        bytes.extend(tail);
        let signature = old::sign(&signing_key, &bytes[64..]);
        bytes[..64].copy_from_slice(&signature);

        if let Ok(read) = ours::read(&bytes) {
            let old = catch_unwind(|| old::read(&bytes)).unwrap_or(Err("panic".to_owned()));
            prop_assert_eq!(old, Ok(read));
        }
    }

    #[test]
    fn mask_seeds(seed in any_seed(), keys in any_seed(), ephemeral in any_seed()) {
        let (public, secret) = ours::encrypt_key_pair(&keys);
        prop_assert_eq!((public, secret), old::encrypt_key_pair(&keys));
        let sealed = ours::seal_mask_seed(&seed, &public, &ephemeral);
        prop_assert_eq!(old::open_mask_seed(&sealed, &public, &secret), Some(seed));
        let sealed = old::seal_mask_seed(&seed, &public);
        prop_assert_eq!(ours::open_mask_seed(&sealed, &secret), Some(seed));
    }

    #[test]
    fn damaged_seals(
        keys in any_seed(),
        content in vec(any::<u8>(), 0..100),
        damage in (any::<Index>(), 1..=u8::MAX),
        cut in prop::option::of(any::<Index>()),
    ) {
        let (public, secret) = ours::encrypt_key_pair(&keys);
        let mut sealed = old::seal(&public, &content);
        match cut {
            Some(cut) => sealed.truncate(cut.index(sealed.len())),
            None => {
                let (index, bits) = damage;
                let index = index.index(sealed.len());
                sealed[index] ^= bits;
            }
        }
        prop_assert_eq!(ours::open(&secret, &sealed), old::open(&public, &secret, &sealed));
    }

    #[test]
    fn signatures(
        seed in any_seed(),
        message in vec(any::<u8>(), 0..200),
        damage in prop::option::of((0..64usize, 1..=u8::MAX)),
    ) {
        let (public, secret) = ours::signing_key_pair(&seed);
        prop_assert_eq!((public, secret), old::signing_key_pair(&seed));
        let mut signature = ours::sign(&secret, &message);
        prop_assert_eq!(signature, old::sign(&secret, &message));
        if let Some((index, bits)) = damage {
            signature[index] ^= bits;
        }
        prop_assert_eq!(
            ours::verify(&public, &signature, &message),
            old::verify(&public, &signature, &message)
        );
    }

    #[test]
    fn tasks(
        seed in any_seed(),
        round_seed in any_seed(),
        thresholds in vec(
            prop_oneof![0.0..=1.0, num::f64::NORMAL | num::f64::SUBNORMAL | num::f64::ZERO],
            2,
        ),
    ) {
        let (_, secret) = old::signing_key_pair(&seed);
        let (sum, update) = ours::task_signatures(&secret, &round_seed);
        prop_assert_eq!(sum, old::sign(&secret, &[&round_seed[..], b"sum"].concat()));
        prop_assert_eq!(update, old::sign(&secret, &[&round_seed[..], b"update"].concat()));
        for signature in [sum, update] {
            for &threshold in &thresholds {
                prop_assert_eq!(
                    ours::is_eligible(&signature, threshold),
                    old::is_eligible(&signature, threshold)
                );
            }
        }
    }

    #[test]
    fn round_parameters(
        pk in any_bytes(),
        seed in any_bytes(),
        (sum, update) in (0.0..=1.0, 0.0..=1.0),
        mask_config in any_pair(),
        model_length in any::<u64>(),
    ) {
        let parameters = Parameters { pk, sum, update, seed, mask_config, model_length };
        let written = ours::write_parameters(&parameters);
        prop_assert_eq!(hex::encode(&written), hex::encode(old::write_parameters(&parameters)));
        prop_assert_eq!(old::read_parameters(&written), Ok(parameters.clone()));
        prop_assert_eq!(ours::read_parameters(&written), Ok(parameters));
    }

    #[test]
    fn dictionaries(
        sums in btree_map(any_bytes(), any_bytes(), 0..=5),
        seeds in btree_map(any_bytes(), any_bytes(), 0..=5),
    ) {
        prop_assert_eq!(old::read_sum_dict(&ours::write_sum_dict(&sums)), Ok(sums.clone()));
        prop_assert_eq!(ours::read_sum_dict(&old::write_sum_dict(&sums)), Ok(sums));
        let written = old::write_seeds(&seeds);
        prop_assert_eq!(ours::read_seeds(&written), Ok(seeds.clone()));
        let rewritten = ours::rewrite_seeds(&written).unwrap();
        prop_assert_eq!(old::read_seeds(&rewritten), Ok(seeds));
    }
}
