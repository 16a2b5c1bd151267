//! Every form in bytes is read as what was written, and there is one way to write each value.

use std::fmt::Debug;

use pet_core::crypto::{PublicEncryptKey, PublicSigningKey, RoundSeed};
use pet_core::mask::{derive_mask, MaskConfig, MaskObject, MaskSeed};
use pet_core::message::{
    Chunk, EncryptedMaskSeed, LocalSeedDict, MessageId, Payload, SumPayload, Tag,
};
use pet_core::model::ratio;
use pet_core::round::{RoundParameters, SumDict, UpdateSeedDict};
use pet_testing::strategies::{bytes, mask_config_pairs, signatures, Damage};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

type Read<T> = fn(&[u8]) -> Option<T>;
type Write<T> = fn(&T) -> Vec<u8>;

/// What is written is read; and what is read of a damaged form is written in a way that is read as the
/// same. With `strict` nothing else than what is written is read at all.
fn check<T: PartialEq + Debug>(
    value: &T,
    damage: &Damage,
    strict: bool,
    read: Read<T>,
    write: Write<T>,
) -> Result<(), TestCaseError> {
    let written = write(value);
    let again = read(&written);
    prop_assert_eq!(again.as_ref(), Some(value));
    let damaged = damage.apply(&written);
    let Some(other) = read(&damaged) else { return Ok(()) };
    let again = write(&other);
    let back = read(&again);
    prop_assert_eq!(back.as_ref(), Some(&other));
    if strict {
        prop_assert_eq!(again, damaged, "two forms of {:?}", other);
    }
    Ok(())
}

proptest! {
    #[test]
    fn round_parameters(
        pk in bytes(),
        (sum, update) in (prop::num::f64::ANY, 0.0f64..=1.0),
        seed in bytes(),
        mask_config in mask_config_pairs(),
        model_length: u64,
        damage in any::<Damage>(),
    ) {
        prop_assume!(!sum.is_nan());
        let parameters = RoundParameters {
            pk: PublicEncryptKey::new(pk), sum, update, seed: RoundSeed::new(seed), mask_config, model_length,
        };
        let read = |bytes: &[u8]| RoundParameters::from_bytes(bytes).ok();
        check(&parameters, &damage, true, read, RoundParameters::to_bytes)?;
    }

    /// Entries may come in any order, but are written sorted.
    #[test]
    fn dictionaries(entries in btree_map(bytes(), (bytes(), bytes()), 0..6), damage in any::<Damage>()) {
        let key = PublicSigningKey::new;
        let sums: SumDict =
            entries.iter().map(|(pk, (ephemeral, _))| (key(*pk), PublicEncryptKey::new(*ephemeral))).collect();
        check(&sums, &damage, false, |bytes| SumDict::from_bytes(bytes).ok(), SumDict::to_bytes)?;
        let column: UpdateSeedDict =
            entries.iter().map(|(pk, (_, seed))| (key(*pk), EncryptedMaskSeed::new(*seed))).collect();
        check(
            &column, &damage, false,
            |bytes| UpdateSeedDict::from_bytes(bytes).ok(), UpdateSeedDict::to_bytes,
        )?;
        let local = entries.iter().map(|(pk, (_, seed))| (key(*pk), EncryptedMaskSeed::new(*seed)));
        let local = LocalSeedDict::new(local.rev().collect()).unwrap();
        let write = |dict: &LocalSeedDict| {
            let mut bytes = Vec::new();
            dict.write_to(&mut bytes);
            bytes
        };
        check(&local, &damage, false, |bytes| LocalSeedDict::parse(bytes).ok(), write)?;
    }

    #[test]
    fn mask_objects(pair in mask_config_pairs(), seed in bytes(), length in 0usize..5, damage in any::<Damage>()) {
        let object = derive_mask(&MaskSeed::new(seed), pair, length);
        let read = |bytes: &[u8]| MaskObject::from_bytes(bytes).ok();
        check(&object, &damage, true, read, |object| object.to_bytes().unwrap())?;
    }

    #[test]
    fn sum_payloads(signature in signatures(), key in bytes(), damage in any::<Damage>()) {
        let payload = SumPayload { sum_signature: signature, ephemeral_key: PublicEncryptKey::new(key) };
        let write = |payload: &SumPayload| {
            let mut bytes = Vec::new();
            payload.write_to(&mut bytes);
            bytes
        };
        let read = |bytes: &[u8]| match Payload::parse(Tag::Sum, false, bytes) {
            Ok(Payload::Sum(payload)) => Some(payload),
            _ => None,
        };
        check(&payload, &damage, true, read, write)?;
    }

    /// Reserved bytes and unknown flags are not kept.
    #[test]
    fn chunks(id: u16, message_id: u16, is_last: bool, data: Vec<u8>, damage in any::<Damage>()) {
        type Owned = (u16, u16, bool, Vec<u8>);
        let read = |bytes: &[u8]| {
            let chunk = Chunk::parse(bytes).ok()?;
            Some((chunk.id, chunk.message_id.0, chunk.is_last, chunk.data.to_vec()))
        };
        let write = |(id, message_id, is_last, data): &Owned| {
            let mut bytes = Vec::new();
            let message_id = MessageId(*message_id);
            Chunk { id: *id, message_id, is_last: *is_last, data }.write_to(&mut bytes);
            bytes
        };
        check(&(id, message_id, is_last, data), &damage, false, read, write)?;
    }

    /// Leading zeros and fractions that are not in lowest terms are read, but not written.
    #[test]
    fn exact_models(weights in vec((any::<i64>(), 1..=u64::MAX, 0u32..200), 0..5), damage in any::<Damage>()) {
        let weights = weights.into_iter().map(|(numer, denom, shift)| {
            let numer = num_bigint::BigInt::from(numer) << shift;
            num_rational::BigRational::new(numer, denom.into())
        });
        let read = |bytes: &[u8]| ratio::decode_ratios(bytes).ok();
        let write = |weights: &Vec<_>| ratio::encode_ratios(weights);
        check(&weights.collect(), &damage, false, read, write)?;
    }

    #[test]
    fn typed_models(weights: Vec<f64>) {
        prop_assume!(weights.iter().all(|weight| weight.is_finite()));
        let bytes = ratio::encode_model(&weights.clone().into()).unwrap();
        let read = ratio::decode(&bytes, pet_core::mask::DataType::F64).unwrap();
        prop_assert_eq!(read, pet_core::model::Model::F64(weights));
    }
}

/// Four bytes are a config, or not; and there is one name for each.
#[test]
fn mask_configs() {
    let mut found = 0;
    let (groups, bytes): (Vec<u8>, Vec<u8>) = ((0..=u8::MAX).collect(), (0..=u8::MAX).collect());
    for group in groups {
        for data in 0..8 {
            for bound in &bytes {
                for model in 0..16 {
                    let bytes = [group, data, *bound, model];
                    let Ok(config) = MaskConfig::from_bytes(bytes) else { continue };
                    found += 1;
                    assert_eq!(config.to_bytes(), bytes);
                    assert_eq!(config.to_string().parse(), Ok(config));
                }
            }
        }
    }
    assert_eq!(found, MaskConfig::all().count());
    assert!(found >= 240);
}

/// A reader that is too lenient, or a writer that forgets something, is found.
#[test]
fn wrong_codecs_are_found() {
    let (none, tail) = (Damage::none(), Damage::tail([9]));
    let first: Read<u8> = |bytes| bytes.first().copied();
    assert!(check(&7, &none, true, first, |value| vec![*value]).is_ok());
    assert!(check(&7, &none, true, first, |value| vec![value & 3]).is_err());
    assert!(check(&7, &tail, true, first, |value| vec![*value]).is_err());
    assert!(check(&7, &tail, false, first, |value| vec![*value]).is_ok());
}
