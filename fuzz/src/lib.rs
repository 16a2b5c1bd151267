//! What is fuzzed: each function takes any bytes and must neither panic nor take much memory.
//!
//! The targets in `fuzz_targets` call these under libFuzzer (`cargo +nightly fuzz run opened_message
//! --features libfuzzer`); `cargo test` calls them with the committed corpora and with mutations of
//! them.

#![forbid(unsafe_code)]

use bytes::Bytes;
use pet_core::coordinator::{
    Coordinator, CountRange, Settings, Sum2Settings, SumSettings, TimeRange, UpdateSettings,
};
use pet_core::crypto::PublicSigningKey;
use pet_core::mask::{DataType, MaskConfig};
use pet_core::message::{
    LocalSeedDict, MessageId, MessageView, OwnedChunk, Payload, Reassembly, ReassemblyLimits, Tag,
};
use pet_core::model::ratio;
use pet_core::participant::{self, Participant};
use pet_core::round::{RoundParameters, SumDict, UpdateSeedDict};
use pet_core::time::Timestamp;

/// A target's name, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 4] = [
    ("opened_message", opened_message),
    ("multipart", multipart),
    ("published", published),
    ("snapshots", snapshots),
];

/// A message after its seal was opened. What is read is written back the same.
pub fn opened_message(data: &[u8]) {
    let Ok(view) = MessageView::parse(data) else { return };
    let _ = view.verify_signature();
    let Ok(payload) = view.parse_payload() else { return };
    let mut written = Vec::new();
    match payload {
        Payload::Sum(sum) => sum.write_to(&mut written),
        Payload::Update(update) => {
            let mut dict = Vec::new();
            update.seeds.write_to(&mut dict);
            assert_eq!(LocalSeedDict::parse(&dict).as_ref(), Ok(&update.seeds));
            return;
        }
        Payload::Sum2(_) => return,
        Payload::Chunk(chunk) => {
            chunk.write_to(&mut written);
            // Reserved bytes are not kept.
            assert_eq!(written[8..], view.payload[8..]);
            return;
        }
    }
    assert_eq!(written, view.payload);
}

/// A stream of chunks of several participants: limits hold, and complete messages have all parts.
pub fn multipart(data: &[u8]) {
    let limits = ReassemblyLimits { proven_bytes: 1 << 16, unproven_bytes: 1 << 14 };
    let mut reassembly = Reassembly::new(limits);
    for record in data.chunks(8) {
        let Ok([from, message, id, flags, length, rest @ ..]) = <[u8; 8]>::try_from(record) else {
            return;
        };
        let tag = [Tag::Sum, Tag::Update, Tag::Sum2][usize::from(flags >> 6) % 3];
        let chunk = OwnedChunk {
            id: u16::from(id % 16),
            message_id: MessageId(u16::from(message % 4)),
            is_last: flags & 1 == 1,
            data: Bytes::from(vec![rest[0]; usize::from(length) * 16]),
        };
        let sender = PublicSigningKey::new([from % 8; 32]);
        let last = chunk.is_last.then_some(chunk.id);
        let added = reassembly.add(sender, tag, chunk, flags & 2 == 2, 8192);
        if let Ok(Some(complete)) = added {
            assert!(complete.payload().len() <= 8192);
            assert!(last.is_none_or(|last| complete.parts.len() == usize::from(last) + 1));
        }
        assert!(reassembly.bytes() <= limits.proven_bytes + limits.unproven_bytes);
    }
}

/// What a coordinator publishes, read by a participant.
pub fn published(data: &[u8]) {
    if let Ok(parameters) = RoundParameters::from_bytes(data) {
        // NaN is not equal to itself, so the bytes are compared.
        assert_eq!(parameters.to_bytes(), data);
    }
    if let Ok(dict) = SumDict::from_bytes(data) {
        assert_eq!(SumDict::from_bytes(&dict.to_bytes()), Ok(dict));
    }
    if let Ok(dict) = UpdateSeedDict::from_bytes(data) {
        assert_eq!(UpdateSeedDict::from_bytes(&dict.to_bytes()), Ok(dict));
    }
    for data_type in [DataType::F32, DataType::F64, DataType::I32, DataType::I64] {
        let _ = ratio::decode(data, data_type);
    }
}

/// Saved state machines: whatever is restored can be asked what to do, and be saved again.
pub fn snapshots(data: &[u8]) {
    if let Ok(mut machine) = Participant::restore(data, participant::Settings::default()) {
        for _ in 0..16 {
            if let participant::Output::Idle(_) = machine.poll_output() {
                break;
            }
        }
        let saved = machine.snapshot().to_bytes();
        assert!(Participant::restore(&saved, participant::Settings::default()).is_ok());
    }
    if let Ok(mut machine) = Coordinator::restore(data, settings(), Timestamp::ZERO) {
        for _ in 0..16 {
            if let pet_core::coordinator::Output::Idle(_) = machine.poll_output() {
                break;
            }
        }
        let saved = machine.snapshot().to_bytes();
        assert!(Coordinator::restore(&saved, settings(), Timestamp::ZERO).is_ok());
    }
}

/// The settings that the snapshots in the corpus were made with.
pub fn settings() -> Settings {
    let time = TimeRange {
        min: std::time::Duration::from_secs(1),
        max: std::time::Duration::from_secs(60),
    };
    let count = CountRange { min: 1, max: 100 };
    let mask: MaskConfig = "Prime/F32/B0/M3".parse().expect("a known config");
    Settings {
        sum: SumSettings { prob: 0.4, count, time },
        update: UpdateSettings { prob: 0.9, count: CountRange { min: 3, max: 100 }, time },
        sum2: Sum2Settings { count, time },
        mask: mask.into(),
        model_length: 4,
        reassembly: ReassemblyLimits::default(),
    }
}
