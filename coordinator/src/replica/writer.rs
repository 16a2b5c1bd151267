//! Writes records into the log.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use bytes::Bytes;
use pet_core::{
    coordinator::{Large, PersistId, Record},
    crypto::RootSeed,
};
use pet_ledger::{append_surely, Append, Appended, EntryHash, Epoch, PartName, Place, Position};
use tokio::sync::watch;

use super::{
    flaws::Flaw,
    follower::{AGGREGATE, MODEL},
    item::{Item, PartRef, Small},
    kept::Kept,
    lease::PhaseClock,
    log::End,
    models::SharedModels,
    pace,
    shared::{aside, Shared},
    store::{Answer, Batch, Queue},
    SharedError,
};
use crate::{
    process::{
        spawn,
        time::{sleep, timeout, timeout_at, Duration, Instant},
    },
    store::Confirmations,
};

/// Longer records are parts themselves, in bytes.
const INLINE: usize = 64 << 10;

/// No more bytes of records are appended at once; what is beyond that are parts, too.
const INLINE_AT_ONCE: usize = 16 << 20;

/// A part that is referred to by nothing is removed once it is so old: nobody can be about to write an entry that names it.
const ORPHAN_AGE: Duration = Duration::from_secs(600);

/// So soon after it has failed an append is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// So long parts are tried to be stored. (With S3, each try has some seconds of its own.)
const PATIENCE: Duration = Duration::from_secs(5);

/// An append that takes longer is not waited for, and a second more for each MiB: those who wait for it learn why, and
/// another replica may be able to.
const STUCK: Duration = Duration::from_secs(5);

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

/// A record whose parts are stored.
struct Placed {
    record: Record,
    small: Small,
    large: Option<PartRef>,
}

/// Stores what of records is large.
async fn place_all(
    shared: Shared,
    until: watch::Receiver<Instant>,
    records: Vec<(PersistId, Record)>,
) -> Result<Vec<Placed>, SharedError> {
    let mut all = Vec::with_capacity(records.len());
    let mut inline = 0;
    for (_, record) in records {
        let bytes = record.to_bytes();
        let is_long = bytes.len() > INLINE || inline + bytes.len() > INLINE_AT_ONCE;
        let small = match is_long {
            false => {
                inline += bytes.len();
                Small::Here(bytes)
            }
            true => {
                let bytes = Bytes::copy_from_slice(&bytes);
                Small::Part(store(&shared, &until, "record", bytes).await?)
            }
        };
        let large = match record.large() {
            Some(large) if !matches!(record, Record::Chunk { .. }) => {
                Some(put(&shared, &until, large).await?)
            }
            _ => None,
        };
        all.push(Placed { record, small, large });
    }
    Ok(all)
}

async fn put(
    shared: &Shared,
    until: &watch::Receiver<Instant>,
    large: Large,
) -> Result<PartRef, SharedError> {
    let kind = match &large {
        Large::Aggregation(_) => AGGREGATE,
        Large::Mask(_) => "mask",
        Large::Model(_) => MODEL,
    };
    if let Large::Model(model) = &large {
        // Where others read it.
        insist(until, || shared.archive(model)).await?;
    }
    let bytes = match large {
        Large::Mask(mask) => mask,
        large => aside(move || Bytes::from(large.to_bytes().into_owned())).await?,
    };
    store(shared, until, kind, bytes).await
}

/// Stores a part.
async fn store(
    shared: &Shared,
    until: &watch::Receiver<Instant>,
    kind: &str,
    bytes: Bytes,
) -> Result<PartRef, SharedError> {
    insist(until, || shared.put(kind, bytes.clone())).await
}

/// Has something stored, as long as the lease is held. If that takes long, this replica ceases to lead, so that those who
/// wait learn why, and so that another one may try.
async fn insist<T, F: Future<Output = Result<T, SharedError>>>(
    until: &watch::Receiver<Instant>,
    store: impl Fn() -> F,
) -> Result<T, SharedError> {
    let enough = Instant::now() + PATIENCE;
    loop {
        match store().await {
            Err(error) if error.is_passing() && !is_over(until) && Instant::now() < enough => {
                tracing::debug!(%error, "a part is stored again");
                sleep(RETRY).await;
            }
            stored => return stored,
        }
    }
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
        // Until when updates of large models wait for others.
        let mut gathering = None;
        loop {
            if let Some(until) = gathering.take() {
                if let Err(error) = self.gather(until, &queue).await {
                    return confirmations.failed(error.into());
                }
            }
            let Batch { records, began, answers, following } = queue.take().await;
            let writing = Instant::now();
            let updates = pace::updates(records.iter().map(|(_, record)| record));
            let last = records.last().map(|(id, _)| *id);
            if let Some(last) = last.filter(|_| Flaw::AcknowledgesBefore.is_there()) {
                confirmations.stored(last);
            }
            let written = match last {
                // What these follow from was written before.
                None => self.answer([following, answers].concat()).await,
                Some(_) => self.write_all(records, began, [answers, following], &queue).await,
            };
            if let Err(error) = written {
                return confirmations.failed(error.into());
            }
            if let Some(last) = last {
                confirmations.stored(last);
            }
            gathering = pace::pause(updates, writing.elapsed()).map(|pause| Instant::now() + pause);
        }
    }

    /// Waits until then for more updates to share a large aggregate with, and answers letters meanwhile.
    async fn gather(&mut self, until: Instant, queue: &Queue) -> Result<(), SharedError> {
        queue.any().await;
        loop {
            match timeout_at(until, queue.urgent_or_answers()).await {
                Ok(answers) if !answers.is_empty() => self.answer(answers).await?,
                // It is enough, or there is something else.
                _ => return Ok(()),
            }
        }
    }

    /// Writes records, and what follows from them, in one transaction. To store what of them is large takes a while: other
    /// letters are answered meanwhile.
    async fn write_all(
        &mut self,
        records: Vec<(PersistId, Record)>,
        began: Option<Instant>,
        [answers, following]: [Vec<Answer>; 2],
        queue: &Queue,
    ) -> Result<(), SharedError> {
        let placing = place_all(self.shared.clone(), self.until.clone(), records);
        tokio::pin!(placing);
        let placed = tokio::select! {
            biased;
            placed = &mut placing => {
                let answers = [following, answers].concat();
                return self.write_placed(placed?, began, answers).await;
            }
            // Not stored yet.
            () = std::future::ready(()) => {
                self.answer(answers).await?;
                loop {
                    tokio::select! {
                        biased;
                        placed = &mut placing => break placed?,
                        answers = queue.take_answers() => self.answer(answers).await?,
                    }
                }
            }
        };
        self.write_placed(placed, began, following).await
    }

    /// Answers letters, without records.
    async fn answer(&mut self, answers: Vec<Answer>) -> Result<(), SharedError> {
        if answers.is_empty() {
            return Ok(());
        }
        let free = self.append(&[], answers, None).await?;
        if !free.is_empty() {
            self.tidy(None, free);
        }
        Ok(())
    }

    /// Writes records, all or none.
    pub async fn write(
        &mut self,
        records: Vec<(PersistId, Record)>,
        began: Option<Instant>,
    ) -> Result<(), SharedError> {
        let placed = place_all(self.shared.clone(), self.until.clone(), records).await?;
        self.write_placed(placed, began, Vec::new()).await
    }

    async fn write_placed(
        &mut self,
        records: Vec<Placed>,
        began: Option<Instant>,
        answers: Vec<Answer>,
    ) -> Result<(), SharedError> {
        let begins_phase = records.iter().any(|placed| placed.record.begins_phase());
        let mut prepared = Prepared::default();
        for placed in records {
            self.prepare(placed, &mut prepared);
        }
        let Prepared { items, mut free, begins } = prepared;
        if Flaw::RemovesTooEarly.is_there() {
            self.shared.remove(free.clone()).await;
        }
        let before = self.end.position;
        free.extend(self.append(&items, answers, began.filter(|_| begins_phase)).await?);
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
        spawn(async move {
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

    /// Makes the entry of a record whose parts are stored.
    fn prepare(&mut self, placed: Placed, to: &mut Prepared) {
        let Placed { record, small, large } = placed;
        if let Record::RoundBegan { .. } = record {
            let models = self.kept.models().to_vec();
            to.free.extend(self.kept.begin(models.clone()));
            to.begins = Some(to.items.len());
            to.items.push(Item::Begin { root: self.root.clone(), models });
        }
        if let Record::Chunk { participant, .. } = &record {
            self.kept.chunk(*participant, small.part());
            to.items.push(Item::Chunk { participant: *participant, small });
            return;
        }
        if let (Record::Model(model), Some(part)) = (&record, &large) {
            self.models.remember(part, model);
        }
        to.free.extend(self.kept.note(&record, small.part(), large.as_ref(), self.models_kept));
        to.items.push(Item::Record { small, large });
    }

    /// Appends entries and answers letters, whatever it takes, as long as the lease is held. Gives the parts of those
    /// letters that are needed no more.
    async fn append(
        &mut self,
        items: &[Item],
        answers: Vec<Answer>,
        began: Option<Instant>,
    ) -> Result<Vec<PartName>, SharedError> {
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
        let mut free = Vec::new();
        // What an accepted one names stays, whichever comes first.
        let (accepted, rejected): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.is_accepted);
        for answer in accepted.into_iter().chain(rejected) {
            match &answer.piece {
                Some(piece) if answer.is_shared => {
                    free.extend(self.kept.letter(piece, answer.is_accepted));
                }
                Some(piece) => free.push(piece.clone()),
                None => {}
            }
        }
        let answers: Vec<_> =
            answers.into_iter().map(|answer| (answer.letter, answer.bytes)).collect();
        let answered = answers.iter().map(|(_, bytes)| bytes.len());
        self.shared.load().wrote(entries.iter().map(Bytes::len).chain(answered).sum());
        let append = Append { epoch: self.epoch, after, hash, entries, answers, elapsed };
        let until = &self.until;
        let pause = |error: &pet_ledger::LedgerError| {
            let is_over = is_over(until);
            tracing::debug!(%error, "an append is tried again");
            async move {
                sleep(RETRY).await;
                !is_over
            }
        };
        if Flaw::AppendsAgain.is_there() {
            return self.append_again(items, append).await.map(|()| free);
        }
        let bytes: usize = append.entries.iter().map(Bytes::len).sum();
        let stuck = STUCK + Duration::from_secs(bytes as u64 >> 20);
        let appending = append_surely(self.shared.ledger(), append, pause);
        // It may be done later, unless somebody else has written: whoever leads next reads the log.
        let appended = timeout(stuck, appending).await.map_err(|_| SharedError::Stuck(stuck))?;
        match appended? {
            Appended::Done(_) => {
                self.end = End { position, hash: previous };
                Ok(free)
            }
            Appended::Fenced { .. } | Appended::Conflict(_) => Err(SharedError::Superseded),
        }
    }

    /// What must not be done: appends what was perhaps appended behind whatever is there.
    async fn append_again(&mut self, items: &[Item], append: Append) -> Result<(), SharedError> {
        let (position, hash) = append.end();
        match self.shared.ledger().append(append).await {
            Ok(Appended::Done(_)) => {
                self.end = End { position, hash };
                Ok(())
            }
            Ok(_) => Err(SharedError::Superseded),
            Err(_) => {
                let head = self.shared.ledger().head().await?;
                self.end = End { position: head.position, hash: head.hash };
                Box::pin(self.append(items, Vec::new(), None)).await.map(drop)
            }
        }
    }
}
