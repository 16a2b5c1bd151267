//! Streams of chunks.

use bytes::Bytes;
use pet_core::crypto::PublicSigningKey;
use pet_core::message::{Added, MessageId, OwnedChunk, Reassembly, ReassemblyLimits, Tag};

/// A stream of chunks of several participants: limits hold, and complete messages have all parts.
pub fn multipart(data: &[u8]) {
    let limits = ReassemblyLimits {
        proven_bytes: 1 << 16,
        unproven_bytes: 1 << 14,
        ..ReassemblyLimits::default()
    };
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
        if let Ok(Added::Complete(complete)) = added {
            assert!(complete.payload().len() <= 8192);
            assert!(last.is_none_or(|last| complete.parts.len() == usize::from(last) + 1));
        }
        assert!(reassembly.bytes() <= limits.proven_bytes + limits.unproven_bytes);
    }
}
