//! Drawing group elements from the key stream, by rejection (spec section 5).

use super::element::Element;
use super::group::{with_elements, Elements, Group};
use super::keystream::KeyStream;
use super::seed::MaskSeed;

/// The masks of one seed: the unit's number, and then the vector's numbers in order.
pub(crate) struct MaskStream {
    stream: KeyStream,
    unit: Elements,
}

impl MaskStream {
    /// `unit` is a single number of the unit's group, for instance 0, and is replaced.
    pub(crate) fn new(seed: &MaskSeed, mut unit: Elements) -> Self {
        let mut stream = KeyStream::new(seed);
        with_elements!(&mut unit, unit => fill(&mut stream, &unit.group, &mut unit.vector));
        MaskStream { stream, unit }
    }

    /// The unit's mask.
    pub(crate) fn unit(&self) -> &Elements {
        &self.unit
    }

    /// Draws the next numbers of the vector.
    pub(crate) fn fill<E: Element>(&mut self, group: &Group<E>, out: &mut [E]) {
        fill(&mut self.stream, group, out);
    }
}

/// Draws as many numbers below the order as `out` has room for.
fn fill<E: Element>(stream: &mut KeyStream, group: &Group<E>, out: &mut [E]) {
    let mut filled = 0;
    while filled < out.len() {
        let bytes = stream.peek(group.draw_stride);
        let used = sift(bytes, group, out, &mut filled);
        stream.consume(used);
    }
}

/// Moves candidates that are below the order from a piece of key stream to `out[filled..]`, until one of
/// them has no more; returns how many bytes are used up.
fn sift<E: Element>(bytes: &[u8], group: &Group<E>, out: &mut [E], filled: &mut usize) -> usize {
    let stride = group.draw_stride;
    // A draw may be longer than an element, by the one byte of an order of 2^128.
    let len = group.draw_bytes.min(E::BYTES);
    let excess = group.draw_bytes - len;
    // Each candidate fills at most one place, so this many need no check for the end. Every candidate
    // is written, and kept by moving on: here no branch depends on secret data. How many are rejected
    // shows in the time it takes, and tells nothing about those that are kept.
    let candidates = (bytes.len() / stride).min(out.len() - *filled);
    let mut next = *filled;
    for i in 0..candidates {
        let at = i * stride;
        let number = E::load(bytes, at, len, group.draw_mask);
        let mut accepted = number.at_most(group.max);
        if excess != 0 {
            let above = &bytes[at + len..at + len + excess];
            accepted &= above.iter().fold(0, |all, byte| all | byte) == 0;
        }
        out[next] = number;
        next += usize::from(accepted);
    }
    *filled = next;
    candidates * stride
}

#[cfg(test)]
mod tests {
    use super::super::config::{MaskConfig, MaskConfigPair};
    use super::super::group::with_element_type;
    use super::*;
    use chacha20::cipher::{KeyIvInit, StreamCipher};
    use num_bigint::BigUint;

    /// The rule of the specification word for word.
    fn naive(seed: &MaskSeed, config: MaskConfigPair, length: usize) -> Vec<BigUint> {
        let mut cipher = chacha20::ChaCha20Legacy::new(seed.as_bytes().into(), &[0; 8].into());
        let mut draw = |config: MaskConfig| {
            let order = config.order();
            // In a word group, whose order no word can be: the bytes of the largest number.
            let top = if config.group_type().is_word() { &order - 1u32 } else { order.clone() };
            let len = top.to_bytes_le().len();
            loop {
                let mut bytes = vec![0; len.div_ceil(4) * 4];
                cipher.apply_keystream(&mut bytes);
                let number = BigUint::from_bytes_le(&bytes[..len]);
                if number < order {
                    return number;
                }
            }
        };
        let unit = draw(config.unit);
        std::iter::once(unit).chain((0..length).map(|_| draw(config.vect))).collect()
    }

    fn drawn(seed: &MaskSeed, config: MaskConfigPair, pieces: &[usize]) -> Vec<BigUint> {
        let mut stream = MaskStream::new(seed, Elements::zeros(config.unit, 1));
        let mut numbers = vec![stream.unit().first()];
        with_element_type!(config.vect, E => {
            let group = Group::<E>::new(config.vect);
            for &len in pieces {
                let mut piece = vec![E::default(); len];
                stream.fill(&group, &mut piece);
                numbers.extend(piece.iter().map(|number| number.to_biguint()));
            }
        });
        numbers
    }

    #[test]
    fn all_configs_draw_as_specified() {
        for (i, config) in MaskConfig::all().enumerate() {
            let seed = MaskSeed::new([i as u8; 32]);
            let expected = naive(&seed, config.into(), 60);
            assert_eq!(drawn(&seed, config.into(), &[60]), expected, "{config}");
            assert_eq!(drawn(&seed, config.into(), &[0, 1, 20, 39]), expected, "{config}");
        }
    }

    #[test]
    fn unit_and_vector_may_have_different_configs() {
        let all: Vec<_> = MaskConfig::all().collect();
        for (i, &vect) in all.iter().enumerate() {
            let config = MaskConfigPair { vect, unit: all[(i * 7 + 100) % all.len()] };
            let seed = MaskSeed::new([i as u8; 32]);
            assert_eq!(drawn(&seed, config, &[10]), naive(&seed, config, 10), "{config}");
        }
    }

    /// What no random stream would show.
    #[test]
    fn only_the_order_and_above_are_rejected() {
        // In a word group nothing is.
        for config in MaskConfig::all().filter(|config| !config.group_type().is_word()) {
            let order = config.order();
            let top = BigUint::from(256u32).pow(config.bytes_per_draw() as u32) - 1u32;
            let accepted = [BigUint::default(), &order - 1u32, 1u32.into()];
            let rejected = [&order + 1u32, order.clone(), top];
            with_element_type!(config, E => {
                let group = Group::<E>::new(config);
                // The rest of the last word is thrown away, whatever it is.
                let mut stream = vec![0xff; 6 * group.draw_stride];
                let candidates = accepted.iter().zip(&rejected).flat_map(|(a, r)| [a, r]);
                for (piece, number) in stream.chunks_exact_mut(group.draw_stride).zip(candidates) {
                    let bytes = number.to_bytes_le();
                    piece[..group.draw_bytes].fill(0);
                    piece[..bytes.len()].copy_from_slice(&bytes);
                }
                let mut out = [E::default(); 4];
                let mut filled = 0;
                assert_eq!(sift(&stream, &group, &mut out, &mut filled), 4 * group.draw_stride);
                assert_eq!(sift(&stream[4 * group.draw_stride..], &group, &mut out, &mut filled), 2 * group.draw_stride);
                let numbers: Vec<_> = out[..filled].iter().map(|number| number.to_biguint()).collect();
                assert_eq!(numbers, accepted, "{config}");
            });
        }
    }
}
