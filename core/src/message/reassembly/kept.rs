//! The incomplete messages, with the accounts of what they cost and in what order they came.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::partial::Partial;
use crate::crypto::PublicSigningKey;
use crate::message::{MessageId, Tag};
use crate::time::Timestamp;

/// A participant has at most one incomplete message: it sends its chunks one by one, so a new message
/// id means that it gave the older message up.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<PublicSigningKey, Partial>", into = "BTreeMap<PublicSigningKey, Partial>")]
pub(super) struct Kept {
    partials: BTreeMap<PublicSigningKey, Partial>,
    /// The senders of unproven messages by arrival, so that the oldest is found at once.
    unproven: BTreeMap<u64, PublicSigningKey>,
    /// All senders by the time of their latest chunk.
    by_time: BTreeSet<(Timestamp, PublicSigningKey)>,
    /// What was kept of messages of which all chunks are here, and of which nothing is recorded beyond that
    /// yet. No message is incomplete for it, and it is in no account: [`Held`](super::held::Held) has that.
    aside: BTreeMap<PublicSigningKey, Partial>,
    aside_bytes: usize,
    now: Timestamp,
    proven_bytes: usize,
    unproven_bytes: usize,
    arrivals: u64,
}

/// What was saved is only the messages: the accounts follow from them, so that they are right
/// whatever was read.
impl From<BTreeMap<PublicSigningKey, Partial>> for Kept {
    fn from(partials: BTreeMap<PublicSigningKey, Partial>) -> Self {
        let mut kept = Self::default();
        let mut by_arrival: Vec<_> = partials.into_iter().collect();
        by_arrival.sort_by_key(|(_, partial)| partial.arrival);
        for (sender, mut partial) in by_arrival {
            partial.bytes = partial.chunks.values().map(Bytes::len).sum();
            partial.arrival = kept.next_arrival();
            kept.insert(sender, partial);
        }
        kept
    }
}

impl From<Kept> for BTreeMap<PublicSigningKey, Partial> {
    fn from(mut kept: Kept) -> Self {
        kept.partials.append(&mut kept.aside);
        kept.partials
    }
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.partials.len()
    }

    pub(super) fn get(&self, sender: &PublicSigningKey) -> Option<&Partial> {
        self.partials.get(sender)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PublicSigningKey, &Partial)> {
        self.partials.iter()
    }

    /// What the proven messages cost.
    pub(super) fn proven_bytes(&self) -> usize {
        self.proven_bytes
    }

    /// What the others cost.
    pub(super) fn unproven_bytes(&self) -> usize {
        self.unproven_bytes
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Time does not run backwards.
    pub(super) fn set_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The same messages as if all their chunks had come at this time.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.now = now;
        self.by_time = self.partials.keys().map(|sender| (now, *sender)).collect();
        self.partials.values_mut().for_each(|partial| partial.touched = now);
    }

    /// A message without chunks, the latest to arrive. It is not kept yet.
    pub(super) fn begin(&mut self, message_id: MessageId, tag: Tag) -> Partial {
        Partial {
            message_id,
            tag,
            reserved: None,
            arrival: self.next_arrival(),
            last: None,
            bytes: 0,
            chunks: BTreeMap::new(),
            touched: self.now,
            record: 0,
        }
    }

    /// Keeps a sender's message, of which a chunk came just now. The sender's older one was
    /// [taken out](Self::remove) before.
    pub(super) fn insert(&mut self, sender: PublicSigningKey, mut partial: Partial) {
        partial.touched = self.now;
        self.by_time.insert((self.now, sender));
        let account = self.account(partial.is_proven());
        *account = account.saturating_add(partial.cost());
        if !partial.is_proven() {
            self.unproven.insert(partial.arrival, sender);
        }
        self.partials.insert(sender, partial);
    }

    pub(super) fn remove(&mut self, sender: &PublicSigningKey) -> Option<Partial> {
        let partial = self.partials.remove(sender)?;
        self.unproven.remove(&partial.arrival);
        self.by_time.remove(&(partial.touched, *sender));
        let account = self.account(partial.is_proven());
        *account = account.saturating_sub(partial.cost());
        Some(partial)
    }

    /// All of a sender's message is here now: what was kept of it is no longer an incomplete message, but it
    /// is still what was recorded.
    pub(super) fn set_aside(&mut self, sender: &PublicSigningKey) {
        if let Some(partial) = self.remove(sender) {
            self.aside_bytes = self.aside_bytes.saturating_add(partial.bytes);
            self.aside.insert(*sender, partial);
        }
    }

    pub(super) fn remove_aside(&mut self, sender: &PublicSigningKey) -> Option<Partial> {
        let partial = self.aside.remove(sender)?;
        self.aside_bytes = self.aside_bytes.saturating_sub(partial.bytes);
        Some(partial)
    }

    /// The latest chunk of a sender's message is in this record.
    pub(super) fn set_record(&mut self, sender: &PublicSigningKey, record: u64) {
        if let Some(partial) = self.partials.get_mut(sender) {
            partial.record = record;
        }
    }

    /// The senders of unproven messages, those that came first to begin with.
    pub(super) fn unproven(&self) -> impl Iterator<Item = &PublicSigningKey> {
        self.unproven.values()
    }

    /// No less than what there is of chunks.
    pub(super) fn data_bytes(&self) -> usize {
        let [proven, unproven] = [self.proven_bytes, self.unproven_bytes];
        self.aside_bytes.saturating_add(proven).saturating_add(unproven)
    }

    /// All senders with the time of their latest chunk, the most idle first.
    pub(super) fn by_time(&self) -> impl Iterator<Item = &(Timestamp, PublicSigningKey)> {
        self.by_time.iter()
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn account(&mut self, proven: bool) -> &mut usize {
        if proven {
            &mut self.proven_bytes
        } else {
            &mut self.unproven_bytes
        }
    }

    /// Whether the accounts are what the messages add up to.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let by_time: BTreeSet<_> =
            self.iter().map(|(key, partial)| (partial.touched, *key)).collect();
        assert_eq!(by_time, self.by_time);
        let cost = |proven| {
            let messages = self.partials.values().filter(|partial| partial.is_proven() == proven);
            messages.map(Partial::cost).sum::<usize>()
        };
        assert_eq!(cost(true), self.proven_bytes);
        assert_eq!(cost(false), self.unproven_bytes);
        let unproven = self.iter().filter(|(_, partial)| !partial.is_proven());
        let unproven: BTreeMap<_, _> =
            unproven.map(|(key, partial)| (partial.arrival, *key)).collect();
        assert_eq!(unproven, self.unproven);
        let aside = self.aside.values().map(|partial| partial.bytes).sum::<usize>();
        assert_eq!(aside, self.aside_bytes);
        assert!(self.aside.keys().all(|sender| !self.partials.contains_key(sender)));
    }
}
