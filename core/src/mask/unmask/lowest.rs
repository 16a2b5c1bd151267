//! Unmasked numbers to the old form: exact ratios in lowest terms.
//!
//! Finding the common factor of two numbers costs more than all the rest, but one of the two, q, is the
//! same for all weights. So its small prime factors are found once, and divided out of each weight by
//! multiplying with their inverses. What is left of q then, if anything, has only large prime factors, which
//! hardly any weight has: a single greatest common divisor with the product of many weights shows that none
//! of them has.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::{One, ToPrimitive, Zero};

use super::factors::Factors;
use super::number::Number;
use crate::model::ratio::write_weight;
use crate::simd::{Kernel, Level};

/// Numbers that are brought to lowest terms at once.
const BLOCK: usize = 64;

/// Prime factors below this are divided out one by one.
const SMALL: u64 = 1 << 14;

/// An unsigned integer of `N` words, least significant first.
type Words<const N: usize> = [u64; N];

fn from_big<const N: usize>(value: &BigUint) -> Words<N> {
    let mut words = [0; N];
    for (word, digit) in words.iter_mut().zip(value.iter_u64_digits()) {
        *word = digit;
    }
    words
}

fn to_big<const N: usize>(words: &Words<N>) -> BigUint {
    words.iter().rev().fold(BigUint::zero(), |value, &word| (value << 64u32) | BigUint::from(word))
}

#[inline(always)]
fn is_zero<const N: usize>(words: &Words<N>) -> bool {
    words.iter().fold(0, |all, word| all | word) == 0
}

/// `a + b * c + d` as low and high word.
#[inline(always)]
fn multiply_add(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let sum = u128::from(a) + u128::from(b) * u128::from(c) + u128::from(d);
    (sum as u64, (sum >> 64) as u64)
}

/// `-1 / value` modulo 2^64, for an odd `value`.
fn negative_inverse(value: u64) -> u64 {
    // Each step doubles the number of bits that are right; at first there are three.
    let inverse = (0..5).fold(value, |inverse, _| {
        inverse.wrapping_mul(2u64.wrapping_sub(value.wrapping_mul(inverse)))
    });
    inverse.wrapping_neg()
}

/// An odd prime factor of q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prime {
    prime: u64,
    inverse: u64,
    /// How often it divides q.
    exponent: u32,
}

impl Prime {
    /// `words / prime`, if that has no remainder.
    #[inline(always)]
    fn divide<const N: usize>(&self, words: &Words<N>) -> Option<Words<N>> {
        let mut quotient = [0; N];
        let mut borrow = 0;
        for (quotient, &word) in quotient.iter_mut().zip(words) {
            let (rest, below) = word.overflowing_sub(borrow);
            *quotient = rest.wrapping_mul(self.inverse);
            borrow = multiply_add(0, *quotient, self.prime, 0).1 + u64::from(below);
        }
        (borrow == 0).then_some(quotient)
    }
}

/// What is left of q without its small prime factors. It is odd.
struct Rest<const N: usize> {
    value: Words<N>,
    big: BigUint,
    negative_inverse: u64,
}

impl<const N: usize> Rest<N> {
    fn new(value: &BigUint) -> Self {
        let words = from_big(value);
        Rest { value: words, big: value.clone(), negative_inverse: negative_inverse(words[0]) }
    }

    /// `a * b / 2^(64 * N)` modulo the value, where `a` is below it (Montgomery).
    #[inline(always)]
    fn multiply(&self, a: &Words<N>, b: &Words<N>) -> Words<N> {
        let (mut sum, mut top) = ([0; N], 0);
        for &b in b {
            let mut carry = 0;
            for (sum, &a) in sum.iter_mut().zip(a) {
                (*sum, carry) = multiply_add(*sum, a, b, carry);
            }
            let (new_top, first) = u64::overflowing_add(top, carry);
            let factor = sum[0].wrapping_mul(self.negative_inverse);
            // The lowest word becomes 0 and is dropped.
            carry = multiply_add(sum[0], factor, self.value[0], 0).1;
            for i in 1..N {
                (sum[i - 1], carry) = multiply_add(sum[i], factor, self.value[i], carry);
            }
            let second;
            (sum[N - 1], second) = new_top.overflowing_add(carry);
            top = u64::from(first) + u64::from(second);
        }
        // Below twice the value.
        let (mut less, mut borrow) = ([0; N], false);
        for ((less, &sum), &value) in less.iter_mut().zip(&sum).zip(&self.value) {
            let (difference, first) = sum.overflowing_sub(value);
            let second;
            (*less, second) = difference.overflowing_sub(u64::from(borrow));
            borrow = first | second;
        }
        if borrow && top == 0 {
            sum
        } else {
            less
        }
    }

    /// Has this value, which is below it, a factor in common with it?
    fn shares_a_factor(&self, value: &Words<N>) -> bool {
        if N <= 2 {
            !low_u128(value).gcd(&low_u128(&self.value)).is_one()
        } else {
            !to_big(value).gcd(&self.big).is_one()
        }
    }
}

/// The value of at most two words.
#[inline(always)]
fn low_u128<const N: usize>(words: &Words<N>) -> u128 {
    u128::from(words[0]) | u128::from(words.get(1).copied().unwrap_or(0)) << 64
}

#[inline(always)]
fn from_u128<const N: usize>(value: u128) -> Words<N> {
    let mut words = [0; N];
    words[0] = value as u64;
    if let Some(word) = words.get_mut(1) {
        *word = (value >> 64) as u64;
    }
    words
}

/// A weight.
#[derive(Clone, Copy)]
struct Term<const N: usize> {
    negative: bool,
    numer: Words<N>,
    denom: Words<N>,
}

/// Brings weights to lowest terms where `N` words are enough for offset, numerators and denominators.
pub(super) struct Lowest<const N: usize> {
    negative: bool,
    /// None for 1.
    p: Option<Words<N>>,
    q: Words<N>,
    /// How often 2 divides q.
    twos: u32,
    primes: Vec<Prime>,
    rest: Option<Rest<N>>,
}

impl<const N: usize> Lowest<N> {
    fn new(factors: &Factors) -> Self {
        let twos = factors.q.trailing_zeros().unwrap_or(0);
        let (primes, rest) = small_primes(&factors.q >> twos);
        Lowest {
            negative: factors.negative,
            p: (!factors.p.is_one()).then(|| from_big(&factors.p)),
            q: from_big(&factors.q),
            twos: twos as u32,
            primes,
            rest: (!rest.is_one()).then(|| Rest::new(&rest)),
        }
    }

    /// Brings at most [`BLOCK`] numbers to lowest terms, still without p.
    #[inline(always)]
    fn reduce<E: Number>(&self, offset: E, numbers: &[E], terms: &mut Vec<Term<N>>) {
        terms.clear();
        let mut product = [0; N];
        product[0] = 1;
        for number in numbers {
            let (less, distance) = number.distance(offset);
            let numer = std::array::from_fn(|i| distance.word(i));
            if is_zero(&numer) {
                let mut denom = [0; N];
                denom[0] = 1;
                terms.push(Term { negative: false, numer, denom });
                continue;
            }
            let mut term = Term { negative: less != self.negative, numer, denom: self.q };
            self.divide_small(&mut term);
            if let Some(rest) = &self.rest {
                let next = rest.multiply(&product, &term.numer);
                // 0 tells nothing about the others.
                if is_zero(&next) {
                    self.divide_rest(&mut term);
                } else {
                    product = next;
                }
            }
            terms.push(term);
        }
        if self.rest.as_ref().is_some_and(|rest| rest.shares_a_factor(&product)) {
            terms.iter_mut().for_each(|term| self.divide_rest(term));
        }
    }

    /// Divides the small primes out that both have.
    #[inline(always)]
    fn divide_small(&self, term: &mut Term<N>) {
        let Term { numer, denom, .. } = term;
        let twos = trailing_zeros(numer).min(self.twos);
        shift_right(numer, twos);
        shift_right(denom, twos);
        for prime in &self.primes {
            for _ in 0..prime.exponent {
                let Some(quotient) = prime.divide(numer) else { break };
                *numer = quotient;
                *denom = prime.divide(denom).unwrap_or(*denom);
            }
        }
    }

    /// Divides the factors of the rest out that both still have.
    #[cold]
    #[inline(never)]
    fn divide_rest(&self, term: &mut Term<N>) {
        let Some(rest) = &self.rest else { return };
        let Term { numer, denom, .. } = term;
        if is_zero(numer) {
            return;
        }
        if N <= 2 {
            let (n, d) = (low_u128(numer), low_u128(denom));
            let whole = low_u128(&rest.value);
            let common = if d % whole == 0 && n % whole == 0 { whole } else { n.gcd(&d) };
            (*numer, *denom) = (from_u128(n / common), from_u128(d / common));
        } else {
            let (n, d) = (to_big(numer), to_big(denom));
            let whole = &rest.big;
            let left = &n % whole;
            // What is left of n has the same factors in common with the rest, and d has no others.
            let common = if left.is_zero() { d.gcd(whole) } else { left.gcd(whole).gcd(&d) };
            (*numer, *denom) = (from_big(&(n / &common)), from_big(&(d / common)));
        }
    }
}

/// The odd small prime factors of an odd number, and what is left of it.
fn small_primes(mut rest: BigUint) -> (Vec<Prime>, BigUint) {
    let mut primes = Vec::new();
    let mut push = |prime: u64, exponent| {
        let inverse = negative_inverse(prime).wrapping_neg();
        primes.push(Prime { prime, inverse, exponent });
    };
    for candidate in (3..SMALL).step_by(2) {
        let mut exponent = 0;
        if let Some(mut small) = rest.to_u64() {
            if candidate * candidate > small {
                if small > 1 {
                    push(small, 1);
                }
                return (primes, BigUint::one());
            }
            while small % candidate == 0 {
                small /= candidate;
                exponent += 1;
            }
            if exponent > 0 {
                rest = small.into();
            }
        } else {
            while (&rest % candidate).is_zero() {
                rest /= candidate;
                exponent += 1;
            }
        }
        if exponent > 0 {
            push(candidate, exponent);
        }
    }
    (primes, rest)
}

#[inline(always)]
fn trailing_zeros<const N: usize>(words: &Words<N>) -> u32 {
    let mut zeros = 0;
    for word in words {
        zeros += word.trailing_zeros();
        if *word != 0 {
            break;
        }
    }
    zeros
}

#[inline(always)]
fn shift_right<const N: usize>(words: &mut Words<N>, by: u32) {
    let (skip, by) = (by as usize / 64, by % 64);
    let word = |words: &Words<N>, i: usize| words.get(i).copied().unwrap_or(0);
    for i in 0..N {
        let (low, high) = (word(words, i + skip), word(words, i + skip + 1));
        words[i] = low >> by | high << 1 << (63 - by);
    }
}

/// The product modulo 2^(64 * N).
#[inline(always)]
fn multiply<const N: usize>(a: &Words<N>, b: &Words<N>) -> Words<N> {
    let mut product = [0; N];
    for (i, &a) in a.iter().enumerate() {
        let mut carry = 0;
        for (product, &b) in product[i..].iter_mut().zip(b) {
            (*product, carry) = multiply_add(*product, a, b, carry);
        }
    }
    product
}

/// The most bytes of a weight of that many words.
const fn max_len(words: usize) -> usize {
    2 * (9 + 8 * words)
}

/// Writes a number and gives its length. Behind it zeros may be written, up to the length of one of `N`
/// words.
#[inline(always)]
fn write_number<const N: usize>(sign: i8, words: &Words<N>, out: &mut [u8]) -> usize {
    let Some((header, rest)) = out.split_first_chunk_mut::<9>() else { return 0 };
    let mut digits = 0;
    for (i, (&word, out)) in words.iter().zip(rest.chunks_exact_mut(8)).enumerate() {
        out.copy_from_slice(&word.to_le_bytes());
        let in_word = (64 - word.leading_zeros()).div_ceil(32);
        digits = if word == 0 { digits } else { 2 * i as u64 + u64::from(in_word) };
    }
    header[0] = sign as u8;
    header[1..].copy_from_slice(&digits.to_le_bytes());
    9 + 4 * digits as usize
}

/// Writes numbers of one element type in the old form.
struct Write<'a, E, const N: usize> {
    lowest: &'a Lowest<N>,
    offset: E,
    numbers: &'a [E],
    terms: &'a mut Vec<Term<N>>,
    /// Room for a block.
    bytes: &'a mut [u8],
}

impl<E: Number, const N: usize> Kernel for Write<'_, E, N> {
    /// The number of bytes.
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { lowest, offset, numbers, terms, bytes } = self;
        lowest.reduce(offset, numbers, terms);
        let mut len = 0;
        for term in terms {
            let numer = lowest.p.as_ref().map_or(term.numer, |p| multiply(&term.numer, p));
            let sign = if is_zero(&numer) { 0 } else { 1 - 2 * i8::from(term.negative) };
            len += write_number(sign, &numer, &mut bytes[len..]);
            len += write_number(1, &term.denom, &mut bytes[len..]);
        }
        len
    }
}

impl<const N: usize> Lowest<N> {
    fn write<E: Number>(&self, level: Level, offset: E, numbers: &[E], out: &mut Vec<u8>) {
        let mut terms = Vec::with_capacity(BLOCK);
        let mut bytes = vec![0; BLOCK * max_len(N)];
        for numbers in numbers.chunks(BLOCK) {
            let (terms, bytes) = (&mut terms, &mut bytes[..]);
            let len = level.run(Write { lowest: self, offset, numbers, terms, bytes });
            out.extend_from_slice(&bytes[..len]);
        }
    }
}

/// Writes weights in the old form.
pub(super) enum Ratios {
    One(Box<Lowest<1>>),
    Two(Box<Lowest<2>>),
    Five(Box<Lowest<5>>),
    ThirtyFour(Box<Lowest<34>>),
    /// Only with pairs of configs that nobody would choose.
    Big,
}

impl Ratios {
    /// For numbers below `order`.
    pub(super) fn new(factors: &Factors, order: &BigUint) -> Self {
        let numer = factors.max_distance(order) * &factors.p;
        match numer.bits().max(factors.q.bits()).div_ceil(64) {
            0..=1 => Self::One(Box::new(Lowest::new(factors))),
            2 => Self::Two(Box::new(Lowest::new(factors))),
            3..=5 => Self::Five(Box::new(Lowest::new(factors))),
            6..=34 => Self::ThirtyFour(Box::new(Lowest::new(factors))),
            _ => Self::Big,
        }
    }

    /// Appends the weights of some numbers.
    pub(super) fn write<E: Number>(
        &self,
        level: Level,
        factors: &Factors,
        numbers: &[E],
        out: &mut Vec<u8>,
    ) {
        let offset = E::from_biguint(&factors.offset);
        match self {
            Self::One(lowest) => lowest.write(level, offset, numbers, out),
            Self::Two(lowest) => lowest.write(level, offset, numbers, out),
            Self::Five(lowest) => lowest.write(level, offset, numbers, out),
            Self::ThirtyFour(lowest) => lowest.write(level, offset, numbers, out),
            Self::Big => {
                numbers.iter().for_each(|n| write_weight(&factors.weight(n.to_biguint()), out));
            }
        }
    }
}
