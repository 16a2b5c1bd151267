//! Streams of chunks.

use bytes::Bytes;
use pet_core::crypto::PublicSigningKey;
use pet_core::message::{Added, MessageId, OwnedChunk, Reassembly, ReassemblyLimits, Tag};

use crate::bounds::most_in_memory;

/// A stream of chunks of several participants, of records that are stored sooner or later, and of complete
/// messages that are worked on for a while: limits hold, complete messages have all parts, and what is
/// there already changes nothing.
pub fn multipart(data: &[u8]) {
    let limits = ReassemblyLimits::default().with_bytes(1 << 16, 1 << 14);
    let mut reassembly = Reassembly::new(limits);
    let mut last_record = 0;
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
        if flags & 4 == 4 {
            reassembly.stored(last_record);
        }
        if flags & 8 == 8 {
            reassembly.settle(&sender);
        }
        let (before, record) = (reassembly.bytes(), reassembly.record_of(&sender));
        let proven = flags & 2 == 2 || reassembly.reserved(&sender).is_some();
        let added = reassembly.add(sender, tag, chunk, flags & 2 == 2, 8192);
        match added {
            Ok(Added::New) => {
                last_record += 1;
                reassembly.recorded(&sender, last_record);
            }
            Ok(Added::Duplicate) => assert_eq!(reassembly.bytes(), before),
            Ok(Added::Complete(complete)) => {
                assert!(complete.payload().len() <= 8192);
                assert!(last.is_none_or(|last| complete.parts.len() == usize::from(last) + 1));
                reassembly.hold(sender, &complete, proven, record);
            }
            Ok(other) => panic!("an unknown outcome: {other:?}"),
            Err(_) => {}
        }
        assert!(reassembly.bytes() <= most_in_memory(&limits));
    }
}
