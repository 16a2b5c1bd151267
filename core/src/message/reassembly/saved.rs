//! Going on with what another machine kept: in a snapshot, or in its records.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::partial::Partial;
use super::{Complete, OwnedChunk, Reassembly, ReassemblyLimits};
use crate::crypto::PublicSigningKey;
use crate::message::{MessageId, Tag};
use crate::time::Timestamp;

impl Reassembly {
    /// The same messages under other limits: they hold for what comes.
    pub fn with_limits(self, limits: ReassemblyLimits) -> Self {
        Self { limits, ..self }
    }

    /// From now on these limits hold.
    pub(crate) fn set_limits(&mut self, limits: ReassemblyLimits) {
        self.limits = limits;
    }

    /// The same messages at another time, as if all their chunks had come just now.
    pub fn restarted(mut self, now: Timestamp) -> Self {
        self.restart(now);
        self
    }

    /// It is another time, and all chunks have come just now.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.kept.restart(now);
    }

    /// The same messages as if they were the first ones.
    pub(crate) fn renumbered(self) -> Self {
        let kept = BTreeMap::from(self.kept).into();
        Self { limits: self.limits, kept, ..Self::default() }
    }

    /// Keeps a message of which all chunks are there, with its sender's right to send it proven: for
    /// saving what is being put together. Nothing, if its sender has begun another message already.
    pub fn keep_complete(&mut self, sender: PublicSigningKey, id: MessageId, complete: &Complete) {
        let other = self.has_other(&sender, id);
        let Some(last) = complete.parts.len().checked_sub(1).filter(|_| !other) else { return };
        self.kept.remove(&sender);
        self.kept.remove_aside(&sender);
        let mut partial = self.kept.begin(id, complete.tag);
        partial.last = u16::try_from(last).ok();
        partial.bytes = complete.parts.iter().map(Bytes::len).sum();
        partial.reserved = Some(partial.bytes);
        partial.chunks = (0..=u16::MAX).zip(complete.parts.iter().cloned()).collect();
        self.kept.insert(sender, partial);
    }

    /// Takes a chunk in that was [judged](Self::judge) to be kept, now or in the past; `reserved` is what is
    /// set aside for its message. An older message of its sender is gone.
    pub(crate) fn keep_chunk(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        reserved: Option<usize>,
    ) {
        let mut partial = match self.kept.remove(&sender) {
            Some(partial) if partial.message_id == chunk.message_id => partial,
            _ => {
                self.kept.remove_aside(&sender);
                self.kept.begin(chunk.message_id, tag)
            }
        };
        partial.reserved = partial.reserved.or(reserved);
        partial.put(chunk);
        self.kept.insert(sender, partial);
    }

    /// Takes out the messages that were kept with [`keep_complete`](Self::keep_complete). Their chunks are
    /// what is recorded of them until their sender is forgotten; of a message in a single one
    /// there never is a record.
    pub fn take_complete(&mut self) -> Vec<(PublicSigningKey, MessageId, Complete)> {
        let complete = self.kept.iter().filter(|(_, partial)| partial.is_complete());
        let take = |(sender, partial): (&PublicSigningKey, &Partial)| {
            (*sender, partial.message_id, partial.complete())
        };
        let taken: Vec<_> = complete.map(take).collect();
        for (sender, _, complete) in &taken {
            match complete.parts.len() {
                1 => drop(self.kept.remove(sender)),
                _ => self.kept.set_aside(sender),
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chunk, sender};
    use super::*;

    #[test]
    fn saved_messages_keep_their_accounts() {
        let mut reassembly = Reassembly::new(ReassemblyLimits::default());
        for (from, proven) in [(1, true), (2, false), (3, true)] {
            let part = chunk(0, false, &[from; 100]);
            reassembly.add(sender(from), Tag::Update, part, proven, 1000).unwrap();
        }
        let saved = bincode::serialize(&reassembly).unwrap();
        // Nothing but the messages, in the form that older machines have saved.
        let messages: BTreeMap<PublicSigningKey, Partial> = bincode::deserialize(&saved).unwrap();
        assert_eq!(bincode::serialize(&messages).unwrap(), saved);
        let mut restored: Reassembly = bincode::deserialize(&saved).unwrap();
        assert_eq!((restored.len(), restored.bytes()), (3, reassembly.bytes()));
        let last = chunk(1, true, b"end");
        let complete = restored.add(sender(1), Tag::Update, last, false, 1000).unwrap();
        let complete = complete.complete().unwrap();
        assert_eq!(complete.payload(), [&[1; 100][..], b"end"].concat());
    }
}
