//! How long appends, letters and parts take on a Redis and a PostgreSQL of their own in temporary folders on a disk, in turns:
//! `cargo run --release -p pet-store-redis --features testing --example measure_engines`
#![allow(clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pet_ledger::{
    Append, Appended, Ask, Epoch, Head, Lease, Ledger, LedgerError, Letter, PartName, Parts,
    ReplicaId,
};
use pet_store_postgres::{testing::Postgres, PostgresLedger, PostgresSettings};
use pet_store_redis::{testing::Redis, RedisLedger, RedisSettings};

const REPLICA: ReplicaId = ReplicaId([1; 16]);

/// An engine, the end of its log, and how long things took.
struct Engine {
    name: &'static str,
    ledger: Arc<dyn Ledger>,
    parts: Arc<dyn Parts>,
    epoch: Epoch,
    head: Head,
    times: BTreeMap<&'static str, Vec<Duration>>,
}

impl Engine {
    async fn new(
        name: &'static str,
        ledger: Arc<dyn Ledger>,
        parts: Arc<dyn Parts>,
    ) -> Result<Self, LedgerError> {
        let ttl = Duration::from_secs(3600);
        let ask = Ask { replica: REPLICA, name: "one".into(), ttl, elapsed: None, renews: None };
        ledger.lease(ask).await?;
        let head = ledger.head().await?;
        Ok(Self { name, ledger, parts, epoch: head.epoch, head, times: BTreeMap::new() })
    }

    fn took(&mut self, what: &'static str, since: Instant) {
        self.times.entry(what).or_default().push(since.elapsed());
    }

    async fn append(&mut self) -> Result<(), LedgerError> {
        let entries = vec![Bytes::from(vec![7; 1024])];
        let (after, hash) = (self.head.position, self.head.hash);
        let begin = Instant::now();
        let append =
            Append { epoch: self.epoch, after, hash, entries, answers: Vec::new(), elapsed: None };
        if let Appended::Done(head) = self.ledger.append(append).await? {
            self.head = head;
        }
        self.took("fenced append of 1 KiB", begin);
        Ok(())
    }

    async fn letter(&mut self, number: u32) -> Result<(), LedgerError> {
        let key = Bytes::copy_from_slice(&number.to_le_bytes());
        let begin = Instant::now();
        let letter = Letter { from: REPLICA, kind: 1, key, body: vec![7; 1024].into() };
        self.ledger.post(vec![letter]).await?;
        self.took("letter of 1 KiB", begin);
        Ok(())
    }

    async fn part(&mut self, number: u8, bytes: &Bytes) -> Result<(), LedgerError> {
        let name = PartName::new("shard", [number; 16]).expect("it is a name");
        let begin = Instant::now();
        self.parts.put(name.clone(), bytes.clone()).await?;
        self.took("put of a part of 8 MB", begin);
        let begin = Instant::now();
        self.parts.get(&name).await?;
        self.took("get of a part of 8 MB", begin);
        let begin = Instant::now();
        let ttl = Duration::from_secs(3600);
        let ask = Ask { replica: REPLICA, name: "one".into(), ttl, elapsed: None, renews: None };
        let Lease::Held { .. } = self.ledger.lease(ask).await? else { return Ok(()) };
        self.took("renewal of the lease", begin);
        Ok(())
    }

    fn show(&mut self) {
        for (what, times) in &mut self.times {
            times.sort_unstable();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            let (name, count) = (self.name, times.len());
            println!("{name}: {what}: median {:.2?}, p99 {:.2?} of {count}", at(0.5), at(0.99));
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (Some(redis), Some(postgres)) = (Redis::on_disk(), Postgres::on_disk()) else {
        return Ok(());
    };
    let settings = RedisSettings::new(redis.url(), "measured");
    RedisLedger::initialize(&settings).await?;
    let ledger = RedisLedger::connect(&settings).await?;
    let parts = Arc::new(ledger.parts());
    let redis_engine = Engine::new("Redis", Arc::new(ledger), parts).await?;
    let settings = PostgresSettings::new(postgres.url(), "measured");
    PostgresLedger::initialize(&settings).await?;
    let ledger = PostgresLedger::connect(&settings).await?;
    let parts = Arc::new(ledger.parts());
    let postgres_engine = Engine::new("PostgreSQL", Arc::new(ledger), parts).await?;

    let mut engines = [redis_engine, postgres_engine];
    for _ in 0..1000 {
        for engine in &mut engines {
            engine.append().await?;
        }
    }
    for number in 0..300 {
        for engine in &mut engines {
            engine.letter(number).await?;
        }
    }
    let random = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let bytes: Bytes = (0..8_000_000u32).map(random).collect();
    for number in 0..20 {
        for engine in &mut engines {
            engine.part(number, &bytes).await?;
        }
    }
    engines.iter_mut().for_each(Engine::show);
    Ok(())
}
