//! Reading the log.

use pet_ledger::{verify_chain, EntryHash, Head, Place, Position};

use super::{flaws::Flaw, item::Item, shared::Shared, SharedError};

/// The most entries, and bytes, that are read at once.
const PAGE: (usize, usize) = (512, 8 << 20);

/// How far the log was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub position: Position,
    pub hash: EntryHash,
}

impl End {
    /// In front of the first entry that is kept.
    pub fn in_front_of(head: &Head) -> Self {
        Self { position: Position(head.first.0.saturating_sub(1)), hash: head.before }
    }

    /// Whether the log still has what was read of it.
    ///
    /// # Errors
    /// [`SharedError::WentBack`].
    pub fn check(&self, head: &Head) -> Result<(), SharedError> {
        let is_there = match head.position.cmp(&self.position) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => head.hash == self.hash,
            std::cmp::Ordering::Greater => true,
        };
        let (known, found) = (self.position, head.position);
        is_there.then_some(()).ok_or(SharedError::WentBack { known, found })
    }

    /// Whether what is in front of a log's first entry is what was seen there, if it was.
    ///
    /// # Errors
    /// [`SharedError::WentBack`].
    pub fn agrees(&self, seen: Option<Self>) -> Result<(), SharedError> {
        match seen {
            Some(seen) if seen.position == self.position && seen.hash != self.hash => {
                Err(SharedError::WentBack { known: seen.position, found: self.position })
            }
            _ => Ok(()),
        }
    }

    /// Reads on. Gives entries in order, nothing at the end. `seen` is the furthest that was ever seen: it must be there.
    pub async fn read(
        &mut self,
        shared: &Shared,
        seen: Option<Self>,
    ) -> Result<Vec<(Position, Item)>, SharedError> {
        let vault = shared.vault();
        let (most, most_bytes) = if Flaw::GoesBack.is_there() { (3, 1) } else { PAGE };
        let entries = shared.ledger().read(self.position, most, most_bytes).await?;
        shared.load().read(entries.iter().map(|entry| entry.bytes.len()).sum());
        verify_chain(self.position, self.hash, &entries)?;
        for entry in &entries {
            Self { position: entry.position, hash: entry.hash }.agrees(seen)?;
        }
        let mut items = Vec::with_capacity(entries.len());
        let mut previous = self.hash;
        for entry in &entries {
            let place = Place::Entry { epoch: entry.epoch, position: entry.position, previous };
            items.push((entry.position, Item::from_bytes(&vault.open_at(place, &entry.bytes)?)?));
            previous = entry.hash;
        }
        if let Some(last) = entries.last() {
            *self = Self { position: last.position, hash: last.hash };
        }
        Ok(items)
    }
}
