//! Everything that a simulation leaves to chance.

use pet_core::crypto::Blake2b;

/// A sequence of numbers that follows from its seed (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// A sequence of its own for something, whatever was drawn from this one before: what becomes of one
    /// participant does not depend on how many others there are.
    pub fn fork(&self, what: &str, number: u64) -> Self {
        let parts = [&self.seed.to_le_bytes()[..], &number.to_le_bytes(), what.as_bytes()];
        let digest = Blake2b::hash(&parts);
        let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest is longer");
        Self::new(u64::from_le_bytes(*first))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias is of no importance here.
        self.draw() % end
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `share` of all cases.
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.draw() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// 32 bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills a buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.draw().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_follow_from_their_seed_and_chances_are_what_they_say() {
        let mut random = Random::new(7);
        let fork = random.fork("client", 1).draw();
        let hits = (0..10_000).filter(|_| random.chance(0.1)).count();
        assert!((850..1150).contains(&hits), "{hits}");
        assert!(!random.chance(0.0) && random.chance(1.0));
        assert_eq!(random.fork("client", 1).draw(), fork);
        assert_ne!(random.fork("client", 2).draw(), fork);
        assert_ne!(random.fork("server", 1).draw(), fork);
    }
}
