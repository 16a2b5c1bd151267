//! An engine in memory, with its clock and its faults in a test's hand.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::time::Duration;
//! use pet_ledger::{memory::MemoryEngine, Ask, Epoch, Lease, Ledger, ReplicaId};
//!
//! let engine = MemoryEngine::standing();
//! let (one, other) = (engine.ledger(), engine.ledger());
//! let ask = |replica| Ask { replica, name: "a".into(), ttl: Duration::from_secs(5), elapsed: None, renews: None };
//!
//! let lease = one.lease(ask(ReplicaId([1; 16]))).await?;
//! assert_eq!(lease, Lease::Held { epoch: Epoch(1), left: Duration::from_secs(5) });
//! engine.advance(Duration::from_secs(6));
//! let lease = other.lease(ask(ReplicaId([2; 16]))).await?;
//! assert_eq!(lease, Lease::Held { epoch: Epoch(2), left: Duration::from_secs(5) });
//! # Ok::<(), pet_ledger::LedgerError>(()) }).unwrap();
//! ```

mod bugs;
mod faults;
mod ledger;
mod parts;
mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use self::state::State;
pub use self::{
    bugs::Bug,
    faults::{random_faults, script, Call, Fault},
    ledger::MemoryLedger,
    parts::MemoryParts,
};

/// What errors call it.
pub(crate) const ENGINE: &str = "the engine in memory";

/// An engine. Clones are the same one.
#[derive(Clone)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

type Act = Box<dyn FnOnce(&mut State, Duration) + Send>;

struct Shared {
    state: Mutex<State>,
    /// What is done once its time has come.
    later: Mutex<Vec<(Duration, Act)>>,
    /// Wakes whoever waits each time that something, or the clock, was changed by hand.
    woken: watch::Sender<u64>,
    /// Where the clock began. With none it stands still but for [`MemoryEngine::advance`].
    began: Option<Instant>,
}

impl MemoryEngine {
    /// An empty one whose clock is tokio's, so that it can be paused with that.
    pub fn new() -> Self {
        Self::with_clock(Some(Instant::now()))
    }

    /// An empty one whose clock stands still, but for [`MemoryEngine::advance`].
    pub fn standing() -> Self {
        Self::with_clock(None)
    }

    fn with_clock(began: Option<Instant>) -> Self {
        let state = Mutex::new(State::default());
        Self {
            shared: Arc::new(Shared {
                state,
                later: Mutex::default(),
                woken: watch::Sender::new(0),
                began,
            }),
        }
    }

    /// A connection to it, with faults of its own.
    pub fn ledger(&self) -> MemoryLedger {
        MemoryLedger::new(self.clone())
    }

    /// A connection to its parts, with faults of its own.
    pub fn parts(&self) -> MemoryParts {
        MemoryParts::new(self.clone())
    }

    /// Moves the clock ahead.
    pub fn advance(&self, time: Duration) {
        self.lock().skipped += time;
        self.wake();
    }

    /// All that it holds, in words: equal if it is equal.
    #[cfg(test)]
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:?}", self.lock())
    }

    /// Sets the clock back, as far as it was moved ahead by hand before.
    pub fn set_back(&self, time: Duration) {
        let mut state = self.lock();
        state.skipped = state.skipped.saturating_sub(time);
        drop(state);
        self.wake();
    }

    /// Stops the engine, or lets it go on: calls wait meanwhile.
    pub fn pause(&self, paused: bool) {
        self.lock().paused = paused;
        self.wake();
    }

    /// Lets the engine have a bug from now on, for tests of tests.
    pub fn seed_bug(&self, bug: Bug) {
        self.lock().bug = Some(bug);
    }

    /// Damages a part, or takes it away without a trace. Tells whether it was there.
    pub fn damage_part(&self, name: &crate::PartName, bytes: Option<bytes::Bytes>) -> bool {
        self.lock().damage_part(name, bytes)
    }

    /// A copy of all that the engine holds: what a backup has, or a standby that lags behind. It goes on by a clock of its
    /// own.
    pub fn copy(&self) -> Self {
        let copy = Self::with_clock(self.shared.began.map(|_| Instant::now()));
        let now = self.now();
        let mut state = self.lock().clone();
        state.skipped = now;
        *copy.lock() = state;
        copy
    }

    /// Sets all that the engine holds back to what a [copy](Self::copy) holds, as whoever restores a backup does. The clock goes
    /// on.
    pub fn set_back_to(&self, copy: &Self) {
        let mut earlier = copy.lock().clone();
        let mut state = self.lock();
        earlier.skipped = state.skipped;
        *state = earlier;
        drop(state);
        self.wake();
    }

    /// The time by its clock.
    pub(crate) fn now(&self) -> Duration {
        self.lock().skipped + self.shared.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nobody panics while it is locked")
    }

    fn wake(&self) {
        self.shared.woken.send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Waits until the engine runs, and does something then.
    async fn when_running<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut woken = self.shared.woken.subscribe();
        while self.lock().paused {
            // (The sender is ours: this does not end before a change.)
            let _ = woken.changed().await;
        }
        self.do_what_is_due();
        let now = self.now();
        let done = act(&mut self.lock(), now);
        self.wake();
        done
    }

    /// Does something once so much time has passed, as soon as anybody looks.
    fn later(&self, time: Duration, act: Act) {
        self.waiting().push((self.now() + time, act));
    }

    fn do_what_is_due(&self) {
        let now = self.now();
        let mut waiting = self.waiting();
        let (due, rest) = waiting.drain(..).partition(|(at, _)| *at <= now);
        *waiting = rest;
        drop(waiting);
        let mut due: Vec<_> = due;
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().for_each(|(_, act)| act(&mut self.lock(), now));
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Duration, Act)>> {
        self.shared.later.lock().expect("nobody panics while it is locked")
    }

    /// Waits until so much time has passed by the engine's clock.
    async fn pass(&self, time: Duration) {
        let until = self.now() + time;
        let mut woken = self.shared.woken.subscribe();
        loop {
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            self.woken_or_over(&mut woken, left).await;
        }
    }

    /// Waits until something has changed, or so much time has passed, if time passes by itself.
    async fn woken_or_over(&self, woken: &mut watch::Receiver<u64>, time: Duration) {
        let due = self.waiting().iter().map(|(at, _)| at.saturating_sub(self.now())).min();
        let time = due.map_or(time, |due| due.min(time));
        if self.shared.began.is_none() {
            let _ = woken.changed().await;
        } else {
            let _ = tokio::time::timeout(time, woken.changed()).await;
        }
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEngine").finish_non_exhaustive()
    }
}
