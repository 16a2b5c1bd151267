//! Damage to bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A change of some bytes, a cut, something added at the end; or nothing of it.
#[derive(Debug, Clone)]
pub struct Damage {
    bytes: Vec<(Index, u8)>,
    cut: Option<Index>,
    tail: Vec<u8>,
}

impl Damage {
    /// No damage.
    pub fn none() -> Self {
        Self { bytes: Vec::new(), cut: None, tail: Vec::new() }
    }

    /// Something is added at the end.
    pub fn tail(tail: impl Into<Vec<u8>>) -> Self {
        Self { tail: tail.into(), ..Self::none() }
    }

    /// The bytes, damaged.
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() {
            for (at, byte) in &self.bytes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
        }
        if let Some(cut) = &self.cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes.extend_from_slice(&self.tail);
        bytes
    }
}

impl Arbitrary for Damage {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let byte = prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()];
        let bytes = vec((any::<Index>(), byte), 0..3);
        let tail = prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<u8>(), 1..4)];
        (bytes, prop::option::weighted(0.2, any::<Index>()), tail)
            .prop_map(|(bytes, cut, tail)| Self { bytes, cut, tail })
            .boxed()
    }
}
