use std::sync::{
    atomic::{AtomicBool, Ordering},
    Arc,
};

use pet_ledger::{
    memory::{MemoryEngine, MemoryLedger},
    Append, Appended, Ask, Beat, Entry, Head, Lease, Ledger, Pending, Posted, Seen,
};

use super::*;
use crate::replica::SharedStore;

const LEADER: ReplicaId = ReplicaId([1; 16]);
const FOLLOWER: ReplicaId = ReplicaId([2; 16]);
const LONG: Duration = Duration::from_secs(600);

/// Tells once that there is something new.
#[derive(Debug)]
struct HintsOnce(MemoryLedger, AtomicBool);

impl Ledger for HintsOnce {
    fn lease(&self, ask: Ask) -> Pending<'_, Lease> {
        self.0.lease(ask)
    }
    fn release(&self, replica: ReplicaId, epoch: Epoch) -> Pending<'_, ()> {
        self.0.release(replica, epoch)
    }
    fn head(&self) -> Pending<'_, Head> {
        self.0.head()
    }
    fn append(&self, append: Append) -> Pending<'_, Appended> {
        self.0.append(append)
    }
    fn read(&self, after: Position, most: usize, bytes: usize) -> Pending<'_, Vec<Entry>> {
        self.0.read(after, most, bytes)
    }
    fn forget(&self, epoch: Epoch, before: Position) -> Pending<'_, ()> {
        self.0.forget(epoch, before)
    }
    fn post(&self, letters: Vec<Letter>) -> Pending<'_, Vec<LetterId>> {
        self.0.post(letters)
    }
    fn letters(
        &self,
        epoch: Epoch,
        after: LetterId,
        most: usize,
        bytes: usize,
    ) -> Pending<'_, Vec<Posted>> {
        self.0.letters(epoch, after, most, bytes)
    }
    fn answers(&self, to: ReplicaId, most: usize) -> Pending<'_, Vec<(LetterId, Bytes)>> {
        self.0.answers(to, most)
    }
    fn taken(&self, to: ReplicaId, letters: Vec<LetterId>) -> Pending<'_, ()> {
        self.0.taken(to, letters)
    }
    fn beat(&self, beat: Beat) -> Pending<'_, ()> {
        self.0.beat(beat)
    }
    fn replicas(&self) -> Pending<'_, Vec<Seen>> {
        self.0.replicas()
    }
    fn sweep(&self, epoch: Epoch, silent_for: Duration) -> Pending<'_, Vec<ReplicaId>> {
        self.0.sweep(epoch, silent_for)
    }
    fn changed(&self, _: Known, at_most: Duration) -> Pending<'_, bool> {
        Box::pin(async move {
            let is_told = self.1.swap(true, Ordering::Relaxed);
            if is_told {
                sleep(at_most).await;
            }
            Ok(!is_told)
        })
    }
    fn now(&self) -> Pending<'_, std::time::Duration> {
        self.0.now()
    }
    fn header(&self, new: Bytes) -> Pending<'_, Bytes> {
        self.0.header(new)
    }
}

/// There is one hint for all that one append answers, and it may answer more than is read at once.
#[tokio::test(start_paused = true)]
async fn answers_of_more_than_one_page_come_at_once() {
    const ALL: usize = PAGE + 44;
    let engine = MemoryEngine::new();
    let ledger = HintsOnce(engine.ledger(), AtomicBool::new(false));
    let store =
        SharedStore::new(Arc::new(ledger), Arc::new(engine.parts()), "test", Some(&[7; 32]));
    let shared = store.unwrap().reach().await.unwrap().clone();
    let engine = engine.ledger();
    let ask =
        Ask { replica: LEADER, name: "leader".into(), ttl: LONG, elapsed: None, renews: None };
    let Lease::Held { epoch, .. } = engine.lease(ask).await.unwrap() else { panic!("taken") };
    let beat =
        Beat { replica: FOLLOWER, name: String::new(), address: String::new(), info: Bytes::new() };
    engine.beat(beat).await.unwrap();
    let letter = |number: usize| Letter {
        from: FOLLOWER,
        kind: 1,
        key: Bytes::copy_from_slice(&number.to_le_bytes()),
        body: Bytes::new(),
    };
    let ids = engine.post((0..ALL).map(letter).collect()).await.unwrap();
    let head = engine.head().await.unwrap();
    let append = Append {
        epoch,
        after: head.position,
        hash: head.hash,
        entries: Vec::new(),
        answers: ids.iter().map(|id| (*id, Bytes::from_static(b"yes"))).collect(),
        elapsed: None,
    };
    assert!(matches!(engine.append(append).await.unwrap(), Appended::Done(_)));
    let (tell, mut news) = mpsc::channel(4);
    let (_expecting, expected) = watch::channel((true, epoch));
    let fetching = tokio::spawn(fetch(shared, FOLLOWER, expected, tell));
    let began = crate::process::time::Instant::now();
    let mut read = 0;
    while read < ALL {
        let Some(News::Answers(answers)) = news.recv().await else { panic!("no answers") };
        read += answers.len();
    }
    assert!(began.elapsed() < POLL / 2, "the rest has waited: {:?}", began.elapsed());
    fetching.abort();
}
