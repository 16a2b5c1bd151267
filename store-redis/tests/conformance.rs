//! The suite that every ledger has to pass, on a real server.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

use pet_ledger::{
    conformance::{check_ledger, check_parts, Factory},
    Ledger, LedgerError, Parts, Pending,
};
use pet_store_redis::{testing::Redis, RedisLedger, RedisSettings};

/// A federation after another, in one server.
struct Federations {
    url: String,
    next: AtomicUsize,
}

impl Federations {
    async fn connect<const N: usize>(&self) -> Result<[RedisLedger; N], LedgerError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut settings = RedisSettings::new(&self.url, format!("f{number}"));
        settings.connections = 4;
        settings.poll = Duration::from_millis(20);
        RedisLedger::initialize(&settings).await?;
        let mut ledgers = Vec::new();
        for _ in 0..N {
            ledgers.push(RedisLedger::connect(&settings).await?);
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
async fn redis_conforms() {
    let Some(server) = Redis::start() else { return };
    let federations = Federations { url: server.url().into(), next: AtomicUsize::new(0) };
    assert_eq!(check_ledger(&federations).await, []);
    assert_eq!(check_parts(&federations).await, []);
}
