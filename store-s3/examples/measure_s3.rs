//! How long parts take on storage of its own in a temporary folder:
//! `cargo run --release -p pet-store-s3 --features testing --example measure_s3`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use pet_ledger::{PartName, Parts};
use pet_store_s3::{testing::Storage, S3Parts};

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
    println!("{what}: median {:.2?} of {}", times[times.len() / 2], times.len());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(storage) = Storage::start() else { return Ok(()) };
    let parts = S3Parts::connect(&storage.settings("measured")).await?;
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
