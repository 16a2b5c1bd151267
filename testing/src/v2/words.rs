//! Mask objects of Word32 as plain integers modulo 2^32, so that tests compute with them by themselves.

use pet_core::mask::{GroupType, MaskObject, MaskObjectView};

/// The vector of a mask object with the group Word32.
///
/// # Panics
/// If it is none.
pub fn vector(object: &[u8]) -> Vec<u32> {
    let view = MaskObjectView::parse_exact(object).expect("a mask object");
    assert_eq!(view.config().vect.group_type(), GroupType::Word32, "words of 32 bits");
    let words = view.vector().chunks_exact(4);
    words.map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

/// The vector of a mask in memory.
///
/// # Panics
/// If it is no object of Word32.
pub fn of(mask: &MaskObject) -> Vec<u32> {
    vector(&mask.to_bytes().expect("in range"))
}

/// `a + b`, word by word.
pub fn add(a: &[u32], b: &[u32]) -> Vec<u32> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)).collect()
}

/// `a - b`, word by word.
pub fn sub(a: &[u32], b: &[u32]) -> Vec<u32> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.wrapping_sub(*b)).collect()
}

/// What encodes a weight under Word32/F32/B0/M3: floor((w + 1) * 2^21).
pub fn encode(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|w| ((f64::from(*w) + 1.0) * STEPS).floor() as u32).collect()
}

/// The weights that encoded numbers stand for.
pub fn decode(numbers: &[u32]) -> Vec<f64> {
    numbers.iter().map(|n| f64::from(*n) / STEPS - 1.0).collect()
}

/// The steps to 1 of Word32/F32/B0/M3.
pub const STEPS: f64 = (1u32 << 21) as f64;

/// The distance of the numbers' distribution from the uniform one: chi-square over 256 bins of equal width, as standard
/// deviations from its mean (255 degrees of freedom). Uniform numbers give something like -3 to 3; what is not uniform, and
/// has many numbers, gives much more.
pub fn off_uniform(numbers: &[u32]) -> f64 {
    let mut bins = [0u64; 256];
    for number in numbers {
        bins[(number >> 24) as usize] += 1;
    }
    let expected = numbers.len() as f64 / 256.0;
    let chi: f64 = bins.iter().map(|bin| (*bin as f64 - expected).powi(2) / expected).sum();
    (chi - 255.0) / (2.0f64 * 255.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pet_core::mask::{derive_mask, mask_model, MaskConfig, MaskSeed};
    use pet_core::model::{Model, Scalar};

    #[test]
    fn encoding_is_that_of_the_masker() {
        let config: MaskConfig = "Word32/F32/B0/M3".parse().unwrap();
        let (seed, weights) = (MaskSeed::new([7; 32]), vec![0.5f32, -0.25, 0.123_456, -1.0]);
        let model = Model::F32(weights.clone());
        let (masked, _) = mask_model(&seed, config.into(), &Scalar::one(), &model).unwrap();
        let mask = of(&derive_mask(&seed, config.into(), 4));
        assert_eq!(sub(&vector(&masked), &mask), encode(&weights));
    }

    #[test]
    fn what_is_uniform_and_what_is_not() {
        let config: MaskConfig = "Word32/F32/B0/M3".parse().unwrap();
        let mask = of(&derive_mask(&MaskSeed::new([3; 32]), config.into(), 100_000));
        assert!(off_uniform(&mask).abs() < 5.0);
        assert!(off_uniform(&encode(&vec![0.1; 100_000])) > 1000.0);
    }
}
