//! The suite that every ledger has to pass, on a real server.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use pet_ledger::{
    conformance::{check_ledger, check_parts, Factory},
    Append, Appended, Ask, Epoch, Head, Lease, Ledger, LedgerError, Letter, LetterId, Limits,
    PartName, Parts, Pending, ReplicaId,
};
use pet_store_postgres::{testing::Postgres, PostgresLedger, PostgresSettings};
use tokio_postgres::NoTls;

/// A federation after another, in one database.
struct Federations {
    url: String,
    next: AtomicUsize,
}

impl Federations {
    /// Numbered from `first` on.
    fn new(url: &str, first: usize) -> Self {
        Self { url: url.into(), next: AtomicUsize::new(first) }
    }

    async fn connect<const N: usize>(
        &self,
    ) -> Result<[PostgresLedger; N], pet_ledger::LedgerError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut settings = PostgresSettings::new(&self.url, format!("f{number}"));
        settings.connections = 4;
        settings.poll = Duration::from_millis(20);
        PostgresLedger::initialize(&settings).await?;
        let mut ledgers = Vec::new();
        for _ in 0..N {
            ledgers.push(PostgresLedger::connect(&settings).await?);
        }
        Ok(ledgers.try_into().expect("N of them"))
    }
}

impl Factory for Federations {
    fn ledgers(&self) -> Pending<'_, [Arc<dyn Ledger>; 3]> {
        Box::pin(async {
            Ok(self.connect::<3>().await?.map(|ledger| Arc::new(ledger) as Arc<dyn Ledger>))
        })
    }

    fn parts(&self) -> Pending<'_, [Arc<dyn Parts>; 2]> {
        Box::pin(async {
            Ok(self.connect::<2>().await?.map(|ledger| Arc::new(ledger.parts()) as Arc<dyn Parts>))
        })
    }

    fn pass(&self, time: Duration) -> Pending<'_, ()> {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    fn unit(&self) -> Duration {
        // (Calls are synced to a disk, and a busy machine takes its time for each.)
        Duration::from_secs(1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms_also_behind_a_pooler() {
    let Some(server) = Postgres::start() else { return };
    let direct = Federations::new(server.url(), 0);
    let Some(pooler) = server.pooler() else { return conforms(&direct).await };
    // Nothing depends on a session. (Most of both is waiting.)
    let pooled = Federations::new(&pooler, 1000);
    tokio::join!(conforms(&direct), conforms(&pooled));
}

async fn conforms(federations: &Federations) {
    assert_eq!(check_ledger(federations).await, [], "{}", federations.url);
    assert_eq!(check_parts(federations).await, [], "{}", federations.url);
}

/// The server's own VACUUM, which looks once a minute, is off: the store's own makes the database smaller again. What is kept was
/// stored last, and lies at the end of the table's file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_of_removed_parts_is_used_again_also_behind_a_pooler() {
    let Some(server) = Postgres::with(&["autovacuum = off"]) else { return };
    let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let urls = [Some(server.url().to_owned()), server.pooler()];
    for (number, url) in urls.into_iter().enumerate() {
        let Some(url) = url else { continue };
        let federation = format!("f{number}");
        let settings = PostgresSettings::new(&url, &federation);
        PostgresLedger::initialize(&settings).await.unwrap();
        let parts = PostgresLedger::connect(&settings).await.unwrap().parts();
        let size = || async {
            let size = format!("SELECT pg_total_relation_size('pet_{federation}.slices')");
            client.query_one(&size, &[]).await.unwrap().get::<_, i64>(0)
        };
        let store = async |number: u8| {
            let name = PartName::new("a", [number; 16]).unwrap();
            parts.put(name.clone(), vec![number; 1 << 20].into()).await.unwrap();
            name
        };
        let mut names = Vec::new();
        for number in 0..16 {
            names.push(store(number).await);
        }
        let before = size().await;
        assert!(before > 16 << 20, "{before}");
        let kept = names.pop().unwrap();
        parts.remove(&names).await.unwrap();
        // It is not done after each removal.
        let deadline = Instant::now() + Duration::from_secs(120);
        while size().await > 4 << 20 {
            assert!(Instant::now() < deadline, "{} of {before} bytes", size().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let name = store(16).await;
            parts.remove(&[name]).await.unwrap();
        }
        assert_eq!(parts.get(&kept).await.unwrap().unwrap(), vec![15; 1 << 20]);
    }
}

/// Posts so many letters, and answers all but the first `left` of them.
async fn exchange(ledger: &PostgresLedger, epoch: Epoch, letters: usize, left: usize) {
    let from = ReplicaId([9; 16]);
    for page in 0..letters.div_ceil(256) {
        let letter = |number: usize| Letter {
            from,
            kind: 1,
            key: Bytes::from(vec![page as u8, number as u8, left as u8, epoch.0 as u8, 1]),
            body: vec![0; 200].into(),
        };
        let count = 256.min(letters - page * 256);
        let ids = ledger.post((0..count).map(letter).collect()).await.unwrap();
        let skipped = if page == 0 { left } else { 0 };
        let answered = ids[skipped..].iter().map(|id| (*id, Bytes::from_static(b"yes")));
        let Head { position: after, hash, .. } = ledger.head().await.unwrap();
        let answers: Vec<_> = answered.collect();
        let append = Append { epoch, after, hash, entries: vec![], answers, elapsed: None };
        assert!(matches!(ledger.append(append).await.unwrap(), Appended::Done(_)));
        ledger.taken(from, ids).await.unwrap();
    }
}

async fn lead(ledger: &PostgresLedger) -> Epoch {
    let ttl = Duration::from_secs(600);
    let ask =
        Ask { replica: ReplicaId([1; 16]), name: "one".into(), ttl, elapsed: None, renews: None };
    let Lease::Held { epoch, .. } = ledger.lease(ask).await.unwrap() else { panic!("held") };
    epoch
}

/// The server's own VACUUM is off. What is read after each letter would otherwise be all letters of the round, as nothing is
/// forgotten of the log meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_were_answered_are_not_read_until_the_round_is_over() {
    let Some(server) = Postgres::with(&["autovacuum = off"]) else { return };
    let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let settings = PostgresSettings::new(server.url(), "f");
    PostgresLedger::initialize(&settings).await.unwrap();
    let ledger = PostgresLedger::connect(&settings).await.unwrap();
    let epoch = lead(&ledger).await;
    exchange(&ledger, epoch, 1000, 0).await;
    let vacuumed = "SELECT min(vacuum_count) FROM pg_stat_all_tables \
                    WHERE schemaname = 'pet_f' AND relname IN ('letters', 'answers')";
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.query_one(vacuumed, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "the room of 1,000 letters is not free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether there is room is guessed from the first letter's number where that is enough, and counted where it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_letter_that_waits_for_long_takes_the_room_of_one() {
    let Some(server) = Postgres::start() else { return };
    let settings = PostgresSettings::new(server.url(), "f");
    PostgresLedger::initialize(&settings).await.unwrap();
    let ledger = PostgresLedger::connect(&settings).await.unwrap();
    let epoch = lead(&ledger).await;
    let most = Limits::ALL.waiting_of_one;
    exchange(&ledger, epoch, most + 300, 1).await;
    assert_eq!(ledger.letters(epoch, LetterId(0), 10, 1 << 20).await.unwrap().len(), 1);
    // And those that wait are counted: one more than all is too many.
    let letter = |number: usize| Letter {
        from: ReplicaId([9; 16]),
        kind: 2,
        key: Bytes::copy_from_slice(&number.to_le_bytes()),
        body: Bytes::new(),
    };
    for first in (0..most - 1).step_by(256) {
        ledger.post((first..(first + 256).min(most - 1)).map(letter).collect()).await.unwrap();
    }
    let full = ledger.post(vec![letter(most)]).await.unwrap_err();
    assert!(matches!(full, LedgerError::Full { waiting, .. } if waiting == most), "{full:?}");
}
