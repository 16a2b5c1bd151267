//! Sampling the discrete Gaussian, exactly.
//!
//! The method is that of Canonne, Kamath and Steinke ("The Discrete Gaussian for Differential Privacy", 2020): a discrete
//! Laplace number of scale t is kept with probability `exp(-(|y| - σ²/t)² / 2σ²)`. Any integer t gives the same distribution; with
//! t = σ every probability that is needed is `exp(-x)` with an x made of `u / σ` and whole numbers, and so nothing but comparisons
//! of integers remains: no floating point, no approximation, no rounding. A number is `|y| = σ·v + u` with u below σ:
//!
//! 1. u is uniform below σ, kept with probability `exp(-u/σ)`, or drawn again.
//! 2. v counts how often a coin of probability `exp(-1)` comes up before it does not.
//! 3. A fair coin is the sign; the negative zero is dropped (back to 1).
//! 4. `(|y| - σ)/σ = v - 1 + u/σ`. With m = v - 1 the number is kept with probability
//!    `exp(-m²/2) · exp(-m·u/σ) · exp(-(u/σ)²/2)`, for v = 0 `exp(-((σ - u)/σ)²/2)`; if not, back to 1.
//!
//! `exp(-x)` for x of at most 1 is von Neumann's: the first k is odd for which a coin of probability `x/k` does not come up.
//!
//! How long it takes depends on what comes out. Whoever can measure a member's single draws learns about its noise; over a
//! network, and over a million weights, nobody can.

use super::coins::Coins;

/// The largest σ: numbers of the machine hold everything, and no word group has room for more.
pub const MAX_SIGMA: u64 = 1 << 62;

/// One number of the discrete Gaussian of this σ, which is from 1 to [`MAX_SIGMA`].
pub(super) fn sample(coins: &mut Coins<'_>, sigma: u64) -> i128 {
    loop {
        let u = loop {
            let u = coins.below(sigma);
            if exp(coins, |coins| coins.below(sigma) < u) {
                break u;
            }
        };
        let mut v = 0u64;
        while exp(coins, |_| true) {
            v += 1;
        }
        let negative = coins.coin();
        if negative && u == 0 && v == 0 {
            continue;
        }
        if keeps(coins, sigma, u, v) {
            // v is below 2^64 whatever the coins are, as nobody can count so far.
            let magnitude = i128::from(sigma) * i128::from(v) + i128::from(u);
            return if negative { -magnitude } else { magnitude };
        }
    }
}

/// Step 4.
fn keeps(coins: &mut Coins<'_>, sigma: u64, u: u64, v: u64) -> bool {
    let Some(m) = v.checked_sub(1) else {
        return exp_half_square(coins, sigma, sigma - u);
    };
    // m² times exp(-1/2): the first that does not come up ends it.
    let mut halves = u128::from(m) * u128::from(m);
    while halves > 0 {
        if !exp(coins, |coins| coins.coin()) {
            return false;
        }
        halves -= 1;
    }
    for _ in 0..m {
        if !exp(coins, |coins| coins.below(sigma) < u) {
            return false;
        }
    }
    exp_half_square(coins, sigma, u)
}

/// True with probability `exp(-(a/σ)²/2)`, for an a of at most σ.
#[inline]
fn exp_half_square(coins: &mut Coins<'_>, sigma: u64, a: u64) -> bool {
    exp(coins, |coins| coins.coin() && coins.below(sigma) < a && coins.below(sigma) < a)
}

/// True with probability `exp(-x)`, where `x` is a coin of that probability.
#[inline(always)]
fn exp(coins: &mut Coins<'_>, mut x: impl FnMut(&mut Coins<'_>) -> bool) -> bool {
    let mut k = 1u64;
    while x(coins) && one_in(coins, k) {
        k += 1;
    }
    k % 2 == 1
}

/// True one time in k.
#[inline(always)]
fn one_in(coins: &mut Coins<'_>, k: u64) -> bool {
    match k {
        1 => true,
        2 => coins.coin(),
        4 => coins.coin() && coins.coin(),
        _ => coins.below(k) == 0,
    }
}
