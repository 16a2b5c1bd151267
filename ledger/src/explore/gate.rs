//! A ledger whose calls wait until the search says what becomes of them.

use std::{
    future::{poll_fn, Future},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    memory::{Call, MemoryLedger},
    Append, Appended, Ask, Beat, Entry, Epoch, Head, Known, Lease, Ledger, LedgerError, Letter,
    LetterId, Pending, Position, Posted, ReplicaId, Seen,
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Done,
    /// It never arrives.
    Lost,
    /// Its answer never arrives.
    Unanswered,
    /// It arrives once nobody waits for it any more.
    Late,
    /// It arrives twice.
    Doubled,
}

/// Has a call happen at the engine.
pub type Act = Arc<dyn Fn() + Send + Sync>;

/// A call that waits.
#[derive(Clone)]
pub struct Waiting {
    pub call: Call,
    act: Act,
    /// Answers it, with the last result or with a loss.
    answer: Arc<dyn Fn(bool) -> String + Send + Sync>,
}

/// The way from a replica to the engine.
#[derive(Clone)]
pub struct Gate {
    ledger: MemoryLedger,
    waiting: Arc<Mutex<Option<Waiting>>>,
}

impl Gate {
    pub fn new(ledger: MemoryLedger) -> Self {
        Self { ledger, waiting: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().expect("nobody panics while it is locked")
    }

    /// The call that waits, if one does.
    pub fn call(&self) -> Option<Call> {
        self.lock().as_ref().map(|waiting| waiting.call)
    }

    /// Lets the call that waits have its fate. Gives what its sender is told, and what is still on its way then.
    pub fn let_through(&self, fate: Fate) -> (String, Option<Act>) {
        let waiting = self.lock().take().expect("a call waits");
        if matches!(fate, Fate::Done | Fate::Unanswered | Fate::Doubled) {
            (waiting.act)();
        }
        let told = (waiting.answer)(matches!(fate, Fate::Done | Fate::Doubled));
        if fate == Fate::Doubled {
            // The first answer is the one that is given.
            (waiting.act)();
        }
        (told, (fate == Fate::Late).then_some(waiting.act))
    }

    fn pass<T: Clone + std::fmt::Debug + Send + 'static>(
        &self,
        call: Call,
        act: impl Fn(MemoryLedger) -> Pending<'static, T> + Send + Sync + 'static,
    ) -> Pending<'_, T> {
        let result: Arc<Mutex<Option<Result<T, LedgerError>>>> = Arc::default();
        let answer: Arc<Mutex<Option<Result<T, LedgerError>>>> = Arc::default();
        let (ledger, of_act) = (self.ledger.clone(), Arc::clone(&result));
        let act = move || *of_act.lock().expect("unshared") = Some(now(act(ledger.clone())));
        let told = Arc::clone(&answer);
        let say = move |arrives: bool| {
            let lost = || match call.writes() {
                true => LedgerError::Unknown { engine: "it", why: String::new() },
                false => LedgerError::Unreachable { engine: "it", why: String::new() },
            };
            let done = result.lock().expect("unshared").clone();
            let said = done.filter(|_| arrives).unwrap_or_else(|| Err(lost()));
            let text = format!("{call:?} {said:?}");
            *told.lock().expect("unshared") = Some(said);
            text
        };
        let waiting = Waiting { call, act: Arc::new(act), answer: Arc::new(say) };
        Box::pin(async move {
            *self.lock() = Some(waiting);
            poll_fn(move |_| match answer.lock().expect("unshared").take() {
                Some(said) => Poll::Ready(said),
                None => Poll::Pending,
            })
            .await
        })
    }
}

/// The outcome of what waits for nothing.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the engine waits for nothing"),
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// A call with arguments that are kept.
macro_rules! pass {
    ($gate:expr, $call:ident, |$ledger:ident $(, $kept:ident)*| $act:expr) => {
        $gate.pass(Call::$call, move |$ledger| {
            $(let $kept = $kept.clone();)*
            Box::pin(async move { $act.await })
        })
    };
}

impl Ledger for Gate {
    fn lease(&self, ask: Ask) -> Pending<'_, Lease> {
        pass!(self, Lease, |ledger, ask| ledger.lease(ask))
    }

    fn release(&self, replica: ReplicaId, epoch: Epoch) -> Pending<'_, ()> {
        pass!(self, Release, |ledger| ledger.release(replica, epoch))
    }

    fn head(&self) -> Pending<'_, Head> {
        pass!(self, Head, |ledger| ledger.head())
    }

    fn append(&self, append: Append) -> Pending<'_, Appended> {
        pass!(self, Append, |ledger, append| ledger.append(append))
    }

    fn read(&self, after: Position, most: usize, most_bytes: usize) -> Pending<'_, Vec<Entry>> {
        pass!(self, Read, |ledger| ledger.read(after, most, most_bytes))
    }

    fn forget(&self, epoch: Epoch, before: Position) -> Pending<'_, ()> {
        pass!(self, Forget, |ledger| ledger.forget(epoch, before))
    }

    fn post(&self, letters: Vec<Letter>) -> Pending<'_, Vec<LetterId>> {
        pass!(self, Post, |ledger, letters| ledger.post(letters))
    }

    fn letters(
        &self,
        epoch: Epoch,
        after: LetterId,
        most: usize,
        most_bytes: usize,
    ) -> Pending<'_, Vec<Posted>> {
        pass!(self, Letters, |ledger| ledger.letters(epoch, after, most, most_bytes))
    }

    fn answers(&self, to: ReplicaId, most: usize) -> Pending<'_, Vec<(LetterId, Bytes)>> {
        pass!(self, Answers, |ledger| ledger.answers(to, most))
    }

    fn taken(&self, to: ReplicaId, letters: Vec<LetterId>) -> Pending<'_, ()> {
        pass!(self, Taken, |ledger, letters| ledger.taken(to, letters))
    }

    fn beat(&self, beat: Beat) -> Pending<'_, ()> {
        pass!(self, Beat, |ledger, beat| ledger.beat(beat))
    }

    fn replicas(&self) -> Pending<'_, Vec<Seen>> {
        pass!(self, Replicas, |ledger| ledger.replicas())
    }

    fn sweep(&self, epoch: Epoch, silent_for: Duration) -> Pending<'_, Vec<ReplicaId>> {
        pass!(self, Sweep, |ledger| ledger.sweep(epoch, silent_for))
    }

    fn changed(&self, _: Known, _: Duration) -> Pending<'_, bool> {
        Box::pin(async { Ok(true) })
    }

    fn now(&self) -> Pending<'_, Duration> {
        pass!(self, Now, |ledger| ledger.now())
    }

    fn header(&self, new: Bytes) -> Pending<'_, Bytes> {
        pass!(self, Header, |ledger, new| ledger.header(new))
    }
}
