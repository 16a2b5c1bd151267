//! Replays the committed corpora, and many small changes of each file in them.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use pet_fuzz::TARGETS;

/// How many changes of each file are tried: fewer where a run takes milliseconds.
fn mutations(name: &str) -> u64 {
    match name {
        "rounds" => 20,
        // A certificate has 24 signatures.
        "sealed_message" | "v2_checks" => 100,
        _ => 300,
    }
}

#[test]
fn corpora() {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, target)) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    replay(name, *target);
                }
            });
        }
    });
}

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        target(&bytes);
        for seed in 0..mutations(name) {
            let mutated = mutate(&bytes, seed);
            let result = std::panic::catch_unwind(|| target(&mutated));
            assert!(result.is_ok(), "{name}: {}, mutation {seed}", file.display());
        }
    }
}

/// A few bytes changed, inserted, or cut off; always the same for a seed.
fn mutate(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: usize| {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=random(4) {
        let at = random(bytes.len());
        match random(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random(256) as u8),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
            _ if !bytes.is_empty() => bytes[at] ^= 1 << random(8),
            _ => bytes.push(random(256) as u8),
        }
    }
    bytes
}
