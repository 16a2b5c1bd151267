//! Who may come in, and who has to go for it.

use std::collections::BTreeSet;

use super::limits::{cost, MOST_EVICTED};
use super::partial::Partial;
use super::{Reassembly, ReassemblyError, ReassemblyLimits};
use crate::crypto::PublicSigningKey;
use crate::time::Timestamp;

impl Reassembly {
    /// Says what time it is: messages of others that have been idle for too long make room for the next chunk.
    pub(crate) fn set_time(&mut self, now: Timestamp) {
        self.kept.set_time(now);
        self.held.stored(self.stored);
    }

    /// Says what time it is, before a chunk of this sender's is [added](Self::add): messages of others
    /// that have been idle for too long are dropped. (Its own one is late, but here. Those that are not
    /// stored yet have waited for us.)
    pub fn expire(&mut self, now: Timestamp, sender: &PublicSigningKey) {
        self.set_time(now);
        for key in self.late(sender) {
            self.kept.remove(&key);
        }
    }

    /// Whose messages have been idle for too long, this sender's aside.
    pub(super) fn late(&self, sender: &PublicSigningKey) -> Vec<PublicSigningKey> {
        let idle =
            |touched: &Timestamp| self.kept.now().saturating_since(*touched) >= self.limits.idle;
        let stored = |key| self.kept.get(key).is_none_or(|partial| self.is_stored(partial));
        let late = self.kept.by_time().take_while(|(touched, key)| idle(touched) && stored(key));
        let others = late.map(|(_, key)| *key).filter(|key| key != sender);
        others.take(MOST_EVICTED).collect()
    }

    /// Whether all of a message is stored.
    pub(super) fn is_stored(&self, partial: &Partial) -> bool {
        partial.record <= self.stored
    }
}

/// The room that there would be for a sender's message if some others were gone.
pub(super) struct Room<'a> {
    reassembly: &'a Reassembly,
    /// The sender's own message.
    own: Option<&'a Partial>,
    gone: Vec<PublicSigningKey>,
    /// Unproven messages of others that are not gone, the oldest first.
    oldest: Box<dyn Iterator<Item = &'a PublicSigningKey> + 'a>,
    messages: usize,
    proven_bytes: usize,
    unproven_bytes: usize,
}

impl<'a> Room<'a> {
    /// Once the late messages are gone.
    pub(super) fn new(
        reassembly: &'a Reassembly,
        sender: &'a PublicSigningKey,
        late: Vec<PublicSigningKey>,
    ) -> Self {
        let kept = &reassembly.kept;
        let skipped: BTreeSet<_> = late.iter().copied().chain([*sender]).collect();
        let mut room = Self {
            reassembly,
            own: kept.get(sender),
            gone: Vec::new(),
            oldest: Box::new(kept.unproven().filter(move |key| !skipped.contains(*key))),
            messages: kept.len(),
            proven_bytes: reassembly.proven_bytes(),
            unproven_bytes: reassembly.unproven_bytes(),
        };
        late.into_iter().for_each(|key| room.let_go(key));
        room
    }

    /// Whose messages are gone.
    pub(super) fn into_gone(self) -> Vec<PublicSigningKey> {
        self.gone
    }

    fn let_go(&mut self, key: PublicSigningKey) {
        if let Some(partial) = self.reassembly.kept.get(&key) {
            self.messages -= 1;
            match partial.is_proven() {
                true => self.proven_bytes -= partial.cost(),
                false => self.unproven_bytes -= partial.cost(),
            }
            self.gone.push(key);
        }
    }

    /// Lets in a message whose sender has the right to send it, if its payload has room.
    pub(super) fn admit(&mut self, payload: usize, chunks: usize) -> Result<(), ReassemblyError> {
        let own = self.own.filter(|own| own.is_proven());
        let others = self.proven_bytes - own.map_or(0, Partial::cost);
        match others.saturating_add(cost(payload, chunks)) <= self.limits().proven_bytes {
            true => self.make_place(),
            false => Err(ReassemblyError::NoRoom),
        }
    }

    /// Messages that were let in have their payload's room; what tiny chunks cost beside it may come
    /// to the same once more.
    pub(super) fn check_overhead(&self) -> Result<(), ReassemblyError> {
        match self.proven_bytes <= self.limits().proven_bytes.saturating_mul(2) {
            true => Ok(()),
            false => Err(ReassemblyError::NoRoom),
        }
    }

    /// Makes room for an unproven message that grows to so many bytes: the oldest others give way.
    pub(super) fn make(&mut self, bytes: usize, chunks: usize) -> Result<(), ReassemblyError> {
        let own = self.own.filter(|own| !own.is_proven());
        let own = own.map_or(0, Partial::cost);
        let (cost, limit) = (cost(bytes, chunks), self.limits().unproven_bytes);
        // Nobody gives way in vain.
        if self.reassembly.held.unproven_bytes().saturating_add(cost) > limit {
            return Err(ReassemblyError::NoRoom);
        }
        for _ in 0..MOST_EVICTED {
            if (self.unproven_bytes - own).saturating_add(cost) <= limit {
                return self.make_place();
            }
            self.evict_oldest()?;
        }
        match (self.unproven_bytes - own).saturating_add(cost) <= limit {
            true => Ok(()),
            false => Err(ReassemblyError::NoRoom),
        }
    }

    /// Makes a place for one message more, if its sender has none yet.
    fn make_place(&mut self) -> Result<(), ReassemblyError> {
        if self.messages < self.limits().messages || self.own.is_some() {
            return Ok(());
        }
        self.evict_oldest()
    }

    /// The oldest unproven message gives way, if all of it is stored.
    fn evict_oldest(&mut self) -> Result<(), ReassemblyError> {
        let reassembly = self.reassembly;
        let oldest = *self.oldest.next().ok_or(ReassemblyError::NoRoom)?;
        if reassembly.kept.get(&oldest).is_some_and(|oldest| !reassembly.is_stored(oldest)) {
            return Err(ReassemblyError::NoRoom);
        }
        self.let_go(oldest);
        Ok(())
    }

    fn limits(&self) -> &ReassemblyLimits {
        &self.reassembly.limits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::limits::CHUNK_COST;
    use super::super::tests::{chunk, sender};
    use super::super::{Added, OwnedChunk};
    use super::*;
    use crate::message::{MessageId, Tag};

    proptest! {
        #[test]
        fn the_limits_hold(
            steps in proptest::collection::vec(
                (0u8..6, 0u16..6, any::<bool>(), 0usize..300, any::<bool>(), 0u16..2), 0..200,
            ),
            messages in 3usize..7,
            pace in 0u64..40,
        ) {
            let idle = Duration::from_millis(100);
            let limits =
                ReassemblyLimits { proven_bytes: 6000, unproven_bytes: 4000, messages, idle };
            let mut reassembly = Reassembly::new(limits);
            let mut now = Timestamp::ZERO;
            for (from, id, is_last, length, proven, message) in steps {
                now = now + Duration::from_millis(pace);
                reassembly.expire(now, &sender(from));
                let part = OwnedChunk {
                    message_id: MessageId(message), ..chunk(id, is_last, &vec![0; length])
                };
                let _ = reassembly.add(sender(from), Tag::Update, part, proven, 800);
                prop_assert!(reassembly.proven_bytes() <= 2 * limits.proven_bytes + CHUNK_COST);
                prop_assert!(reassembly.unproven_bytes() <= limits.unproven_bytes);
                prop_assert!(reassembly.len() <= messages);
                reassembly.kept.check();
                let late = |(at, key): &(Timestamp, _)| now.saturating_since(*at) >= idle && *key != sender(from);
                prop_assert!(!reassembly.kept.by_time().any(late));
            }
        }
    }

    #[test]
    fn the_unproven_push_out_only_each_other() {
        let mut reassembly = Reassembly::new(ReassemblyLimits {
            proven_bytes: 2500,
            unproven_bytes: 1300,
            ..ReassemblyLimits::default()
        });
        let data = [0; 200];
        let mut add = |from, proven| {
            reassembly.add(sender(from), Tag::Update, chunk(0, false, &data), proven, 1000)
        };
        assert_eq!(add(0, true), Ok(Added::New));
        for from in 1..100 {
            assert_eq!(add(from, false), Ok(Added::New));
        }
        assert_eq!(add(100, true), Err(ReassemblyError::NoRoom));
        assert_eq!(reassembly.len(), 2);
        assert!(reassembly.kept.get(&sender(0)).is_some());
        assert!(reassembly.kept.get(&sender(99)).is_some());
    }

    #[test]
    fn there_is_a_place_for_so_many_messages_and_the_proven_keep_theirs() {
        let limits = ReassemblyLimits { messages: 3, ..ReassemblyLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let mut add = |from, proven| {
            reassembly.add(sender(from), Tag::Update, chunk(0, false, b"x"), proven, 1000)
        };
        for (from, proven) in [(1, false), (2, true), (3, false), (4, false), (5, true)] {
            assert_eq!(add(from, proven), Ok(Added::New));
        }
        // 1 and 3 had to go.
        assert_eq!(add(6, true), Ok(Added::New));
        // There is nobody left who could.
        assert_eq!(add(7, true), Err(ReassemblyError::NoRoom));
        assert_eq!(add(8, false), Err(ReassemblyError::NoRoom));
        // Who has a place goes on.
        assert_eq!(add(2, false), Ok(Added::Duplicate));
        let left: Vec<_> = reassembly.kept.iter().map(|(sender, _)| *sender).collect();
        assert_eq!(left, [sender(2), sender(5), sender(6)]);
    }

    #[test]
    fn idle_messages_give_way_but_not_to_their_own_senders() {
        let idle = Duration::from_secs(10);
        let limits = ReassemblyLimits { idle, ..ReassemblyLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let add = |reassembly: &mut Reassembly, second, from, id| {
            reassembly.expire(at(second), &sender(from));
            let part = chunk(id, id == 3, b"x");
            reassembly.add(sender(from), Tag::Update, part, true, 1000)
        };
        assert_eq!(add(&mut reassembly, 0, 1, 0), Ok(Added::New));
        assert_eq!(add(&mut reassembly, 0, 2, 0), Ok(Added::New));
        // Every chunk gives its message more time.
        assert_eq!(add(&mut reassembly, 9, 1, 1), Ok(Added::New));
        assert_eq!(add(&mut reassembly, 10, 3, 0), Ok(Added::New));
        assert_eq!(reassembly.len(), 2, "the second one was idle");
        assert_eq!(reassembly.bytes(), 2 * cost(1000, 1) + CHUNK_COST);
        // Late, but nobody else has come meanwhile.
        assert_eq!(add(&mut reassembly, 100, 1, 2), Ok(Added::New));
        assert_eq!(reassembly.len(), 1);
        // Times begin anew for a restored machine, whose clock may be another.
        let mut reassembly = reassembly.restarted(at(5));
        assert_eq!(add(&mut reassembly, 14, 4, 0), Ok(Added::New));
        let complete = add(&mut reassembly, 14, 1, 3).unwrap().complete().unwrap();
        assert_eq!(complete.payload(), b"xxxx");
    }

    /// However many uploads there are: those that were let in are completed, the others wait.
    #[test]
    fn uploads_do_not_starve_each_other() {
        let limits = ReassemblyLimits { proven_bytes: 100_000, ..ReassemblyLimits::default() };
        let mut reassembly = Reassembly::new(limits);
        let mut completed = [false; 30];
        for round in 0..3 {
            for id in 0..10 {
                for from in 0..30u8 {
                    if completed[usize::from(from)] {
                        continue;
                    }
                    let part = chunk(id, id == 9, &[id as u8; 1000]);
                    if let Ok(Added::Complete(_)) =
                        reassembly.add(sender(from), Tag::Update, part, id == 0, 10_000)
                    {
                        completed[usize::from(from)] = true;
                    }
                }
            }
            assert!(completed.iter().filter(|done| **done).count() >= (round + 1) * 7);
        }
    }
}
