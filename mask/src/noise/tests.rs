//! Is what is sampled the discrete Gaussian, and the same for all?

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};
use proptest::prelude::*;
use sha2::Digest;

use super::coins::Coins;
use super::gaussian::{sample, MAX_SIGMA};
use super::{DiscreteGaussian, NoiseSeed, SigmaOutOfRange, NOISE_BLOCK};
use crate::keystream::Key;
use crate::simd::Level;

fn samples(seed: u8, sigma: u64, count: usize) -> Vec<i128> {
    let key = Key::with_nonce(&[seed; 32], 0);
    let mut coins = Coins::new(Level::detected(), &key);
    (0..count).map(|_| sample(&mut coins, sigma)).collect()
}

/// Chi-square of counts against probabilities, as a number of standard deviations above its mean: beyond 5 is once in a
/// million where there are many bins, and more often where there are few.
fn excess(counts: &[u64], probabilities: &[f64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let mut square = 0.0;
    for (&count, probability) in counts.iter().zip(probabilities) {
        let expected = total * probability;
        assert!(expected > 5.0, "too few samples for this bin");
        square += (count as f64 - expected).powi(2) / expected;
    }
    let freedom = (counts.len() - 1) as f64;
    (square - freedom) / (2.0 * freedom).sqrt()
}

/// The integers one by one, with what is beyond 3 σ on each side taken together.
fn small(samples: &[i128], sigma: f64) -> f64 {
    let end = (3.0 * sigma).ceil() as i128;
    let weight = |y: i128| (-(y as f64 / sigma).powi(2) / 2.0).exp();
    let far = (60.0 * sigma) as i128;
    let total: f64 = (-far..=far).map(weight).sum();
    let tail: f64 = (end..=far).map(weight).sum::<f64>() / total;
    let mut probabilities = vec![tail];
    probabilities.extend((1 - end..end).map(|y| weight(y) / total));
    probabilities.push(tail);
    let mut counts = vec![0; probabilities.len()];
    for y in samples {
        counts[(y.clamp(&-end, &end) + end) as usize] += 1;
    }
    excess(&counts, &probabilities)
}

/// Bins of a quarter of σ, with the integral in place of the sum: for large σ their difference is far below what could be seen.
fn large(samples: &[i128], sigma: f64) -> f64 {
    const BINS: usize = 28;
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let integral = |from: f64| {
        const STEPS: usize = 64;
        let h = 0.25 / STEPS as f64;
        let simpson = |i: usize| density(from + i as f64 * h) * [2.0, 4.0][i % 2];
        h / 3.0 * (density(from) + density(from + 0.25) + (1..STEPS).map(simpson).sum::<f64>())
    };
    let mut probabilities: Vec<f64> =
        (0..BINS).map(|i| integral(0.25 * (i as f64 - BINS as f64 / 2.0))).collect();
    let tail = (1.0 - probabilities.iter().sum::<f64>()) / 2.0;
    probabilities.insert(0, tail);
    probabilities.push(tail);
    let mut counts = vec![0; BINS + 2];
    for y in samples {
        let bin = (*y as f64 / sigma / 0.25).floor() + BINS as f64 / 2.0 + 1.0;
        counts[bin.clamp(0.0, (BINS + 1) as f64) as usize] += 1;
    }
    excess(&counts, &probabilities)
}

#[test]
fn small_sigmas_give_the_exact_distribution() {
    for (i, sigma) in [1, 2, 3, 7, 20, 100].into_iter().enumerate() {
        let samples = samples(i as u8, sigma, 300_000);
        let found = small(&samples, sigma as f64);
        assert!(found < 5.0, "sigma {sigma}: {found}");
        // The control: a distribution that is 2 % wider is another one.
        let found = small(&samples, sigma as f64 * 1.02);
        assert!(found > 5.0, "sigma {sigma}: {found}");
    }
}

#[test]
fn large_sigmas_give_the_exact_distribution_and_all_lower_digits() {
    let sigmas =
        [1 << 16, 8_392_608, (1 << 31) + 1, 36_028_797_018_968_000, MAX_SIGMA - 1, MAX_SIGMA];
    for (i, sigma) in sigmas.into_iter().enumerate() {
        let samples = samples(i as u8 + 100, sigma, 200_000);
        let found = large(&samples, sigma as f64);
        assert!(found < 5.0, "sigma {sigma}: {found}");
        let found = large(&samples, sigma as f64 * 1.02);
        assert!(found > 5.0, "sigma {sigma}: {found}");
        for modulus in [2usize, 10, 64, 251] {
            let mut counts = vec![0; modulus];
            for y in &samples {
                counts[y.rem_euclid(modulus as i128) as usize] += 1;
            }
            let found = excess(&counts, &vec![1.0 / modulus as f64; modulus]);
            assert!(found < 5.0, "sigma {sigma} modulo {modulus}: {found}");
        }
    }
}

/// No two neighbours have to do with each other.
#[test]
fn samples_are_independent() {
    let samples = samples(50, 1000, 200_000);
    let mut counts = [0; 4];
    for pair in samples.windows(2).step_by(2) {
        counts[usize::from(pair[0] >= 0) * 2 + usize::from(pair[1] >= 0)] += 1;
    }
    let mut sign = [0.0; 4];
    let up = samples.iter().filter(|y| **y >= 0).count() as f64 / samples.len() as f64;
    for (i, p) in sign.iter_mut().enumerate() {
        *p = if i / 2 == 1 { up } else { 1.0 - up } * if i % 2 == 1 { up } else { 1.0 - up };
    }
    assert!(excess(&counts, &sign) < 5.0);
    let product: f64 = samples.windows(2).map(|p| p[0] as f64 * p[1] as f64 / 1e6).sum();
    assert!(product.abs() < 5.0 * (samples.len() as f64).sqrt(), "{product}");
}

/// The probabilities that the sampler multiplies are those of the paper, with t = σ.
#[test]
fn the_exponents_add_up_to_the_papers() {
    let ratio = |a: i128, b: i128| BigRational::new(BigInt::from(a), BigInt::from(b));
    for sigma in [1i128, 2, 3, 10, 12_345, i128::from(MAX_SIGMA)] {
        for u in [0, 1, sigma / 3, sigma / 2, sigma - 1].into_iter().filter(|u| *u < sigma) {
            for v in 0i128..6 {
                let y = sigma * v + u;
                // -|y|/t of the Laplace number: u is kept with exp(-u/σ), v has exp(-v).
                let laplace = ratio(u, sigma) + ratio(v, 1);
                assert_eq!(laplace, ratio(y, sigma));
                let half_square = |a: i128| ratio(a, sigma) * ratio(a, sigma) / BigInt::from(2);
                let kept = match v {
                    0 => half_square(sigma - u),
                    _ => {
                        let m = v - 1;
                        ratio(m * m, 2) + ratio(u, sigma) * BigInt::from(m) + half_square(u)
                    }
                };
                let paper = {
                    let distance = ratio(y, 1) - ratio(sigma, 1);
                    &distance * &distance
                        / (BigInt::from(2) * BigInt::from(sigma) * BigInt::from(sigma))
                };
                assert_eq!(kept, paper, "sigma {sigma}, u {u}, v {v}");
                // And together they are the Gaussian's, but for a constant.
                let gauss = ratio(y, sigma) * ratio(y, sigma) / BigInt::from(2);
                assert_eq!(laplace + kept - gauss, ratio(1, 2));
            }
        }
    }
}

/// The sampler in big integers and fractions, from the same coins.
struct Reference<'a> {
    coins: Coins<'a>,
    sigma: BigUint,
}

impl Reference<'_> {
    fn below(&mut self, range: &BigUint) -> BigUint {
        let words = BigUint::from(1u32) << 64u32;
        let cut = &words % range;
        loop {
            let product = BigUint::from(self.coins.word()) * range;
            if &product % &words >= cut {
                return product / &words;
            }
        }
    }

    /// A coin for a fraction, whose numerator's factors are asked one by one, as `(numerator, denominator)`.
    fn fraction(&mut self, factors: &[(BigUint, BigUint)]) -> bool {
        for (numer, denom) in factors {
            let one = BigUint::from(1u32);
            let up = match denom.to_u64() {
                Some(1) => *numer >= one,
                Some(2) if *numer == one => self.coins.coin(),
                Some(4) if *numer == one => self.coins.coin() && self.coins.coin(),
                _ => self.below(denom) < *numer,
            };
            if !up {
                return false;
            }
        }
        true
    }

    /// exp(-x) for a product x of fractions.
    fn exp(&mut self, x: &[(BigUint, BigUint)]) -> bool {
        let mut k = 1u32;
        loop {
            let mut factors = x.to_vec();
            factors.push((1u32.into(), k.into()));
            if !self.fraction(&factors) {
                return k % 2 == 1;
            }
            k += 1;
        }
    }

    fn sample(&mut self) -> BigInt {
        let sigma = self.sigma.clone();
        let one = BigUint::from(1u32);
        let half = (one.clone(), BigUint::from(2u32));
        loop {
            let u = loop {
                let u = self.below(&sigma);
                if self.exp_of_share(&u) {
                    break u;
                }
            };
            let mut v = BigUint::zero();
            while self.exp(&[(one.clone(), one.clone())]) {
                v += 1u32;
            }
            let negative = self.coins.coin();
            if negative && u.is_zero() && v.is_zero() {
                continue;
            }
            let y = &sigma * &v + &u;
            let keep = if v.is_zero() {
                let a = &sigma - &u;
                self.exp(&[half.clone(), (a.clone(), sigma.clone()), (a, sigma.clone())])
            } else {
                let m = &v - 1u32;
                let mut keep = true;
                let mut left = &m * &m;
                while keep && !left.is_zero() {
                    keep = self.exp(std::slice::from_ref(&half));
                    left -= 1u32;
                }
                let mut left = m;
                while keep && !left.is_zero() {
                    keep = self.exp_of_share(&u);
                    left -= 1u32;
                }
                keep && self.exp(&[half.clone(), (u.clone(), sigma.clone()), (u, sigma.clone())])
            };
            if keep {
                let y = BigInt::from(y);
                return if negative { -y } else { y };
            }
        }
    }

    /// exp(-u/σ). (A σ of 1 is a comparison like any other here.)
    fn exp_of_share(&mut self, u: &BigUint) -> bool {
        let sigma = self.sigma.clone();
        self.exp(&[(u.clone(), sigma)])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_sampler_is_its_slow_reference(seed: [u8; 32], sigma in prop_oneof![5u64..100, 5..=MAX_SIGMA, Just(MAX_SIGMA)]) {
        let key = Key::with_nonce(&seed, 3);
        let mut coins = Coins::new(Level::detected(), &key);
        let mut reference = Reference { coins: Coins::new(Level::Portable, &key), sigma: sigma.into() };
        for _ in 0..200 {
            prop_assert_eq!(BigInt::from(sample(&mut coins, sigma)), reference.sample());
        }
    }

    #[test]
    fn numbers_below_a_range_are_uniform(seed: [u8; 32], range in prop_oneof![1u64..40, Just(u64::MAX), Just((1 << 63) + 1)]) {
        let key = Key::with_nonce(&seed, 0);
        let mut coins = Coins::new(Level::detected(), &key);
        let numbers: Vec<u64> = (0..20_000).map(|_| coins.below(range)).collect();
        prop_assert!(numbers.iter().all(|n| *n < range));
        let bins = range.min(16);
        let mut counts = vec![0u64; bins as usize];
        let mut probabilities = vec![0.0; bins as usize];
        if range <= 40 {
            (0..range).for_each(|n| probabilities[(n % bins) as usize] += 1.0 / range as f64);
            numbers.iter().for_each(|n| counts[(n % bins) as usize] += 1);
        } else {
            probabilities.fill(1.0 / bins as f64);
            numbers.iter().for_each(|n| counts[((u128::from(*n) * u128::from(bins)) / u128::from(range)) as usize] += 1);
        }
        if bins > 1 {
            // Many seeds are tried, and the fewer the bins, the heavier the tail: not one run in a hundred million.
            let freedom = (bins - 1) as f64;
            prop_assert!(excess(&counts, &probabilities) < 7.0 + 20.0 / freedom.sqrt());
        }
    }
}

#[test]
fn replicas_agree_whatever_the_processor_and_the_order() {
    let (gaussian, seed) = (DiscreteGaussian::new(8_392_608).unwrap(), NoiseSeed::new([9; 32]));
    let blocks: Vec<Vec<i128>> = (0..4)
        .map(|index| {
            let mut noise = vec![0; NOISE_BLOCK];
            gaussian.fill_block(&seed, index, &mut noise);
            noise
        })
        .collect();
    for (index, block) in blocks.iter().enumerate().rev() {
        for &level in Level::available() {
            let mut noise = Vec::new();
            gaussian.each_in_block(level, &seed.clone(), index as u64, |y| {
                noise.push(y);
                true
            });
            assert_eq!(&noise, block, "{level:?}");
        }
        // The beginning of a block is the beginning of the block, and what is behind it stays.
        let mut beginning = [7; 5];
        gaussian.fill_block(&seed, index as u64, &mut beginning);
        assert_eq!(beginning, block[..5]);
        let mut more = vec![7; NOISE_BLOCK + 3];
        gaussian.fill_block(&seed, index as u64, &mut more);
        assert_eq!((&more[..NOISE_BLOCK], &more[NOISE_BLOCK..]), (&block[..], &[7; 3][..]));
        gaussian.fill_block(&seed, index as u64, &mut []);
    }
    assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]));
    let mut other = vec![0; NOISE_BLOCK];
    gaussian.fill_block(&NoiseSeed::new([8; 32]), 0, &mut other);
    assert_ne!(other, blocks[0]);
}

/// Members of one group may run different releases: the noise of a seed is for ever.
#[test]
fn the_noise_of_a_seed_stays_what_it_is() {
    let digest = |sigma: u64| {
        let mut hash = sha2::Sha256::new();
        let gaussian = DiscreteGaussian::new(sigma).unwrap();
        for index in [0, 1, 1 << 40] {
            let mut noise = vec![0; NOISE_BLOCK];
            gaussian.fill_block(
                &NoiseSeed::new(std::array::from_fn(|i| i as u8)),
                index,
                &mut noise,
            );
            noise.iter().for_each(|y| hash.update(y.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(
        [1, 8_392_608, MAX_SIGMA].map(digest),
        [
            "8ff3e609e7a1ec32acedca4bbc3df5bba8f3a557f4049e24c0d9b03455ca4d74",
            "3305995c45d0f0170e9e0414b912d1399d9ec0e8926fb67df758dbee3b62491f",
            "017f0bef3ae6780468fecec832e33a04591fb73669224b8ed01961444bac8196",
        ]
    );
}

#[test]
fn sigmas_that_cannot_be_sampled_are_refused_and_seeds_are_not_shown() {
    assert_eq!(DiscreteGaussian::new(0), Err(SigmaOutOfRange(0)));
    assert_eq!(
        DiscreteGaussian::new(MAX_SIGMA + 1),
        Err(SigmaOutOfRange(u128::from(MAX_SIGMA) + 1))
    );
    assert_eq!(DiscreteGaussian::new(MAX_SIGMA).map(DiscreteGaussian::sigma), Ok(MAX_SIGMA));
    assert_eq!(format!("{:?}", NoiseSeed::new([7; 32])), "NoiseSeed(secret)");
}
