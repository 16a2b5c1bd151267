//! The key stream that masks are drawn from: ChaCha20, 20 rounds, 64-bit block counter from 0, zero
//! nonce (spec section 5).

use chacha20::cipher::consts::U64;
use chacha20::cipher::generic_array::GenericArray;
use chacha20::cipher::inout::InOutBuf;
use chacha20::cipher::{KeyIvInit, StreamCipherCore, StreamCipherSeekCore};
use chacha20::ChaChaCore;
use zeroize::Zeroizing;

use super::seed::MaskSeed;

type Core = ChaChaCore<chacha20::cipher::consts::U10>;

const BLOCK: usize = 64;
/// Bytes made at a time. Divides the 2^38 bytes of a 32-bit block counter, and fits the L1 cache.
const BATCH: usize = 64 * BLOCK;
/// Room for what is left of one batch when the next is made: less than the longest draw.
const HEAD: usize = 320;

/// A buffered key stream, taken in 32-bit words.
pub(crate) struct KeyStream {
    seed: MaskSeed,
    core: Core,
    /// Upper half of the 64-bit block counter of the next batch. The cipher counts in 32 bits; the upper
    /// half sits where its 96-bit nonce begins.
    epoch: u32,
    buffer: Zeroizing<Box<[u8]>>,
    /// Unread bytes are `buffer[position..]`.
    position: usize,
}

impl KeyStream {
    pub(crate) fn new(seed: &MaskSeed) -> Self {
        KeyStream {
            seed: seed.clone(),
            core: core(seed, 0),
            epoch: 0,
            buffer: Zeroizing::new(vec![0; HEAD + BATCH].into_boxed_slice()),
            position: HEAD + BATCH,
        }
    }

    /// At least `len` unread bytes; `len` is at most the head room.
    pub(crate) fn peek(&mut self, len: usize) -> &[u8] {
        debug_assert!(len <= HEAD);
        if self.buffer.len() - self.position < len {
            self.refill();
        }
        &self.buffer[self.position..]
    }

    /// Marks bytes returned by `peek` as read.
    pub(crate) fn consume(&mut self, len: usize) {
        self.position = (self.position + len).min(self.buffer.len());
    }

    fn refill(&mut self) {
        let left = self.buffer.len() - self.position;
        let start = HEAD - left;
        self.buffer.copy_within(self.position.., start);
        let batch = &mut self.buffer[HEAD..];
        batch.fill(0);
        let (blocks, _) = InOutBuf::from(batch).into_chunks::<U64>();
        self.core.apply_keystream_blocks_inout(blocks);
        if self.core.get_block_pos() == 0 {
            self.epoch = self.epoch.wrapping_add(1);
            self.core = core(&self.seed, self.epoch);
        }
        self.position = start;
    }
}

fn core(seed: &MaskSeed, epoch: u32) -> Core {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&epoch.to_le_bytes());
    Core::new(GenericArray::from_slice(seed.as_bytes()), GenericArray::from_slice(&nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &mut KeyStream, len: usize) -> Vec<u8> {
        let bytes = stream.peek(len)[..len].to_vec();
        stream.consume(len);
        bytes
    }

    #[test]
    fn begins_like_the_published_vector() {
        // Zero key, zero nonce, counter 0.
        let mut stream = KeyStream::new(&MaskSeed::new([0; 32]));
        assert_eq!(
            read(&mut stream, 16),
            [
                0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86,
                0xbd, 0x28
            ]
        );
    }

    #[test]
    fn the_size_of_reads_does_not_matter() {
        let seed = MaskSeed::new([9; 32]);
        let total = 20 * BATCH;
        let mut whole = KeyStream::new(&seed);
        let expected: Vec<u8> = (0..total / 64).flat_map(|_| read(&mut whole, 64)).collect();
        for step in [4, 8, 12, 20, 268] {
            let mut stream = KeyStream::new(&seed);
            for chunk in expected.chunks_exact(step) {
                assert_eq!(read(&mut stream, step), chunk);
            }
        }
    }

    #[test]
    fn the_counter_goes_on_above_32_bits() {
        let seed = MaskSeed::new([3; 32]);
        let mut stream = KeyStream::new(&seed);
        stream.core.set_block_pos(u32::MAX - 63);
        read(&mut stream, 64);
        stream.position = stream.buffer.len();
        assert_eq!(stream.epoch, 1);
        let next = read(&mut stream, 64);
        // Words 12 and 13 are (0, 1): the block of a 64-bit counter of 2^32.
        let mut expected = [0; 64];
        let (blocks, _) = InOutBuf::from(&mut expected[..]).into_chunks::<U64>();
        core(&seed, 1).apply_keystream_blocks_inout(blocks);
        assert_eq!(next, expected);
        assert_ne!(next, read(&mut KeyStream::new(&seed), 64));
    }
}
