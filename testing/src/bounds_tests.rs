//! The account of what is stored finds what is wrong.

use pet_core::coordinator::Record;
use pet_core::crypto::PublicSigningKey;
use pet_core::message::{MessageId, OwnedChunk, Tag};

use crate::bounds::Log;
use crate::sim::Scenario;

fn chunk(who: u8, message: u16, id: u16) -> Record {
    let (message_id, data) = (MessageId(message), vec![0; 1000].into());
    let chunk = OwnedChunk { id, message_id, is_last: false, data };
    let participant = PublicSigningKey::new([who; 32]);
    Record::Chunk { participant, tag: Tag::Update, chunk, reserved: None }
}

/// What a coordinator put out that took a repeated chunk for news.
#[test]
fn a_chunk_that_is_stored_again_and_again_is_found() {
    let settings = Scenario::small(1).settings;
    let mut log = Log::default();
    let mut found = false;
    for _ in 0..1000 {
        log.record(&chunk(1, 1, 1));
        found |= log.check(&settings).is_err();
    }
    assert!(found);
}

#[test]
fn what_later_records_replace_is_not_kept() {
    let mut log = Log::default();
    for turn in 0..1000 {
        log.record(&chunk(1, turn % 2, 1));
    }
    let one = log.bytes();
    assert!((1000..1200).contains(&one), "{one}");
    log.record(&chunk(1, 1, 2));
    assert!(log.bytes() > 2 * one - 10);
    log.record(&Record::ChunksDropped { participants: vec![PublicSigningKey::new([1; 32])] });
    assert_eq!(log.bytes(), 0);
    log.record(&chunk(1, 1, 2));
    log.record(&Record::UpdateEnded);
    assert!(log.bytes() < 100);
}
