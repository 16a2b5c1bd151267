//! The key stream that masks are drawn from: ChaCha20, 20 rounds, 64-bit block counter from 0, zero
//! nonce (spec section 5).
//!
//! Every block can be made by itself, so a stream has no state but its seed. Blocks are computed side by
//! side, one in each lane of the vector registers. That is faster than the libraries, which make fewer
//! blocks at a time or work for fewer processors; they are the tests' oracle.

#[cfg(any(test, not(vector_instructions)))]
mod portable;
#[cfg(vector_instructions)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
pub(super) mod x86;

use zeroize::Zeroize;

use super::seed::MaskSeed;
use crate::simd::Level;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// Blocks that are made at a time: any other number of them takes as long as the next multiple.
pub(crate) const GROUP: usize = 16;

/// The first twelve words of every block of a stream before the rounds: constants and key.
pub(crate) struct Key([u32; 12]);

impl Key {
    pub(crate) fn new(seed: &MaskSeed) -> Self {
        let mut words =
            [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574, 0, 0, 0, 0, 0, 0, 0, 0];
        for (word, bytes) in words[4..].iter_mut().zip(seed.as_bytes().chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
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
    debug_assert_eq!(out.len() % (GROUP * BLOCK), 0);
    match level {
        #[cfg(vector_instructions)]
        Level::Avx512(witness) => x86::blocks_avx512(witness, key, first, out),
        #[cfg(vector_instructions)]
        Level::Avx2(witness) => x86::blocks_avx2(witness, key, first, out),
        #[cfg(vector_instructions)]
        Level::Portable => x86::blocks_sse2(key, first, out),
        #[cfg(not(vector_instructions))]
        Level::Portable => portable::blocks(key, first, out),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use chacha20::cipher::inout::InOutBuf;
    use chacha20::cipher::{KeyIvInit, StreamCipherCore, StreamCipherSeekCore};

    const LEN: usize = GROUP * BLOCK;

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
            portable::blocks(&Key::new(&seed), first, &mut out);
            assert!(out == expected, "plain Rust from block {first}");
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn key_is_wiped() {
        let mut key = std::mem::ManuallyDrop::new(Key([7; 12]));
        // SAFETY: it is dropped once, and holds plain integers, which are there after that.
        unsafe { std::mem::ManuallyDrop::drop(&mut key) };
        assert!(key.0.iter().all(|&word| word == 0));
    }
}
