//! The suite that every ledger has to pass, on a real server.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use pet_ledger::{
    conformance::{check_ledger, check_parts, Factory},
    Ledger, PartName, Parts, Pending,
};
use pet_store_postgres::{testing::Postgres, PostgresLedger, PostgresSettings};
use tokio_postgres::NoTls;

/// A federation after another, in one database.
struct Federations {
    url: String,
    next: AtomicUsize,
}

impl Federations {
    fn new(url: &str) -> Self {
        Self { url: url.into(), next: AtomicUsize::new(0) }
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
        Duration::from_millis(250)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms_also_behind_a_pooler() {
    let Some(server) = Postgres::start() else { return };
    let federations = Federations::new(server.url());
    assert_eq!(check_ledger(&federations).await, []);
    assert_eq!(check_parts(&federations).await, []);
    // Nothing depends on a session.
    let Some(pooler) = server.pooler() else { return };
    let federations = Federations { url: pooler, next: federations.next };
    assert_eq!(check_ledger(&federations).await, []);
    assert_eq!(check_parts(&federations).await, []);
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
        let deadline = Instant::now() + Duration::from_secs(20);
        while size().await > 4 << 20 {
            assert!(Instant::now() < deadline, "{} of {before} bytes", size().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let name = store(16).await;
            parts.remove(&[name]).await.unwrap();
        }
        assert_eq!(parts.get(&kept).await.unwrap().unwrap(), vec![15; 1 << 20]);
    }
}
