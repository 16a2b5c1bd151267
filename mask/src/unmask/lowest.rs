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

fn one<const N: usize>() -> Words<N> {
    let mut words = [0; N];
    words[0] = 1;
    words
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

/// A power of an odd prime to divide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Power {
    value: u64,
    inverse: u64,
}

impl Power {
    fn new(value: u64) -> Self {
        Power { value, inverse: negative_inverse(value).wrapping_neg() }
    }

    /// `words / value`, if that has no remainder.
    #[inline(always)]
    fn divide<const N: usize>(&self, words: &Words<N>) -> Option<Words<N>> {
        let mut quotient = [0; N];
        let mut borrow = 0;
        for (quotient, &word) in quotient.iter_mut().zip(words) {
            let (rest, below) = word.overflowing_sub(borrow);
            *quotient = rest.wrapping_mul(self.inverse);
            borrow = multiply_add(0, *quotient, self.value, 0).1 + u64::from(below);
        }
        (borrow == 0).then_some(quotient)
    }
}

/// An odd number of any length to divide by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Divisor {
    words: Vec<u64>,
    inverse: u64,
}

impl Divisor {
    fn new(value: &BigUint) -> Self {
        let words = value.to_u64_digits();
        let inverse = words.first().map_or(1, |&low| negative_inverse(low).wrapping_neg());
        Divisor { words, inverse }
    }

    /// `words / self`, if that has no remainder.
    #[inline(always)]
    fn divide<const N: usize>(&self, words: &Words<N>) -> Option<Words<N>> {
        let len = self.words.len();
        let (mut left, mut quotient) = (*words, [0; N]);
        for i in 0..=N.checked_sub(len)? {
            let factor = left[i].wrapping_mul(self.inverse);
            quotient[i] = factor;
            let mut borrow = 0;
            for (left, &word) in left[i..].iter_mut().zip(&self.words) {
                let (low, high) = multiply_add(borrow, factor, word, 0);
                let (difference, below) = left.overflowing_sub(low);
                (*left, borrow) = (difference, high + u64::from(below));
            }
            for left in &mut left[i + len..] {
                let (difference, below) = left.overflowing_sub(borrow);
                (*left, borrow) = (difference, u64::from(below));
            }
            // The product of what there is of the quotient is larger already.
            if borrow != 0 {
                return None;
            }
        }
        is_zero(&left).then_some(quotient)
    }
}

/// An odd prime factor of q.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prime {
    /// The prime to the powers of 1, 2, 4 and so on, as far as they divide q and have one word.
    powers: Vec<Power>,
    /// How often it divides q.
    exponent: u32,
    /// The highest power that divides q.
    whole: Divisor,
}

impl Prime {
    fn new(prime: u64, exponent: u32) -> Self {
        let mut powers = vec![Power::new(prime)];
        let (mut value, mut power) = (prime, 2);
        while let (Some(square), true) = (value.checked_mul(value), power <= exponent) {
            powers.push(Power::new(square));
            (value, power) = (square, 2 * power);
        }
        let whole = Divisor::new(&BigUint::from(prime).pow(exponent));
        Prime { powers, exponent, whole }
    }

    /// Divides it out of both as often as it divides both, where `denom` has all of those in q.
    #[inline(always)]
    fn divide_both<const N: usize>(&self, numer: &mut Words<N>, denom: &mut Words<N>) {
        let Some(quotient) = self.powers[0].divide(numer) else { return };
        if self.exponent == 1 {
            *numer = quotient;
            *denom = self.powers[0].divide(denom).unwrap_or(*denom);
            return;
        }
        // Whole numbers, and floats of few bits, have all of a power of 5.
        if let Some(quotient) = self.whole.divide(numer) {
            *numer = quotient;
            *denom = self.whole.divide(denom).unwrap_or(*denom);
            return;
        }
        let mut left = self.exponent;
        let mut divide = |k: usize| {
            let (power, count) = (self.powers[k], 1 << k);
            let quotient = if count <= left { power.divide(numer) } else { None };
            let Some(quotient) = quotient else { return false };
            left -= count;
            *numer = quotient;
            // It has at least as many as are left.
            *denom = power.divide(denom).unwrap_or(*denom);
            true
        };
        // Of those that have some most have few: first ever larger powers, and then ever smaller ones.
        let mut k = 0;
        while divide(k) {
            k = (k + 1).min(self.powers.len() - 1);
        }
        for k in (0..k).rev() {
            divide(k);
        }
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
            common(low_u128(value), low_u128(&self.value)) != 1
        } else {
            !to_big(value).gcd(&self.big).is_one()
        }
    }
}

/// The greatest common divisor; `b` is not 0.
fn common(a: u128, b: u128) -> u128 {
    match (u64::try_from(a), u64::try_from(b)) {
        (Ok(a), Ok(b)) => a.gcd(&b).into(),
        (Err(_), Ok(b)) => ((a % u128::from(b)) as u64).gcd(&b).into(),
        _ => a.gcd(&b),
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
            p: (!factors.p.is_one()).then(|| from_big(&factors.p)),
            q: from_big(&factors.q),
            twos: twos as u32,
            primes,
            rest: (!rest.is_one()).then(|| Rest::new(&rest)),
        }
    }

    /// The weight of a number, not yet in lowest terms, and without p.
    #[inline(always)]
    fn term<E: Number>(&self, offset: E, number: E) -> Term<N> {
        let (less, distance) = number.distance(offset);
        let numer = std::array::from_fn(|i| distance.word(i));
        Term { negative: less, numer, denom: self.q }
    }

    /// Brings at most [`BLOCK`] weights to lowest terms, still without p.
    #[inline(always)]
    fn reduce(&self, terms: &mut [Term<N>]) {
        let mut product = one();
        for term in &mut *terms {
            if is_zero(&term.numer) {
                term.denom = one();
                continue;
            }
            self.divide_small(term);
            if let Some(rest) = &self.rest {
                let next = rest.multiply(&product, &term.numer);
                // 0 tells nothing about the others.
                if is_zero(&next) {
                    self.divide_rest(term);
                } else {
                    product = next;
                }
            }
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
            prime.divide_both(numer, denom);
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
            let divisor = if d % whole == 0 && n % whole == 0 { whole } else { common(n, d) };
            (*numer, *denom) = (from_u128(n / divisor), from_u128(d / divisor));
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
    for candidate in (3..SMALL).step_by(2) {
        let mut exponent = 0;
        if let Some(mut small) = rest.to_u64() {
            if candidate * candidate > small {
                if small > 1 {
                    primes.push(Prime::new(small, 1));
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
            primes.push(Prime::new(candidate, exponent));
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

/// Brings weights to lowest terms and writes them.
struct Write<'a, const N: usize> {
    lowest: &'a Lowest<N>,
    terms: &'a mut [Term<N>],
    /// Room for all of them.
    bytes: &'a mut [u8],
}

impl<const N: usize> Kernel for Write<'_, N> {
    /// The number of bytes.
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { lowest, terms, bytes } = self;
        lowest.reduce(terms);
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

/// Numbers of many words gain nothing from vector instructions.
#[inline(never)]
fn run_portable<const N: usize>(write: Write<'_, N>) -> usize {
    write.run()
}

impl<const N: usize> Lowest<N> {
    fn write<E: Number>(
        &self,
        run: impl Fn(Write<'_, N>) -> usize,
        offset: E,
        numbers: &[E],
        out: &mut Vec<u8>,
    ) {
        let mut terms = Vec::with_capacity(BLOCK);
        let mut bytes = vec![0; BLOCK * max_len(N)];
        for numbers in numbers.chunks(BLOCK) {
            terms.clear();
            terms.extend(numbers.iter().map(|&number| self.term(offset, number)));
            let len = run(Write { lowest: self, terms: &mut terms, bytes: &mut bytes });
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
    pub(super) fn new(factors: &Factors) -> Self {
        match factors.max_numer().bits().max(factors.q.bits()).div_ceil(64) {
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
            Self::One(lowest) => lowest.write(|write| level.run(write), offset, numbers, out),
            Self::Two(lowest) => lowest.write(|write| level.run(write), offset, numbers, out),
            Self::Five(lowest) => lowest.write(run_portable, offset, numbers, out),
            Self::ThirtyFour(lowest) => lowest.write(run_portable, offset, numbers, out),
            Self::Big => {
                numbers.iter().for_each(|n| write_weight(&factors.weight(n.to_biguint()), out));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ratio::encode_ratios;
    use num_rational::BigRational;
    use num_traits::Pow;
    use proptest::prelude::*;

    fn factors(offset: u128, p: u64, q: BigUint) -> Factors {
        let small = q.to_u128().map(|q| (p.into(), q));
        let offset = BigUint::from(offset);
        Factors { most: &offset * 2u32, offset, p: p.into(), q, small }
    }

    /// The weights of `offset + numer`, or `offset - numer`, are those of exact arithmetic.
    fn check(q: &BigUint, numers: &[u128]) {
        let offset = numers.iter().copied().fold(1 << 40, u128::max);
        let numbers: Vec<u128> =
            numers.iter().flat_map(|&numer| [offset + numer, offset - numer]).collect();
        for p in [1u64, 1_000_003] {
            let p = if (q % p).is_zero() { 1 } else { p };
            let factors = factors(offset, p, q.clone());
            let exact: Vec<BigRational> =
                numbers.iter().map(|&number| factors.weight(number.into())).collect();
            for level in Level::available() {
                let mut out = (exact.len() as u64).to_le_bytes().to_vec();
                Ratios::new(&factors).write(*level, &factors, &numbers, &mut out);
                assert_eq!(out, encode_ratios(&exact), "{q} {numers:?}");
            }
        }
    }

    /// Two primes that are not small, and one that is the largest below 2^64.
    const PRIMES: [u64; 3] = [16411, 1_000_000_007, 18_446_744_073_709_551_557];

    proptest! {
        #[test]
        fn lowest_terms_of_any_numbers(
            smooth in prop::collection::vec((0usize..7, 0u32..20), 0..4),
            large in prop::collection::vec(0usize..3, 0..4),
            numers in prop::collection::vec((any::<u64>(), 0u32..64, any::<bool>(), 0u32..12), 1..150),
        ) {
            let mut q = BigUint::one();
            for (prime, exponent) in smooth {
                q *= BigUint::from([2u32, 3, 5, 7, 13, 1009, 16381][prime]).pow(exponent);
            }
            for &prime in &large {
                q *= PRIMES[prime];
            }
            let numers: Vec<u128> = numers
                .into_iter()
                .map(|(value, cut, with_large, fives)| {
                    let factor = if with_large { large.first().map_or(1, |&i| PRIMES[i]) } else { 1 };
                    // At most 64 + 64 - 36 + 28 bits.
                    u128::from(value >> cut.max(36)) * u128::from(factor) * 5u128.pow(fives)
                })
                .collect();
            check(&q, &numers);
        }

        #[test]
        fn montgomery(value: [u64; 3], a: [u64; 3], b: [u64; 3], short: bool) {
            let mut value = value;
            value[0] |= 1;
            if short {
                value[2] = 0;
            }
            let big = to_big(&value);
            let a = to_big(&a) % &big;
            let product = Rest::new(&big).multiply(&from_big::<3>(&a), &b);
            let expected = &a * to_big(&b) % &big;
            prop_assert_eq!((to_big(&product) << 192u32) % &big, expected);
            prop_assert!(to_big(&product) < big);
        }

        #[test]
        fn common_divisors(a: u128, b: u128, factor: u64, cut in 0u32..128) {
            for (a, b) in [
                (a, b >> cut | 1),
                (a / u128::from(factor | 1) * u128::from(factor | 1), u128::from(factor | 1)),
                (a >> cut, (b | 1) >> 64 | 1),
            ] {
                let expected = BigUint::from(a).gcd(&b.into());
                prop_assert_eq!(BigUint::from(common(a, b)), expected);
            }
        }

        #[test]
        fn powers_divide_exactly(words: [u64; 4], divisor: u64) {
            let power = Power::new(divisor | 1);
            let number = to_big(&words);
            let (quotient, rest) = number.div_rem(&(divisor | 1).into());
            let quotient = from_big(&quotient);
            prop_assert_eq!(power.divide(&words), rest.is_zero().then_some(quotient));
            let exact: Words<4> = from_big(&(to_big(&quotient) * (divisor | 1)));
            prop_assert_eq!(power.divide(&exact), Some(quotient));
        }

        #[test]
        fn divisors_divide_exactly(words: [u64; 5], divisor in prop::collection::vec(any::<u32>(), 1..11)) {
            let divisor = BigUint::new(divisor) | BigUint::one();
            let number = to_big(&words);
            let (quotient, rest) = number.div_rem(&divisor);
            let quotient: Words<5> = from_big(&quotient);
            let by = Divisor::new(&divisor);
            prop_assert_eq!(by.divide(&words), rest.is_zero().then_some(quotient));
            let exact: Words<5> = from_big(&(to_big(&quotient) * &divisor));
            prop_assert_eq!(by.divide(&exact), Some(quotient));
            // One that is larger.
            prop_assert_eq!(Divisor::new(&(number * 2u32 + 1u32)).divide(&words), is_zero(&words).then_some(words));
        }

        #[test]
        fn shifts(words: [u64; 3], by in 0u32..192) {
            let mut shifted = words;
            shift_right(&mut shifted, by);
            prop_assert_eq!(to_big(&shifted), to_big(&words) >> by);
            let zeros = to_big(&words).trailing_zeros().unwrap_or(192);
            prop_assert_eq!(u64::from(trailing_zeros(&words)), zeros);
        }
    }

    /// Every weight may have all of q, or the large part of it, in common.
    #[test]
    fn whole_numbers_and_those_that_share_the_rest() {
        let rest = u128::from(PRIMES[0]) * u128::from(PRIMES[1]);
        for q in [rest, rest * 3000, rest << 7, rest * 5u128.pow(20), 3 * 10u128.pow(20)] {
            let numers: Vec<u128> = (0..200).map(|i| q * i).collect();
            check(&q.into(), &numers);
            let numers: Vec<u128> = (0..200).map(|i| rest * i).collect();
            check(&q.into(), &numers);
            let numers: Vec<u128> = (0..200).map(|i| u128::from(PRIMES[0]) * i + i % 2).collect();
            check(&q.into(), &numers);
        }
    }

    /// Powers that are larger than a word, and all that are less than that of q.
    #[test]
    fn powers_of_all_sizes() {
        for (prime, exponent) in [(3u128, 75), (5, 51), (7, 2), (16381, 8)] {
            let q = BigUint::from(prime).pow(exponent) * 2u32;
            let numers: Vec<u128> = (0..exponent).map(|k| prime.pow(k)).collect();
            check(&q, &numers);
            check(&(q * 11u32), &numers.iter().map(|numer| 11 * numer).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_zeros_are_zero() {
        assert!(is_zero(&[0; 3]));
        for words in [[1, 0, 0], [0, 0, 1], [5, 5, 0], [1, 2, 3]] {
            assert!(!is_zero(&words), "{words:?}");
        }
    }

    #[test]
    fn montgomery_at_the_upper_end() {
        for value in [[u64::MAX; 3], [1, 0, u64::MAX], [1, 0, 1 << 63]] {
            let big = to_big(&value);
            let a = &big - 1u32;
            for b in [[u64::MAX; 3], [0, 0, u64::MAX], [1; 3]] {
                let product = to_big(&Rest::new(&big).multiply(&from_big::<3>(&a), &b));
                assert_eq!((&product << 192u32) % &big, &a * to_big(&b) % &big);
                assert!(product < big);
            }
        }
    }

    #[test]
    fn all_widths() {
        for exponent in [9u32, 30, 90, 200, 324, 650] {
            let q = 3u32 * Pow::pow(BigUint::from(10u32), exponent);
            check(&q, &[0, 1, 3, 10, 30, 5, 2u128.pow(40), 10u128.pow(30)]);
            check(&(q + 1u32), &[0, 1, 3, 10, 30, 5, 2u128.pow(40), 10u128.pow(30)]);
        }
    }

    #[test]
    fn small_primes_leave_nothing_small() {
        let q = BigUint::from(9_999_999_999u64);
        let (primes, rest) = small_primes(q);
        let found: Vec<_> = primes.iter().map(|p| (p.powers[0].value, p.exponent)).collect();
        assert_eq!(
            (found, rest),
            (vec![(3, 2), (11, 1), (41, 1), (271, 1), (9091, 1)], BigUint::one())
        );
        // Also where it is of many words, and of a square of the last candidate.
        let (primes, rest) = small_primes(BigUint::from(3u32).pow(50u32) * 49u32 * PRIMES[2]);
        let found: Vec<_> = primes.iter().map(|p| (p.powers[0].value, p.exponent)).collect();
        assert_eq!((found, rest), (vec![(3, 50), (7, 2)], PRIMES[2].into()));
        let (primes, rest) = small_primes((1009u32 * 1009).into());
        let found: Vec<_> = primes.iter().map(|p| (p.powers[0].value, p.exponent)).collect();
        assert_eq!((found, rest), (vec![(1009, 2)], BigUint::one()));
        // A large prime is found too where the division shows that it is one.
        let (primes, rest) = small_primes(3_000_009u32.into());
        assert_eq!(primes.last().unwrap().powers[0].value * 3, 3_000_009);
        assert!(rest.is_one());
    }
}
