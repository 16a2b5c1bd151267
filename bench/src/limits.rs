//! What the machine could do at best: the key stream of several libraries, and memcpy.

use chacha20::cipher::{KeyIvInit, StreamCipher};
use num_traits::ToPrimitive;
use pet_core::mask::{GroupType, MaskConfig};
use rand_core::{RngCore, SeedableRng};

use crate::jobs;
use crate::machine;
use crate::runner::{Kind, Measured, Row, Runner};

/// The step of key streams.
pub const KEY_STREAM: &str = "key stream";
/// The step of memcpy.
pub const MEMCPY: &str = "memcpy";

/// The step of key streams on several threads at the same time.
const THREADS: &str = "key stream, threads";

/// Bytes of key stream made at a time: they fit the L2 cache, and no library loses by it.
const BATCH: usize = 1 << 16;

/// Models of these lengths are looked at.
pub const LENGTHS: [usize; 3] = [100_000, 1_000_000, 25_000_000];
/// Bytes copied for each weight of such a model: a typical step reads and writes about twice as many.
const COPIED: usize = 10;

/// Measures all limits. The unit of these rows is a byte, not a weight.
pub fn measure(runner: &mut Runner) {
    let row = |library: &str| Row::new(KEY_STREAM, library, BATCH).of(Kind::Limit);
    let mut buffer = vec![0u8; BATCH];
    {
        use sodiumoxide::crypto::stream::chacha20::{stream_xor_inplace, Key, Nonce};
        sodiumoxide::init().expect("libsodium finds what it needs");
        let (key, nonce) = (Key([7; 32]), Nonce([0; 8]));
        runner.measure(row("libsodium"), || (), |()| stream_xor_inplace(&mut buffer, &nonce, &key));
    }
    {
        let mut cipher = chacha20::ChaCha20Legacy::new(&[7; 32].into(), &[0; 8].into());
        runner.measure(
            row("chacha20 0.9"),
            || (),
            |()| {
                // At its beginning again and again: its counter has 32 bits.
                use chacha20::cipher::StreamCipherSeek;
                cipher.seek(0u32);
                cipher.apply_keystream(&mut buffer);
            },
        );
    }
    {
        use chacha20_next::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
        let mut cipher = chacha20_next::ChaCha20::new(&[7; 32].into(), &[0; 12].into());
        runner.measure(
            row("chacha20 0.10"),
            || (),
            |()| {
                cipher.seek(0u32);
                cipher.apply_keystream(&mut buffer);
            },
        );
    }
    {
        let mut generator = rand_chacha::ChaCha20Rng::from_seed([7; 32]);
        runner.measure(row("rand_chacha 0.9"), || (), |()| generator.fill_bytes(&mut buffer));
    }
    // All that a job could gain from more threads: these share no more than the machine, and no memory.
    for threads in [1, machine::cores()] {
        const BATCHES: usize = 64;
        let bytes = BATCHES * BATCH * threads;
        let row = Row::new(THREADS, "", bytes).threads(threads).of(Kind::Limit);
        let pool = jobs::pool(threads);
        let stream = |_: rayon::BroadcastContext<'_>| {
            let mut buffer = vec![0u8; BATCH];
            let mut cipher = chacha20::ChaCha20Legacy::new(&[7; 32].into(), &[0; 8].into());
            for _ in 0..BATCHES {
                cipher.apply_keystream(&mut buffer);
            }
            buffer
        };
        runner.measure(row, || (), |()| pool.broadcast(stream));
        if threads == machine::cores() {
            break;
        }
    }
    let longest = longest(runner);
    for weights in LENGTHS.into_iter().filter(|weights| *weights <= longest) {
        let from = vec![1u8; COPIED * weights];
        let mut to = vec![0u8; COPIED * weights];
        let row = Row::new(MEMCPY, "", COPIED * weights).of(Kind::Limit);
        runner.measure(row, || (), |()| to.copy_from_slice(std::hint::black_box(&from)));
    }
}

/// The length of the longest model in a run of this effort.
pub fn longest(runner: &Runner) -> usize {
    LENGTHS[if runner.is_quick() { 1 } else { 2 }]
}

/// The library with the fastest key stream, and its nanoseconds a byte.
pub fn fastest_key_stream(measured: &[Measured]) -> Option<(&str, f64)> {
    let streams = measured.iter().filter(|m| m.row.step == KEY_STREAM);
    streams.map(|m| (m.row.what.as_str(), m.per_weight())).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// How many times as fast all cores make key stream as one does.
pub fn gain_of_threads(measured: &[Measured]) -> Option<f64> {
    let mut rows = measured.iter().filter(|m| m.row.step == THREADS);
    let (one, all) = (rows.next()?, rows.next()?);
    Some(one.per_weight() / all.per_weight())
}

/// Nanoseconds for each byte that is read or written by memcpy, for models of this length.
pub fn memory(measured: &[Measured], weights: usize) -> Option<f64> {
    let copies = measured.iter().filter(|m| m.row.step == MEMCPY);
    let copy = copies.min_by_key(|m| (m.row.weights / COPIED).abs_diff(weights))?;
    // It reads and writes each.
    Some(copy.per_weight() / 2.0)
}

/// How many bytes of key stream a number of this config takes on average (specification, section 5).
pub fn key_stream_bytes(config: MaskConfig) -> f64 {
    // Ours take what they need, and all of it.
    match config.group_type() {
        GroupType::Word32 => return 4.0,
        GroupType::Word64 => return 8.0,
        _ => {}
    }
    let order = config.order();
    let drawn = order.bits().div_ceil(8);
    // The order's share of all numbers of so many bytes, without leaving the range of floats.
    let excess = order.bits().saturating_sub(64);
    let leading = (order >> excess).to_f64().unwrap_or(f64::NAN);
    let share = leading / 2f64.powi((8 * drawn - excess) as i32);
    (drawn.div_ceil(4) * 4) as f64 / share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issue_s_example() {
        let bytes = key_stream_bytes("Prime/F32/B0/M3".parse().unwrap());
        assert!((bytes - 112.6).abs() < 0.05, "{bytes}");
        for config in MaskConfig::all() {
            assert!(key_stream_bytes(config).is_finite(), "{config}");
        }
    }
}
