//! What is no incomplete message any more, and still in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::cost;
use super::{Complete, OwnedChunk, Reassembly};
use crate::crypto::PublicSigningKey;
use crate::message::Tag;

/// How many messages are dropped in one call at most.
const MOST_DROPPED: usize = 256;

/// Messages that are being put together and judged, and those that are gone, but whose chunks are still on
/// their way to the store. A sender has one at most.
#[derive(Clone, Default)]
pub(super) struct Held {
    by_sender: BTreeMap<PublicSigningKey, Entry>,
    /// Those that only wait for the store, by the record that has their latest chunk.
    waiting: BTreeSet<(u64, PublicSigningKey)>,
    proven_bytes: usize,
    unproven_bytes: usize,
}

#[derive(Clone)]
struct Entry {
    cost: usize,
    is_proven: bool,
    record: u64,
}

impl Held {
    /// What those cost whose sender has the right to send them.
    pub(super) fn proven_bytes(&self) -> usize {
        self.proven_bytes
    }

    /// What the others cost.
    pub(super) fn unproven_bytes(&self) -> usize {
        self.unproven_bytes
    }

    pub(super) fn contains(&self, sender: &PublicSigningKey) -> bool {
        self.by_sender.contains_key(sender)
    }

    /// A message is worked on from now on, until it is [settled](Self::settle).
    fn work(&mut self, sender: PublicSigningKey, cost: usize, is_proven: bool, record: u64) {
        self.remove(&sender);
        *self.account(is_proven) += cost;
        self.by_sender.insert(sender, Entry { cost, is_proven, record });
    }

    /// A message is gone but for its chunks on their way to the store.
    pub(super) fn wait(
        &mut self,
        sender: PublicSigningKey,
        cost: usize,
        is_proven: bool,
        record: u64,
    ) {
        self.work(sender, cost, is_proven, record);
        self.waiting.insert((record, sender));
    }

    /// A sender's message is not worked on any more.
    pub(super) fn settle(&mut self, sender: &PublicSigningKey, stored: u64) {
        match self.by_sender.get(sender) {
            Some(entry) if entry.record <= stored => self.remove(sender),
            Some(entry) => {
                self.waiting.insert((entry.record, *sender));
            }
            None => {}
        }
    }

    /// Drops what waited for these records only; some of it, if it is much.
    pub(super) fn stored(&mut self, stored: u64) {
        for _ in 0..MOST_DROPPED {
            match self.waiting.first() {
                Some(&(record, sender)) if record <= stored => self.remove(&sender),
                _ => return,
            }
        }
    }

    fn remove(&mut self, sender: &PublicSigningKey) {
        if let Some(Entry { cost, is_proven, record }) = self.by_sender.remove(sender) {
            self.waiting.remove(&(record, *sender));
            *self.account(is_proven) -= cost;
        }
    }

    fn account(&mut self, proven: bool) -> &mut usize {
        match proven {
            true => &mut self.proven_bytes,
            false => &mut self.unproven_bytes,
        }
    }
}

impl Reassembly {
    /// The latest chunk of a sender's message is in this record. Records are numbered from 1.
    pub fn recorded(&mut self, sender: &PublicSigningKey, record: u64) {
        self.kept.set_record(sender, record);
    }

    /// All records up to this one are stored.
    pub fn stored(&mut self, record: u64) {
        self.stored = self.stored.max(record);
        self.held.stored(self.stored);
    }

    /// A chunk [completes](super::Verdict::Complete) its message: from now on that is worked on, until its
    /// sender is [forgotten](Self::forget) or [settled](Self::settle). What was recorded of it stays.
    pub(crate) fn work_on(
        &mut self,
        sender: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
    ) -> Complete {
        let complete = self.complete(&sender, tag, chunk);
        let record = self.record_of(&sender);
        self.kept.set_aside(&sender);
        self.hold(sender, &complete, proven, record);
        complete
    }

    /// A complete message is worked on: its bytes count, twice (they are copied into one piece), until the
    /// sender is [settled](Self::settle). `record` has its latest chunk that was recorded.
    pub fn hold(
        &mut self,
        sender: PublicSigningKey,
        message: &Complete,
        proven: bool,
        record: u64,
    ) {
        let bytes = message.parts.iter().map(|part| part.len()).sum::<usize>();
        let cost = cost(bytes.saturating_mul(2), message.parts.len());
        self.held.work(sender, cost, proven, record);
    }

    /// The record that has the latest chunk of a sender's message; 0 if there is none.
    pub fn record_of(&self, sender: &PublicSigningKey) -> u64 {
        self.kept.get(sender).map_or(0, |partial| partial.record)
    }

    /// The sender's message was accepted or rejected.
    pub fn settle(&mut self, sender: &PublicSigningKey) {
        self.held.settle(sender, self.stored);
    }

    /// The sender's message was turned away for now: what was recorded of it is an incomplete message again, which its last
    /// chunk completes if that comes again. (Without it, that chunk alone would be accepted as the first of a message.) This
    /// costs no more than while it was worked on.
    pub(crate) fn put_back(&mut self, sender: &PublicSigningKey) {
        match self.kept.remove_aside(sender) {
            Some(partial) => {
                self.held.remove(sender);
                self.kept.insert(*sender, partial);
            }
            None => self.settle(sender),
        }
    }

    /// For the next phase: nothing is incomplete, but what is worked on or on its way to the store is still
    /// there. (What was incomplete may be as well. Before all of it is stored nobody hears of that phase.)
    /// Gives how many bytes that frees at most, and what to drop for it.
    pub(crate) fn next_phase(&mut self) -> (usize, impl Send + 'static) {
        let kept = std::mem::take(&mut self.kept);
        (kept.data_bytes(), kept)
    }
}
