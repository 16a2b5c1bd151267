//! Group elements as 64-bit words.

use crate::element::{Element, Wide};
use crate::model::weight::Rounded;
use crate::simd::{Kernel, Level};

/// What unmasking needs to know about an element.
pub(super) trait Number: Element {
    /// How many words it has.
    const WORDS: usize;

    /// Word `i`, the least significant first; 0 beyond the last.
    fn word(&self, i: usize) -> u64;

    /// Runs a loop over numbers of this type, compiled for the level if that helps.
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output;

    /// Is `self < other`, and by how much do they differ?
    #[inline(always)]
    fn distance(self, other: Self) -> (bool, Self) {
        let less = self < other;
        (less, if less { other.wrapping_sub(self) } else { self.wrapping_sub(other) })
    }

    /// The first 64 bits from the highest one that is set; None for 0.
    #[inline(always)]
    fn rounded(&self) -> Option<Rounded> {
        let top = (0..Self::WORDS).rev().find(|&i| self.word(i) != 0)?;
        let (high, below) = (self.word(top), if top > 0 { self.word(top - 1) } else { 0 });
        let up = high.leading_zeros();
        // Shifted in two steps as `up` may be 0.
        let bits = high << up | below >> 1 >> (63 - up);
        Some(Rounded { bits, exponent: 64 * top as i32 - up as i32 })
    }
}

macro_rules! one_word {
    ($($type:ty),*) => {
        $(impl Number for $type {
            const WORDS: usize = 1;

            #[inline(always)]
            fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
                level.run(kernel)
            }

            #[inline(always)]
            fn word(&self, i: usize) -> u64 {
                match i {
                    0 => (*self).into(),
                    _ => 0,
                }
            }
        })*
    };
}

one_word!(u32, u64);

impl Number for u128 {
    const WORDS: usize = 2;

    #[inline(always)]
    fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
        level.run(kernel)
    }

    #[inline(always)]
    fn word(&self, i: usize) -> u64 {
        match i {
            0 => *self as u64,
            1 => (*self >> 64) as u64,
            _ => 0,
        }
    }
}

impl<const N: usize> Number for Wide<N>
where
    Wide<N>: Element,
{
    const WORDS: usize = N;

    /// Numbers of many words gain nothing from vector instructions.
    #[inline(always)]
    fn run<K: Kernel>(_: Level, kernel: K) -> K::Output {
        kernel.run()
    }

    #[inline(always)]
    fn word(&self, i: usize) -> u64 {
        self.0.get(i).copied().unwrap_or(0)
    }
}
