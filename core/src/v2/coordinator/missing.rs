//! Which chunks of an object are not there yet.

/// The chunks of an object that have not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// A bit for each chunk that is there.
    there: Vec<u64>,
    chunks: u32,
    left: u32,
}

impl Missing {
    /// All of so many chunks.
    pub(super) fn all(chunks: u32) -> Self {
        Self { there: vec![0; (chunks as usize).div_ceil(64)], chunks, left: chunks }
    }

    /// Whether this chunk is one that has not come.
    pub(super) fn has(&self, index: u32) -> bool {
        let word = self.there.get(index as usize / 64).copied().unwrap_or(u64::MAX);
        index < self.chunks && word & 1 << (index % 64) == 0
    }

    /// A chunk has come; whether it was missing.
    pub(super) fn remove(&mut self, index: u32) -> bool {
        let was_missing = self.has(index);
        if was_missing {
            self.there[index as usize / 64] |= 1 << (index % 64);
            self.left -= 1;
        }
        was_missing
    }

    /// How many have not come.
    pub(super) fn left(&self) -> u32 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(chunks in 0u32..200, come in proptest::collection::vec(0u32..220, 0..300)) {
            let mut missing = Missing::all(chunks);
            let mut set: std::collections::BTreeSet<_> = (0..chunks).collect();
            for index in come {
                prop_assert_eq!(missing.has(index), set.contains(&index));
                prop_assert_eq!(missing.remove(index), set.remove(&index));
                prop_assert_eq!(missing.left() as usize, set.len());
            }
        }
    }
}
