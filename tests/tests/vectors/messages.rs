//! Messages in both directions, multipart splitting and reassembly, malformed messages.

use bytes::Bytes;
use pet_core::crypto::{
    sha256, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RoundSeed, SecretEncryptKey, Seed,
    Signature, SigningKeyPair, TaskSignatures, SEAL_OVERHEAD,
};
use pet_core::mask::{MaskConfig, MaskConfigPair, MaskSeed, MaskSum};
use pet_core::message::{
    Chunk, EncryptedMaskSeed, Frame, LocalSeedDict, MessageError, MessageId, MessageSize,
    MessageView, OwnedChunk, Payload, Reassembly, ReassemblyLimits, SumPayload, Tag,
    CHUNK_HEADER_LENGTH, FRAME_HEADROOM, HEADER_LENGTH,
};
use serde_json::Value;

use crate::{array, bytes, cases, flag, list, load, number, text};

struct Keys {
    participant: SigningKeyPair,
    coordinator: EncryptKeyPair,
    signatures: TaskSignatures,
}

impl Keys {
    fn load() -> Self {
        let keys = &load("messages.json")["keys"];
        let participant =
            SigningKeyPair::from_seed(&Seed::new(array(keys, "participant_signing_seed")));
        let coordinator =
            EncryptKeyPair::from_seed(&Seed::new(array(keys, "coordinator_encrypt_seed")));
        let signatures =
            TaskSignatures::sign(&participant, &RoundSeed::new(array(keys, "round_seed")));
        assert_eq!(
            participant.public().as_bytes(),
            &array(keys, "participant_pk")
        );
        assert_eq!(
            coordinator.public().as_bytes(),
            &array(keys, "coordinator_pk")
        );
        assert_eq!(signatures.sum.as_bytes(), &array(keys, "sum_signature"));
        assert_eq!(
            signatures.update.as_bytes(),
            &array(keys, "update_signature")
        );
        Self {
            participant,
            coordinator,
            signatures,
        }
    }

    /// Writes a message around a payload.
    fn write(&self, tag: Tag, is_multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        let pk = self.coordinator.public();
        frame
            .sign(&self.participant, &pk, tag, is_multipart)
            .unwrap()
            .to_vec()
    }
}

fn tag(case: &Value) -> Tag {
    Tag::try_from(u8::try_from(number(case, "tag")).unwrap()).unwrap()
}

fn configs(case: &Value) -> MaskConfigPair {
    MaskConfigPair {
        vect: MaskConfig::from_bytes(array(case, "vect_config")).unwrap(),
        unit: MaskConfig::from_bytes(array(case, "unit_config")).unwrap(),
    }
}

#[test]
fn valid_messages() {
    let keys = Keys::load();
    for case in cases("messages.json", "messages") {
        let (message, payload) = (bytes(&case, "message"), bytes(&case, "payload"));
        let is_multipart = number(&case, "flags") & 1 == 1;

        let view = MessageView::parse(&message).unwrap();
        assert_eq!(view.verify_signature(), Ok(()), "{case}");
        assert_eq!(
            view.signature.as_bytes(),
            &array(&case, "signature"),
            "{case}"
        );
        assert_eq!(view.participant, keys.participant.public(), "{case}");
        assert_eq!(view.coordinator, keys.coordinator.public(), "{case}");
        assert_eq!(message.len() as u64, number(&case, "length"), "{case}");
        assert_eq!(
            (view.tag, view.is_multipart),
            (tag(&case), is_multipart),
            "{case}"
        );
        assert_eq!(view.payload, payload, "{case}");

        assert_eq!(
            keys.write(view.tag, is_multipart, &payload),
            message,
            "{case}"
        );
        check_payload(&keys, &case, view.parse_payload().unwrap(), &payload);
    }
}

fn check_payload(keys: &Keys, case: &Value, payload: Payload<'_>, bytes: &[u8]) {
    let mut written = Vec::new();
    match payload {
        Payload::Sum(sum) => {
            assert_eq!(sum.sum_signature, keys.signatures.sum);
            assert_eq!(sum.ephemeral_key.as_bytes(), &array(case, "ephm_pk"));
            let ephemeral = Seed::new(array(case, "ephm_encrypt_seed"));
            assert_eq!(
                sum.ephemeral_key,
                EncryptKeyPair::from_seed(&ephemeral).public()
            );
            sum.write_to(&mut written);
        }
        Payload::Update(update) => {
            assert_eq!(update.sum_signature, keys.signatures.sum);
            assert_eq!(update.update_signature, keys.signatures.update);
            assert_eq!(update.masked_model.config, configs(case));
            let mut masking = case.clone();
            masking["seed"] = case["mask_seed"].clone();
            masking["masked"] = case["masked_model"].clone();
            let masked = crate::numbers::check_masking(&masking, configs(case));

            written.extend_from_slice(update.sum_signature.as_bytes());
            written.extend_from_slice(update.update_signature.as_bytes());
            written.extend_from_slice(&masked);
            let seed = MaskSeed::new(array(case, "mask_seed"));
            let entries: Vec<_> = list(case, "local_seed_dict")
                .iter()
                .map(|entry| seal_seed(entry, &seed))
                .collect();
            let dict = LocalSeedDict::new(entries.clone()).unwrap();
            assert_eq!(update.seeds, dict, "{case}");
            // The dictionary is written sorted; the vectors have it in either order.
            if entries == dict.entries() {
                dict.write_to(&mut written);
            } else {
                written = bytes.to_vec();
            }
        }
        Payload::Sum2(sum2) => {
            assert_eq!(sum2.sum_signature, keys.signatures.sum);
            let seeds = list(case, "mask_seeds").iter().map(|seed| {
                let bytes = hex::decode(seed.as_str().unwrap()).unwrap();
                MaskSeed::from_slice(&bytes).unwrap()
            });
            let mut sum = MaskSum::new(configs(case), sum2.mask.count);
            sum.add_seeds(seeds);
            let mask = sum.finish().to_bytes().unwrap();
            assert_eq!(mask, self::bytes(case, "model_mask"), "{case}");
            written.extend_from_slice(sum2.sum_signature.as_bytes());
            written.extend_from_slice(&mask);
        }
        Payload::Chunk(chunk) => {
            assert_eq!(u64::from(chunk.id), number(case, "chunk_id"));
            assert_eq!(u64::from(chunk.message_id.0), number(case, "message_id"));
            assert_eq!(chunk.is_last, flag(case, "last"));
            assert_eq!(chunk.data, self::bytes(case, "data"));
            chunk.write_to(&mut written);
        }
    }
    assert_eq!(written, bytes, "{case}");
}

/// Seals the seed as the vector says, and checks that it opens again.
fn seal_seed(entry: &Value, seed: &MaskSeed) -> (PublicSigningKey, EncryptedMaskSeed) {
    let recipient = EncryptKeyPair::from_seed(&Seed::new(array(entry, "ephm_encrypt_seed")));
    assert_eq!(
        recipient.public(),
        PublicEncryptKey::new(array(entry, "ephm_pk"))
    );
    let secret = SecretEncryptKey::new(array(entry, "seal_ephemeral_sk"));
    let ephemeral = EncryptKeyPair::from_secret(secret);
    let sealed = EncryptedMaskSeed::seal(seed, &recipient.public(), &ephemeral).unwrap();
    assert_eq!(sealed.as_bytes(), &array(entry, "encrypted_mask_seed"));
    assert_eq!(sealed.open(&recipient).as_ref(), Ok(seed));
    (
        PublicSigningKey::new(array(entry, "sum_participant_pk")),
        sealed,
    )
}

#[test]
fn multipart_messages() {
    let keys = Keys::load();
    let cases = cases("messages.json", "multipart");
    let mut source = None;
    let mut split = 0;
    for case in &cases {
        if !case["payload"].is_null() {
            source = Some((bytes(case, "payload"), tag(case)));
            continue;
        }
        let (payload, tag) = source.as_ref().expect("the payload comes first");
        let max_payload = usize::try_from(number(case, "max_payload_size")).unwrap();
        let size = MessageSize::at_most(max_payload + FRAME_HEADROOM).unwrap();
        let messages = match size.split(payload.len()).unwrap() {
            None => {
                assert!(case["message_id"].is_null(), "{case}");
                vec![keys.write(*tag, false, payload)]
            }
            Some(splitting) => {
                split += 1;
                let id = MessageId(u16::try_from(number(case, "message_id")).unwrap());
                let chunks: Vec<Chunk<'_>> = (0..splitting.count())
                    .map(|index| splitting.chunk(payload, id, index).unwrap())
                    .collect();
                check_reassembly(&keys, payload, *tag, &chunks);
                let write = |chunk: &Chunk<'_>| {
                    let mut bytes = Vec::new();
                    chunk.write_to(&mut bytes);
                    assert!(bytes.len() <= max_payload);
                    keys.write(*tag, true, &bytes)
                };
                chunks.iter().map(write).collect()
            }
        };
        if case["parts"].is_null() {
            assert_eq!(messages.len() as u64, number(case, "nb_parts"), "{case}");
            let digest = sha256(&messages.concat());
            assert_eq!(digest.as_bytes(), &array(case, "parts_sha256"), "{case}");
        } else {
            let parts = list(case, "parts").iter();
            let parts: Vec<_> = parts
                .map(|part| hex::decode(part.as_str().unwrap()).unwrap())
                .collect();
            assert_eq!(messages, parts, "{case}");
        }
    }
    assert!(split > 0);
}

/// The chunks make up the payload again, last one first.
fn check_reassembly(keys: &Keys, payload: &[u8], tag: Tag, chunks: &[Chunk<'_>]) {
    let mut reassembly = Reassembly::new(ReassemblyLimits::default());
    let mut complete = None;
    for chunk in chunks.iter().rev() {
        assert_eq!(complete, None);
        let chunk = OwnedChunk {
            id: chunk.id,
            message_id: chunk.message_id,
            is_last: chunk.is_last,
            data: Bytes::copy_from_slice(chunk.data),
        };
        let sender = keys.participant.public();
        complete = reassembly
            .add(sender, tag, chunk, true, payload.len())
            .unwrap();
    }
    assert_eq!(complete.unwrap().payload(), payload);
}

/// What the old code rejects ours rejects; what it accepts ours accepts, unless strictness forbids it,
/// and then the error says so. What ours accepts is exactly what writing it again would give, but for
/// the bits that are ignored on reading.
#[test]
fn malformed_messages() {
    let (mut accepted, mut rejected) = (0, 0);
    for case in cases("messages.json", "malformed") {
        let message = bytes(&case, "message");
        let accepts = |field: &str| text(&case, field) == "accept";
        let old = accepts("buffer")
            && accepts("signature")
            && accepts("parse")
            && case["mask_valid"].as_bool() != Some(false);
        match read(&message) {
            Ok(written) => {
                assert!(old, "accepted: {case}");
                assert_eq!(written, normalized(message), "{case}");
                accepted += 1;
            }
            Err(error) => {
                let strict = matches!(
                    error,
                    MessageError::Length { .. } | MessageError::TrailingBytes { .. }
                );
                assert!(!old || strict, "{error}: {case}");
                assert!(!error.to_string().is_empty());
                rejected += 1;
            }
        }
    }
    assert!(accepted > 0 && rejected > 0);
}

/// Checks a message as far as that is possible without knowing the round, and writes it again.
fn read(message: &[u8]) -> Result<Vec<u8>, MessageError> {
    let view = MessageView::parse(message)?;
    view.verify_signature()?;
    let mut frame = message[..HEADER_LENGTH].to_vec();
    frame[133] = u8::from(view.is_multipart);
    frame[134..].fill(0);
    match view.parse_payload()? {
        Payload::Sum(sum) => sum.write_to(&mut frame),
        Payload::Update(update) => {
            frame.extend_from_slice(update.sum_signature.as_bytes());
            frame.extend_from_slice(update.update_signature.as_bytes());
            write_object(&update.masked_model, &mut frame);
            let mut dict = Vec::new();
            update.seeds.write_to(&mut dict);
            // The order is free: compare as it came, after checking that it holds the same.
            let came = &message[frame.len()..];
            assert_eq!(LocalSeedDict::parse(came), LocalSeedDict::parse(&dict));
            assert_eq!(came.len(), dict.len());
            frame.extend_from_slice(came);
        }
        Payload::Sum2(sum2) => {
            frame.extend_from_slice(sum2.sum_signature.as_bytes());
            write_object(&sum2.mask, &mut frame);
        }
        Payload::Chunk(chunk) => chunk.write_to(&mut frame),
    }
    Ok(frame)
}

fn write_object(view: &pet_core::mask::MaskObjectView<'_>, out: &mut Vec<u8>) {
    let object = pet_core::mask::MaskObject::from_view(view).expect("checked by the parser");
    object.write_to(out).unwrap();
}

/// The message with all bits cleared that are ignored on reading.
fn normalized(mut message: Vec<u8>) -> Vec<u8> {
    message[133] &= 1;
    message[134..HEADER_LENGTH].fill(0);
    if message[133] == 1 {
        let payload = &mut message[HEADER_LENGTH..];
        payload[4] &= 1;
        payload[5..CHUNK_HEADER_LENGTH].fill(0);
    }
    message
}

/// Where old and new differ most: nothing unsigned is ever read.
#[test]
fn every_byte_is_signed() {
    let case = &cases("messages.json", "messages")[0];
    let message = bytes(case, "message");
    for length in 0..message.len() {
        assert!(read(&message[..length]).is_err(), "{length}");
    }
    let mut longer = message.clone();
    longer.push(0);
    let actual = longer.len();
    let stated = u32::try_from(message.len()).unwrap();
    assert_eq!(read(&longer), Err(MessageError::Length { stated, actual }));
    assert_eq!(
        SumPayload::LENGTH,
        Signature::LENGTH + PublicEncryptKey::LENGTH
    );
    assert_eq!(FRAME_HEADROOM, SEAL_OVERHEAD + HEADER_LENGTH);
}
