//! Messages and the bodies of HTTP answers, written and read.

use std::{collections::BTreeMap, convert::TryFrom};

use xaynet_core::{
    crypto::{ByteObject, PublicEncryptKey, PublicSigningKey, SecretSigningKey, Signature},
    mask::{EncryptedMaskSeed, MaskSeed},
    message::{Chunk, FromBytes as _, Message, MessageBuffer, Payload, Sum, Sum2, Tag, Update},
    LocalSeedDict, SumDict, UpdateSeedDict,
};

use super::mask::{bytes, config_bytes, config_pair, parse};
use crate::{Body, Parameters, Plain, Task};

/// Writes and signs a message. Seed dictionary entries come in no particular order.
pub fn write(plain: &Plain, signing_key: &[u8; 64]) -> Vec<u8> {
    let participant_pk = PublicSigningKey::from_slice_unchecked(&plain.participant_pk);
    let coordinator_pk = PublicEncryptKey::from_slice_unchecked(&plain.coordinator_pk);
    let message = match &plain.body {
        Body::Sum { sum_signature, ephm_pk } => Message::new_sum(
            participant_pk,
            coordinator_pk,
            Sum {
                sum_signature: Signature::from_slice_unchecked(sum_signature),
                ephm_pk: PublicEncryptKey::from_slice_unchecked(ephm_pk),
            },
        ),
        Body::Update { sum_signature, update_signature, masked_model, seed_dict } => {
            Message::new_update(
                participant_pk,
                coordinator_pk,
                Update {
                    sum_signature: Signature::from_slice_unchecked(sum_signature),
                    update_signature: Signature::from_slice_unchecked(update_signature),
                    masked_model: parse(masked_model).expect("a mask object"),
                    local_seed_dict: old_seed_dict(seed_dict),
                },
            )
        }
        Body::Sum2 { sum_signature, mask } => Message::new_sum2(
            participant_pk,
            coordinator_pk,
            Sum2 {
                sum_signature: Signature::from_slice_unchecked(sum_signature),
                model_mask: parse(mask).expect("a mask object"),
            },
        ),
        Body::Chunk { task, id, message_id, last, data } => Message::new_multipart(
            participant_pk,
            coordinator_pk,
            Chunk { id: *id, message_id: *message_id, last: *last, data: data.clone() },
            tag(*task),
        ),
    };
    let mut buffer = vec![0; message.buffer_length()];
    message.to_bytes(&mut buffer, &SecretSigningKey::from_slice_unchecked(signing_key));
    buffer
}

/// Checks and reads a message as the old coordinator does: header, signature, payload.
pub fn read(message: &[u8]) -> Result<Plain, String> {
    let buffer = MessageBuffer::new(message).map_err(|error| format!("header: {error:#}"))?;
    buffer.check_signature().map_err(|error| format!("signature: {error:#}"))?;
    let message =
        Message::from_byte_slice(&message).map_err(|error| format!("payload: {error:#}"))?;
    Ok(Plain {
        participant_pk: array(message.participant_pk.as_slice()),
        coordinator_pk: array(message.coordinator_pk.as_slice()),
        body: body(task(&message.tag), message.payload),
    })
}

/// Reads the payload that the parts of a message make up.
pub fn read_payload(task: Task, bytes: &[u8]) -> Result<Body, String> {
    let payload = match task {
        Task::Sum => Sum::from_byte_slice(&bytes).map(Payload::Sum),
        Task::Update => Update::from_byte_slice(&bytes).map(Payload::Update),
        Task::Sum2 => Sum2::from_byte_slice(&bytes).map(Payload::Sum2),
    };
    payload.map(|payload| body(task, payload)).map_err(|error| format!("payload: {error:#}"))
}

fn body(task: Task, payload: Payload) -> Body {
    match payload {
        Payload::Sum(sum) => Body::Sum {
            sum_signature: array(sum.sum_signature.as_slice()),
            ephm_pk: array(sum.ephm_pk.as_slice()),
        },
        Payload::Update(update) => Body::Update {
            sum_signature: array(update.sum_signature.as_slice()),
            update_signature: array(update.update_signature.as_slice()),
            masked_model: bytes(&update.masked_model),
            seed_dict: new_seed_dict(&update.local_seed_dict),
        },
        Payload::Sum2(sum2) => Body::Sum2 {
            sum_signature: array(sum2.sum_signature.as_slice()),
            mask: bytes(&sum2.model_mask),
        },
        Payload::Chunk(chunk) => Body::Chunk {
            task,
            id: chunk.id,
            message_id: chunk.message_id,
            last: chunk.last,
            data: chunk.data,
        },
    }
}

/// Seals a mask seed to a sum participant's ephemeral key.
pub fn seal_mask_seed(seed: &[u8; 32], ephm_pk: &[u8; 32]) -> [u8; 80] {
    array(
        MaskSeed::from_slice_unchecked(seed)
            .encrypt(&PublicEncryptKey::from_slice_unchecked(ephm_pk))
            .as_slice(),
    )
}

/// Opens a sealed mask seed, or `None`.
pub fn open_mask_seed(
    sealed: &[u8; 80],
    ephm_pk: &[u8; 32],
    ephm_sk: &[u8; 32],
) -> Option<[u8; 32]> {
    EncryptedMaskSeed::from_slice_unchecked(sealed)
        .decrypt(
            &PublicEncryptKey::from_slice_unchecked(ephm_pk),
            &xaynet_core::crypto::SecretEncryptKey::from_slice_unchecked(ephm_sk),
        )
        .ok()
        .map(|seed| seed.as_array())
}

/// Round parameters as `GET /params` serves them.
pub fn write_parameters(parameters: &Parameters) -> Vec<u8> {
    bincode::serialize(&xaynet_core::common::RoundParameters {
        pk: PublicEncryptKey::from_slice_unchecked(&parameters.pk),
        sum: parameters.sum,
        update: parameters.update,
        seed: xaynet_core::common::RoundSeed::from_slice_unchecked(&parameters.seed),
        mask_config: config_pair(parameters.mask_config),
        model_length: parameters.model_length as usize,
    })
    .expect("round parameters can be written")
}

/// Reads an answer to `GET /params`.
pub fn read_parameters(bytes: &[u8]) -> Result<Parameters, String> {
    let parameters: xaynet_core::common::RoundParameters =
        bincode::deserialize(bytes).map_err(|error| error.to_string())?;
    Ok(Parameters {
        pk: array(parameters.pk.as_slice()),
        sum: parameters.sum,
        update: parameters.update,
        seed: array(parameters.seed.as_slice()),
        mask_config: crate::PairBytes {
            vect: config_bytes(&parameters.mask_config.vect),
            unit: config_bytes(&parameters.mask_config.unit),
        },
        model_length: parameters.model_length as u64,
    })
}

/// A sum dictionary as `GET /sums` serves it.
pub fn write_sum_dict(dict: &BTreeMap<[u8; 32], [u8; 32]>) -> Vec<u8> {
    let dict: SumDict = dict
        .iter()
        .map(|(pk, ephm_pk)| {
            (
                PublicSigningKey::from_slice_unchecked(pk),
                PublicEncryptKey::from_slice_unchecked(ephm_pk),
            )
        })
        .collect();
    bincode::serialize(&dict).expect("a dictionary can be written")
}

/// Reads an answer to `GET /sums`.
pub fn read_sum_dict(bytes: &[u8]) -> Result<BTreeMap<[u8; 32], [u8; 32]>, String> {
    let dict: SumDict = bincode::deserialize(bytes).map_err(|error| error.to_string())?;
    Ok(dict.iter().map(|(pk, ephm_pk)| (array(pk.as_slice()), array(ephm_pk.as_slice()))).collect())
}

/// A column of the seed dictionary as `GET /seeds` serves it.
pub fn write_seeds(dict: &BTreeMap<[u8; 32], [u8; 80]>) -> Vec<u8> {
    let dict: UpdateSeedDict = old_seed_dict(dict);
    bincode::serialize(&dict).expect("a dictionary can be written")
}

/// Reads an answer to `GET /seeds`.
pub fn read_seeds(bytes: &[u8]) -> Result<BTreeMap<[u8; 32], [u8; 80]>, String> {
    let dict: UpdateSeedDict = bincode::deserialize(bytes).map_err(|error| error.to_string())?;
    Ok(new_seed_dict(&dict))
}

fn old_seed_dict(dict: &BTreeMap<[u8; 32], [u8; 80]>) -> LocalSeedDict {
    dict.iter()
        .map(|(pk, seed)| {
            (
                PublicSigningKey::from_slice_unchecked(pk),
                EncryptedMaskSeed::from_slice_unchecked(seed),
            )
        })
        .collect()
}

fn new_seed_dict(dict: &LocalSeedDict) -> BTreeMap<[u8; 32], [u8; 80]> {
    dict.iter().map(|(pk, seed)| (array(pk.as_slice()), array(seed.as_slice()))).collect()
}

fn tag(task: Task) -> Tag {
    match task {
        Task::Sum => Tag::Sum,
        Task::Update => Tag::Update,
        Task::Sum2 => Tag::Sum2,
    }
}

fn task(tag: &Tag) -> Task {
    match tag {
        Tag::Sum => Task::Sum,
        Tag::Update => Task::Update,
        Tag::Sum2 => Task::Sum2,
    }
}

pub(super) fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    <[u8; N]>::try_from(slice).expect("a value of this length")
}
