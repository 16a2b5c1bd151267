//! What lies between a replica and the engine: calls and answers that take time, are lost, come late or twice.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use pet_ledger::{
    memory::{Call, MemoryLedger, MemoryParts},
    Append, Appended, Ask, Beat, Entry, Epoch, Head, Known, Lease, Ledger, LedgerError, Letter,
    LetterId, PartName, Parts, Pending, Position, Posted, ReplicaId, Seen, StoredPart,
};
use pet_testing::sim::random::Random;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{history::History, tally::Trouble};
use crate::process::simulated::spawn;

/// So long a replica waits for the answer to a call.
const DEADLINE: Duration = Duration::from_secs(2);
/// A call that was thought lost arrives so long after that, at the latest.
const LATEST: Duration = Duration::from_secs(9);
/// Whatever was sent has arrived so much later, or never will.
pub const ARRIVED: Duration = DEADLINE.saturating_add(LATEST);

/// Where a way may take longer than so many milliseconds, the engine is slow.
const SLOW: u64 = 20;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Nothing gets through.
    pub cut: bool,
    /// Of 1000 calls so many go wrong.
    pub wrong: u64,
    /// Nobody gets a lease, or renews one.
    pub unrenewed: bool,
    /// The longest way, there or back, in milliseconds.
    pub slowest: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self { cut: false, wrong: 0, unrenewed: false, slowest: 4 };
}

/// A replica's connection to the engine. Clones are the same one.
#[derive(Clone)]
pub struct Line {
    ledger: MemoryLedger,
    parts: MemoryParts,
    history: Arc<History>,
    state: Arc<Mutex<State>>,
}

struct State {
    weather: Weather,
    random: Random,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    Doubled,
    /// It never arrives.
    Lost,
    /// Its answer never arrives.
    Unanswered,
    /// It arrives when nobody waits for it any more.
    Late,
}

impl Fate {
    const OF_APPENDS: [Self; 4] = [Self::Doubled, Self::Lost, Self::Unanswered, Self::Late];
    const OF_OTHERS: [Self; 5] =
        [Self::Doubled, Self::Lost, Self::Unanswered, Self::Unanswered, Self::Late];
}

impl Line {
    pub fn new(
        ledger: MemoryLedger,
        parts: MemoryParts,
        history: Arc<History>,
        random: Random,
    ) -> Self {
        let state = State { weather: Weather::CALM, random };
        Self { ledger, parts, history, state: Arc::new(Mutex::new(state)) }
    }

    /// Changes how much goes wrong.
    pub fn weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.lock().weather);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it is locked")
    }

    fn is_cut(&self) -> bool {
        self.lock().weather.cut
    }

    /// What becomes of a call, how long it takes there and back, and whether its loss is noticed at once.
    fn draw(&self, call: Call) -> (Fate, Duration, Duration, bool) {
        let State { weather, random } = &mut *self.lock();
        let mut way = || Duration::from_micros(200 + random.below(1 + weather.slowest * 1000));
        let (there, back) = (way(), way());
        // Appends are few among all calls, and matter most.
        let (share, fates): (_, &[Fate]) = match call {
            Call::Append => ((2 * weather.wrong).min(600), &Fate::OF_APPENDS),
            _ => (weather.wrong, &Fate::OF_OTHERS),
        };
        let fate = match random.below(1000) < share {
            _ if weather.unrenewed && call == Call::Lease => Fate::Lost,
            false => Fate::Fine,
            true => random.pick(fates),
        };
        let there = match fate {
            Fate::Late => DEADLINE + LATEST.mul_f64(random.below(1000) as f64 / 1000.0),
            _ => there,
        };
        let noticed = random.chance(0.5);
        if weather.slowest > SLOW {
            self.history.note(Trouble::Slow);
        }
        let (trouble, of_append) = match fate {
            Fate::Fine => return (fate, there, back, noticed),
            Fate::Doubled => (Trouble::CallDoubled, Trouble::AppendDoubled),
            Fate::Lost => (Trouble::CallLost, Trouble::AppendLost),
            Fate::Unanswered => (Trouble::AnswerLost, Trouble::AppendUnanswered),
            Fate::Late => (Trouble::CallLate, Trouble::AppendLate),
        };
        self.history.note(if call == Call::Append { of_append } else { trouble });
        (fate, there, back, noticed)
    }

    /// Has something done at the engine. What is on its way there arrives, whatever becomes of who has sent it.
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        act: impl Fn(MemoryLedger, MemoryParts) -> Pending<'static, T> + Send + Sync + 'static,
    ) -> Result<T, LedgerError> {
        let (fate, there, back, noticed) = self.draw(call);
        let (sender, answer) = oneshot::channel();
        let line = self.clone();
        spawn(async move {
            sleep(there).await;
            let mut told = None;
            if !line.is_cut() && fate != Fate::Lost {
                let done = act(line.ledger.clone(), line.parts.clone()).await;
                line.history.look(call).await;
                if fate == Fate::Doubled {
                    sleep(back).await;
                    let _ = act(line.ledger.clone(), line.parts.clone()).await;
                    line.history.look(call).await;
                }
                told = Some(done);
            }
            sleep(back).await;
            match told {
                Some(done) if fate != Fate::Unanswered && !line.is_cut() => {
                    let _ = sender.send(done);
                }
                _ if noticed => {}
                // The connection looks as if it still stood.
                _ => sleep(DEADLINE).await,
            }
        });
        match timeout(DEADLINE, answer).await {
            Ok(Ok(done)) => done,
            _ if call.writes() => {
                Err(LedgerError::Unknown { engine: "the engine", why: why(call) })
            }
            _ => Err(LedgerError::Unreachable { engine: "the engine", why: why(call) }),
        }
    }
}

fn why(call: Call) -> String {
    format!("no answer to {call:?}")
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// A call whose arguments are kept for as long as it may arrive.
macro_rules! pass {
    ($line:expr, $call:ident, |$ledger:ident $(, $kept:ident)*| $act:expr) => {
        Box::pin($line.call(Call::$call, move |$ledger, _| {
            $(let $kept = $kept.clone();)*
            Box::pin(async move { $act.await })
        }))
    };
}

impl Ledger for Line {
    fn lease(&self, ask: Ask) -> Pending<'_, Lease> {
        let history = Arc::clone(&self.history);
        Box::pin(self.call(Call::Lease, move |ledger, _| {
            let (history, ask) = (Arc::clone(&history), ask.clone());
            Box::pin(async move {
                let lease = ledger.lease(ask.clone()).await?;
                if let Lease::Held { epoch, .. } = lease {
                    history.leads(epoch, ask.replica);
                }
                Ok(lease)
            })
        }))
    }

    fn release(&self, replica: ReplicaId, epoch: Epoch) -> Pending<'_, ()> {
        let history = Arc::clone(&self.history);
        Box::pin(self.call(Call::Release, move |ledger, _| {
            let history = Arc::clone(&history);
            Box::pin(async move {
                ledger.release(replica, epoch).await?;
                history.released(epoch);
                Ok(())
            })
        }))
    }

    fn head(&self) -> Pending<'_, Head> {
        pass!(self, Head, |ledger| ledger.head())
    }

    fn append(&self, append: Append) -> Pending<'_, Appended> {
        let history = Arc::clone(&self.history);
        Box::pin(self.call(Call::Append, move |ledger, _| {
            let (history, append) = (Arc::clone(&history), append.clone());
            Box::pin(async move {
                history.appends(append.epoch, append.after);
                let appended = ledger.append(append).await?;
                match appended {
                    Appended::Done(_) => {}
                    Appended::Fenced { .. } => history.note(Trouble::Fenced),
                    Appended::Conflict(_) => history.note(Trouble::NotTheLast),
                }
                Ok(appended)
            })
        }))
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

    fn changed(&self, known: Known, at_most: Duration) -> Pending<'_, bool> {
        Box::pin(async move {
            let (fate, there, ..) = self.draw(Call::Head);
            sleep(there.min(at_most)).await;
            if fate != Fate::Fine || self.is_cut() {
                // A hint that is lost.
                sleep(at_most).await;
                return Ok(false);
            }
            self.ledger.changed(known, at_most).await
        })
    }

    fn now(&self) -> Pending<'_, Duration> {
        pass!(self, Now, |ledger| ledger.now())
    }

    fn header(&self, new: Bytes) -> Pending<'_, Bytes> {
        pass!(self, Header, |ledger, new| ledger.header(new))
    }
}

impl Parts for Line {
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()> {
        Box::pin(self.call(Call::Put, move |_, parts| {
            let (name, bytes) = (name.clone(), bytes.clone());
            Box::pin(async move { parts.put(name, bytes).await })
        }))
    }

    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>> {
        let name = name.clone();
        Box::pin(self.call(Call::Get, move |_, parts| {
            let name = name.clone();
            Box::pin(async move { parts.get(&name).await })
        }))
    }

    fn list(&self) -> Pending<'_, Vec<StoredPart>> {
        Box::pin(self.call(Call::List, move |_, parts| Box::pin(async move { parts.list().await })))
    }

    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()> {
        let names = names.to_vec();
        Box::pin(self.call(Call::Remove, move |_, parts| {
            let names = names.clone();
            Box::pin(async move { parts.remove(&names).await })
        }))
    }
}
