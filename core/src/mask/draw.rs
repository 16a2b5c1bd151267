//! Drawing group elements from the key stream, by rejection (spec section 5).

use num_bigint::BigUint;

use super::config::{MaskConfig, MaskConfigPair};
use super::element::Element;
use super::group::{low_bytes, with_element_type, Group};
use super::keystream::KeyStream;
use super::seed::MaskSeed;

/// The masks of one seed: the unit's number, and then the vector's numbers in order.
pub(crate) struct MaskStream {
    stream: KeyStream,
    unit: BigUint,
}

impl MaskStream {
    pub(crate) fn new(seed: &MaskSeed, config: MaskConfigPair) -> Self {
        let mut stream = KeyStream::new(seed);
        let unit = draw_one(&mut stream, config.unit);
        MaskStream { stream, unit }
    }

    /// The unit's mask.
    pub(crate) fn unit(&self) -> &BigUint {
        &self.unit
    }

    /// Draws the next numbers of the vector.
    pub(crate) fn fill<E: Element>(&mut self, group: &Group<E>, out: &mut [E]) {
        fill(&mut self.stream, group, out);
    }
}

fn draw_one(stream: &mut KeyStream, config: MaskConfig) -> BigUint {
    with_element_type!(config, E => {
        let mut number = [E::default()];
        fill(stream, &Group::<E>::new(config), &mut number);
        number[0].to_biguint()
    })
}

/// Draws as many numbers below the order as `out` has room for.
fn fill<E: Element>(stream: &mut KeyStream, group: &Group<E>, out: &mut [E]) {
    let stride = group.draw_stride;
    // A draw may be longer than an element, by the one byte of an order of 2^128.
    let len = group.draw_bytes.min(E::BYTES);
    let excess = group.draw_bytes - len;
    let mask = low_bytes::<E>(len);
    let mut filled = 0;
    while filled < out.len() {
        let bytes = stream.peek(stride);
        // Each candidate fills at most one place, so this many need no check for the end. Every
        // candidate is written, and kept by moving on: no branch depends on secret or random data.
        let candidates = (bytes.len() / stride).min(out.len() - filled);
        for i in 0..candidates {
            let at = i * stride;
            let number = E::load(bytes, at, len, mask);
            let mut accepted = number <= group.max;
            if excess != 0 {
                accepted &= bytes[at + len..at + len + excess]
                    .iter()
                    .all(|&byte| byte == 0);
            }
            out[filled] = number;
            filled += usize::from(accepted);
        }
        stream.consume(candidates * stride);
    }
}
