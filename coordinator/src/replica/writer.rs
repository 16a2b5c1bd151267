//! Writes records into the log.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use pet_core::{
    coordinator::{Large, PersistId, Record},
    crypto::RootSeed,
};
use pet_ledger::{append_surely, Append, Appended, EntryHash, Epoch, PartName, Place, Position};
use tokio::{
    sync::watch,
    time::{sleep, Duration, Instant},
};

use super::{
    follower::{AGGREGATE, MODEL},
    item::{Item, PartRef, Small},
    kept::Kept,
    lease::PhaseClock,
    log::End,
    models::SharedModels,
    shared::{aside, Shared},
    store::{Batch, Queue},
    SharedError,
};
use crate::store::Confirmations;

/// Longer records are parts themselves, in bytes.
const INLINE: usize = 64 << 10;

/// A part that is referred to by nothing is removed once it is so old: nobody can be about to write an entry that names it.
const ORPHAN_AGE: Duration = Duration::from_secs(600);

/// So soon after it has failed an append is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// The one that writes in an epoch, from the end of the log on.
pub(super) struct Writer {
    pub shared: Shared,
    pub epoch: Epoch,
    pub end: End,
    pub root: RootSeed,
    pub kept: Kept,
    pub models: Arc<SharedModels>,
    pub models_kept: usize,
    pub clock: Arc<PhaseClock>,
    /// Until when it is worth trying.
    pub until: watch::Receiver<Instant>,
    /// When parts were last looked for that nothing refers to.
    pub looked: Option<Instant>,
    /// Told how far it has written.
    pub written: watch::Sender<End>,
}

fn is_over(until: &watch::Receiver<Instant>) -> bool {
    *until.borrow() <= Instant::now()
}

/// Entries, and what becomes of parts once they are written.
#[derive(Default)]
struct Prepared {
    items: Vec<Item>,
    /// Parts that are needed no more then.
    free: Vec<PartName>,
    /// Which of the entries the log begins with then.
    begins: Option<usize>,
}

impl Writer {
    /// Writes until it cannot.
    pub async fn run(mut self, queue: Arc<Queue>, confirmations: Confirmations) {
        loop {
            let Batch { records, began } = queue.take().await;
            let last = records.last().map(|(id, _)| *id);
            if let Err(error) = self.write(records, began).await {
                return confirmations.failed(error.into());
            }
            if let Some(last) = last {
                confirmations.stored(last);
            }
        }
    }

    /// Writes records, all or none.
    pub async fn write(
        &mut self,
        records: Vec<(PersistId, Record)>,
        began: Option<Instant>,
    ) -> Result<(), SharedError> {
        let begins_phase = records.iter().any(|(_, record)| record.begins_phase());
        let mut prepared = Prepared::default();
        for (_, record) in records {
            self.prepare(record, &mut prepared).await?;
        }
        let Prepared { items, free, begins } = prepared;
        let before = self.end.position;
        self.append(&items, began.filter(|_| begins_phase)).await?;
        if let Some(began) = began {
            self.clock.set(self.end.position, began);
        }
        self.models.set(self.kept.models());
        self.written.send_replace(self.end);
        let first = begins.map(|index| before.later(index + 1));
        if first.is_some() || !free.is_empty() {
            self.tidy(first, free);
        }
        Ok(())
    }

    /// Has removed what is needed no more. Nobody waits for it.
    fn tidy(&mut self, first: Option<Position>, free: Vec<PartName>) {
        let (shared, epoch) = (self.shared.clone(), self.epoch);
        let look =
            first.is_some() && self.looked.is_none_or(|looked| looked.elapsed() > ORPHAN_AGE);
        let needed: Option<BTreeSet<PartName>> = look.then(|| {
            self.looked = Some(Instant::now());
            self.kept.names().cloned().collect()
        });
        tokio::spawn(async move {
            if let Some(first) = first {
                if let Err(error) = shared.ledger().forget(epoch, first).await {
                    // What the log still names is needed by whoever reads it. It is swept as an orphan later.
                    tracing::debug!(%error, "the log is not cut off until the next round");
                    return;
                }
            }
            shared.remove(free).await;
            if let Some(needed) = needed {
                shared.remove_orphans(epoch, &needed, ORPHAN_AGE).await;
            }
        });
    }

    /// Stores the parts of a record, and makes its entry.
    async fn prepare(&mut self, record: Record, to: &mut Prepared) -> Result<(), SharedError> {
        if let Record::RoundBegan { .. } = record {
            let models = self.kept.models().to_vec();
            to.free.extend(self.kept.begin(models.clone()));
            to.begins = Some(to.items.len());
            to.items.push(Item::Begin { root: self.root.clone(), models });
        }
        let bytes = record.to_bytes();
        let small = match bytes.len() > INLINE {
            false => Small::Here(bytes),
            true => {
                let bytes = Bytes::copy_from_slice(&bytes);
                Small::Part(self.store("record", bytes).await?)
            }
        };
        if let Record::Chunk { participant, .. } = &record {
            self.kept.chunk(*participant, small.part());
            to.items.push(Item::Chunk { participant: *participant, small });
            return Ok(());
        }
        let large = match record.large() {
            None => None,
            Some(large) => Some(self.put(large).await?),
        };
        if let (Record::Model(model), Some(part)) = (&record, &large) {
            self.models.remember(part, model);
        }
        to.free.extend(self.kept.note(&record, small.part(), large.as_ref(), self.models_kept));
        to.items.push(Item::Record { small, large });
        Ok(())
    }

    async fn put(&self, large: Large) -> Result<PartRef, SharedError> {
        let kind = match &large {
            Large::Aggregation(_) => AGGREGATE,
            Large::Mask(_) => "mask",
            Large::Model(_) => MODEL,
        };
        let bytes = match large {
            Large::Mask(mask) => mask,
            large => aside(move || Bytes::from(large.to_bytes().into_owned())).await?,
        };
        self.store(kind, bytes).await
    }

    /// Stores a part, whatever it takes, as long as the lease is held.
    async fn store(&self, kind: &str, bytes: Bytes) -> Result<PartRef, SharedError> {
        loop {
            match self.shared.put(kind, bytes.clone()).await {
                Err(error) if error.is_passing() && !is_over(&self.until) => {
                    tracing::debug!(%error, "a part is stored again");
                    sleep(RETRY).await;
                }
                stored => return stored,
            }
        }
    }

    /// Appends entries, whatever it takes, as long as the lease is held.
    async fn append(&mut self, items: &[Item], began: Option<Instant>) -> Result<(), SharedError> {
        let End { position: after, hash } = self.end;
        let vault = self.shared.vault();
        let (mut position, mut previous) = (after, hash);
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            position = position.later(1);
            let place = Place::Entry { epoch: self.epoch, position, previous };
            let bytes = vault.close(place, &item.to_bytes());
            previous = EntryHash::of(previous, self.epoch, position, &bytes);
            entries.push(bytes);
        }
        let elapsed = began.map(|began| began.elapsed());
        let append =
            Append { epoch: self.epoch, after, hash, entries, answers: Vec::new(), elapsed };
        let until = &self.until;
        let pause = |error: &pet_ledger::LedgerError| {
            let is_over = is_over(until);
            tracing::debug!(%error, "an append is tried again");
            async move {
                sleep(RETRY).await;
                !is_over
            }
        };
        match append_surely(self.shared.ledger(), append, pause).await? {
            Appended::Done(_) => {
                self.end = End { position, hash: previous };
                Ok(())
            }
            Appended::Fenced { .. } | Appended::Conflict(_) => Err(SharedError::Superseded),
        }
    }
}
