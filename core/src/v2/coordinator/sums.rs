//! What is read back and added up. No record tells of it: after a restart it begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::jobs::Stored;
use super::ObjectKind;
use crate::crypto::PublicSigningKey;
use crate::mask::Aggregation;

/// The most objects that are asked for, or there, at the same time.
const MOST_AHEAD: u64 = 16;

/// The sum of the updates that were agreed on, as far as it is.
#[derive(Clone, Default)]
pub(super) struct Sums {
    /// The last updater whose update was asked for.
    last: Option<PublicSigningKey>,
    /// What the store is asked for, and how often it was.
    asked: BTreeMap<ObjectKind, u32>,
    /// What waits to be added.
    loaded: Vec<Stored>,
    /// How many are being added.
    adding: u64,
    sum: Option<Arc<Aggregation>>,
    added: u64,
    masks: BTreeMap<u8, Stored>,
}

impl Sums {
    /// The last updater whose update was asked for.
    pub(super) fn last(&self) -> Option<&PublicSigningKey> {
        self.last.as_ref()
    }

    /// Whether another update of so many bytes may be asked for.
    pub(super) fn has_room(&self, object_len: u64, most_bytes: u64) -> bool {
        let ahead = self.asked.len() as u64 + self.loaded.len() as u64 + self.adding;
        ahead == 0 || ahead < MOST_AHEAD && (ahead + 1).saturating_mul(object_len) <= most_bytes
    }

    /// An object is asked for, perhaps once more.
    pub(super) fn ask(&mut self, kind: ObjectKind, times: u32) {
        self.asked.insert(kind, times);
        if let ObjectKind::Update(updater) = kind {
            self.last = self.last.max(Some(updater));
        }
    }

    /// An object has come; how often it was asked for, if it was.
    pub(super) fn answered(&mut self, kind: &ObjectKind) -> Option<u32> {
        self.asked.remove(kind)
    }

    /// Whether the store is asked for something.
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// An object is here.
    pub(super) fn loaded(&mut self, stored: Stored) {
        match stored.kind {
            ObjectKind::Update(_) => self.loaded.push(stored),
            ObjectKind::Mask { group, .. } => drop(self.masks.insert(group, stored)),
        }
    }

    /// What is to be added next; nothing while something is being added.
    pub(super) fn next(&mut self) -> Option<Vec<Stored>> {
        if self.adding > 0 || self.loaded.is_empty() {
            return None;
        }
        let next = std::mem::take(&mut self.loaded);
        self.adding = next.len() as u64;
        Some(next)
    }

    /// The sum so far.
    pub(super) fn sum(&self) -> Option<&Arc<Aggregation>> {
        self.sum.as_ref()
    }

    /// These were added; gives the sum before.
    pub(super) fn added(&mut self, sum: Arc<Aggregation>) -> Option<Arc<Aggregation>> {
        self.added += std::mem::take(&mut self.adding);
        self.sum.replace(sum)
    }

    /// These were lost with their job: they are the next ones.
    pub(super) fn add_again(&mut self, mut models: Vec<Stored>) {
        self.adding = 0;
        models.append(&mut self.loaded);
        self.loaded = models;
    }

    /// Whether so many updates are in the sum.
    pub(super) fn is_complete(&self, count: u64) -> bool {
        self.sum.is_some() && self.added == count
    }

    /// The masks that are here, in the order of the groups.
    pub(super) fn masks(&self) -> &BTreeMap<u8, Stored> {
        &self.masks
    }

    /// Whether a mask is asked for.
    pub(super) fn asks_for(&self, kind: &ObjectKind) -> bool {
        self.asked.contains_key(kind)
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let objects = self.loaded.iter().chain(self.masks.values());
        objects.map(|object| object.bytes.len()).sum::<usize>()
            + self.sum.as_ref().map_or(0, |sum| sum.len() * 8)
    }
}
