//! Scalars, weights and models for tests.

use num_bigint::BigUint;
use proptest::prelude::*;

use crate::model::{convert, DataType, Model, Scalar};

/// Scalars with small, large and odd denominators, huge and tiny ones.
pub(crate) fn any_scalar() -> impl Strategy<Value = Scalar> {
    let ratio = |numer: u64, denom: u64| {
        Scalar::from_ratio(numer.into(), BigUint::from(denom).max(1u32.into())).unwrap()
    };
    prop_oneof![
        Just(Scalar::one()),
        Just(Scalar::from(0)),
        (1u64..2000, 1u64..2000).prop_map(move |(n, d)| ratio(n, d)),
        (any::<u64>(), any::<u64>()).prop_map(move |(n, d)| ratio(n, d)),
        (0.0..2.0).prop_map(|s| Scalar::from_f64(s).unwrap()),
        any::<u64>().prop_map(|bits| {
            Scalar::from_f64(convert::bounded_f64(f64::from_bits(bits)).abs()).unwrap()
        }),
        // An odd denominator of more than 64 bits.
        (any::<u64>(), any::<u128>()).prop_map(|(n, d)| {
            Scalar::from_ratio(n.into(), BigUint::from(d | 1) * (d | 1)).unwrap()
        }),
    ]
}

/// Weights of every magnitude, and around the bounds.
pub(crate) fn any_f64() -> impl Strategy<Value = f64> {
    let near = |value: f64| {
        (-3i64..=3).prop_map(move |n| f64::from_bits((value.to_bits() as i64 + n) as u64))
    };
    let signed = prop_oneof![
        -1.0..1.0,
        -1e7..1e7,
        any::<u64>().prop_map(f64::from_bits),
        near(1.0),
        near(100.0),
        near(1e4),
        near(1e6),
        Just(f64::MAX),
        Just(f64::from_bits(1)),
        Just(f64::from_bits(3)),
        Just(0.0),
        Just(f64::from(f32::MAX)),
    ];
    (signed, any::<bool>())
        .prop_map(|(value, negative)| convert::bounded_f64(if negative { -value } else { value }))
}

pub(crate) fn model(data_type: DataType, weights: &[f64]) -> Model {
    let single = |w: &f64| {
        let near = (w.to_bits() & 7) as u32;
        let value = *w as f32;
        convert::bounded_f32(f32::from_bits(value.to_bits() ^ near))
    };
    match data_type {
        DataType::F32 => Model::F32(weights.iter().map(single).collect()),
        DataType::F64 => Model::F64(weights.to_vec()),
        DataType::I32 => Model::I32(weights.iter().map(|w| *w as i32).collect()),
        DataType::I64 => Model::I64(weights.iter().map(|w| *w as i64).collect()),
    }
}
