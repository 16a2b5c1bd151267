//! No `Debug` shows keys, seeds, masks, models or payloads: everything that may hold such is filled with one byte, or one
//! number, and shown.

use std::fmt::Debug;
use std::sync::Arc;

use pet_core::coordinator::{GlobalModel, Record};
use pet_core::crypto::{
    EncryptKeyPair, Purpose, RootSeed, RoundSeed, Seed, SigningKeyPair, SnapshotKey,
};
use pet_core::mask::{
    derive_mask, mask_model, Aggregation, DataType, MaskConfig, MaskObject, MaskObjectView,
    MaskSeed, MaskSum, Masker, Unmasker,
};
use pet_core::message::{Chunk, Frame, MessageId, MessageView, OwnedChunk, Sum2Payload, Tag};
use pet_core::model::{ratio, ArrayDecoder, Model, RatioDecoder, Scalar};
use pet_core::participant::{self, Input, Output};
use pet_core::request::{Call, RequestId, Response};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;

/// 1010... in binary.
const BYTE: u8 = 0xaa;
/// Four such bytes, as a float.
const WEIGHT: f32 = f32::from_bits(0xaaaa_aaaa);

/// As hexadecimal, as a list of numbers, as escapes, as a float, as a number of 48 bits.
const TRACES: [&str; 6] = ["aaaa", "170, 170", "\\xaa\\xaa", "-3.03", "e-13", "187649984473770"];

/// What of it can be seen.
fn trace(value: &dyn Debug) -> Option<String> {
    [format!("{value:?}"), format!("{value:#?}").replace(",\n", ", ")].iter().find_map(|text| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let lower = text.to_lowercase();
        let trace = TRACES.iter().find(|trace| lower.contains(**trace))?;
        Some(format!("{trace} in {text}"))
    })
}

#[track_caller]
fn shows_nothing(value: &dyn Debug) {
    assert_eq!(trace(value), None);
}

#[test]
fn what_is_shown_is_found() {
    for careless in [
        &[BYTE; 4] as &dyn Debug,
        &bytes::Bytes::from_static(&[BYTE; 4]),
        &[WEIGHT; 2],
        &num_bigint::BigUint::from_bytes_le(&[BYTE; 6]),
        &RoundSeed::new([BYTE; 32]),
    ] {
        assert!(trace(careless).is_some(), "{careless:?}");
    }
}

fn config() -> MaskConfig {
    "Prime/F32/B0/M3".parse().expect("known")
}

fn model() -> Model {
    Model::F32(vec![WEIGHT; 8])
}

#[test]
fn secrets() {
    shows_nothing(&Seed::new([BYTE; 32]));
    shows_nothing(&RootSeed::new([BYTE; 32]));
    shows_nothing(&MaskSeed::new([BYTE; 32]));
    shows_nothing(&SnapshotKey::new([BYTE; 32]));
    let pair = EncryptKeyPair::from_secret(
        pet_core::crypto::SecretEncryptKey::from_slice(&[BYTE; 32]).expect("32 bytes"),
    );
    shows_nothing(pair.secret());
    let keys = SigningKeyPair::from_seed(&Seed::new([BYTE; 32]));
    shows_nothing(&keys);
}

/// A mask object of numbers that show.
fn object() -> Vec<u8> {
    let number = num_bigint::BigUint::from_bytes_le(&[BYTE; 5]);
    MaskObject::from_numbers(config().into(), &vec![number.clone(); 8], number)
        .and_then(|object| object.to_bytes())
        .expect("below the order")
}

#[test]
fn messages_and_their_payloads() {
    let mut frame = Frame::with_capacity(64);
    frame.buffer_mut().extend_from_slice(&[BYTE; 64]);
    shows_nothing(&frame);
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let coordinator = EncryptKeyPair::from_seed(&Seed::new([2; 32])).public();
    let message = frame.sign(&keys, &coordinator, Tag::Sum2, false).expect("short").to_vec();
    shows_nothing(&MessageView::parse(&message).expect("well-formed"));
    let data = &[BYTE; 64][..];
    shows_nothing(&Chunk { id: 1, message_id: MessageId(2), is_last: false, data });
    let payload = [&[7; 64][..], &object()].concat();
    shows_nothing(&Sum2Payload::parse(&payload).expect("well-formed"));
    let id = RequestId(1);
    let response = || Response::ok(vec![BYTE; 64]);
    shows_nothing(&Input::Response { id, response: response() });
    shows_nothing(&Output::Request { id, call: Call::Message(vec![BYTE; 64].into()) });
    shows_nothing(&(response(), model(), Input::SetModel(model())));
}

#[test]
fn masks_and_models() {
    let pair = config().into();
    let object = object();
    let view = MaskObjectView::parse_exact(&object).expect("well-formed");
    shows_nothing(&view);
    let mut sum = Aggregation::new(pair, 8);
    sum.aggregate(&view).expect("it fits");
    shows_nothing(&sum);
    shows_nothing(sum.object());
    shows_nothing(
        &Unmasker::new(
            sum,
            derive_mask(&MaskSeed::new([1; 32]), pair, 8).to_bytes().expect("short"),
        )
        .map(drop),
    );
    // Its steps are fine enough for such a weight.
    let fine = "Prime/F32/Bmax/M3".parse::<MaskConfig>().expect("known").into();
    let seed = MaskSeed::new([1; 32]);
    let (masked, _) = mask_model(&seed, fine, &Scalar::one(), &model()).expect("finite");
    let mut sum = Aggregation::new(fine, 8);
    sum.aggregate(&MaskObjectView::parse_exact(&masked).expect("well-formed")).expect("it fits");
    let mask = derive_mask(&seed, fine, 8).to_bytes().expect("short");
    let unmasked = Unmasker::new(sum, mask).and_then(Unmasker::finish).expect("a single model");
    assert_eq!(unmasked.model, Ok(model()));
    shows_nothing(&unmasked);
    let seed = MaskSeed::new([BYTE; 32]);
    let mut masks = MaskSum::new(pair, 8);
    masks.add_seeds([seed.clone()]);
    shows_nothing(&masks);
    let scalar = Scalar::one();
    shows_nothing(&Masker::new(&seed, pair, &scalar, Arc::new(model())).expect("finite"));
    let ratios = ratio::encode_model(&model()).expect("finite");
    shows_nothing(&RatioDecoder::new(ratios, DataType::F32).expect("well-formed"));
    shows_nothing(&ArrayDecoder::new([BYTE; 64], DataType::F32).expect("well-formed"));
    let model = GlobalModel {
        round_id: 1,
        seed: RoundSeed::new([1; 32]),
        models: 3,
        rationals: vec![BYTE; 64].into(),
        weights: Some(Arc::new(model())),
        optimizer: None,
    };
    shows_nothing(&model);
    shows_nothing(&Record::Model(model));
}

#[test]
fn records_of_the_coordinator() {
    let keys = EncryptKeyPair::from_seed(&Seed::new([1; 32]));
    let parameters = RoundParameters {
        pk: keys.public(),
        sum: 0.5,
        update: 0.5,
        seed: RoundSeed::new([1; 32]),
        mask_config: config().into(),
        model_length: 8,
    };
    let participant = SigningKeyPair::from_seed(&Seed::new([3; 32])).public();
    let digest = pet_core::crypto::sha256(b"mask");
    let mask = Some(vec![BYTE; 64].into());
    shows_nothing(&Record::Sum2 { participant, digest, mask });
    let chunk =
        OwnedChunk { id: 0, message_id: MessageId(1), is_last: false, data: vec![BYTE; 64].into() };
    let tag = Tag::Sum2;
    shows_nothing(&Record::Chunk { participant, tag, chunk, reserved: None });
    let secret = pet_core::crypto::SecretEncryptKey::new([BYTE; 32]);
    shows_nothing(&Record::RoundBegan { round_id: 1, parameters: parameters.into(), secret });
}

/// A whole machine, and what it saves.
#[test]
fn machines() {
    let root = RootSeed::new([BYTE; 32]);
    let mut machine = participant::Participant::from_seed(root, participant::Settings::default());
    machine.handle_input(Timestamp::ZERO, Input::SetModel(model())).expect("it runs");
    shows_nothing(&machine.snapshot());
    shows_nothing(&RootSeed::new([BYTE; 32]).derive(Purpose::MaskSeed, &[]));
    while !matches!(machine.poll_output(), Output::Idle(_)) {}
    shows_nothing(&machine);
}
