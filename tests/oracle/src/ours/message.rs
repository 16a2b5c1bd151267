//! Messages, the bodies of HTTP answers, keys, seals and signatures.

use std::collections::BTreeMap;

use pet_core::{
    crypto::{
        self, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RoundSeed, SecretEncryptKey,
        SecretSigningKey, Seed, Signature, SigningKeyPair,
    },
    mask::{MaskObjectView, MaskSeed},
    message::{
        Chunk, EncryptedMaskSeed, Frame, LocalSeedDict, MessageId, MessageSize, MessageView,
        OwnedChunk, Payload, Reassembly, ReassemblyLimits, SumPayload, Tag,
    },
    round::{self, RoundParameters, SumDict, UpdateSeedDict},
};

use super::mask::{config_pair, text};
use crate::{Body, PairBytes, Parameters, Plain, Task};

/// Writes and signs a message. Seed dictionary entries come sorted.
pub fn write(plain: &Plain, signing_key: &[u8; 64]) -> Vec<u8> {
    let (mut frame, tag, is_multipart) = frame(&plain.body);
    frame
        .sign(
            &signing_key_pair_of(signing_key),
            &PublicEncryptKey::new(plain.coordinator_pk),
            tag,
            is_multipart,
        )
        .expect("a short message can be written")
        .to_vec()
}

/// Writes, signs and seals a message.
pub fn write_sealed(plain: &Plain, signing_key: &[u8; 64], ephemeral: &[u8; 32]) -> Vec<u8> {
    let (frame, tag, is_multipart) = frame(&plain.body);
    frame
        .seal(
            &signing_key_pair_of(signing_key),
            &PublicEncryptKey::new(plain.coordinator_pk),
            tag,
            is_multipart,
            &EncryptKeyPair::from_seed(&Seed::new(*ephemeral)),
        )
        .expect("a short message can be sealed")
}

/// The payload of a message, and its parts when no message may be sealed larger than `size`.
///
/// No parts: it fits in one message. The error as text.
pub fn split(body: &Body, size: usize, message_id: u16) -> Result<(Vec<u8>, Vec<Body>), String> {
    let (frame, tag, _) = frame(body);
    let payload = frame.payload();
    let splitting =
        MessageSize::at_most(size).and_then(|size| size.split(payload.len())).map_err(text)?;
    let parts = splitting.iter().flat_map(|splitting| {
        (0..splitting.count()).map(|index| {
            splitting
                .chunk(payload, MessageId(message_id), index)
                .map(|chunk| chunk_body(tag, &chunk))
                .expect("an index below the count")
        })
    });
    Ok((payload.to_vec(), parts.collect()))
}

/// Checks and reads a message: header, signature, payload.
pub fn read(message: &[u8]) -> Result<Plain, String> {
    let view = MessageView::parse(message).map_err(text)?;
    view.verify_signature().map_err(text)?;
    let payload = view.parse_payload().map_err(text)?;
    Ok(Plain {
        participant_pk: *view.participant.as_bytes(),
        coordinator_pk: *view.coordinator.as_bytes(),
        body: match payload {
            Payload::Sum(sum) => Body::Sum {
                sum_signature: *sum.sum_signature.as_bytes(),
                ephm_pk: *sum.ephemeral_key.as_bytes(),
            },
            Payload::Update(update) => Body::Update {
                sum_signature: *update.sum_signature.as_bytes(),
                update_signature: *update.update_signature.as_bytes(),
                masked_model: object(&update.masked_model),
                seed_dict: update
                    .seeds
                    .entries()
                    .iter()
                    .map(|(key, seed)| (*key.as_bytes(), *seed.as_bytes()))
                    .collect(),
            },
            Payload::Sum2(sum2) => Body::Sum2 {
                sum_signature: *sum2.sum_signature.as_bytes(),
                mask: object(&sum2.mask),
            },
            Payload::Chunk(chunk) => chunk_body(view.tag, &chunk),
            other => return Err(format!("the old crate has no {other:?}")),
        },
    })
}

/// Puts messages with parts together, in the order given; the payload once it is complete.
pub fn reassemble(parts: &[Vec<u8>]) -> Result<Option<Vec<u8>>, String> {
    let mut reassembly = Reassembly::new(ReassemblyLimits::default());
    let mut complete = None;
    for part in parts {
        let view = MessageView::parse(part).map_err(text)?;
        view.verify_signature().map_err(text)?;
        let Payload::Chunk(chunk) = view.parse_payload().map_err(text)? else {
            return Err("no chunk".to_owned());
        };
        let chunk = OwnedChunk {
            id: chunk.id,
            message_id: chunk.message_id,
            is_last: chunk.is_last,
            data: chunk.data.to_vec().into(),
        };
        let added =
            reassembly.add(view.participant, view.tag, chunk, true, 1 << 20).map_err(text)?;
        complete = complete.or(added.complete());
    }
    Ok(complete.map(|complete| complete.payload()))
}

fn frame(body: &Body) -> (Frame, Tag, bool) {
    let mut frame = Frame::with_capacity(0);
    let out = frame.buffer_mut();
    let (tag, is_multipart) = match body {
        Body::Sum { sum_signature, ephm_pk } => {
            let payload = SumPayload {
                sum_signature: Signature::new(*sum_signature),
                ephemeral_key: PublicEncryptKey::new(*ephm_pk),
            };
            payload.write_to(out);
            (Tag::Sum, false)
        }
        Body::Update { sum_signature, update_signature, masked_model, seed_dict } => {
            out.extend_from_slice(sum_signature);
            out.extend_from_slice(update_signature);
            out.extend_from_slice(masked_model);
            local_seed_dict(seed_dict).write_to(out);
            (Tag::Update, false)
        }
        Body::Sum2 { sum_signature, mask } => {
            out.extend_from_slice(sum_signature);
            out.extend_from_slice(mask);
            (Tag::Sum2, false)
        }
        Body::Chunk { task, id, message_id, last, data } => {
            let chunk = Chunk { id: *id, message_id: MessageId(*message_id), is_last: *last, data };
            chunk.write_to(out);
            (tag(*task), true)
        }
    };
    (frame, tag, is_multipart)
}

fn object(view: &MaskObjectView<'_>) -> Vec<u8> {
    pet_core::mask::MaskObject::from_view(view)
        .and_then(|object| object.to_bytes())
        .expect("an object that was checked")
}

fn chunk_body(tag: Tag, chunk: &Chunk<'_>) -> Body {
    Body::Chunk {
        task: match tag {
            Tag::Sum => Task::Sum,
            Tag::Update => Task::Update,
            Tag::Sum2 => Task::Sum2,
            other => unreachable!("the old crate has no {other} message"),
        },
        id: chunk.id,
        message_id: chunk.message_id.0,
        last: chunk.is_last,
        data: chunk.data.to_vec(),
    }
}

fn tag(task: Task) -> Tag {
    match task {
        Task::Sum => Tag::Sum,
        Task::Update => Tag::Update,
        Task::Sum2 => Tag::Sum2,
    }
}

fn local_seed_dict(dict: &BTreeMap<[u8; 32], [u8; 80]>) -> LocalSeedDict {
    let entries =
        dict.iter().map(|(key, seed)| (PublicSigningKey::new(*key), EncryptedMaskSeed::new(*seed)));
    LocalSeedDict::new(entries.collect()).expect("keys of a map are different")
}

/// Seals a mask seed to a sum participant's ephemeral key.
pub fn seal_mask_seed(seed: &[u8; 32], ephm_pk: &[u8; 32], ephemeral: &[u8; 32]) -> [u8; 80] {
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new(*ephemeral));
    let sealed = EncryptedMaskSeed::seal(
        &MaskSeed::new(*seed),
        &PublicEncryptKey::new(*ephm_pk),
        &ephemeral,
    );
    *sealed.expect("a key that was derived from a seed").as_bytes()
}

/// Opens a sealed mask seed, or `None`.
pub fn open_mask_seed(sealed: &[u8; 80], ephm_sk: &[u8; 32]) -> Option<[u8; 32]> {
    let keys = EncryptKeyPair::from_secret(SecretEncryptKey::new(*ephm_sk));
    EncryptedMaskSeed::new(*sealed).open(&keys).ok().map(|seed| *seed.as_bytes())
}

/// The (public, secret) Ed25519 keys made from a seed.
pub fn signing_key_pair(seed: &[u8; 32]) -> ([u8; 32], [u8; 64]) {
    let pair = SigningKeyPair::from_seed(&Seed::new(*seed));
    (*pair.public().as_bytes(), *pair.secret().as_bytes())
}

/// The (public, secret) X25519 keys made from a seed.
pub fn encrypt_key_pair(seed: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    let pair = EncryptKeyPair::from_seed(&Seed::new(*seed));
    (*pair.public().as_bytes(), *pair.secret().as_bytes())
}

/// Seals a message to a public key.
pub fn seal(public: &[u8; 32], message: &[u8], ephemeral: &[u8; 32]) -> Vec<u8> {
    PublicEncryptKey::new(*public)
        .seal(message, &EncryptKeyPair::from_seed(&Seed::new(*ephemeral)))
        .expect("a key that was derived from a seed")
}

/// Opens a sealed message, or `None`.
pub fn open(secret: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    EncryptKeyPair::from_secret(SecretEncryptKey::new(*secret)).open(sealed).ok()
}

/// The detached signature of a message.
pub fn sign(secret: &[u8; 64], message: &[u8]) -> [u8; 64] {
    *signing_key_pair_of(secret).sign(message).as_bytes()
}

/// Whether a detached signature is valid.
pub fn verify(public: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> bool {
    PublicSigningKey::new(*public).verify(&Signature::new(*signature), message)
}

/// The (sum, update) signatures of a round's seed.
pub fn task_signatures(secret: &[u8; 64], round_seed: &[u8; 32]) -> ([u8; 64], [u8; 64]) {
    let signatures =
        crypto::TaskSignatures::sign(&signing_key_pair_of(secret), &RoundSeed::new(*round_seed));
    (*signatures.sum.as_bytes(), *signatures.update.as_bytes())
}

/// Whether a task signature selects its maker at a threshold.
pub fn is_eligible(signature: &[u8; 64], threshold: f64) -> bool {
    crypto::is_eligible(&Signature::new(*signature), threshold)
}

fn signing_key_pair_of(secret: &[u8; 64]) -> SigningKeyPair {
    SigningKeyPair::from_secret(SecretSigningKey::new(*secret))
}

/// Round parameters as `GET /params` serves them.
pub fn write_parameters(parameters: &Parameters) -> Vec<u8> {
    let parameters = RoundParameters {
        pk: PublicEncryptKey::new(parameters.pk),
        sum: parameters.sum,
        update: parameters.update,
        seed: RoundSeed::new(parameters.seed),
        mask_config: config_pair(parameters.mask_config),
        model_length: parameters.model_length,
    };
    parameters.to_bytes()
}

/// Reads an answer to `GET /params`.
pub fn read_parameters(bytes: &[u8]) -> Result<Parameters, round::DecodeError> {
    let parameters = RoundParameters::from_bytes(bytes)?;
    Ok(Parameters {
        pk: *parameters.pk.as_bytes(),
        sum: parameters.sum,
        update: parameters.update,
        seed: *parameters.seed.as_bytes(),
        mask_config: PairBytes {
            vect: parameters.mask_config.vect.to_bytes(),
            unit: parameters.mask_config.unit.to_bytes(),
        },
        model_length: parameters.model_length,
    })
}

/// A sum dictionary as `GET /sums` serves it.
pub fn write_sum_dict(dict: &BTreeMap<[u8; 32], [u8; 32]>) -> Vec<u8> {
    let dict: SumDict = dict
        .iter()
        .map(|(key, ephm)| (PublicSigningKey::new(*key), PublicEncryptKey::new(*ephm)))
        .collect();
    dict.to_bytes()
}

/// Reads an answer to `GET /sums`.
pub fn read_sum_dict(bytes: &[u8]) -> Result<BTreeMap<[u8; 32], [u8; 32]>, round::DecodeError> {
    let dict = SumDict::from_bytes(bytes)?;
    Ok(dict.iter().map(|(key, ephm)| (*key.as_bytes(), *ephm.as_bytes())).collect())
}

/// A column of the seed dictionary, rewritten as `GET /seeds` serves it.
pub fn rewrite_seeds(bytes: &[u8]) -> Result<Vec<u8>, round::DecodeError> {
    UpdateSeedDict::from_bytes(bytes).map(|dict| dict.to_bytes())
}

/// Reads an answer to `GET /seeds`.
pub fn read_seeds(bytes: &[u8]) -> Result<BTreeMap<[u8; 32], [u8; 80]>, round::DecodeError> {
    let dict = UpdateSeedDict::from_bytes(bytes)?;
    Ok(dict.iter().map(|(key, seed)| (*key.as_bytes(), *seed.as_bytes())).collect())
}
