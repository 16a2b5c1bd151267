//! The groups of the 240 mask configs, and vectors of their elements.

use num_bigint::BigUint;

use super::config::MaskConfig;
use super::element::{Element, Wide};

/// What arithmetic, drawing and (de)serializing need to know about a mask config's group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<E> {
    /// The order modulo 2^BITS of the element: 0 for an order of exactly 2^128.
    pub order: E,
    /// The largest element, order - 1.
    pub max: E,
    /// Bytes of a number on the wire.
    pub wire_bytes: usize,
    /// Has the lowest `8 * wire_bytes` bits set.
    pub wire_mask: E,
    /// Bytes of one draw.
    pub draw_bytes: usize,
    /// Has the bits of those bytes of a draw set that fit an element.
    pub draw_mask: E,
    /// Bytes of key stream that one draw uses up: whole 32-bit words.
    pub draw_stride: usize,
}

impl<E: Element> Group<E> {
    pub(crate) fn new(config: MaskConfig) -> Self {
        let order = config.order();
        let (wire_bytes, draw_bytes) = (config.bytes_per_number(), config.bytes_per_draw());
        Group {
            max: E::from_biguint(&(&order - 1u32)),
            order: E::from_biguint(&order),
            wire_bytes,
            wire_mask: low_bytes(wire_bytes),
            draw_bytes,
            draw_mask: low_bytes(draw_bytes.min(E::BYTES)),
            draw_stride: draw_bytes.next_multiple_of(4),
        }
    }

    #[inline(always)]
    pub(crate) fn add(&self, a: E, b: E) -> E {
        a.add_mod(b, self.order, self.max)
    }

    #[inline(always)]
    pub(crate) fn sub(&self, a: E, b: E) -> E {
        a.sub_mod(b, self.order)
    }

    /// Number `index` of a wire vector; not necessarily below the order.
    #[inline(always)]
    pub(crate) fn load(&self, vector: &[u8], index: usize) -> E {
        E::load(vector, index * self.wire_bytes, self.wire_bytes, self.wire_mask)
    }

    /// Appends numbers to a wire vector.
    pub(crate) fn write(&self, numbers: &[E], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + numbers.len() * self.wire_bytes, 0);
        for (i, number) in numbers.iter().enumerate() {
            number.store(out, start + i * self.wire_bytes, self.wire_bytes);
        }
    }
}

fn low_bytes<E: Element>(len: usize) -> E {
    E::from_biguint(&((BigUint::from(1u32) << (8 * len)) - 1u32))
}

/// A vector of group elements, in the narrowest kind of integer that holds them.
///
/// No Debug: it may be a secret mask.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Elements {
    W1(Vec<u64>),
    W2(Vec<u128>),
    W3(Vec<Wide<3>>),
    W5(Vec<Wide<5>>),
    W34(Vec<Wide<34>>),
}

/// Runs an expression with the vector of elements, whatever its type.
macro_rules! with_elements {
    ($elements:expr, $vector:ident => $body:expr) => {
        match $elements {
            $crate::mask::group::Elements::W1($vector) => $body,
            $crate::mask::group::Elements::W2($vector) => $body,
            $crate::mask::group::Elements::W3($vector) => $body,
            $crate::mask::group::Elements::W5($vector) => $body,
            $crate::mask::group::Elements::W34($vector) => $body,
        }
    };
}

/// Runs an expression with two vectors of elements of the same config; `$otherwise` for a mix.
macro_rules! with_both_elements {
    ($a:expr, $b:expr, ($x:ident, $y:ident) => $body:expr, $otherwise:expr) => {{
        use $crate::mask::group::Elements;
        match ($a, $b) {
            (Elements::W1($x), Elements::W1($y)) => $body,
            (Elements::W2($x), Elements::W2($y)) => $body,
            (Elements::W3($x), Elements::W3($y)) => $body,
            (Elements::W5($x), Elements::W5($y)) => $body,
            (Elements::W34($x), Elements::W34($y)) => $body,
            _ => $otherwise,
        }
    }};
}

/// Runs an expression with `$type` being the element type of a config.
macro_rules! with_element_type {
    ($config:expr, $type:ident => $body:expr) => {
        match $config.number_bits() {
            0..=63 => {
                type $type = u64;
                $body
            }
            64..=128 => {
                type $type = u128;
                $body
            }
            129..=191 => {
                type $type = $crate::mask::element::Wide<3>;
                $body
            }
            192..=319 => {
                type $type = $crate::mask::element::Wide<5>;
                $body
            }
            _ => {
                type $type = $crate::mask::element::Wide<34>;
                $body
            }
        }
    };
}

pub(crate) use {with_both_elements, with_element_type, with_elements};

macro_rules! from_vec {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<Vec<$type>> for Elements {
            fn from(vector: Vec<$type>) -> Self {
                Elements::$variant(vector)
            }
        })*
    };
}

from_vec!(u64 => W1, u128 => W2, Wide<3> => W3, Wide<5> => W5, Wide<34> => W34);

impl Elements {
    /// The neutral element `len` times. For one and two words the operating system hands out zeroed pages
    /// as they are first used, so that this takes no time.
    pub(crate) fn zeros(config: MaskConfig, len: usize) -> Self {
        with_element_type!(config, E => vec![E::default(); len].into())
    }

    pub(crate) fn len(&self) -> usize {
        with_elements!(self, v => v.len())
    }
}
