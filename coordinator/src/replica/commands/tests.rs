use pet_ledger::{
    memory::{script, Call, Fault, MemoryEngine},
    Append, Appended, Ask as AskForLease, Lease, Ledger,
};
use tokio::task::JoinSet;

use super::*;
use crate::{
    admin::Addressee,
    driver::{Action, Command, Situation},
    replica::{
        inbox::Inbox,
        store::{Answer, Queue},
        SharedStore,
    },
    route::Asking,
    settings::Settings,
};

const LEADER: ReplicaId = ReplicaId([1; 16]);
const DESK: ReplicaId = ReplicaId([5; 16]);
/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(600);

/// A service whose machine is in the test's hand.
pub(in crate::replica) fn service() -> (Service, mpsc::Receiver<Command>) {
    let (commands, machine) = Command::channel();
    let office = Arc::new(Office::new(commands, Settings::for_model_length(4)));
    (Service { office, done: Arc::default() }, machine)
}

/// A leader's inbox, and its machine.
struct Bench {
    shared: Shared,
    epoch: Epoch,
    queue: Arc<Queue>,
    machine: mpsc::Receiver<Command>,
    service: Service,
    _running: JoinSet<()>,
}

fn inbox(
    shared: &Shared,
    epoch: Epoch,
    queue: &Arc<Queue>,
    service: &Service,
) -> impl std::future::Future<Output = ()> + Send {
    let (tell, _told) = mpsc::channel(16);
    let (_, fetches) = mpsc::unbounded_channel();
    let others = crate::driver::ToOthers { tell, fetches };
    let about = (epoch, LEADER, LONG);
    let inbox = Inbox::run(shared.clone(), about, Arc::clone(queue), others, service.clone());
    async move {
        inbox.await;
        drop(_told);
    }
}

impl Bench {
    async fn new() -> Self {
        let engine = MemoryEngine::new();
        // So that there is a time before now.
        engine.advance(LONG);
        let (ledger, parts) = (engine.ledger(), engine.parts());
        let ask = AskForLease {
            replica: LEADER,
            name: "leader".into(),
            ttl: LONG,
            elapsed: None,
            renews: None,
        };
        let Lease::Held { epoch, .. } = ledger.lease(ask).await.unwrap() else { panic!("taken") };
        let store = SharedStore::new(Arc::new(ledger), Arc::new(parts), "test", Some(&[7; 32]));
        let shared = store.unwrap().reach().await.unwrap().clone();
        let queue = Arc::new(Queue::default());
        let (service, machine) = service();
        let mut running = JoinSet::new();
        running.spawn(inbox(&shared, epoch, &queue, &service));
        Self { shared, epoch, queue, machine, service, _running: running }
    }

    /// The same replica leads once more, in the same epoch.
    fn begin_anew(&mut self) {
        self._running = JoinSet::new();
        self._running.spawn(inbox(&self.shared, self.epoch, &self.queue, &self.service));
    }

    async fn letter(&self, number: u64, epoch: u64, patience: i64, ask: Ask) -> Letter {
        let now = self.shared.ledger().now().await.unwrap().as_millis() as i64;
        let until = (now + patience) as u64;
        seal(self.shared.vault(), DESK, &Asked { epoch, number, until, ask }).unwrap()
    }

    /// Posts a letter, and takes it out with its answer.
    async fn answer(&self, letter: &Letter) -> Option<Result<Told, Denied>> {
        let ledger = self.shared.ledger();
        let id = ledger.post(vec![letter.clone()]).await.unwrap()[0];
        let answers = timeout(LONG, self.queue.take_answers())
            .await
            .unwrap_or_else(|_| panic!("no answer to {letter:?}"));
        let [Answer { letter: of, bytes, .. }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(*of, id);
        let head = ledger.head().await.unwrap();
        let append = Append {
            epoch: self.epoch,
            after: head.position,
            hash: head.hash,
            entries: Vec::new(),
            answers: vec![(id, bytes.clone())],
            elapsed: None,
        };
        let appended = ledger.append(append).await.unwrap();
        assert!(matches!(appended, Appended::Done(_)), "{appended:?}");
        open_told(self.shared.vault(), DESK, (id, &letter.key), bytes)
    }
}

/// Has the machine do the next thing, which must be a skip.
async fn skip(machine: &mut mpsc::Receiver<Command>) {
    let Command { action, reply } = timeout(LONG, machine.recv()).await.unwrap().unwrap();
    assert!(matches!(action, Action::Skip), "{action:?}");
    reply.send(Ok(Situation { round_id: 7, phase: "sum".into(), paused: false })).unwrap();
}

/// Whoever can write the engine can put letters back that were there, and no others.
#[tokio::test(start_paused = true)]
async fn what_an_operator_asks_for_is_done_once() {
    let mut bench = Bench::new().await;
    let epoch = bench.epoch.0;
    let letter = bench.letter(1, epoch, 60_000, Ask::Skip).await;
    let mut machine = std::mem::replace(&mut bench.machine, mpsc::channel(1).1);
    let (told, ()) = tokio::join!(bench.answer(&letter), skip(&mut machine));
    let situation = Situation { round_id: 7, phase: "sum".into(), paused: false };
    assert_eq!(told, Some(Ok(Told { situation: Some(situation), settings: None })));
    // The same again, an earlier one, and once the same replica leads anew.
    assert!(matches!(bench.answer(&letter).await, Some(Err(Denied::Unknown(_)))));
    let earlier = bench.letter(0, epoch, 60_000, Ask::Skip).await;
    assert!(matches!(bench.answer(&earlier).await, Some(Err(Denied::Unknown(_)))));
    bench.begin_anew();
    assert!(matches!(bench.answer(&letter).await, Some(Err(Denied::Unknown(_)))));
    // For another leader, too late, and of nobody.
    let other = bench.letter(2, epoch + 1, 60_000, Ask::Skip).await;
    assert!(matches!(bench.answer(&other).await, Some(Err(Denied::Unknown(_)))));
    let late = bench.letter(2, epoch, -1, Ask::Skip).await;
    assert!(matches!(bench.answer(&late).await, Some(Err(Denied::Because(_)))));
    let mut forged = bench.letter(3, epoch, 60_000, Ask::Skip).await;
    forged.key = Bytes::copy_from_slice(&4u64.to_le_bytes());
    assert_eq!(bench.answer(&forged).await, None);
    assert!(machine.try_recv().is_err(), "nothing more was done");
    // The next one is done.
    let next = bench.letter(3, epoch, 60_000, Ask::Skip).await;
    let (told, ()) = tokio::join!(bench.answer(&next), skip(&mut machine));
    assert!(matches!(told, Some(Ok(_))));
}

/// A desk at this machine, which does what it is told.
fn desk_here(recent: Recent) -> (watch::Receiver<Desk>, JoinSet<()>) {
    let (service, mut machine) = service();
    let mut running = JoinSet::new();
    running.spawn(async move { skip(&mut machine).await });
    (watch::channel(Desk::Here(service.office, recent)).1, running)
}

/// It may have been cut off for long, and another one leads.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_sure_to_lead_does_not_say_that_it_has_done_it() {
    let asking = Asking::since(Instant::now());
    let (mut desk, _running) = desk_here(asking.recent());
    let told = deal(Ask::Skip, &mut desk, &mut None).await;
    assert!(matches!(told, Err(Denied::Unknown(_))), "{told:?}");
    let (mut desk, _running) = desk_here(asking.recent());
    let renewing = async {
        asking.wanted().await;
        sleep(RETRY).await;
        asking.knows(Instant::now());
    };
    let mut mailbox = None;
    let (told, ()) = tokio::join!(deal(Ask::Skip, &mut desk, &mut mailbox), renewing);
    assert!(told.is_ok(), "{told:?}");
}

/// Nobody waits for it any more when its turn comes; and what stops on its way may have been done.
#[tokio::test(start_paused = true)]
async fn what_has_waited_for_long_is_not_begun() {
    let asking = Asking::since(Instant::now());
    let (desk, mut running) = desk_here(asking.recent());
    let (requests, serving) = Passed::channel();
    let (reply, outcome) = tokio::sync::oneshot::channel();
    requests.send(Passed { ask: Ask::Skip, asked: Instant::now(), reply }).await.unwrap();
    sleep(TURN + RETRY).await;
    let serving = tokio::spawn(serve(serving, desk));
    let told = outcome.await.unwrap();
    assert!(
        matches!(&told, Err(Denied::Nobody(why)) if why.contains("nothing was done")),
        "{told:?}"
    );
    assert!(running.try_join_next().is_none(), "it was done");
    let operator = Addressee::Leader(requests);
    let stops = async {
        sleep(RETRY).await;
        serving.abort();
    };
    let (told, ()) = tokio::join!(operator.ask(Ask::Skip), stops);
    assert!(matches!(told, Err(Denied::Unknown(_))), "{told:?}");
    assert_eq!(operator.ask(Ask::Skip).await, Err(Denied::Stopped));
}

/// Asks a leader that answers with these bytes.
async fn told_by(answer: &'static [u8]) -> Result<Told, Denied> {
    let mut bench = Bench::new().await;
    bench._running = JoinSet::new();
    let (shared, epoch) = (bench.shared.clone(), bench.epoch);
    let answering = async {
        let ledger = shared.ledger();
        let id = loop {
            match ledger.letters(epoch, LetterId(0), 1, 1 << 20).await.unwrap().first() {
                Some(posted) => break posted.id,
                None => sleep(RETRY).await,
            }
        };
        let head = ledger.head().await.unwrap();
        let append = Append {
            epoch,
            after: head.position,
            hash: head.hash,
            entries: Vec::new(),
            answers: vec![(id, Bytes::from_static(answer))],
            elapsed: None,
        };
        assert!(matches!(ledger.append(append).await.unwrap(), Appended::Done(_)));
    };
    let mut mailbox = Mailbox::new().unwrap();
    tokio::join!(mailbox.ask(&shared, epoch, "one", Ask::Skip), answering).0
}

/// Who can write the engine cannot say that nothing was done.
#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_open_is_none() {
    let told = told_by(b"").await;
    assert!(matches!(&told, Err(Denied::Because(why)) if why.contains("release")), "{told:?}");
    let told = told_by(b"anything").await;
    assert!(matches!(told, Err(Denied::Unknown(_))), "{told:?}");
}

/// The first try may have posted it.
#[tokio::test(start_paused = true)]
async fn a_letter_that_may_be_there_was_not_surely_not_done() {
    let refused = || {
        let why = "no".to_owned();
        Fault::Error(pet_ledger::LedgerError::Denied { engine: "test", why, rights: "all" })
    };
    let unknown = vec![Fault::LostAfter, refused()];
    for (faults, is_unknown) in [(vec![refused()], false), (unknown, true)] {
        let engine = MemoryEngine::new();
        let ledger = engine.ledger();
        ledger.set_faults(script(Call::Post, faults));
        let parts = Arc::new(engine.parts());
        let store = SharedStore::new(Arc::new(ledger), parts, "test", Some(&[7; 32]));
        let shared = store.unwrap().reach().await.unwrap().clone();
        let mut mailbox = Mailbox::new().unwrap();
        let told = mailbox.ask(&shared, Epoch(1), "one", Ask::Skip).await;
        match told {
            Err(Denied::Unknown(_)) => assert!(is_unknown),
            Err(Denied::Nobody(_)) => assert!(!is_unknown),
            told => panic!("{told:?}"),
        }
    }
}
