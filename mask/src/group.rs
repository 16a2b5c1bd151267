//! The groups of the mask configs, and vectors of their elements.

use std::ops::Range;

use num_bigint::BigUint;
use zeroize::Zeroize;

use super::config::MaskConfig;
use super::element::{Element, Wide};
use crate::simd::{Kernel, Level};

/// What arithmetic, drawing and (de)serializing need to know about a mask config's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group<E> {
    /// The order modulo 2^BITS of the element: 0 for an order of exactly 2^BITS (word groups, and 2^128).
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
    /// Has those bits of a draw's last word set that belong to its bytes.
    pub draw_top_mask: u32,
    /// What the last word of the largest element would be in a draw: a draw with more in it is rejected.
    pub draw_top: u32,
    /// How many of 2^32 draws are below the order: above 0; all of them only if nothing is ever rejected.
    pub draws_accepted: u64,
}

impl<E: Element> Group<E> {
    pub(crate) fn new(config: MaskConfig) -> Self {
        let order = config.order();
        let max = &order - 1u32;
        let (wire_bytes, draw_bytes) = (config.bytes_per_number(), config.bytes_per_draw());
        let last_word = draw_bytes.div_ceil(4) - 1;
        Group {
            max: E::from_biguint(&max),
            order: E::from_biguint(&order),
            wire_bytes,
            wire_mask: low_bytes(wire_bytes),
            draw_bytes,
            draw_mask: low_bytes(draw_bytes.min(E::BYTES)),
            draw_stride: draw_bytes.next_multiple_of(4),
            draw_top_mask: u32::MAX >> (8 * (4 * (last_word + 1) - draw_bytes)),
            draw_top: max.to_u32_digits().get(last_word).copied().unwrap_or(0),
            draws_accepted: {
                let accepted: BigUint = (&order << 32u32) >> (8 * draw_bytes);
                accepted.to_u64_digits().first().copied().unwrap_or(0).max(1)
            },
        }
    }

    /// The share of candidates that are below the order (rounded): above 0, at most 1.
    pub(crate) fn acceptance(&self) -> f64 {
        self.draws_accepted as f64 / (1u64 << 32) as f64
    }

    /// Is every draw below the order?
    pub(crate) fn accepts_all(&self) -> bool {
        self.draws_accepted >> 32 != 0
    }

    /// Is every word of the key stream a number, and every sum modulo the word's length right? Then masks need not be drawn: the
    /// key stream is one.
    pub(crate) fn is_word(&self) -> bool {
        self.accepts_all() && self.draw_bytes == E::BYTES && self.order == E::default()
    }

    #[inline(always)]
    pub(crate) fn add(&self, a: E, b: E) -> E {
        a.add_mod(b, self.order)
    }

    #[inline(always)]
    pub(crate) fn sub(&self, a: E, b: E) -> E {
        a.sub_mod(b, self.order)
    }

    /// Adds numbers to sums one by one.
    pub(crate) fn add_all(&self, level: Level, sums: &mut [E], numbers: &[E]) {
        level.run(AddAll { group: self, sums, numbers });
    }

    /// Takes numbers from sums one by one.
    pub(crate) fn sub_all(&self, level: Level, sums: &mut [E], numbers: &[E]) {
        level.run(SubAll { group: self, sums, numbers });
    }

    /// Are all numbers below the order?
    pub(crate) fn all_below(&self, level: Level, numbers: &[E]) -> bool {
        level.run(AllBelow { group: self, numbers })
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
        E::pack(Level::detected(), numbers, self.wire_bytes, &mut out[start..]);
    }
}

/// See [`Group::add_all`].
struct AddAll<'a, E> {
    group: &'a Group<E>,
    sums: &'a mut [E],
    numbers: &'a [E],
}

impl<E: Element> Kernel for AddAll<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let order = self.group.order;
        for (sum, number) in self.sums.iter_mut().zip(self.numbers) {
            *sum = sum.add_mod(*number, order);
        }
    }
}

/// See [`Group::sub_all`].
struct SubAll<'a, E> {
    group: &'a Group<E>,
    sums: &'a mut [E],
    numbers: &'a [E],
}

impl<E: Element> Kernel for SubAll<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let order = self.group.order;
        for (sum, number) in self.sums.iter_mut().zip(self.numbers) {
            *sum = sum.sub_mod(*number, order);
        }
    }
}

/// See [`Group::all_below`].
struct AllBelow<'a, E> {
    group: &'a Group<E>,
    numbers: &'a [E],
}

impl<E: Element> Kernel for AllBelow<'_, E> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let max = self.group.max;
        // Counting has no early exit and so vectorizes.
        self.numbers.iter().filter(|number| !number.at_most(max)).count() == 0
    }
}

fn low_bytes<E: Element>(len: usize) -> E {
    E::from_biguint(&((BigUint::from(1u32) << (8 * len)) - 1u32))
}

/// Numbers of one group.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Numbers<E> {
    /// Boxed since it is larger than the vector for large orders.
    pub group: Box<Group<E>>,
    pub vector: Vec<E>,
}

/// A vector of group elements and their group, in the narrowest kind of integer that holds them.
///
/// It may be a secret mask: no Debug, and wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Elements {
    W0(Numbers<u32>),
    W1(Numbers<u64>),
    W2(Numbers<u128>),
    W3(Numbers<Wide<3>>),
    W5(Numbers<Wide<5>>),
    W34(Numbers<Wide<34>>),
}

/// Runs an expression with the numbers, whatever their type.
macro_rules! with_elements {
    ($elements:expr, $numbers:ident => $body:expr) => {
        match $elements {
            $crate::group::Elements::W0($numbers) => $body,
            $crate::group::Elements::W1($numbers) => $body,
            $crate::group::Elements::W2($numbers) => $body,
            $crate::group::Elements::W3($numbers) => $body,
            $crate::group::Elements::W5($numbers) => $body,
            $crate::group::Elements::W34($numbers) => $body,
        }
    };
}

/// Runs an expression with two sets of numbers of the same width; `$otherwise` for a mix.
macro_rules! with_both_elements {
    ($a:expr, $b:expr, ($x:ident, $y:ident) => $body:expr, $otherwise:expr) => {{
        use $crate::group::Elements;
        match ($a, $b) {
            (Elements::W0($x), Elements::W0($y)) => $body,
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
            0..=32 => {
                type $type = u32;
                $body
            }
            33..=64 => {
                type $type = u64;
                $body
            }
            65..=128 => {
                type $type = u128;
                $body
            }
            129..=191 => {
                type $type = $crate::element::Wide<3>;
                $body
            }
            192..=319 => {
                type $type = $crate::element::Wide<5>;
                $body
            }
            _ => {
                type $type = $crate::element::Wide<34>;
                $body
            }
        }
    };
}

pub(crate) use {with_element_type, with_elements};

macro_rules! from_numbers {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<Numbers<$type>> for Elements {
            fn from(numbers: Numbers<$type>) -> Self {
                Elements::$variant(numbers)
            }
        })*
    };
}

from_numbers!(u32 => W0, u64 => W1, u128 => W2, Wide<3> => W3, Wide<5> => W5, Wide<34> => W34);

impl<E: Element> Numbers<E> {
    pub(crate) fn new(config: MaskConfig, vector: Vec<E>) -> Self {
        Numbers { group: Box::new(Group::new(config)), vector }
    }
}

impl Elements {
    /// The neutral element `len` times. For one and two words the operating system hands out zeroed pages
    /// as they are first used, so that this takes no time.
    pub(crate) fn zeros(config: MaskConfig, len: usize) -> Self {
        with_element_type!(config, E => Numbers::new(config, vec![E::default(); len]).into())
    }

    /// No numbers yet, but room for them.
    pub(crate) fn with_capacity(config: MaskConfig, capacity: usize) -> Self {
        with_element_type!(config, E => Numbers::<E>::new(config, Vec::with_capacity(capacity)).into())
    }

    /// A single number, which is below the config's order.
    pub(crate) fn one(config: MaskConfig, number: &BigUint) -> Self {
        with_element_type!(config, E => Numbers::new(config, vec![E::from_biguint(number)]).into())
    }

    pub(crate) fn len(&self) -> usize {
        with_elements!(self, numbers => numbers.vector.len())
    }

    /// The first number, or 0 if there is none. The copy is not wiped.
    pub(crate) fn first(&self) -> BigUint {
        with_elements!(self, numbers => {
            numbers.vector.first().map(|number| number.to_biguint()).unwrap_or_default()
        })
    }

    /// Appends copies of some numbers of the same config, or as many zeros.
    pub(crate) fn extend(&mut self, from: Option<&Elements>, range: Range<usize>) {
        match from {
            Some(from) => with_both_elements!(self, from, (to, from) => {
                to.vector.extend_from_slice(&from.vector[range]);
            }, debug_assert!(false, "numbers of another width")),
            None => with_elements!(self, to => {
                to.vector.resize(to.vector.len() + range.len(), Default::default());
            }),
        }
    }

    /// Appends numbers of the same config. They are not secret: what they leave behind is not wiped.
    pub(crate) fn append(&mut self, mut other: Elements) {
        with_both_elements!(self, &mut other, (to, from) => {
            let from = std::mem::take(&mut from.vector);
            if to.vector.is_empty() && to.vector.capacity() < from.capacity() {
                to.vector = from;
            } else {
                to.vector.extend_from_slice(&from);
            }
        }, debug_assert!(false, "numbers of another width"));
    }

    /// Adds numbers of the same config one by one.
    pub(crate) fn add(&mut self, other: &Elements) {
        self.add_at(0, other);
    }

    /// Adds numbers of the same config one by one to those from `start` on.
    pub(crate) fn add_at(&mut self, start: usize, other: &Elements) {
        with_both_elements!(self, other, (sums, numbers) => {
            let sums_from = sums.vector.get_mut(start..).unwrap_or_default();
            sums.group.add_all(Level::detected(), sums_from, &numbers.vector);
        }, debug_assert!(false, "numbers of another width"));
    }

    /// Adds some numbers of the same config to those with the same indices. The range is within both.
    pub(crate) fn add_range(&mut self, other: &Elements, range: Range<usize>) {
        with_both_elements!(self, other, (sums, numbers) => {
            let (to, from) = (&mut sums.vector[range.clone()], &numbers.vector[range]);
            sums.group.add_all(Level::detected(), to, from);
        }, debug_assert!(false, "numbers of another width"));
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        with_elements!(self, numbers => numbers.vector.zeroize());
    }
}
