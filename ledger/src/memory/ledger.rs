//! A connection to the engine, on which calls and answers may be lost.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;

use super::{
    faults::{Call, Fault, Faults},
    state::State,
    MemoryEngine, ENGINE,
};
use crate::{
    Append, Appended, Ask, Beat, Entry, Epoch, Head, Known, Lease, Ledger, LedgerError, Letter,
    LetterId, Pending, Position, Posted, ReplicaId, Seen,
};

/// A ledger in memory: a connection to a [`MemoryEngine`]. Clones share their faults.
#[derive(Clone)]
pub struct MemoryLedger {
    pub(super) line: Line,
}

/// A connection.
#[derive(Clone)]
pub(super) struct Line {
    engine: MemoryEngine,
    faults: Arc<Mutex<Option<Faults>>>,
}

impl Line {
    pub fn new(engine: MemoryEngine) -> Self {
        Self { engine, faults: Arc::default() }
    }

    pub fn set_faults(&self, faults: Option<Faults>) {
        *self.faults.lock().expect("nobody panics while it is locked") = faults;
    }

    pub async fn call<T: Send>(
        &self,
        call: Call,
        act: impl Fn(&mut State, Duration) -> T + Send + Sync + 'static,
    ) -> Result<T, LedgerError> {
        let fault = match &mut *self.faults.lock().expect("nobody panics while it is locked") {
            None => Fault::None,
            Some(faults) => faults(call),
        };
        match fault {
            Fault::None => Ok(self.engine.when_running(act).await),
            Fault::Error(error) => Err(error),
            Fault::LostBefore => Err(lost(call)),
            Fault::LostAfter => {
                self.engine.when_running(act).await;
                Err(lost(call))
            }
            Fault::DoneLater(time) => {
                let act = move |state: &mut State, now| drop(act(state, now));
                self.engine.later(time, Box::new(act));
                Err(lost(call))
            }
            Fault::Late(time) => {
                self.engine.pass(time).await;
                Ok(self.engine.when_running(act).await)
            }
            Fault::Doubled => {
                let done = self.engine.when_running(&act).await;
                self.engine.when_running(act).await;
                Ok(done)
            }
        }
    }
}

fn lost(call: Call) -> LedgerError {
    let why = format!("the answer to {call:?} was lost");
    if call.writes() {
        LedgerError::Unknown { engine: ENGINE, why }
    } else {
        LedgerError::Unreachable { engine: ENGINE, why }
    }
}

impl MemoryLedger {
    pub(super) fn new(engine: MemoryEngine) -> Self {
        Self { line: Line::new(engine) }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &MemoryEngine {
        &self.line.engine
    }

    /// Lets this decide what becomes of each call from now on, such as [`script`](super::script) or
    /// [`random_faults`](super::random_faults). ([`Ledger::changed`] has no faults: it is a hint anyway.)
    pub fn set_faults(&self, faults: impl FnMut(Call) -> Fault + Send + 'static) {
        self.line.set_faults(Some(Box::new(faults)));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.line.set_faults(None);
    }

    /// Cuts the connection, or mends it: no call arrives meanwhile, and whoever calls cannot tell.
    pub fn cut(&self, cut: bool) {
        self.line.set_faults(cut.then(|| Box::new(|_| Fault::LostBefore) as Faults));
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").finish_non_exhaustive()
    }
}

impl Ledger for MemoryLedger {
    fn lease(&self, ask: Ask) -> Pending<'_, Lease> {
        Box::pin(async move {
            self.line.call(Call::Lease, move |state, now| state.lease(now, &ask)).await?
        })
    }

    fn release(&self, replica: ReplicaId, epoch: Epoch) -> Pending<'_, ()> {
        Box::pin(self.line.call(Call::Release, move |state, _| state.release(replica, epoch)))
    }

    fn head(&self) -> Pending<'_, Head> {
        Box::pin(self.line.call(Call::Head, |state, now| state.head(now)))
    }

    fn append(&self, append: Append) -> Pending<'_, Appended> {
        Box::pin(async move {
            self.line.call(Call::Append, move |state, now| state.append(now, &append)).await?
        })
    }

    fn read(&self, after: Position, most: usize, most_bytes: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            self.line.call(Call::Read, move |state, _| state.read(after, most, most_bytes)).await?
        })
    }

    fn forget(&self, epoch: Epoch, before: Position) -> Pending<'_, ()> {
        Box::pin(async move {
            self.line.call(Call::Forget, move |state, _| state.forget(epoch, before)).await?
        })
    }

    fn post(&self, letters: Vec<Letter>) -> Pending<'_, Vec<LetterId>> {
        Box::pin(
            async move { self.line.call(Call::Post, move |state, _| state.post(&letters)).await? },
        )
    }

    fn letters(
        &self,
        epoch: Epoch,
        after: LetterId,
        most: usize,
        most_bytes: usize,
    ) -> Pending<'_, Vec<Posted>> {
        Box::pin(async move {
            let act = move |state: &mut State, _| state.letters(epoch, after, most, most_bytes);
            self.line.call(Call::Letters, act).await?
        })
    }

    fn answers(&self, to: ReplicaId, most: usize) -> Pending<'_, Vec<(LetterId, Bytes)>> {
        Box::pin(self.line.call(Call::Answers, move |state, _| state.answers(to, most)))
    }

    fn taken(&self, to: ReplicaId, letters: Vec<LetterId>) -> Pending<'_, ()> {
        Box::pin(self.line.call(Call::Taken, move |state, _| state.taken(to, &letters)))
    }

    fn beat(&self, beat: Beat) -> Pending<'_, ()> {
        Box::pin(async move {
            self.line.call(Call::Beat, move |state, now| state.beat(now, &beat)).await?
        })
    }

    fn replicas(&self) -> Pending<'_, Vec<Seen>> {
        Box::pin(self.line.call(Call::Replicas, |state, now| state.replicas(now)))
    }

    fn sweep(&self, epoch: Epoch, silent_for: Duration) -> Pending<'_, Vec<ReplicaId>> {
        Box::pin(async move {
            let act = move |state: &mut State, now| state.sweep(now, epoch, silent_for);
            self.line.call(Call::Sweep, act).await?
        })
    }

    fn changed(&self, known: Known, at_most: Duration) -> Pending<'_, bool> {
        Box::pin(async move {
            let engine = &self.line.engine;
            let until = engine.now() + at_most;
            let mut woken = engine.shared.woken.subscribe();
            loop {
                engine.do_what_is_due();
                if engine.lock().is_beyond(&known) {
                    return Ok(true);
                }
                let left = until.saturating_sub(engine.now());
                if left.is_zero() {
                    return Ok(false);
                }
                engine.woken_or_over(&mut woken, left).await;
            }
        })
    }

    fn now(&self) -> Pending<'_, Duration> {
        Box::pin(self.line.call(Call::Now, |_, now| now))
    }

    fn header(&self, new: Bytes) -> Pending<'_, Bytes> {
        Box::pin(
            async move { self.line.call(Call::Header, move |state, _| state.header(&new)).await? },
        )
    }
}
