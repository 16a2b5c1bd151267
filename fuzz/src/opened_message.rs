//! Opened messages.

use pet_core::message::{LocalSeedDict, MessageView, Payload};

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
        other => panic!("an unknown payload: {other:?}"),
    }
    assert_eq!(written, view.payload);
}
