//! Messages in both directions, multipart splitting and reassembly, malformed messages.

use bytes::Bytes;
use pet_core::crypto::{
    sha256, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RoundSeed, SecretEncryptKey, Seed,
    Signature, SigningKeyPair, TaskSignatures, SEAL_OVERHEAD,
};
use pet_core::mask::{MaskConfig, MaskConfigPair, MaskObjectError, MaskSeed, MaskSum};
use pet_core::message::{
    Chunk, EncryptedMaskSeed, Frame, LocalSeedDict, MessageError, MessageId, MessageSize,
    MessageView, OwnedChunk, Payload, Reassembly, ReassemblyLimits, SumPayload, Tag,
    CHUNK_HEADER_LENGTH, FRAME_HEADROOM, HEADER_LENGTH,
};
use serde_json::Value;

use crate::{are_our_own, array, bytes, cases, flag, list, load, number, text};

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
        assert_eq!(participant.public().as_bytes(), &array(keys, "participant_pk"));
        assert_eq!(coordinator.public().as_bytes(), &array(keys, "coordinator_pk"));
        assert_eq!(signatures.sum.as_bytes(), &array(keys, "sum_signature"));
        assert_eq!(signatures.update.as_bytes(), &array(keys, "update_signature"));
        Self { participant, coordinator, signatures }
    }

    /// Writes a message around a payload.
    fn write(&self, tag: Tag, is_multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        let pk = self.coordinator.public();
        frame.sign(&self.participant, &pk, tag, is_multipart).unwrap().to_vec()
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
        assert_eq!(view.signature.as_bytes(), &array(&case, "signature"), "{case}");
        assert_eq!(view.participant, keys.participant.public(), "{case}");
        assert_eq!(view.coordinator, keys.coordinator.public(), "{case}");
        assert_eq!(message.len() as u64, number(&case, "length"), "{case}");
        assert_eq!((view.tag, view.is_multipart), (tag(&case), is_multipart), "{case}");
        assert_eq!(view.payload, payload, "{case}");

        assert_eq!(keys.write(view.tag, is_multipart, &payload), message, "{case}");
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
            assert_eq!(sum.ephemeral_key, EncryptKeyPair::from_seed(&ephemeral).public());
            sum.write_to(&mut written);
        }
        Payload::Update(update) => {
            assert_eq!(update.sum_signature, keys.signatures.sum);
            assert_eq!(update.update_signature, keys.signatures.update);
            assert_eq!(update.masked_model.config(), configs(case));
            let mut masking = case.clone();
            masking["seed"] = case["mask_seed"].clone();
            masking["masked"] = case["masked_model"].clone();
            let masked = crate::numbers::check_masking(&masking, configs(case));

            written.extend_from_slice(update.sum_signature.as_bytes());
            written.extend_from_slice(update.update_signature.as_bytes());
            written.extend_from_slice(&masked);
            let seed = MaskSeed::new(array(case, "mask_seed"));
            let entries: Vec<_> =
                list(case, "local_seed_dict").iter().map(|entry| seal_seed(entry, &seed)).collect();
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
            let mut sum = MaskSum::new(configs(case), sum2.mask.len());
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
        other => panic!("an unknown payload: {other:?}"),
    }
    assert_eq!(written, bytes, "{case}");
}

/// Seals the seed as the vector says, and checks that it opens again.
fn seal_seed(entry: &Value, seed: &MaskSeed) -> (PublicSigningKey, EncryptedMaskSeed) {
    let recipient = EncryptKeyPair::from_seed(&Seed::new(array(entry, "ephm_encrypt_seed")));
    assert_eq!(recipient.public(), PublicEncryptKey::new(array(entry, "ephm_pk")));
    let secret = SecretEncryptKey::new(array(entry, "seal_ephemeral_sk"));
    let ephemeral = EncryptKeyPair::from_secret(secret);
    let sealed = EncryptedMaskSeed::seal(seed, &recipient.public(), &ephemeral).unwrap();
    assert_eq!(sealed.as_bytes(), &array(entry, "encrypted_mask_seed"));
    assert_eq!(sealed.open(&recipient).as_ref(), Ok(seed));
    (PublicSigningKey::new(array(entry, "sum_participant_pk")), sealed)
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
            let parts: Vec<_> =
                parts.map(|part| hex::decode(part.as_str().unwrap()).unwrap()).collect();
            assert_eq!(messages, parts, "{case}");
        }
    }
    assert!(!are_our_own() || split > 0);
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
        complete = reassembly.add(sender, tag, chunk, true, payload.len()).unwrap().complete();
    }
    assert_eq!(complete.unwrap().payload(), payload);
}

/// What the old code rejects ours rejects, for the same reason; what it accepts ours accepts, unless
/// strictness forbids it, and then the error says so. What ours accepts is exactly what writing it again
/// would give, but for the bits that are ignored on reading.
#[test]
fn malformed_messages() {
    let (mut accepted, mut rejected) = (0, 0);
    for case in cases("messages.json", "malformed") {
        let message = bytes(&case, "message");
        let old = Old::of(&case);
        match read(&message) {
            Ok(written) => {
                assert_eq!(old, Old::Accepts, "accepted: {case}");
                assert_eq!(written, normalized(message), "{case}");
                accepted += 1;
            }
            Err(error) => {
                check_reason(&error, old, &message, &case);
                rejected += 1;
            }
        }
    }
    assert!(!are_our_own() || (accepted > 0 && rejected > 0));
}

/// The first check of the old code that a message does not pass.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Old {
    /// It is shorter than a header, or than its length field says.
    Buffer,
    Signature,
    Parse,
    /// Both of them.
    SignatureAndParse,
    /// A number of the mask object is not below its order.
    Mask,
    Accepts,
}

impl Old {
    fn of(case: &Value) -> Self {
        let accepts = |field: &str| text(case, field) == "accept";
        if !accepts("buffer") {
            return Self::Buffer;
        }
        match (accepts("signature"), accepts("parse")) {
            (false, true) => Self::Signature,
            (true, false) => Self::Parse,
            (false, false) => Self::SignatureAndParse,
            (true, true) if case["mask_valid"].as_bool() == Some(false) => Self::Mask,
            (true, true) => Self::Accepts,
        }
    }
}

/// Checks that ours refuses a message for the reason that the old code has, or for being read strictly.
fn check_reason(error: &MessageError, old: Old, message: &[u8], case: &Value) {
    use MessageError as E;
    // What the length field says decides before anything else, and the error tells what it says.
    let stated = message.get(128..132).map(|b| u32::from_be_bytes(b.try_into().unwrap()));
    if let Some(stated) = stated.filter(|_| message.len() >= HEADER_LENGTH) {
        if u64::from(stated) != message.len() as u64 {
            assert_eq!(*error, E::Length { stated, actual: message.len() }, "{case}");
            // Writing it again would have set the length right.
            assert!(old != Old::Accepts || !flag(case, "reencodes_equal"), "{error}: {case}");
            return;
        }
    }
    let expected = match old {
        Old::Buffer => matches!(error, E::Truncated { field: "header", .. }),
        Old::Signature => *error == E::BadSignature,
        Old::SignatureAndParse => matches!(error, E::BadSignature | E::UnknownTag(_)),
        Old::Parse => match error {
            E::UnknownTag(tag) => *tag == message[132],
            E::Truncated { field, .. } => *field != "header",
            E::MaskObject(error) => !matches!(error, MaskObjectError::NotBelowOrder { .. }),
            E::MalformedSignature { .. }
            | E::SeedDictLength(_)
            | E::DuplicateSeed(_)
            | E::TrailingBytes { .. } => true,
            _ => false,
        },
        Old::Mask => match error {
            E::MaskObject(error) => matches!(error, MaskObjectError::NotBelowOrder { .. }),
            E::TrailingBytes { .. } => !flag(case, "reencodes_equal"),
            _ => false,
        },
        Old::Accepts => matches!(error, E::TrailingBytes { .. }) && !flag(case, "reencodes_equal"),
    };
    assert!(expected, "{error} ({old:?}): {case}");
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
        other => panic!("an unknown payload: {other:?}"),
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
    let messages = cases("messages.json", "messages").into_iter();
    let mut message = messages.map(|case| bytes(&case, "message")).min_by_key(Vec::len).unwrap();
    assert!(read(&message).is_ok());
    for length in 0..message.len() {
        assert!(read(&message[..length]).is_err(), "{length}");
    }
    for offset in 0..message.len() {
        let bit = 1 << (offset % 8);
        message[offset] ^= bit;
        assert!(read(&message).is_err(), "{offset}");
        message[offset] ^= bit;
    }
    let stated = u32::try_from(message.len()).unwrap();
    message.push(0);
    let actual = message.len();
    assert_eq!(read(&message), Err(MessageError::Length { stated, actual }));
    assert_eq!(SumPayload::LENGTH, Signature::LENGTH + PublicEncryptKey::LENGTH);
    assert_eq!(FRAME_HEADROOM, SEAL_OVERHEAD + HEADER_LENGTH);
}
