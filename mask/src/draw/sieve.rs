//! Making key stream and keeping the candidates that are below the order.
//!
//! Most are not, mostly (13 of 14 in the default config), and that nearly always shows in their last word: so
//! those words are compared first, in vectors, and only what passes is looked at as a number.

use zeroize::Zeroize;

use super::super::element::Element;
use super::super::group::Group;
use super::super::keystream::{blocks, BLOCK, GROUP};
use super::lanes;
use super::tops::{PortableTops, Tops};
use super::{Drawn, Source};
use crate::simd::{Kernel, Level};

/// Key stream made at a time: fits the L1 cache with what is drawn from it.
const BATCH: usize = 4 * GROUP * BLOCK;

/// Room for what is left of one batch when the next is made, which is less than the longest draw: 268
/// bytes.
const HEAD: usize = 5 * BLOCK;

/// Room behind, where vectors of last words may reach.
const TAIL: usize = 4 * BLOCK;

/// Key stream, wiped on drop.
#[repr(align(64))]
struct Buffer([u8; HEAD + BATCH + TAIL]);

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Draws until `out`, which is not empty, is full or the source has no more candidates. None is used up
/// behind the one that fills `out`: the next draw there may have another order.
pub(super) fn draw<E: Element>(source: &Source<'_>, group: &Group<E>, out: &mut [E]) -> Drawn {
    if let Some(drawn) = lanes::draw(source, group, out) {
        return drawn;
    }
    let mut buffer = Buffer([0; HEAD + BATCH + TAIL]);
    let mut drawn = Drawn::default();
    let mut block = source.word / 16;
    // Unread bytes are `buffer[start..HEAD]`, and then what is made next from `HEAD` on.
    let mut start = HEAD + source.word as usize % 16 * 4;
    while drawn.numbers < out.len() && drawn.candidates < source.candidates {
        let left = source.candidates - drawn.candidates;
        let end = HEAD + batch_len(group, out.len() - drawn.numbers, left);
        blocks(source.level, source.key, block, &mut buffer.0[HEAD..end]);
        block = block.wrapping_add(((end - HEAD) / BLOCK) as u64);
        let candidates = ((end - start) / group.draw_stride) as u64;
        let candidates = candidates.min(left) as usize;
        let bytes = &buffer.0[start..];
        let sifted = sift(source.level, bytes, candidates, group, &mut out[drawn.numbers..]);
        drawn.numbers += sifted.numbers;
        drawn.candidates += sifted.candidates;
        // If not all of them are used up, `out` is full, and this was the last turn.
        let read = start + candidates * group.draw_stride;
        start = HEAD - (end - read).min(HEAD);
        buffer.0.copy_within(read..end, start);
    }
    drawn
}

/// How much key stream to make: for the numbers that are missing, if that is less than a batch.
fn batch_len<E: Element>(group: &Group<E>, numbers: usize, candidates: u64) -> usize {
    let numbers = (numbers as f64 / group.acceptance()).min(candidates as f64);
    let needed = numbers * group.draw_stride as f64;
    (needed as usize + 1).next_multiple_of(GROUP * BLOCK).min(BATCH)
}

/// Moves candidates that are below the order to `out`, which is not empty, until it is full or there are no
/// more. Behind the candidates there may be other bytes.
pub(super) fn sift<E: Element>(
    level: Level,
    bytes: &[u8],
    candidates: usize,
    group: &Group<E>,
    out: &mut [E],
) -> Drawn {
    if group.accepts_all() {
        return level.run(TakeAll { bytes, candidates, group, out });
    }
    match level {
        #[cfg(avx)]
        Level::Avx512(tops) => level.run(Sift { tops, bytes, candidates, group, out }),
        #[cfg(avx)]
        Level::Avx2(tops) => level.run(Sift { tops, bytes, candidates, group, out }),
        #[cfg(neon)]
        Level::Neon(tops) => level.run(Sift { tops, bytes, candidates, group, out }),
        Level::Portable => level.run(Sift { tops: PortableTops, bytes, candidates, group, out }),
    }
}

/// See [`sift`].
struct Sift<'a, E, T> {
    tops: T,
    bytes: &'a [u8],
    candidates: usize,
    group: &'a Group<E>,
    out: &'a mut [E],
}

impl<E: Element, T: Tops> Kernel for Sift<'_, E, T> {
    type Output = Drawn;

    #[inline(always)]
    fn run(self) -> Drawn {
        let Sift { tops, bytes, candidates, group, out } = self;
        let stride = group.draw_stride;
        // A draw may be longer than an element, by the one byte of an order of 2^128; but that is in its
        // last word.
        let len = group.draw_bytes.min(E::BYTES);
        // As many as have their last words in 64 words, one bit for each word.
        let at_a_time = 63 / (stride / 4) + 1;
        let mut next = 0;
        let mut first = 0;
        while first < candidates {
            let count = at_a_time.min(candidates - first);
            let start = first * stride;
            let mut passed = tops.pass(bytes, start + stride - 4, count, group);
            while passed != 0 {
                let at = start + 4 * passed.trailing_zeros() as usize;
                passed &= passed - 1;
                // What passes is written, and kept by moving on: here no branch depends on secret data. How
                // many are rejected shows in the time it takes, and tells nothing about those that are kept.
                let number = E::load(bytes, at, len, group.draw_mask);
                out[next] = number;
                next += usize::from(number.at_most(group.max));
                if next == out.len() {
                    return Drawn { numbers: next, candidates: (at / stride) as u64 + 1 };
                }
            }
            first += count;
        }
        Drawn { numbers: next, candidates: candidates as u64 }
    }
}

/// [`sift`] where nothing is rejected.
struct TakeAll<'a, E> {
    bytes: &'a [u8],
    candidates: usize,
    group: &'a Group<E>,
    out: &'a mut [E],
}

impl<E: Element> Kernel for TakeAll<'_, E> {
    type Output = Drawn;

    #[inline(always)]
    fn run(self) -> Drawn {
        let count = self.candidates.min(self.out.len());
        let stride = self.group.draw_stride;
        let draws = self.bytes[..count * stride].chunks_exact(stride);
        if stride == E::BYTES {
            // The same with a length that is known when it is compiled, and so in vectors.
            let draws = self.bytes[..count * E::BYTES].chunks_exact(E::BYTES);
            for (place, draw) in self.out.iter_mut().zip(draws) {
                *place = E::load(draw, 0, E::BYTES, self.group.draw_mask);
            }
        } else {
            for (place, draw) in self.out.iter_mut().zip(draws) {
                *place = E::load(draw, 0, self.group.draw_bytes, self.group.draw_mask);
            }
        }
        Drawn { numbers: count, candidates: count as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn buffer_is_wiped() {
        let mut buffer = std::mem::ManuallyDrop::new(Buffer([7; HEAD + BATCH + TAIL]));
        // SAFETY: it is dropped once, and holds plain integers, which are there after that.
        unsafe { std::mem::ManuallyDrop::drop(&mut buffer) };
        assert!(buffer.0.iter().all(|&word| word == 0));
    }
}
