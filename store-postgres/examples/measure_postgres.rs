//! How long appends and parts take on a server of its own in a temporary folder:
//! `cargo run --release -p pet-store-postgres --features testing --example measure_postgres`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use pet_ledger::{Append, Appended, Ask, Lease, Ledger, Letter, PartName, Parts, ReplicaId};
use pet_store_postgres::{testing::Postgres, PostgresLedger, PostgresSettings};

/// The lengths of parts that are measured.
const LENGTHS: [(&str, u32); 6] = [
    ("1 KiB", 1 << 10),
    ("16 KiB", 16 << 10),
    ("64 KiB", 64 << 10),
    ("256 KiB", 256 << 10),
    ("1 MiB", 1 << 20),
    ("8 MB", 8_000_000),
];

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: median {:.2?}, p99 {:.2?} of {}", at(0.5), at(0.99), times.len());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = Postgres::on_disk() else { return Ok(()) };
    let settings = PostgresSettings::new(server.url(), "measured");
    PostgresLedger::initialize(&settings).await?;
    let ledger = PostgresLedger::connect(&settings).await?;
    let replica = ReplicaId([1; 16]);
    let ask = Ask {
        replica,
        name: "one".into(),
        ttl: Duration::from_secs(3600),
        elapsed: None,
        renews: None,
    };
    let Lease::Held { epoch, .. } = ledger.lease(ask).await? else { return Ok(()) };
    let mut head = ledger.head().await?;
    let mut times = Vec::new();
    for _ in 0..1000 {
        let begin = Instant::now();
        let entries = vec![Bytes::from(vec![7; 1024])];
        let (after, hash) = (head.position, head.hash);
        let append = Append { epoch, after, hash, entries, answers: Vec::new(), elapsed: None };
        let Appended::Done(now) = ledger.append(append).await? else { break };
        head = now;
        times.push(begin.elapsed());
    }
    show("fenced append of 1 KiB", times);
    let mut times = Vec::new();
    for number in 0..300u32 {
        let begin = Instant::now();
        let key = Bytes::copy_from_slice(&number.to_le_bytes());
        ledger
            .post(vec![Letter { from: replica, kind: 1, key, body: vec![7; 1024].into() }])
            .await?;
        times.push(begin.elapsed());
    }
    show("a letter of 1 KiB", times);
    let parts = ledger.parts();
    for (what, length) in LENGTHS {
        let bytes = (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
        let bytes = Bytes::from(bytes.collect::<Vec<_>>());
        let (mut put, mut got) = (Vec::new(), Vec::new());
        for number in 0..20 {
            let mut id = [number; 16];
            id[..4].copy_from_slice(&length.to_le_bytes());
            let name = PartName::new("shard", id)?;
            let begin = Instant::now();
            parts.put(name.clone(), bytes.clone()).await?;
            put.push(begin.elapsed());
            let begin = Instant::now();
            parts.get(&name).await?;
            got.push(begin.elapsed());
        }
        show(&format!("put of a part of {what}"), put);
        show(&format!("get of a part of {what}"), got);
    }
    Ok(())
}
