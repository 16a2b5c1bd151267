//! Fair coins and uniform numbers from a key stream: the randomness of the sampler.

use zeroize::Zeroizing;

use crate::keystream::{blocks, Key, BLOCK, GROUP};
use crate::simd::Level;

/// Bytes of key stream that are made at a time.
const LEN: usize = GROUP * BLOCK;

/// Reads a key stream from its beginning: 64 bits at a time, little-endian, and coins one bit at a time from words of
/// their own. Which bits belong to what is part of what the noise of a seed is: replicas must agree.
pub(super) struct Coins<'a> {
    level: Level,
    key: &'a Key,
    next_block: u64,
    buffer: Zeroizing<[u8; LEN]>,
    used: usize,
    /// Bits for coins, and how many are left.
    bits: u64,
    left: u32,
}

impl<'a> Coins<'a> {
    pub(super) fn new(level: Level, key: &'a Key) -> Self {
        let buffer = Zeroizing::new([0; LEN]);
        Coins { level, key, next_block: 0, buffer, used: LEN, bits: 0, left: 0 }
    }

    /// 64 random bits.
    #[inline]
    pub(super) fn word(&mut self) -> u64 {
        if self.used == LEN {
            self.refill();
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.buffer[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(bytes)
    }

    #[cold]
    fn refill(&mut self) {
        blocks(self.level, self.key, self.next_block, &mut *self.buffer);
        self.next_block = self.next_block.wrapping_add(GROUP as u64);
        self.used = 0;
    }

    /// True one time in two.
    #[inline]
    pub(super) fn coin(&mut self) -> bool {
        if self.left == 0 {
            self.bits = self.word();
            self.left = u64::BITS;
        }
        self.left -= 1;
        let coin = self.bits & 1 == 1;
        self.bits >>= 1;
        coin
    }

    /// A number below `range` (above 0), each equally likely. Lemire's way: of the 2^64 words, times `range`, the upper
    /// halves are the numbers, and those words are left out whose lower half is below 2^64 mod `range`.
    #[inline]
    pub(super) fn below(&mut self, range: u64) -> u64 {
        loop {
            let product = u128::from(self.word()) * u128::from(range);
            let low = product as u64;
            // The division is rarely needed: the remainder is below `range`.
            if low >= range || low >= range.wrapping_neg() % range {
                return (product >> 64) as u64;
            }
        }
    }
}

impl Drop for Coins<'_> {
    fn drop(&mut self) {
        self.bits = 0;
    }
}
