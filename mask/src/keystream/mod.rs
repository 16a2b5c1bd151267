//! The key stream that masks are drawn from: ChaCha20, 20 rounds, 64-bit block counter from 0, zero
//! nonce (spec section 5). Streams for other purposes have keys of their own, and a nonce.
//!
//! Every block can be made by itself, so a stream has no state but its key and nonce. Blocks are computed side by
//! side, one in each lane of the vector registers. That is faster than the libraries, which make fewer
//! blocks at a time or work for fewer processors; they are the tests' oracle.
//!
//! Where the stream is only added to something, it is never written down: [`apply`] combines it with what is there
//! straight from the registers.

#[cfg(neon)]
pub(super) mod neon;
#[cfg(any(test, not(any(avx, simd128))))]
mod portable;
#[cfg(simd128)]
pub(super) mod wasm;
#[cfg(avx)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
pub(super) mod x86;

mod cipher;
mod combine;
#[cfg(any(avx, neon, simd128))]
mod vectors;

use zeroize::{Zeroize, Zeroizing};

pub use self::cipher::KeyStream;
use self::combine::as_bytes_mut;
pub(crate) use self::combine::{Combine, Lane};
use super::seed::MaskSeed;
use crate::simd::Level;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// Blocks that are made at a time: any other number of them takes as long as the next multiple.
pub(crate) const GROUP: usize = 16;

/// The words of every block of a stream before the rounds: constants, key, the place of the counter, and nonce.
pub(crate) struct Key([u32; 16]);

impl Key {
    /// That of a mask.
    pub(crate) fn new(seed: &MaskSeed) -> Self {
        Self::with_nonce(seed.as_bytes(), 0)
    }

    /// That of a stream with a 64-bit nonce.
    pub(crate) fn with_nonce(key: &[u8; 32], nonce: u64) -> Self {
        let mut words = [0; 16];
        words[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in words[4..12].iter_mut().zip(key.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words[14] = nonce as u32;
        words[15] = (nonce >> 32) as u32;
        Key(words)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Writes consecutive blocks of the stream, beginning with block `first`. Only whole groups of
/// [`GROUP`] blocks are written.
pub(crate) fn blocks(level: Level, key: &Key, first: u64, out: &mut [u8]) {
    combine_blocks::<combine::Write>(level, key, first, out);
}

/// Combines numbers with the stream from byte `at` on, which is a multiple of their length. Best where `at` and the end are at
/// the ends of groups counted from `at`'s block: everything else costs up to a group that is made in vain.
pub(crate) fn apply<T: Lane>(level: Level, key: &Key, at: u64, out: &mut [T]) {
    debug_assert_eq!(at % T::BYTES as u64, 0);
    let (mut block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
    let mut rest = out;
    if within > 0 {
        let (head, more) = rest.split_at_mut(rest.len().min((LEN - within) / T::BYTES));
        through_buffer(level, key, block, within, head);
        block = block.wrapping_add(GROUP as u64);
        rest = more;
    }
    let (body, tail) = rest.split_at_mut(rest.len() / (LEN / T::BYTES) * (LEN / T::BYTES));
    match as_bytes_mut(body) {
        Some(bytes) => combine_blocks::<T::Combine>(level, key, block, bytes),
        None => {
            for (i, piece) in body.chunks_mut(LEN / T::BYTES).enumerate() {
                through_buffer(level, key, block.wrapping_add((i * GROUP) as u64), 0, piece);
            }
        }
    }
    if !tail.is_empty() {
        let blocks = body.len() / (LEN / T::BYTES) * GROUP;
        through_buffer(level, key, block.wrapping_add(blocks as u64), 0, tail);
    }
}

/// Bytes of a group.
const LEN: usize = GROUP * BLOCK;

/// Combines up to a group.
fn through_buffer<T: Lane>(level: Level, key: &Key, first: u64, skip: usize, out: &mut [T]) {
    let mut stream = Zeroizing::new([0; LEN]);
    blocks(level, key, first, &mut *stream);
    for (number, bytes) in out.iter_mut().zip(stream[skip..].chunks_exact(T::BYTES)) {
        number.combine(bytes);
    }
}

fn combine_blocks<C: Combine>(level: Level, key: &Key, first: u64, out: &mut [u8]) {
    debug_assert_eq!(out.len() % LEN, 0);
    match level {
        #[cfg(avx)]
        Level::Avx512(witness) => x86::blocks_avx512::<C>(witness, key, first, out),
        #[cfg(avx)]
        Level::Avx2(witness) => x86::blocks_avx2::<C>(witness, key, first, out),
        #[cfg(neon)]
        Level::Neon(witness) => neon::blocks::<C>(witness, key, first, out),
        #[cfg(avx)]
        Level::Portable => x86::blocks_sse2::<C>(key, first, out),
        #[cfg(simd128)]
        Level::Portable => wasm::blocks::<C>(key, first, out),
        #[cfg(not(any(avx, simd128)))]
        Level::Portable => portable::blocks::<C>(key, first, out),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use chacha20::cipher::inout::InOutBuf;
    use chacha20::cipher::{KeyIvInit, StreamCipherCore, StreamCipherSeekCore};

    #[test]
    fn begins_like_the_published_vector() {
        // Zero key, zero nonce, counter 0.
        for &level in Level::available() {
            let mut out = [1; LEN];
            blocks(level, &Key::new(&MaskSeed::new([0; 32])), 0, &mut out);
            assert_eq!(
                out[..16],
                [
                    0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53,
                    0x86, 0xbd, 0x28
                ]
            );
        }
    }

    /// Blocks of a stream as a library makes them. Its counter has 32 bits; the upper half of ours is where
    /// its 96-bit nonce begins.
    pub(crate) fn oracle(seed: &MaskSeed, first: u64, blocks: usize) -> Vec<u8> {
        let mut out = vec![0; blocks * BLOCK];
        for (i, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let block = first.wrapping_add(i as u64);
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&((block >> 32) as u32).to_le_bytes());
            type Core = chacha20::ChaChaCore<chacha20::cipher::consts::U10>;
            let mut core = Core::new(seed.as_bytes().into(), &nonce.into());
            core.set_block_pos(block as u32);
            core.apply_keystream_blocks_inout(InOutBuf::from(out).into_chunks().0);
        }
        out
    }

    #[test]
    fn every_level_agrees_with_a_library_wherever_it_begins() {
        let seed = MaskSeed::new(std::array::from_fn(|i| 7 * i as u8 + 1));
        let around_2_to_the_32 = (1u64 << 32) - 5;
        for first in [0, 1, 1000, around_2_to_the_32, 1 << 32, 3 << 40, u64::MAX - 2] {
            let expected = oracle(&seed, first, 3 * GROUP);
            for &level in Level::available() {
                let mut out = vec![0xaa; 3 * LEN];
                blocks(level, &Key::new(&seed), first, &mut out);
                assert!(out == expected, "{level:?} from block {first}");
            }
            let mut out = vec![0xaa; 3 * LEN];
            portable::blocks::<combine::Write>(&Key::new(&seed), first, &mut out);
            assert!(out == expected, "plain Rust from block {first}");
        }
    }

    /// Against the stream written down and combined with plain integers, at every place and level.
    fn combines<T: Lane + PartialEq + std::fmt::Debug>(number: impl Fn(u64) -> T) {
        let key = Key::with_nonce(&[9; 32], 0x0102_0304_0506_0708);
        let numbers: Vec<T> = (0..3 * LEN / T::BYTES + 5).map(|i| number(i as u64)).collect();
        for at in [0, 8, 56, 64, 72, LEN - 8, LEN, LEN + 16] {
            let first = ((1u64 << 32) - 9) * BLOCK as u64;
            let mut stream = vec![0; 8 * LEN];
            blocks(Level::Portable, &key, first / BLOCK as u64, &mut stream);
            for len in [0, 1, 2, 13, LEN / T::BYTES, 2 * LEN / T::BYTES + 3, numbers.len()] {
                let mut expected = numbers[..len].to_vec();
                for (number, bytes) in expected.iter_mut().zip(stream[at..].chunks(T::BYTES)) {
                    number.combine(bytes);
                }
                for &level in Level::available() {
                    let mut found = numbers[..len].to_vec();
                    apply(level, &key, first + at as u64, &mut found);
                    assert_eq!(found, expected, "{level:?} at {at}, {len} numbers");
                }
            }
        }
        // The way without vector instructions, on whole groups.
        let mut expected = numbers[..LEN / T::BYTES].to_vec();
        let mut found = expected.clone();
        apply(Level::Portable, &key, 0, &mut expected);
        let bytes = as_bytes_mut(&mut found).expect("tests run on little-endian machines");
        portable::blocks::<T::Combine>(&key, 0, bytes);
        assert_eq!(found, expected);
    }

    #[test]
    fn the_stream_is_combined_alike_at_every_level() {
        combines(|i| (i * 37) as u8);
        combines(|i| (i as u32).wrapping_mul(0x9e37_79b9));
        combines(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }

    #[test]
    #[allow(unsafe_code)]
    fn key_is_wiped() {
        let mut key = std::mem::ManuallyDrop::new(Key([7; 16]));
        // SAFETY: it is dropped once, and holds plain integers, which are there after that.
        unsafe { std::mem::ManuallyDrop::drop(&mut key) };
        assert!(key.0.iter().all(|&word| word == 0));
    }
}
