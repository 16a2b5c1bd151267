use pet_core::coordinator::{relay::LetterNumber, PartDone};
use pet_ledger::{
    memory::{Call, Fault, MemoryEngine},
    Ask, Lease, Ledger, LedgerError,
};
use tokio::time::timeout;

use super::*;
use crate::replica::{
    letters::{key, open_answer, seal},
    SharedStore,
};

const LEADER: ReplicaId = ReplicaId([1; 16]);
const FOLLOWER: ReplicaId = ReplicaId([2; 16]);
const ORIGIN: Shard = Shard::new([9; 16]);
/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(600);

/// An inbox that runs, on an engine that gives no part.
struct Bench {
    shared: Shared,
    queue: Arc<Queue>,
    told: mpsc::Receiver<Relayed>,
    _fetches: mpsc::UnboundedSender<PartId>,
    _running: JoinSet<()>,
}

impl Bench {
    async fn new() -> Self {
        let engine = MemoryEngine::new();
        let (ledger, parts) = (engine.ledger(), engine.parts());
        let ask =
            Ask { replica: LEADER, name: "leader".into(), ttl: LONG, elapsed: None, renews: None };
        let Lease::Held { epoch, .. } = ledger.lease(ask).await.unwrap() else { panic!("taken") };
        let store =
            SharedStore::new(Arc::new(ledger), Arc::new(parts.clone()), "test", Some(&[7; 32]));
        let shared = store.unwrap().reach().await.unwrap().clone();
        parts.set_faults(|call| match call {
            Call::Get => {
                let why = "the parts are away".into();
                Fault::Error(LedgerError::Unreachable { engine: "it", why })
            }
            _ => Fault::None,
        });
        let (tell, told) = mpsc::channel(16);
        let (fetches, asked) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue::default());
        let others = ToOthers { tell, fetches: asked };
        let about = (epoch, LEADER, LONG);
        let mut running = JoinSet::new();
        let (service, _) = crate::replica::commands::tests::service();
        running.spawn(Inbox::run(shared.clone(), about, Arc::clone(&queue), others, service));
        Self { shared, queue, told, _fetches: fetches, _running: running }
    }

    async fn post(&self, number: u64, letter: &Letter) {
        let key = key(ORIGIN, LetterNumber(number));
        let letter = seal(self.shared.vault(), FOLLOWER, key, letter);
        self.shared.ledger().post(vec![letter]).await.unwrap();
    }

    async fn told(&mut self) -> Relayed {
        timeout(LONG, self.told.recv()).await.expect("it comes").expect("it runs")
    }
}

fn part_of(shard: u8) -> Letter {
    Letter::Part(PartDone {
        round_id: 1,
        shard: Shard::new([shard; 16]),
        part: PartId::new([shard; 16]),
        predecessor: None,
        participants: Vec::new(),
        models: 0,
    })
}

/// More than are read at a time: none of them keeps other letters from being read, and each is answered.
#[tokio::test(start_paused = true)]
async fn pieces_that_cannot_be_read_are_given_up() {
    let mut bench = Bench::new().await;
    let count = 3 * PIECES as u64;
    for number in 1..=count {
        let piece = Piece { part: PartId::new([number as u8; 16]), is_shared: false };
        let letter = Letter::Message { round_id: 1, small: Vec::new(), large: Some(piece) };
        bench.post(number, &letter).await;
    }
    bench.post(count + 1, &part_of(1)).await;
    assert!(matches!(bench.told().await, Relayed::Part { .. }));
    let mut answers = Vec::new();
    while answers.len() < count as usize {
        answers.extend(timeout(LONG, bench.queue.take_answers()).await.expect("all are answered"));
    }
    for answer in answers {
        let opened = (1..=count).find_map(|number| {
            let key = key(ORIGIN, LetterNumber(number));
            open_answer(bench.shared.vault(), FOLLOWER, answer.letter, &key, &answer.bytes)
        });
        assert_eq!(opened, Some(Err(Rejection::StoreBehind)), "it may come again");
        assert!(!answer.is_accepted && answer.piece.is_some());
    }
}

/// Nobody else would end what is reserved for it, as long as the replica lives.
#[tokio::test(start_paused = true)]
async fn the_shard_that_a_replica_has_left_behind_is_lost() {
    let mut bench = Bench::new().await;
    for (number, shard) in [(1, 1), (2, 1), (3, 2)] {
        bench.post(number, &part_of(shard)).await;
    }
    bench.post(4, &Letter::Lost { shard: Shard::new([1; 16]) }).await;
    bench.post(5, &part_of(2)).await;
    let mut lost = Vec::new();
    let mut parts = 0;
    while parts < 4 {
        match bench.told().await {
            Relayed::ShardLost(shard) => lost.push((parts, shard)),
            _ => parts += 1,
        }
    }
    // Before the first letter of the next one, and once more when it is said; never the one that it is now.
    let old = Shard::new([1; 16]);
    assert_eq!(lost, [(2, old), (3, old)]);
}
