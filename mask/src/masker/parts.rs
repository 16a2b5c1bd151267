//! Masking one model on any number of threads.
//!
//! How many masks a stretch of the key stream gives shows only once it is drawn. So there are turns: in each one,
//! every part draws the masks of its stretch, and masks the weights for which one of the stretches of the turn before
//! has given masks. What a turn holds is bounded, whatever the model's length. In a word group each candidate is
//! a mask, so that each part draws where its weights are.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::super::element::Element;
use super::super::encode::{Clamped, Weight};
use super::blocks::{Drawn, Line, Masks, Recipe};
use super::{MaskError, Streams};

/// Memory for the masks of one part and turn.
const PART_BYTES: usize = 2 << 20;
/// Memory for the masks of all parts of one turn.
const TURN_BYTES: usize = 64 << 20;
/// Key stream below which no thread is worth the trouble.
const MIN_STREAM: f64 = (256 << 10) as f64;
/// Key stream and masks of a step: some hundred microseconds' work.
const STREAM_PER_STEP: usize = 1 << 20;
const MASKS_PER_STEP: usize = 256 << 10;

/// A piece of masking a model, for any thread; carries its result back.
pub struct MaskPart(pub(super) Box<dyn Part>);

impl fmt::Debug for MaskPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskPart")
    }
}

impl MaskPart {
    /// Does the next bounded piece; true once nothing is left.
    pub fn step(&mut self) -> bool {
        self.0.step()
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        self.0.progress()
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// A [`MaskPart`] with the types erased.
pub(super) trait Part: Send {
    fn step(&mut self) -> bool;

    fn progress(&self) -> (usize, usize);

    fn bytes(&self) -> usize;

    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// What a part has masked.
pub(super) struct Masked {
    pub(super) out: BytesMut,
    pub(super) clamped: Clamped,
    pub(super) result: Result<(), MaskError>,
}

struct TypedPart<E: Element, W: Weight> {
    line: Line<E, W>,
    /// The weights to mask, and how many there were.
    range: Range<usize>,
    count: usize,
    masked: Masked,
    /// The candidates to draw from, for the next turn.
    candidates: Range<u64>,
    drawn: Option<Zeroizing<Vec<E>>>,
}

impl<E: Element, W: Weight> TypedPart<E, W> {
    fn draw(&mut self) {
        let group = &self.line.recipe.group;
        let drawn = self.drawn.get_or_insert_with(|| {
            // With room for more than will ever be drawn: growing would leave masks behind.
            let expected =
                (self.candidates.end - self.candidates.start) as f64 * group.acceptance();
            let room = (expected + 9.0 * expected.sqrt()) as usize + 16;
            match self.line.masks.drawn.pop_front().map(Drawn::recycle) {
                Some(memory) if memory.capacity() >= room => memory,
                _ => Zeroizing::new(Vec::with_capacity(room)),
            }
        });
        let step = (STREAM_PER_STEP / group.draw_stride) as u64;
        let end = self.candidates.end.min(self.candidates.start + step);
        let memory = drawn.as_ptr();
        self.line.masks.stream.stretch(group, self.candidates.start..end, drawn);
        debug_assert!(drawn.as_ptr() == memory, "masks were left behind where memory has grown");
        self.candidates.start = end;
    }
}

impl<E: Element, W: Weight> Part for TypedPart<E, W> {
    fn step(&mut self) -> bool {
        if self.range.start < self.range.end {
            let end = self.range.end.min(self.range.start + MASKS_PER_STEP / E::BYTES);
            let Masked { out, clamped, result } = &mut self.masked;
            *result = self.line.mask(self.range.start..end, out, clamped);
            self.range.start = end;
        } else if self.candidates.start < self.candidates.end {
            self.draw();
        }
        // After an error nothing else matters.
        self.masked.result.is_err() || (self.range.is_empty() && self.candidates.is_empty())
    }

    fn progress(&self) -> (usize, usize) {
        (self.count - self.range.len(), self.count)
    }

    fn bytes(&self) -> usize {
        let drawn = self.drawn.as_ref().map_or(0, |drawn| drawn.capacity() * E::BYTES);
        drawn + self.masked.out.capacity()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What can be shared out next, and taking it back.
pub(super) trait Split {
    /// Up to `parts` pieces of work on the weights `left`. `tail` has room for their bytes; each piece takes its own.
    fn split(&mut self, parts: usize, left: Range<usize>, tail: &mut BytesMut) -> Vec<MaskPart>;

    /// Takes back what a part has drawn, and gives what it has masked; in the order of the parts.
    fn absorb(&mut self, part: MaskPart) -> Option<Masked>;
}

impl<E: Element, W: Weight> Line<E, W> {
    fn part(
        &self,
        range: Range<usize>,
        masks: Masks<E>,
        candidates: Range<u64>,
        tail: &mut BytesMut,
    ) -> MaskPart {
        let room = range.len() * self.recipe.group.wire_bytes;
        let rest = tail.split_off(room.min(tail.capacity()));
        let out = std::mem::replace(tail, rest);
        MaskPart(Box::new(TypedPart {
            line: Line::new(self.recipe.clone(), masks),
            count: range.len(),
            range,
            masked: Masked { out, clamped: Clamped::default(), result: Ok(()) },
            candidates,
            drawn: None,
        }))
    }

    /// A part for each share of the weights, when each candidate is a mask.
    fn split_words(
        &mut self,
        parts: usize,
        left: Range<usize>,
        tail: &mut BytesMut,
    ) -> Vec<MaskPart> {
        let group = self.recipe.group;
        let turn = left.len().min(parts * per_part::<E>(parts));
        let share = turn.div_ceil(parts).max(1);
        // All streams are at the same number: none ever leaves a candidate out.
        let first = self.masks.stream.place(&group);
        let part = |start: usize| {
            let place = first + (start - left.start) as u64;
            let mut masks = self.masks.undrawn();
            masks.seek(&group, place);
            self.part(start..(left.start + turn).min(start + share), masks, 0..0, tail)
        };
        let parts = (left.start..left.start + turn).step_by(share).map(part).collect();
        self.masks.seek(&group, first + turn as u64);
        parts
    }

    /// The candidates that each part is to draw from, for up to `missing` masks.
    fn share_candidates(&mut self, parts: usize, missing: usize) -> Vec<Range<u64>> {
        let group = self.recipe.group;
        let wanted = missing.min(parts * per_part::<E>(parts)) as f64;
        // That many nearly always do; if not, the next turn draws some more.
        let candidates = ((wanted + 5.0 * wanted.sqrt() + 5.0) / group.acceptance()) as u64;
        let first = self.masks.stream.place(&group);
        self.masks.stream.seek(&group, first + candidates);
        let share = candidates.div_ceil(parts as u64).max(1);
        let end = first + candidates;
        (0..parts as u64)
            .map(|i| (first + i * share).min(end)..(first + (i + 1) * share).min(end))
            .collect()
    }

    fn is_worth_it(&self, masks: usize) -> bool {
        let group = &self.recipe.group;
        masks as f64 / group.acceptance() * group.draw_stride as f64 >= MIN_STREAM
    }
}

fn per_part<E: Element>(parts: usize) -> usize {
    (PART_BYTES.min(TURN_BYTES / parts) / E::BYTES).max(1)
}

impl<E: Element, W: Weight> Split for Line<E, W> {
    fn split(&mut self, parts: usize, left: Range<usize>, tail: &mut BytesMut) -> Vec<MaskPart> {
        if parts < 2 {
            return Vec::new();
        }
        let missing = left.len().saturating_sub(self.masks.ready());
        let mut candidates = Vec::new();
        if self.is_worth_it(missing) {
            if self.masks.drawn.is_empty() && self.recipe.group.acceptance() >= 1.0 {
                return self.split_words(parts, left, tail);
            }
            candidates = self.share_candidates(parts, missing);
        }
        let count = parts.min(candidates.len().max(self.masks.drawn.len()));
        let mut start = left.start;
        let mut works = Vec::with_capacity(count);
        for i in 0..count {
            let drawn = self.masks.drawn.pop_front();
            let end = left.end.min(start + drawn.as_ref().map_or(0, Drawn::len));
            let masks = Masks { drawn: drawn.into_iter().collect(), ..self.masks.undrawn() };
            let candidates = candidates.get(i).cloned().unwrap_or_default();
            works.push(self.part(start..end, masks, candidates, tail));
            start = end;
        }
        works
    }

    fn absorb(&mut self, part: MaskPart) -> Option<Masked> {
        // Of another masker: cannot be, and there is nothing to take from it.
        let part = part.0.into_any().downcast::<TypedPart<E, W>>().ok()?;
        self.masks.drawn.extend(part.drawn.map(Drawn::new));
        Some(part.masked)
    }
}

impl<E: Element, W: Weight> Line<E, W> {
    pub(super) fn begin(recipe: Recipe<E, W>, streams: Streams) -> Self {
        let Streams { first: stream, more } = streams;
        Line::new(Arc::new(recipe), Masks { drawn: Default::default(), stream, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_turn_is_bounded() {
        assert_eq!(per_part::<u64>(2), PART_BYTES / 8);
        assert_eq!(per_part::<u32>(32), PART_BYTES / 4);
        assert_eq!(per_part::<u64>(64), PART_BYTES / 2 / 8);
        assert_eq!(per_part::<u64>(usize::MAX), 1);
    }
}
