//! The letters that a leader gets: they go to its machine, and what that says goes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
};

use bytes::Bytes;
use pet_core::coordinator::{
    relay::{Letter, Piece},
    PartId, PersistId, Rejection, Shard, Verified,
};
use pet_ledger::{Epoch, Known, LetterId, PartName, Position, Posted, ReplicaId};
use tokio::{
    sync::{mpsc, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tracing::{debug, error, info, warn};

use super::{
    commands::{seal_told, Service, ASKED},
    kept::shard_part,
    letters::{open, piece_name, seal_answer},
    mail::GATHER,
    shared::{aside, Shared},
    store::{Answer, Queue},
    SharedError,
};
use crate::{
    admin::{Denied, Told},
    driver::{Answers, Envelope, Relayed, ToOthers},
    process::{
        time::{interval, sleep, Duration, Instant, MissedTickBehavior},
        within,
    },
};

/// How many letters, and bytes, are read at once.
const PAGE: (usize, usize) = (256, 8 << 20);
/// How many large pieces of letters are read, and held until the machine has them, at a time.
const PIECES: usize = 4;
/// A piece that cannot be read for so long is given up: its sender comes again, and other letters wait behind it.
const GIVE_UP: Duration = Duration::from_secs(5);
/// How long letters are waited for at most until it is looked.
const POLL: Duration = Duration::from_millis(500);
/// So soon after it has failed something is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// A hint that was none does not keep anybody busy.
const PAUSE: Duration = Duration::from_millis(5);
/// How often it is looked who is gone.
const LOOK: Duration = Duration::from_secs(1);
/// Wakes for no entry of the log.
const NO_ENTRIES: Position = Position(i64::MAX as u64);

/// Reads letters for as long as it is polled.
pub(super) struct Inbox {
    shared: Shared,
    epoch: Epoch,
    /// This replica.
    replica: ReplicaId,
    /// What is reserved for a replica that has been silent for so long is not waited for.
    silence: Duration,
    tell: mpsc::Sender<Relayed>,
    queue: Arc<Queue>,
    pieces: Arc<Semaphore>,
    /// Whether the piece that was read last was given up: then the next one is tried once.
    gave_up: AtomicBool,
    /// The mask that was read last: most letters of the sum2 phase name the same.
    mask: Mutex<Option<(PartId, Bytes)>>,
    letters: Mutex<Letters>,
    /// Does what operators ask other replicas for.
    service: Service,
}

/// Nothing is under way any more.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.load().set(0, 0);
    }
}

impl Answers for Inbox {
    fn answer(&self, letter: u64, outcome: &Result<(), Rejection>, with: Option<PersistId>) {
        let opened = {
            let mut letters = self.letters();
            let opened = letters.open.remove(&letter);
            self.shared.load().set(0, letters.open.len());
            opened
        };
        let Some(Open { from, key, large }) = opened else { return };
        let (vault, letter) = (self.shared.vault(), LetterId(letter));
        let bytes = seal_answer(vault, from, letter, &key, outcome);
        let piece = large.map(|piece| piece_name(vault, &piece));
        let is_shared = large.is_some_and(|piece| piece.is_shared);
        let answer = Answer { letter, bytes, piece, is_shared, is_accepted: outcome.is_ok() };
        match with {
            Some(record) => self.queue.answer_with(record, answer),
            None => self.queue.answer([answer]),
        }
    }
}

/// The letters without an answer, and the shard that each replica's were about.
#[derive(Default)]
struct Letters {
    /// As many as the engine lets wait.
    open: BTreeMap<u64, Open>,
    shards: BTreeMap<ReplicaId, Shard>,
}

struct Open {
    from: ReplicaId,
    key: Bytes,
    large: Option<Piece>,
}

impl Inbox {
    /// The inbox of a machine, which is told and asked by `others`.
    pub fn run(
        shared: Shared,
        (epoch, replica, silence): (Epoch, ReplicaId, Duration),
        queue: Arc<Queue>,
        others: ToOthers,
        service: Service,
    ) -> impl std::future::Future<Output = ()> + Send {
        let ToOthers { tell, fetches } = others;
        let inbox = Arc::new(Self {
            shared,
            epoch,
            replica,
            silence,
            tell,
            queue,
            pieces: Arc::new(Semaphore::new(PIECES)),
            gave_up: AtomicBool::new(false),
            mask: Mutex::default(),
            letters: Mutex::default(),
            service,
        });
        async move {
            tokio::join!(Arc::clone(&inbox).read(), inbox.fetch(fetches), inbox.look(),);
        }
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        // Nobody panics while holding it.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads letters in order.
    async fn read(self: Arc<Self>) {
        let mut after = LetterId(0);
        let mut reading = JoinSet::new();
        loop {
            while reading.try_join_next().is_some() {}
            let ledger = self.shared.ledger();
            let letters = match ledger.letters(self.epoch, after, PAGE.0, PAGE.1).await {
                Ok(letters) => letters,
                Err(error) => {
                    // Whether this replica still leads is seen elsewhere.
                    debug!(%error, "letters are read again");
                    sleep(RETRY).await;
                    continue;
                }
            };
            let bytes: usize = letters.iter().map(|one| one.letter.body.len()).sum();
            self.shared.load().read(bytes);
            // (Whether there were more is not said: no letter has half a page's bytes.)
            let may_be_more = letters.len() >= PAGE.0 || bytes > PAGE.1 / 2;
            let were_many = letters.len() > 1;
            for posted in letters {
                after = posted.id;
                self.take(&posted, &mut reading).await;
            }
            if may_be_more {
                continue;
            }
            if were_many {
                sleep(GATHER).await;
            }
            let (epoch, letters) = (self.epoch, Some(after));
            let known = Known { epoch, position: NO_ENTRIES, letters, answers: None };
            if !ledger.changed(known, POLL).await.unwrap_or(false) {
                sleep(PAUSE).await;
            }
        }
    }

    async fn take(self: &Arc<Self>, posted: &Posted, reading: &mut JoinSet<()>) {
        let id = posted.id.0;
        if posted.letter.kind == ASKED {
            return self.take_asked(posted, reading);
        }
        let letter = open(self.shared.vault(), posted);
        let from = posted.letter.from;
        let shard = letter.as_ref().and_then(Letter::shard);
        let large = match &letter {
            Some(Letter::Message { large, .. }) => *large,
            _ => None,
        };
        let is_lost = matches!(letter, Some(Letter::Lost { .. }));
        let before = {
            let mut letters = self.letters();
            let open = Open { from, key: posted.letter.key.clone(), large };
            letters.open.insert(id, open);
            self.shared.load().set(0, letters.open.len());
            let now = shard.filter(|_| from != self.replica && !is_lost);
            now.and_then(|now| letters.shards.insert(from, now).filter(|before| *before != now))
        };
        if let Some(shard) = before {
            // A replica is one shard at a time, and nobody else ends the reservations of one that it has left behind.
            let _ = self.tell.send(Relayed::ShardLost(shard)).await;
        }
        let back = Envelope { letter: id, answers: Arc::clone(self) as Arc<dyn Answers> };
        let relayed = match letter {
            // Whoever wrote them in this process followed, and waits for nothing any more.
            _ if from == self.replica => return self.discard(id),
            None => {
                warn!(%from, "a letter does not open: it was put into the engine by somebody else, or a newer release");
                return self.discard(id);
            }
            Some(Letter::Message { small, large: Some(piece), .. }) => {
                // Other letters do not wait for its turn: there are no more of these than the engine lets wait.
                let inbox = Arc::clone(self);
                reading.spawn(within(async move {
                    // The semaphore is never closed.
                    let place = Arc::clone(&inbox.pieces).acquire_owned().await.ok();
                    inbox.deliver_large(small, piece, back, place).await;
                }));
                return;
            }
            Some(Letter::Message { small, large: None, .. }) => {
                match Verified::from_bytes(&small, None) {
                    Ok(message) => Relayed::Message { message, back, place: None },
                    Err(_) => return self.discard(id),
                }
            }
            Some(Letter::Admit { shard, admission }) => Relayed::Admit { shard, admission, back },
            Some(Letter::Part(done)) => Relayed::Part { done, back },
            Some(Letter::Lost { shard }) => {
                back.answer(&Ok(()));
                let mut letters = self.letters();
                if letters.shards.get(&from) == Some(&shard) {
                    letters.shards.remove(&from);
                }
                Relayed::ShardLost(shard)
            }
            Some(_) => return self.discard(id),
        };
        let _ = self.tell.send(relayed).await;
    }

    /// Has something done that an operator asks for, at most once.
    fn take_asked(self: &Arc<Self>, posted: &Posted, doing: &mut JoinSet<()>) {
        let asked = self.service.read(self.shared.vault(), self.epoch, posted);
        match asked {
            None => {
                warn!(from = %posted.letter.from, "an operator's letter does not open: it was put into the engine by somebody else");
                self.discard(posted.id.0);
            }
            Some(Err(denied)) => self.answer_asked(posted, &Err(denied)),
            Some(Ok(asked)) => {
                let (inbox, posted) = (Arc::clone(self), posted.clone());
                doing.spawn(within(async move {
                    let told = inbox.service.obey(&inbox.shared, asked).await;
                    inbox.answer_asked(&posted, &told);
                }));
            }
        }
    }

    fn answer_asked(&self, posted: &Posted, told: &Result<Told, Denied>) {
        match seal_told(self.shared.vault(), posted, told) {
            Ok(bytes) => self.take_out(posted.id, bytes),
            Err(error) => {
                error!(%error, "an answer to an operator cannot be written; please report this");
                self.discard(posted.id.0);
            }
        }
    }

    /// Takes a letter out that nothing comes of.
    fn discard(&self, id: u64) {
        self.letters().open.remove(&id);
        self.take_out(LetterId(id), Bytes::new());
    }

    fn take_out(&self, letter: LetterId, bytes: Bytes) {
        self.queue.answer([Answer {
            letter,
            bytes,
            piece: None,
            is_shared: false,
            is_accepted: false,
        }]);
    }

    /// Reads the large piece of a message, and delivers it.
    async fn deliver_large(
        &self,
        small: Vec<u8>,
        piece: Piece,
        back: Envelope,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let read = match self.known_mask(&piece) {
            Some(mask) => Ok(Some(mask)),
            None => self.get_piece(&piece_name(self.shared.vault(), &piece)).await,
        };
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            // Its round is over, or somebody has removed it: its sender is told to send it again.
            Ok(None) => return back.answer(&Err(Rejection::StoreBehind)),
            Err(error) => {
                warn!(%error, "what of a message is large cannot be read: its sender is to come again");
                return back.answer(&Err(Rejection::StoreBehind));
            }
        };
        if piece.is_shared {
            let mut mask = self.mask.lock().unwrap_or_else(PoisonError::into_inner);
            let before = mask.replace((piece.part, bytes.clone()));
            drop(mask);
            drop(before);
        }
        match aside(move || Verified::from_bytes(&small, Some(bytes))).await {
            Ok(Ok(message)) => {
                let _ = self.tell.send(Relayed::Message { message, back, place }).await;
            }
            Ok(Err(error)) => {
                error!(%error, "a letter makes no sense, although a replica has written it; please report this");
                back.answer(&Err(Rejection::NotProcessed));
            }
            Err(error) => error!(%error, "a letter could not be read; please report this"),
        }
    }

    fn known_mask(&self, piece: &Piece) -> Option<Bytes> {
        let mask = self.mask.lock().unwrap_or_else(PoisonError::into_inner);
        mask.as_ref().filter(|(part, _)| *part == piece.part).map(|(_, bytes)| bytes.clone())
    }

    /// Reads a piece, unless that fails for long.
    async fn get_piece(&self, name: &PartName) -> Result<Option<Bytes>, SharedError> {
        let patience = match self.gave_up.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => GIVE_UP,
        };
        let read = self.get(name, Some(patience)).await;
        self.gave_up.store(read.is_err(), Ordering::Relaxed);
        read
    }

    /// Reads a part, and tries for so long, or for ever; nothing if it is not there, or damaged.
    async fn get(
        &self,
        name: &PartName,
        patience: Option<Duration>,
    ) -> Result<Option<Bytes>, SharedError> {
        let began = Instant::now();
        loop {
            match self.shared.get_as(name).await {
                Err(error)
                    if error.is_passing()
                        && patience.is_none_or(|patience| began.elapsed() < patience) =>
                {
                    debug!(%error, part = %name, "a part is read again");
                    sleep(RETRY).await;
                }
                read => return read,
            }
        }
    }

    /// Reads the parts that the machine asks for.
    async fn fetch(&self, mut fetches: mpsc::UnboundedReceiver<PartId>) {
        while let Some(part) = fetches.recv().await {
            let began = Instant::now();
            let name = shard_part(&part);
            let bytes = match self.get(&name, None).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    error!(%error, part = %name, "a part of the aggregate cannot be read");
                    None
                }
            };
            match &bytes {
                Some(bytes) => {
                    debug!(part = %name, bytes = bytes.len(), took = ?began.elapsed(), "a part of the aggregate is here")
                }
                None => error!(part = %name, "a part of the aggregate is lost: the round fails"),
            }
            let _ = self.tell.send(Relayed::Fetched { part, bytes }).await;
        }
    }

    /// Looks who is gone, so that nobody waits for what is reserved for them.
    async fn look(&self) {
        let mut ticks = interval(LOOK.min(self.silence / 2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.letters().shards.is_empty() {
                continue;
            }
            let seen = match self.shared.ledger().replicas().await {
                Ok(seen) => seen,
                Err(error) => {
                    debug!(%error, "it is not known now which replicas are alive");
                    continue;
                }
            };
            let alive: BTreeSet<_> = seen
                .into_iter()
                .filter(|seen| seen.age <= self.silence)
                .map(|seen| seen.beat.replica)
                .collect();
            let lost: Vec<Shard> = {
                let mut letters = self.letters();
                let gone: Vec<_> =
                    letters.shards.keys().filter(|one| !alive.contains(one)).copied().collect();
                gone.iter().filter_map(|one| letters.shards.remove(one)).collect()
            };
            if !lost.is_empty() {
                info!(
                    shards = lost.len(),
                    "replicas are silent: what was reserved for them is free"
                );
            }
            for shard in lost {
                let _ = self.tell.send(Relayed::ShardLost(shard)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
