//! Hints that something has changed, on a connection of its own to the engine: whoever waits looks at once, and seldom otherwise.
//!
//! A hint may tell what it is about. Then only those look who wait for that, and nobody asks the engine whether there is
//! something new before reading it. None is relied on: one may be lost, and it is looked now and then in any case.

use std::{
    collections::BTreeMap,
    fmt::Display,
    future::Future,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{timeout, Instant},
};

use crate::{Epoch, Known, LedgerError, LetterId, Position, ReplicaId};

/// How long it takes until a lost connection is made again.
const PAUSE: Duration = Duration::from_secs(1);
/// How much more seldom it is looked where hints are heard.
const SELDOM: u32 = 10;
/// For so many replicas at most it is remembered whether there are answers; a process is one or two.
const MOST: usize = 64;
/// For how long hints are not relied on after one was missed.
const DISTRUST: Duration = Duration::from_secs(30);

/// What a hint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It does not say.
    Anything,
    /// The log ends here.
    Log(Epoch, Position),
    /// The last letter is this one.
    Letters(LetterId),
    /// There are answers for this replica.
    Answers(ReplicaId),
}

/// Hears hints until it is dropped.
#[derive(Debug)]
pub struct Hints {
    ear: Ear,
    /// Until when hints are not relied on.
    missed: Mutex<Option<Instant>>,
    task: JoinHandle<()>,
}

/// Where a listener says what it hears.
#[derive(Clone, Debug)]
pub struct Ear {
    listens: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
    /// For the log, letters, answers.
    bells: Arc<[watch::Sender<()>; 3]>,
}

/// What was heard since anything may have changed.
#[derive(Debug, Default)]
struct Heard {
    log: Latest<(Epoch, Position)>,
    letters: Latest<LetterId>,
    /// Of those replicas that somebody waits for here: whether there are answers; nothing if that is not known.
    answers: BTreeMap<ReplicaId, Option<bool>>,
}

/// The latest of something, and whether it was told to somebody. (Whoever was told and has found nothing is not told again.)
#[derive(Debug)]
struct Latest<T> {
    heard: Option<T>,
    is_told: bool,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { heard: None, is_told: false }
    }
}

impl<T: Copy> Latest<T> {
    fn hear(&mut self, heard: T) {
        *self = Self { heard: Some(heard), is_told: false };
    }

    fn tell(&mut self, is_news: impl Fn(T) -> bool) -> Told {
        match self.heard {
            Some(heard) if !is_news(heard) => Told::Nothing,
            Some(_) if !std::mem::replace(&mut self.is_told, true) => Told::News,
            _ => Told::Unknown,
        }
    }
}

/// What hints tell of something that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    News,
    Nothing,
    /// The engine has to be asked.
    Unknown,
}

impl Heard {
    fn tell(&mut self, known: &Known) -> Told {
        let is_news = |(epoch, position)| epoch != known.epoch || position > known.position;
        let mut all = vec![self.log.tell(is_news)];
        if let Some(last) = known.letters {
            all.push(self.letters.tell(|id| id > last));
        }
        if let Some(replica) = known.answers {
            if self.answers.len() >= MOST && !self.answers.contains_key(&replica) {
                // Whoever they were asks again.
                self.answers.clear();
            }
            // Whoever waits reads them now, or asks whether there are any.
            all.push(match self.answers.entry(replica).or_default().replace(false) {
                Some(true) => Told::News,
                Some(false) => Told::Nothing,
                None => Told::Unknown,
            });
        }
        // Who waits for letters or answers is told of another epoch as of anything.
        let is_of_log = all.len() == 1;
        if !is_of_log && all[0] == Told::Unknown {
            all.remove(0);
        }
        let has = |told| all.contains(&told);
        match (has(Told::News), has(Told::Unknown)) {
            (true, _) => Told::News,
            (false, true) => Told::Unknown,
            (false, false) => Told::Nothing,
        }
    }
}

impl Heard {
    /// Nobody has looked after all whether there are answers.
    fn untell(&mut self, known: &Known) {
        let there = known.answers.and_then(|replica| self.answers.get_mut(&replica));
        if let Some(there) = there {
            *there = None;
        }
    }
}

impl Ear {
    fn new() -> Self {
        let bells = std::array::from_fn(|_| watch::Sender::default());
        Self { listens: Arc::default(), heard: Arc::default(), bells: Arc::new(bells) }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // Nobody panics while holding it.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it hears every hint.
    pub fn listens(&self) {
        self.forget();
        self.listens.store(true, Ordering::Relaxed);
    }

    /// A hint.
    pub fn heard(&self, hint: Hint) {
        let [log, letters, answers] = &*self.bells;
        match hint {
            Hint::Anything => {
                self.forget();
                self.bells.iter().for_each(|bell| bell.send_replace(()));
            }
            Hint::Log(epoch, position) => {
                self.lock().log.hear((epoch, position));
                log.send_replace(());
            }
            Hint::Letters(last) => {
                self.lock().letters.hear(last);
                letters.send_replace(());
            }
            Hint::Answers(to) => {
                let mut heard = self.lock();
                let Some(there) = heard.answers.get_mut(&to) else { return };
                *there = Some(true);
                drop(heard);
                answers.send_replace(());
            }
        }
    }

    fn forget(&self) {
        let mut heard = self.lock();
        (heard.log, heard.letters) = Default::default();
        heard.answers.values_mut().for_each(|there| *there = None);
    }
}

impl Hints {
    /// Begins to listen, and goes on until this is dropped: `listen` ends when its connection does, and is called again then.
    /// `engine` is for the log. To be called within a runtime of tokio.
    pub fn new<F, E>(
        engine: &'static str,
        mut listen: impl FnMut(Ear) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send,
        E: Display + Send,
    {
        let ear = Ear::new();
        let mouth = ear.clone();
        let task = tokio::spawn(async move {
            loop {
                // Why it fails others say as well: all that is lost is some speed.
                let ended = listen(ear.clone()).await;
                ear.listens.store(false, Ordering::Relaxed);
                if let Err(error) = ended {
                    tracing::debug!("no hints from {engine}: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { ear: mouth, missed: Mutex::default(), task }
    }

    /// Waits until there is something beyond what is known, or until the time is over; tells whether there is.
    /// `has_news` asks the engine; that is done each `poll` where hints are not heard, and seldom else.
    ///
    /// # Errors
    /// Those of `has_news`.
    pub async fn wait<F>(
        &self,
        poll: Duration,
        (known, at_most): (Known, Duration),
        has_news: impl Fn() -> F,
    ) -> Result<bool, LedgerError>
    where
        F: Future<Output = Result<bool, LedgerError>>,
    {
        let until = Instant::now() + at_most;
        let [mut log, mut letters, mut answers] =
            [0, 1, 2].map(|which: usize| self.ear.bells[which].subscribe());
        let mut is_late = false;
        loop {
            for bell in [&mut log, &mut letters, &mut answers] {
                bell.mark_unchanged();
            }
            let told = match self.hears() {
                true => self.ear.lock().tell(&known),
                false => Told::Unknown,
            };
            if told == Told::News {
                return Ok(true);
            }
            let has_news = match is_late || told == Told::Unknown {
                true => has_news().await,
                false => Ok(false),
            };
            if has_news.is_err() {
                self.ear.lock().untell(&known);
            }
            if has_news? {
                // (The hint may come in this very moment: then it was only a little late.)
                let comes = [&log, &letters, &answers].map(|bell| bell.has_changed());
                if is_late && !comes.into_iter().any(|comes| comes.unwrap_or(false)) {
                    self.missed();
                }
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let (is_of_letters, is_of_answers) = (known.letters.is_some(), known.answers.is_some());
            let rung = async {
                tokio::select! {
                    _ = log.changed(), if !is_of_letters && !is_of_answers => {}
                    _ = letters.changed(), if is_of_letters => {}
                    _ = answers.changed(), if is_of_answers => {}
                }
            };
            is_late = timeout(left.min(self.patience(poll)), rung).await.is_err();
        }
    }

    /// Whether hints are heard, and none was missed lately.
    fn hears(&self) -> bool {
        let missed = *self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let trusted = missed.is_none_or(|until| Instant::now() >= until);
        self.ear.listens.load(Ordering::Relaxed) && trusted
    }

    /// How long to wait for a hint before looking anyway.
    fn patience(&self, poll: Duration) -> Duration {
        if self.hears() {
            poll * SELDOM
        } else {
            poll
        }
    }

    /// Something has changed that no hint told of, as behind PgBouncer, or with a user who may not publish.
    fn missed(&self) {
        let until = Instant::now() + DISTRUST;
        *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    const POLL: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(3600);

    /// Waits for entries behind the fifth one.
    fn entries() -> Known {
        Known { epoch: Epoch(1), position: Position(5), letters: None, answers: None }
    }

    fn letters() -> Known {
        Known { letters: Some(LetterId(7)), position: Position(i64::MAX as u64), ..entries() }
    }

    fn answers() -> Known {
        Known { answers: Some(ReplicaId([1; 16])), letters: None, ..letters() }
    }

    /// Hints that are heard, and where they are said.
    fn hints() -> (Hints, Ear) {
        let hints = Hints::new("an engine", |ear: Ear| async move {
            ear.listens();
            std::future::pending::<Result<(), &str>>().await
        });
        let ear = hints.ear.clone();
        (hints, ear)
    }

    /// An engine that is asked so many times, and has nothing.
    struct Asked(AtomicU32);

    impl Asked {
        async fn wait(hints: &Hints, known: Known, at_most: Duration) -> (bool, u32) {
            let asked = Self(AtomicU32::new(0));
            let has_news = || {
                asked.0.fetch_add(1, Ordering::Relaxed);
                async { Ok(false) }
            };
            let news = hints.wait(POLL, (known, at_most), has_news).await.unwrap();
            (news, asked.0.into_inner())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_seldom_while_hints_are_heard_and_not_after_one_was_missed() {
        let calls = Arc::new(AtomicU32::new(0));
        let hints = Hints::new("an engine", {
            let calls = calls.clone();
            move |ear: Ear| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                async move {
                    if call == 0 {
                        return Err("it is away");
                    }
                    ear.listens();
                    ear.heard(Hint::Anything);
                    std::future::pending().await
                }
            }
        });
        let mut heard = hints.ear.bells[0].subscribe();
        assert_eq!(hints.patience(POLL), POLL);
        // The second try, after a pause.
        heard.changed().await.unwrap();
        assert_eq!((calls.load(Ordering::Relaxed), hints.patience(POLL)), (2, POLL * SELDOM));
        hints.missed();
        assert_eq!(hints.patience(POLL), POLL);
        tokio::time::advance(DISTRUST).await;
        assert_eq!(hints.patience(POLL), POLL * SELDOM);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_is_relied_on_no_more() {
        let hints = Hints::new("an engine", |ear: Ear| async move {
            ear.listens();
            ear.heard(Hint::Anything);
            Ok::<(), &str>(())
        });
        hints.ear.bells[0].subscribe().changed().await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(hints.patience(POLL), POLL);
    }

    /// Each waits for its own, and reads without asking first.
    #[tokio::test(start_paused = true)]
    async fn a_hint_wakes_those_whom_it_is_about_and_nobody_asks_first() {
        let (hints, ear) = hints();
        tokio::task::yield_now().await;
        // Nothing was heard yet: the engine is asked at once, and in the end in any case.
        for known in [entries(), letters(), answers()] {
            assert_eq!(Asked::wait(&hints, known, POLL).await, (false, 2), "{known:?}");
        }
        // What is known already.
        ear.heard(Hint::Log(Epoch(1), Position(5)));
        ear.heard(Hint::Letters(LetterId(7)));
        ear.heard(Hint::Answers(ReplicaId([2; 16])));
        for known in [entries(), letters(), answers()] {
            assert_eq!(Asked::wait(&hints, known, POLL).await, (false, 1), "{known:?}");
        }
        let about = [
            (entries(), Hint::Log(Epoch(1), Position(6))),
            (letters(), Hint::Letters(LetterId(8))),
            (answers(), Hint::Answers(ReplicaId([1; 16]))),
        ];
        for (which, (known, hint)) in about.into_iter().enumerate() {
            let others = about.iter().enumerate().filter(|(other, _)| *other != which);
            let wait = Asked::wait(&hints, known, LONG);
            let said = async {
                tokio::task::yield_now().await;
                ear.heard(hint);
            };
            assert_eq!(tokio::join!(wait, said).0, (true, 0), "{known:?}");
            for (_, (other, _)) in others.filter(|(other, _)| *other > which) {
                assert_eq!(Asked::wait(&hints, *other, POLL).await, (false, 1), "{other:?}");
            }
        }
    }

    /// Whoever was told and has found nothing asks before it looks again: nobody is kept busy by a hint.
    #[tokio::test(start_paused = true)]
    async fn the_same_hint_is_told_once() {
        let (hints, ear) = hints();
        tokio::task::yield_now().await;
        ear.heard(Hint::Letters(LetterId(8)));
        ear.heard(Hint::Log(Epoch(1), Position(6)));
        for known in [letters(), entries()] {
            assert_eq!(Asked::wait(&hints, known, POLL).await, (true, 0), "{known:?}");
            assert_eq!(Asked::wait(&hints, known, POLL).await, (false, 2), "{known:?}");
        }
        // After a hint that does not say what it is about all is unknown.
        ear.heard(Hint::Letters(LetterId(7)));
        ear.heard(Hint::Anything);
        assert_eq!(Asked::wait(&hints, letters(), POLL).await, (false, 2));
    }
}
