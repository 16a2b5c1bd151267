//! Fuzz targets: any bytes, read by both implementations, mean the same to both.
//!
//! `fuzz/fuzz_targets` calls these under libFuzzer, `tests/corpora.rs` with the committed inputs.

use pet_core::model::Model;

use crate::{old, ours, strategies::MAX_LEN, Body, PairBytes, Plain, Weights};

/// A target's name, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 3] = [("bodies", bodies), ("masking", masking), ("messages", messages)];

/// A message that is signed by somebody: tag, flags and reserved bytes, then the payload. Ours is the
/// stricter reader: what it accepts, the old one accepts and understands alike, and both write it alike.
pub fn messages(data: &[u8]) {
    let (head, payload) = match data.split_first_chunk::<4>() {
        Some(parts) if parts.1.len() < 1 << 16 => parts,
        _ => return,
    };
    let (participant_pk, signing_key) = old::signing_key_pair(&[7; 32]);
    let mut message = [&[0; 64], &participant_pk[..], &[5; 32], &[0; 4], head, payload].concat();
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    message[128..132].copy_from_slice(&length);
    let signature = old::sign(&signing_key, &message[64..]);
    message[..64].copy_from_slice(&signature);

    let Ok(plain) = ours::read(&message) else { return };
    assert_eq!(old::read(&message).as_ref(), Ok(&plain));
    let written = ours::write(&plain, &signing_key);
    assert_eq!(ours::read(&written).as_ref(), Ok(&plain));
    assert_eq!(old::read(&written).as_ref(), Ok(&plain));
    if is_written_alike(&plain) {
        assert_eq!(written, old::write(&plain, &signing_key));
    }
    if let Body::Update { masked_model: object, .. } | Body::Sum2 { mask: object, .. } = &plain.body
    {
        sums_of(object);
    }
}

/// The old one writes dictionaries in an order of its own.
fn is_written_alike(plain: &Plain) -> bool {
    !matches!(&plain.body, Body::Update { seed_dict, .. } if seed_dict.len() > 1)
}

/// An object, added up with itself.
fn sums_of(object: &[u8]) {
    let pair = PairBytes {
        vect: object[..4].try_into().expect("four bytes of a config"),
        unit: unit_config(object),
    };
    let length = u32::from_be_bytes(object[4..8].try_into().expect("a count")) as usize;
    let (mut old_sum, mut sum) =
        (old::Aggregation::new(pair, length), ours::Aggregation::new(pair, length));
    for _ in 0..3 {
        assert_eq!(old_sum.add(object), sum.add(object));
    }
    assert_eq!(old_sum.to_bytes(), sum.to_bytes());
}

fn unit_config(object: &[u8]) -> [u8; 4] {
    let vect = object[..4].try_into().expect("four bytes of a config");
    let width = old::config_parameters(vect).bytes_per_number;
    let count = u32::from_be_bytes(object[4..8].try_into().expect("a count")) as usize;
    let from = 8 + width * count;
    object[from..from + 4].try_into().expect("four bytes of a config")
}

/// Which configs, a seed, a scalar and weights: the same masks, masked models, and means.
pub fn masking(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut byte = || bytes.next().unwrap_or(0);
    let (vect, unit) = (config(&mut byte), config(&mut byte));
    let pair = match byte() % 4 {
        0 => PairBytes { vect, unit },
        _ => PairBytes::from(vect),
    };
    let seed: [u8; 32] = [byte(); 32];
    let scalar = f64::from_le_bytes(std::array::from_fn(|_| byte()));
    if !scalar.is_finite() || scalar.is_sign_negative() {
        return;
    }
    let length = usize::from(byte()) % MAX_LEN + 1;
    let weights = weights(vect[1], length, &mut byte);
    let Some(weights) = weights else { return };

    let mask = old::derive_mask(&seed, pair, length);
    assert_eq!(ours::derive_mask(&seed, pair, length), mask);
    let masked = old::mask(&seed, pair, scalar, &weights);
    assert_eq!(ours::mask(&seed, pair, scalar, &weights).as_ref(), Ok(&masked));

    let (mut old_sum, mut sum) =
        (old::Aggregation::new(pair, length), ours::Aggregation::new(pair, length));
    assert_eq!(old_sum.add(&masked), Ok(()));
    assert_eq!(sum.add(&masked), Ok(()));
    // The old one divides by zero, or returns after hours, where ours says what is wrong.
    match sum.unmask(&mask) {
        Ok(mean) => assert_eq!(old_sum.unmask(&mask), Ok(mean)),
        Err(error) => assert_eq!(error, "ScalarSumZero"),
    }
}

fn config(byte: &mut impl FnMut() -> u8) -> [u8; 4] {
    [
        byte() % 3,
        byte() % 4,
        [0, 2, 4, 6, 255][usize::from(byte() % 5)],
        [3, 6, 9, 12][usize::from(byte() % 4)],
    ]
}

/// Finite weights of a data type.
fn weights(data: u8, length: usize, byte: &mut impl FnMut() -> u8) -> Option<Weights> {
    macro_rules! of {
        ($type:ty) => {
            (0..length).map(|_| <$type>::from_le_bytes(std::array::from_fn(|_| byte()))).collect()
        };
    }
    Some(match data {
        0 => {
            let weights: Vec<f32> = of!(f32);
            weights.iter().all(|weight| weight.is_finite()).then_some(Weights::F32(weights))?
        }
        1 => {
            let weights: Vec<f64> = of!(f64);
            weights.iter().all(|weight| weight.is_finite()).then_some(Weights::F64(weights))?
        }
        2 => Weights::I32(of!(i32)),
        _ => Weights::I64(of!(i64)),
    })
}

/// The bodies of a coordinator's answers. What ours accepts the old one reads alike.
pub fn bodies(data: &[u8]) {
    // The first byte of dictionaries and models is the lowest of their count: no need for another tag.
    if let Ok(parameters) = ours::read_parameters(data) {
        // The word groups are ours: an old participant turns such a round away.
        match [parameters.mask_config.vect, parameters.mask_config.unit].map(|[group, ..]| group) {
            [0..=2, 0..=2] => assert_eq!(old::read_parameters(data), Ok(parameters)),
            _ => assert!(old::read_parameters(data).is_err()),
        }
    }
    if let Ok(dict) = ours::read_sum_dict(data) {
        assert_eq!(old::read_sum_dict(data).as_ref(), Ok(&dict));
        assert_eq!(old::write_sum_dict(&dict).len(), data.len());
    }
    if let Ok(dict) = ours::read_seeds(data) {
        assert_eq!(old::read_seeds(data).as_ref(), Ok(&dict));
    }
    // Integers, which the old one converts in all cases: floats are compared elsewhere.
    for (data_type, name) in [(2, "i32"), (3, "i64")] {
        let Ok(model) = ours::read_published(data, [0, data_type, 0, 3]) else { continue };
        let ratios = old::ratio_model_from_bincode(data).expect(name);
        match model {
            Model::I32(weights) => {
                let weights: Vec<_> = weights.into_iter().map(Some).collect();
                assert_eq!(weights, old::to_i32(&ratios));
            }
            Model::I64(weights) => {
                let weights: Vec<_> = weights.into_iter().map(Some).collect();
                assert_eq!(weights, old::to_i64(&ratios));
            }
            other => panic!("{other:?} is no {name} model"),
        }
    }
}
