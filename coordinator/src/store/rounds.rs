//! Stores of rounds of v2: their records, the large objects that come in chunks, and what completed rounds leave.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    crypto::{PublicSigningKey, RootSeed},
    mask::accounting::Ledger,
    v2::coordinator::{Completed, Large, Object, ObjectKind, PersistId, Record, Recovery},
};

use super::{Confirmations, StoreError};

/// How many completed rounds are kept, and of how many of them all that an audit needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Rounds with their models and certificates.
    pub rounds: usize,
    /// Rounds with their masked models and group masks, too.
    pub audited: usize,
}

/// A store of rounds of v2.
pub trait RoundStore: Send + 'static {
    /// Gives what was stored before; called once, before anything else. A store that is new begins with this root seed.
    /// May block.
    ///
    /// # Errors
    /// If what was stored cannot be read.
    fn restore(&mut self, root: RootSeed) -> Result<RestoredRounds, StoreError>;

    /// Takes a record, as [`Store::persist`](super::Store::persist) does. Must not block.
    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations);

    /// Says how long the phase has been going on. Must not block.
    fn clock(&mut self, elapsed: Duration);

    /// What is stored, to be read.
    fn archive(&self) -> Arc<dyn Archive>;
}

/// What is stored of rounds, for any thread that may block.
pub trait Archive: fmt::Debug + Send + Sync {
    /// All bytes of an object; nothing if it is not there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn object(&self, object: &Object) -> Result<Option<Bytes>, StoreError>;

    /// The chunk of an object that begins at this place in it.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn chunk(&self, object: &Object, offset: u64) -> Result<Option<Bytes>, StoreError>;

    /// The completed rounds that are kept, in order. Cheap.
    fn rounds(&self) -> Vec<u64>;

    /// A completed round, if it is kept.
    ///
    /// # Errors
    /// If it is kept and cannot be read.
    fn completed(&self, round: u64) -> Result<Option<Arc<Completed>>, StoreError>;
}

/// The state that a store gives back at the start.
#[derive(Debug)]
pub struct RestoredRounds {
    /// The records.
    pub recovery: Recovery,
    /// How long the phase has been going on.
    pub elapsed: Duration,
    /// The records since the round began, as they were put out, without what is large.
    pub records: Vec<Record>,
    /// What updaters have spent in completed rounds with noise.
    pub spent: Spent,
}

/// What updaters have spent of their privacy in completed rounds with noise.
pub type Spent = BTreeMap<PublicSigningKey, Ledger>;

impl RestoredRounds {
    /// An empty state: nothing was stored before.
    pub fn new(root: RootSeed) -> Self {
        Self {
            recovery: Recovery::new(root),
            elapsed: Duration::ZERO,
            records: Vec::new(),
            spent: Spent::new(),
        }
    }
}

/// Keeps everything in memory: it is lost when the coordinator stops.
#[derive(Debug)]
pub struct RoundMemory {
    kept: Arc<Held>,
    /// The round that the records are about.
    round: u64,
}

impl RoundMemory {
    /// Of completed rounds no more than one is kept with its objects: they take memory.
    pub fn keeping(kept: Kept) -> Self {
        let kept = Kept { rounds: kept.rounds.max(1), audited: kept.audited.min(1) };
        Self { kept: Arc::new(Held { kept, state: Mutex::default() }), round: 0 }
    }
}

#[derive(Debug)]
struct Held {
    kept: Kept,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Object, BTreeMap<u64, Bytes>>,
    completed: VecDeque<Arc<Completed>>,
}

/// Shows how much there is.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} objects, {:?})", self.objects.len(), self.completed)
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state of it is a good one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoundStore for RoundMemory {
    fn restore(&mut self, root: RootSeed) -> Result<RestoredRounds, StoreError> {
        Ok(RestoredRounds::new(root))
    }

    fn persist(&mut self, id: PersistId, record: Record, confirmations: &Confirmations) {
        let mut state = self.kept.lock();
        let mut garbage = Vec::new();
        match &record {
            Record::RoundBegan { terms, .. } => {
                self.round = terms.round;
                let audited: Vec<u64> = state
                    .completed
                    .iter()
                    .rev()
                    .take(self.kept.kept.audited)
                    .map(|c| c.round())
                    .collect();
                let stays = |object: &Object| {
                    object.round == terms.round || audited.contains(&object.round)
                };
                let objects = std::mem::take(&mut state.objects);
                let (kept, gone) = objects.into_iter().partition(|(object, _)| stays(object));
                state.objects = kept;
                garbage.push(gone);
            }
            Record::UploadDropped { updater } => {
                let object = Object { round: self.round, kind: ObjectKind::Update(*updater) };
                let gone = state.objects.remove_entry(&object);
                garbage.push(gone.into_iter().collect());
            }
            _ => {}
        }
        match record.large(self.round) {
            Some(Large::Chunk { object, offset, data }) => {
                state.objects.entry(object).or_default().insert(offset, data);
            }
            Some(Large::Completed(completed)) => {
                state.completed.push_back(completed);
                while state.completed.len() > self.kept.kept.rounds {
                    state.completed.pop_front();
                }
            }
            None => {}
        }
        drop(state);
        confirmations.stored(id);
        if garbage.iter().any(|gone: &BTreeMap<_, _>| !gone.is_empty()) {
            // Gigabytes take a while to free; without a thread it has to be here.
            let _ = std::thread::Builder::new().name("free".into()).spawn(move || drop(garbage));
        }
    }

    fn clock(&mut self, _: Duration) {}

    fn archive(&self) -> Arc<dyn Archive> {
        self.kept.clone()
    }
}

impl Archive for Held {
    fn object(&self, object: &Object) -> Result<Option<Bytes>, StoreError> {
        let chunks = self.lock().objects.get(object).cloned();
        Ok(chunks.map(|chunks| chunks.into_values().collect::<Vec<_>>().concat().into()))
    }

    fn chunk(&self, object: &Object, offset: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().objects.get(object).and_then(|chunks| chunks.get(&offset)).cloned())
    }

    fn rounds(&self) -> Vec<u64> {
        self.lock().completed.iter().map(|completed| completed.round()).collect()
    }

    fn completed(&self, round: u64) -> Result<Option<Arc<Completed>>, StoreError> {
        Ok(self.lock().completed.iter().find(|completed| completed.round() == round).cloned())
    }
}
