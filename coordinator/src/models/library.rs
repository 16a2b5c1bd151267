//! The models that are in memory because somebody reads them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use pet_core::coordinator::GlobalModel;
use thiserror::Error;
use tokio::{task::spawn_blocking, time::Instant};

use super::Published;
use crate::store::{Models, StoreError};

/// So long a model is left to its readers, even if others need the room.
const UNDISTURBED: Duration = Duration::from_secs(10);

/// Why a kept model is not to be had.
#[derive(Debug, Error)]
pub(crate) enum Unavailable {
    #[error("there is no memory for this model while so many others are read: try again later")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The latest model, earlier ones that somebody still reads, and those that were read again from where they are
/// kept. One of each, whoever reads it, and not more than there is room for: the latest always has its place, of
/// the others the oldest give way.
#[derive(Debug)]
pub(crate) struct Library {
    room: usize,
    shelf: Mutex<Shelf>,
    /// Held by whoever reads a model from the store: one at a time, whatever becomes of who asked for it.
    loading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Shelf {
    latest: Weak<Published>,
    others: Vec<Held>,
    /// The one that was last asked for: it may be fetched part by part.
    recent: Option<Arc<Published>>,
}

#[derive(Debug)]
struct Held {
    model: Weak<Published>,
    since: Instant,
}

impl Shelf {
    /// Forgets what nobody has any more. The number and the bytes of the rest.
    fn tidy(&mut self) -> (usize, usize) {
        self.others.retain(|held| held.model.upgrade().is_some_and(|model| model.is_there()));
        let models = self.others.iter().filter_map(|held| held.model.upgrade());
        (self.others.len(), models.map(|model| model.memory()).sum())
    }

    fn find(&self, round_id: u64) -> Option<Arc<Published>> {
        let others = self.others.iter().map(|held| &held.model);
        let mut models = others.chain([&self.latest]).filter_map(Weak::upgrade);
        models.find(|model| model.round_id() == round_id && model.is_there())
    }
}

impl Default for Library {
    /// With room for whatever is read.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Library {
    /// With so many bytes for models beside the latest. One that needs more has a place if there is no other.
    pub fn new(room: usize) -> Self {
        Self { room: room.max(1), shelf: Mutex::default(), loading: Arc::default() }
    }

    /// There is a new latest model.
    pub fn publish(&self, model: GlobalModel) -> Arc<Published> {
        let published = Arc::new(Published::new(model));
        let mut shelf = self.lock();
        let before = std::mem::replace(&mut shelf.latest, Arc::downgrade(&published));
        shelf.others.push(Held { model: before, since: Instant::now() });
        self.make_room(&mut shelf, 0, Duration::ZERO);
        published
    }

    /// The bytes of all models but the latest.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.lock().tidy().1
    }

    /// The model of a round, if it is kept: the one that others read already, or read from the store. Who is no
    /// longer `wanted` when its turn comes gets nothing.
    ///
    /// # Errors
    /// If there is no room for it, or it cannot be read.
    pub async fn load(
        self: &Arc<Self>,
        models: &Arc<dyn Models>,
        round_id: u64,
        wanted: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<Arc<Published>>, Unavailable> {
        if let Some(there) = self.lock().find(round_id) {
            return Ok(Some(there));
        }
        let turn = Arc::clone(&self.loading).lock_owned().await;
        if !wanted() {
            return Ok(None);
        }
        let (library, models) = (Arc::clone(self), Arc::clone(models));
        let read = spawn_blocking(move || {
            let read = library.read(&*models, round_id);
            // Only now: the work goes on, also if nobody waits for it any more.
            drop(turn);
            read
        });
        // A panic was logged by the runtime; to the client it is as if there were no model.
        read.await.unwrap_or(Ok(None))
    }

    fn read(
        &self,
        models: &dyn Models,
        round_id: u64,
    ) -> Result<Option<Arc<Published>>, Unavailable> {
        let size = models.size(round_id).unwrap_or(0);
        {
            let mut shelf = self.lock();
            if let Some(there) = shelf.find(round_id) {
                return Ok(Some(there));
            }
            if !self.make_room(&mut shelf, size, UNDISTURBED) {
                return Err(Unavailable::Busy);
            }
        }
        let Some(model) = models.load(round_id)? else { return Ok(None) };
        let model = Arc::new(Published::new(model));
        let mut shelf = self.lock();
        if !self.make_room(&mut shelf, model.memory(), UNDISTURBED) {
            return Err(Unavailable::Busy);
        }
        shelf.others.push(Held { model: Arc::downgrade(&model), since: Instant::now() });
        shelf.recent = Some(Arc::clone(&model));
        Ok(Some(model))
    }

    /// Takes back the oldest models until there is room for so many bytes more; none that is younger than
    /// `undisturbed`. Whether there is room.
    fn make_room(&self, shelf: &mut Shelf, bytes: usize, undisturbed: Duration) -> bool {
        let fits = |(count, held): (usize, usize)| {
            count + usize::from(bytes > 0) <= 1 || held.saturating_add(bytes) <= self.room
        };
        if fits(shelf.tidy()) {
            return true;
        }
        // Nobody may read this one at all.
        shelf.recent = None;
        while !fits(shelf.tidy()) {
            let is_old = |held: &&Held| held.since.elapsed() >= undisturbed;
            let oldest = shelf.others.iter().filter(is_old).min_by_key(|held| held.since);
            let Some(model) = oldest.and_then(|held| held.model.upgrade()) else { return false };
            model.take_back();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Every state of it is a good one.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use pet_core::crypto::RoundSeed;
    use tokio::{task::JoinSet, time::advance};

    use super::*;

    /// A hundred bytes each.
    fn model(round_id: u64) -> GlobalModel {
        GlobalModel {
            round_id,
            seed: RoundSeed::new([7; 32]),
            models: 3,
            rationals: Bytes::from(vec![round_id as u8; 100]),
            weights: None,
            optimizer: None,
        }
    }

    /// Models of all rounds; it counts how often one is read, and how many at the same time.
    #[derive(Debug, Default)]
    struct Counting {
        loads: AtomicUsize,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Models for Counting {
        fn rounds(&self) -> Vec<u64> {
            Vec::new()
        }

        fn size(&self, _: u64) -> Option<usize> {
            Some(100)
        }

        fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
            self.loads.fetch_add(1, Ordering::SeqCst);
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            self.now.fetch_sub(1, Ordering::SeqCst);
            Ok(Some(model(round_id)))
        }
    }

    fn counting() -> (Arc<Counting>, Arc<dyn Models>) {
        let models = Arc::new(Counting::default());
        (Arc::clone(&models), models)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_model_is_read_once_however_many_ask_for_it() {
        let (counting, models) = counting();
        let library = Arc::new(Library::new(1000));
        let mut readers = JoinSet::new();
        for number in 0..60 {
            let (library, models) = (Arc::clone(&library), Arc::clone(&models));
            readers.spawn(async move { library.load(&models, number % 2, || true).await.unwrap() });
        }
        let read = readers.join_all().await;
        assert!(read.iter().all(Option::is_some));
        assert_eq!(library.held(), 200);
        assert_eq!(counting.loads.load(Ordering::SeqCst), 2);
        assert_eq!(counting.most.load(Ordering::SeqCst), 1);
        drop(read);
        // The one that was last asked for.
        assert_eq!(library.held(), 100);
    }

    /// Those who ask and leave do not make it read, and never two at a time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_leaves_is_not_served() {
        let (counting, models) = counting();
        let library = Arc::new(Library::new(1000));
        for round_id in 0..120 {
            assert!(library.load(&models, round_id, || false).await.unwrap().is_none());
        }
        assert_eq!(counting.loads.load(Ordering::SeqCst), 0);
        for round_id in 0..120 {
            let load = library.load(&models, round_id, || true);
            let _ = tokio::time::timeout(Duration::ZERO, load).await;
        }
        drop(library.loading.lock().await);
        assert_eq!(counting.most.load(Ordering::SeqCst), 1);
        // A thread that has given its turn back may have what it has read for a moment longer.
        let only_the_last = async {
            while library.held() != 100 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), only_the_last).await.expect("one stays");
    }

    /// (Time is virtual.)
    #[tokio::test(start_paused = true)]
    async fn readers_have_a_while_and_give_way_then() {
        let (_, models) = counting();
        let library = Arc::new(Library::new(250));
        let first = library.load(&models, 1, || true).await.unwrap().unwrap();
        advance(Duration::from_secs(1)).await;
        let second = library.load(&models, 2, || true).await.unwrap().unwrap();
        let busy = library.load(&models, 3, || true).await;
        assert!(matches!(busy, Err(Unavailable::Busy)));
        assert!(first.is_there() && second.is_there());
        advance(UNDISTURBED - Duration::from_secs(1)).await;
        let third = library.load(&models, 3, || true).await.unwrap().unwrap();
        assert!(!first.is_there() && second.is_there() && third.is_there());
        assert_eq!(library.held(), 200);
    }

    /// Rounds end whether or not somebody still reads the model of the one before.
    #[tokio::test(start_paused = true)]
    async fn earlier_models_take_no_more_than_their_room() {
        let library = Library::new(250);
        let readers: Vec<_> = (0..50).map(|round_id| library.publish(model(round_id))).collect();
        assert_eq!(library.held(), 200);
        let there: Vec<bool> = readers.iter().map(|model| model.is_there()).collect();
        assert_eq!(there.iter().filter(|there| **there).count(), 3);
        assert!(there[49] && there[48] && there[47]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_larger_than_the_room_is_read_alone() {
        let (_, models) = counting();
        let library = Arc::new(Library::new(10));
        let first = library.load(&models, 1, || true).await.unwrap().unwrap();
        assert!(library.load(&models, 2, || true).await.is_err());
        drop(first);
        assert!(library.load(&models, 2, || true).await.unwrap().is_some());
    }
}
