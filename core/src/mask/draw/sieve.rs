//! Making key stream and keeping the candidates that are below the order.

use zeroize::Zeroize;

use super::super::element::Element;
use super::super::group::Group;
use super::super::keystream::{blocks, BLOCK, GROUP};
use super::{Drawn, Source};
use crate::simd::{Kernel, Level};

/// Key stream made at a time: fits the L1 cache with what is drawn from it.
const BATCH: usize = 4 * GROUP * BLOCK;

/// Room for what is left of one batch when the next is made, which is less than the longest draw: 268
/// bytes.
const HEAD: usize = 5 * BLOCK;

/// Key stream, wiped on drop.
#[repr(align(64))]
struct Buffer([u8; HEAD + BATCH]);

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Draws until `out` is full or the source has no more candidates.
pub(super) fn draw<E: Element>(source: Source<'_>, group: &Group<E>, out: &mut [E]) -> Drawn {
    let mut buffer = Buffer([0; HEAD + BATCH]);
    let mut drawn = Drawn::default();
    let mut block = source.word / 16;
    // Unread bytes are `buffer[start..HEAD]`, and then what is made next from `HEAD` on.
    let mut start = HEAD + source.word as usize % 16 * 4;
    while drawn.numbers < out.len() && drawn.candidates < source.candidates {
        let left = source.candidates - drawn.candidates;
        let len = batch_len(group, out.len() - drawn.numbers, left);
        blocks(source.level, source.key, block, &mut buffer.0[HEAD..HEAD + len]);
        block = block.wrapping_add((len / BLOCK) as u64);
        let bytes = &buffer.0[start..HEAD + len];
        let candidates =
            (bytes.len() / group.draw_stride).min(usize::try_from(left).unwrap_or(usize::MAX));
        let sifted = sift(source.level, bytes, candidates, group, &mut out[drawn.numbers..]);
        drawn.numbers += sifted.numbers;
        drawn.candidates += sifted.candidates;
        let read = start + candidates * group.draw_stride;
        start = HEAD - (HEAD + len - read).min(HEAD);
        buffer.0.copy_within(read..HEAD + len, start);
    }
    drawn
}

/// How much key stream to make: for the numbers that are missing, if that is less than a batch.
fn batch_len<E: Element>(group: &Group<E>, numbers: usize, candidates: u64) -> usize {
    let needed =
        (numbers as f64 / group.acceptance()).min(candidates as f64) * group.draw_stride as f64;
    (needed as usize + 1).next_multiple_of(GROUP * BLOCK).min(BATCH)
}

/// Moves candidates that are below the order to `out`, until it is full or there are no more.
pub(super) fn sift<E: Element>(
    level: Level,
    bytes: &[u8],
    candidates: usize,
    group: &Group<E>,
    out: &mut [E],
) -> Drawn {
    level.run(Sift { bytes, candidates, group, out })
}

struct Sift<'a, E> {
    bytes: &'a [u8],
    candidates: usize,
    group: &'a Group<E>,
    out: &'a mut [E],
}

impl<E: Element> Kernel for Sift<'_, E> {
    type Output = Drawn;

    #[inline(always)]
    fn run(self) -> Drawn {
        let Sift { bytes, candidates, group, out } = self;
        let stride = group.draw_stride;
        // A draw may be longer than an element, by the one byte of an order of 2^128.
        let len = group.draw_bytes.min(E::BYTES);
        let excess = group.draw_bytes - len;
        let mut next = 0;
        for i in 0..candidates {
            let at = i * stride;
            let number = E::load(bytes, at, len, group.draw_mask);
            let mut accepted = number.at_most(group.max);
            if excess != 0 {
                let above = &bytes[at + len..at + len + excess];
                accepted &= above.iter().fold(0, |all, byte| all | byte) == 0;
            }
            // Every candidate is written, and kept by moving on: here no branch depends on secret data.
            // How many are rejected shows in the time it takes, and tells nothing about those that are
            // kept.
            let Some(place) = out.get_mut(next) else {
                return Drawn { numbers: next, candidates: i as u64 };
            };
            *place = number;
            next += usize::from(accepted);
        }
        Drawn { numbers: next, candidates: candidates as u64 }
    }
}
