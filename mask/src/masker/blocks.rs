//! Masking weights of one type with elements of one width: encoding, adding masks, writing.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::super::config::MaskConfig;
use super::super::draw::MaskStream;
use super::super::element::Element;
use super::super::encode::{Clamped, Encoder, Weight};
use super::super::group::Group;
use super::MaskError;
use crate::model::Model;
use crate::simd::Level;
use num_rational::BigRational;

/// What all threads that mask one model share.
pub(super) struct Recipe<E: Element, W: Weight> {
    pub(super) group: Group<E>,
    encoder: Encoder<E, W>,
    pub(super) model: Arc<Model>,
    level: Level,
}

/// Masks that are drawn already, and those of a stream behind them.
pub(super) struct Masks<E: Element> {
    pub(super) drawn: VecDeque<Drawn<E>>,
    pub(super) stream: MaskStream,
    /// More streams, whose masks are added as well; only in a word group, where nothing is ever drawn ahead.
    pub(super) more: Vec<MaskStream>,
}

/// Masks that are drawn already.
pub(super) struct Drawn<E: Element> {
    numbers: Zeroizing<Vec<E>>,
    used: usize,
}

/// What is masked, and how.
pub(super) struct Line<E: Element, W: Weight> {
    pub(super) recipe: Arc<Recipe<E, W>>,
    pub(super) masks: Masks<E>,
    /// A block of masks, and of numbers.
    block: Zeroizing<Vec<E>>,
    numbers: Zeroizing<Vec<E>>,
    /// A block of weights, where the model's are of another type.
    weights: Zeroizing<Vec<W>>,
}

impl<E: Element, W: Weight> Recipe<E, W> {
    pub(super) fn new(config: MaskConfig, scalar: &BigRational, model: Arc<Model>) -> Self {
        Recipe {
            group: Group::new(config),
            encoder: Encoder::new(config, scalar),
            model,
            level: Level::detected(),
        }
    }
}

impl<E: Element> Drawn<E> {
    pub(super) fn new(numbers: Zeroizing<Vec<E>>) -> Self {
        Drawn { numbers, used: 0 }
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.numbers.len() - self.used
    }

    /// The memory, for others to come.
    pub(super) fn recycle(mut self) -> Zeroizing<Vec<E>> {
        self.numbers.clear();
        self.numbers
    }
}

impl<E: Element> Masks<E> {
    /// How many are drawn already.
    pub(super) fn ready(&self) -> usize {
        self.drawn.iter().map(Drawn::len).sum()
    }

    /// The same streams, without what is drawn.
    pub(super) fn undrawn(&self) -> Self {
        Masks { drawn: VecDeque::new(), stream: self.stream.clone(), more: self.more.clone() }
    }

    /// Goes on with another candidate, in all streams.
    pub(super) fn seek(&mut self, group: &Group<E>, candidate: u64) {
        self.stream.seek(group, candidate);
        for stream in &mut self.more {
            stream.seek(group, candidate);
        }
    }

    /// Adds the next masks of all streams to numbers; `block` is room for as many.
    fn add(&mut self, level: Level, group: &Group<E>, numbers: &mut [E], block: &mut [E]) {
        if !(self.drawn.is_empty() && self.stream.add(group, numbers)) {
            self.fill(group, block);
            group.add_all(level, numbers, block);
        }
        for stream in &mut self.more {
            if !stream.add(group, numbers) {
                stream.fill(group, block);
                group.add_all(level, numbers, block);
            }
        }
    }

    fn fill(&mut self, group: &Group<E>, mut out: &mut [E]) {
        while let Some(drawn) = self.drawn.front_mut() {
            let len = drawn.len().min(out.len());
            let (now, later) = out.split_at_mut(len);
            now.copy_from_slice(&drawn.numbers[drawn.used..drawn.used + len]);
            drawn.used += len;
            out = later;
            if out.is_empty() {
                return;
            }
            self.drawn.pop_front();
        }
        self.stream.fill(group, out);
    }
}

/// How many numbers are made at a time: they and their masks fit the cache.
pub(super) fn block_len<E: Element>() -> usize {
    ((16 << 10) / E::BYTES).max(32)
}

impl<E: Element, W: Weight> Line<E, W> {
    pub(super) fn new(recipe: Arc<Recipe<E, W>>, masks: Masks<E>) -> Self {
        let block = || Zeroizing::new(vec![E::default(); block_len::<E>()]);
        let converted = if W::of(&recipe.model).is_some() { 0 } else { block_len::<E>() };
        let weights = Zeroizing::new(vec![W::default(); converted]);
        Line { recipe, masks, block: block(), numbers: block(), weights }
    }

    /// Appends the masked numbers of a range of weights to `out`, which has room for them.
    pub(super) fn mask(
        &mut self,
        range: Range<usize>,
        out: &mut BytesMut,
        clamped: &mut Clamped,
    ) -> Result<(), MaskError> {
        let Recipe { group, encoder, model, level } = &*self.recipe;
        let own = W::of(model);
        let mut next = range.start;
        while next < range.end {
            let start = next;
            // Shorter where the key stream is in the middle of a block, so that the next one begins with a block of it.
            let skipped = self.masks.stream.offset_in_block() / E::BYTES;
            let end = range.end.min(start + self.block.len() - skipped);
            next = end;
            let weights = match own {
                Some(weights) => &weights[start..end],
                None => {
                    let converted = &mut self.weights[..end - start];
                    W::cast(model, start, converted)?;
                    converted
                }
            };
            let block = &mut self.block[..weights.len()];
            let numbers = &mut self.numbers[..weights.len()];
            encoder
                .encode(*level, weights, numbers, clamped)
                .map_err(|index| MaskError::NotFinite { index: start + index })?;
            self.masks.add(*level, group, numbers, block);
            let end = out.len();
            out.resize(end + weights.len() * group.wire_bytes, 0);
            E::pack(*level, numbers, group.wire_bytes, &mut out[end..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::draw::MaskStream;
    use super::super::super::group::Elements;
    use super::super::super::{MaskConfig, MaskSeed};
    use super::*;

    #[test]
    fn masks_are_used_in_order_and_their_memory_again() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap();
        let group = Group::<u64>::new(config);
        let drawn = |range: Range<u64>| Drawn::new(Zeroizing::new(range.collect()));
        let stream = MaskStream::new(&MaskSeed::new([1; 32]), Elements::zeros(config, 1));
        let mut masks = Masks {
            drawn: [drawn(0..3), drawn(3..3), drawn(3..10)].into(),
            stream,
            more: Vec::new(),
        };
        assert_eq!(masks.ready(), 10);
        let mut out = [0; 5];
        masks.fill(&group, &mut out);
        assert_eq!((out, masks.ready()), ([0, 1, 2, 3, 4], 5));
        let left = masks.drawn.pop_back().unwrap();
        assert_eq!(left.len(), 5);
        let capacity = left.numbers.capacity();
        let memory = left.recycle();
        assert_eq!((memory.len(), memory.capacity()), (0, capacity));
    }
}
