//! Inputs: random ones, and the edges of every range.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use proptest::{
    array::uniform32,
    collection::{btree_map, vec},
    num,
    prelude::*,
    sample::select,
    strategy::BoxedStrategy,
};

use crate::{old, Body, ConfigBytes, PairBytes, Plain, Task, Weights};

/// The most weights of a random model: enough for several draws, few enough for 300-byte numbers.
pub const MAX_LEN: usize = 12;

const GROUPS: [u8; 3] = [0, 1, 2];
const DATA: [u8; 4] = [0, 1, 2, 3];
const BOUNDS: [u8; 5] = [0, 2, 4, 6, 255];
const MODELS: [u8; 4] = [3, 6, 9, 12];

/// All 240 mask configs.
pub fn all_configs() -> impl Iterator<Item = ConfigBytes> {
    GROUPS.into_iter().flat_map(|group| {
        DATA.into_iter().flat_map(move |data| {
            BOUNDS.into_iter().flat_map(move |bound| {
                MODELS.into_iter().map(move |model| [group, data, bound, model])
            })
        })
    })
}

/// One of the 240 mask configs.
pub fn any_config() -> impl Strategy<Value = ConfigBytes> {
    (select(&GROUPS[..]), select(&DATA[..]), select(&BOUNDS[..]), select(&MODELS[..]))
        .prop_map(|(group, data, bound, model)| [group, data, bound, model])
}

/// A pair with the given vector config: the unit's is mostly the same one, as in deployments.
pub fn pair_with(vect: ConfigBytes) -> impl Strategy<Value = PairBytes> {
    prop_oneof![
        3 => Just(PairBytes::from(vect)),
        1 => any_config().prop_map(move |unit| PairBytes { vect, unit }),
    ]
}

/// Any pair of mask configs.
pub fn any_pair() -> impl Strategy<Value = PairBytes> {
    any_config().prop_flat_map(pair_with)
}

/// A seed of a mask, a key or a round.
pub fn any_seed() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![
        8 => uniform32(any::<u8>()),
        1 => Just([0; 32]),
        1 => Just([u8::MAX; 32]),
    ]
}

/// Any bytes of a length that is known at compile time.
pub fn any_bytes<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    vec(any::<u8>(), N).prop_map(|bytes| bytes.try_into().expect("that many bytes"))
}

/// Bytes in the form of an Ed25519 signature: its second half is a scalar of at most 253 bits.
///
/// The published crate reads others as well, later states of the old code and ours do not.
pub fn any_signature() -> impl Strategy<Value = [u8; 64]> {
    any_bytes().prop_map(|mut bytes: [u8; 64]| {
        bytes[63] &= 0x1f;
        bytes
    })
}

/// A scalar: finite and not negative.
pub fn any_scalar() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..=1.0f64,
        2 => (1u32..=10_000).prop_map(|samples| 1.0 / f64::from(samples)),
        2 => 1.0..=2e6f64,
        2 => num::f64::POSITIVE | num::f64::NORMAL | num::f64::SUBNORMAL | num::f64::ZERO,
        1 => select(vec![
            0.0, 1.0, f64::MIN_POSITIVE, f64::from_bits(1), f64::MAX, f64::from(f32::MAX),
            1e-10, 1e-20, 1.0 - f64::EPSILON / 2.0, 1.0 + f64::EPSILON, 100.0, 1e4, 1e6,
        ]),
    ]
    .prop_map(f64::abs)
}

/// A scalar whose masked form is not zero with any config, so that a mean exists.
pub fn positive_scalar() -> impl Strategy<Value = f64> {
    any_scalar().prop_map(|scalar| scalar.max(1e-9))
}

/// Finite weights of the config's data type, from all of the type's range and at the config's bound.
pub fn weights_for(
    config: ConfigBytes,
    len: std::ops::RangeInclusive<usize>,
) -> BoxedStrategy<Weights> {
    let bound = match config[2] {
        0 => 1.0,
        2 => 100.0,
        4 => 1e4,
        6 => 1e6,
        _ => f64::INFINITY,
    };
    match config[1] {
        0 => vec(single(bound), len).prop_map(Weights::F32).boxed(),
        1 => vec(double(bound), len).prop_map(Weights::F64).boxed(),
        2 => vec(int32(bound), len).prop_map(Weights::I32).boxed(),
        _ => vec(int64(bound), len).prop_map(Weights::I64).boxed(),
    }
}

fn single(bound: f64) -> impl Strategy<Value = f32> {
    let edge = if bound.is_finite() { bound as f32 } else { f32::MAX };
    prop_oneof![
        6 => -edge / 2.0..=edge / 2.0,
        2 => num::f32::ANY.prop_filter("finite", |weight| weight.is_finite()),
        2 => select(vec![
            0.0, -0.0, edge, -edge, below(edge), -below(edge), f32::MIN_POSITIVE,
            f32::from_bits(1), -f32::from_bits(1), f32::MAX, f32::MIN, 1e-10, -1e-10, 0.1, -0.3,
        ]),
        1 => (-1_000_000i32..1_000_000).prop_map(|steps| steps as f32 * 1e-10),
    ]
}

fn below(edge: f32) -> f32 {
    f32::from_bits(edge.to_bits() - 1)
}

fn double(bound: f64) -> impl Strategy<Value = f64> {
    let edge = if bound.is_finite() { bound } else { f64::MAX };
    let below = f64::from_bits(edge.to_bits() - 1);
    prop_oneof![
        6 => -edge / 2.0..=edge / 2.0,
        2 => num::f64::ANY.prop_filter("finite", |weight| weight.is_finite()),
        2 => select(vec![
            0.0, -0.0, edge, -edge, below, -below, f64::MIN_POSITIVE, f64::from_bits(1),
            -f64::from_bits(1), f64::MAX, f64::MIN, 1e-20, -1e-20, 0.1, -0.3,
        ]),
        1 => (-1_000_000i32..1_000_000).prop_map(|steps| f64::from(steps) * 1e-20),
    ]
}

fn int32(bound: f64) -> impl Strategy<Value = i32> {
    let edge = if bound.is_finite() { bound as i32 } else { i32::MAX };
    prop_oneof![
        6 => -edge..=edge,
        2 => any::<i32>(),
        2 => select(vec![0, 1, -1, edge, -edge, edge - 1, i32::MAX, i32::MIN]),
    ]
}

fn int64(bound: f64) -> impl Strategy<Value = i64> {
    let edge = if bound.is_finite() { bound as i64 } else { i64::MAX };
    prop_oneof![
        6 => -edge..=edge,
        2 => any::<i64>(),
        2 => select(vec![0, 1, -1, edge, -edge, edge - 1, i64::MAX, i64::MIN]),
    ]
}

/// Exact weights of no primitive type, around the config's bound.
pub fn ratios_for(
    config: ConfigBytes,
    len: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Weights> {
    let bound = old::config_parameters(config).add_shift;
    let ratio =
        (any::<i64>(), 1u32..=u32::MAX, any::<u32>()).prop_map(move |(numer, denom, fine)| {
            let fraction = BigRational::new(numer.into(), i64::MAX.into());
            let detail = BigRational::new(fine.into(), denom.into());
            &bound * fraction * BigRational::new(5.into(), 4.into()) + detail
        });
    vec(ratio, len).prop_map(Weights::Ratio)
}

/// A mask object of any shape and its wire form, with numbers below their orders.
pub fn any_object() -> impl Strategy<Value = Vec<u8>> {
    (any_pair(), any_seed(), 0..=MAX_LEN)
        .prop_map(|(pair, seed, len)| old::derive_mask(&seed, pair, len))
}

/// An integer of up to some thousand bits, small ones more often.
pub fn any_integer() -> impl Strategy<Value = BigInt> {
    let magnitude = prop_oneof![
        4 => vec(any::<u8>(), 0..=16),
        2 => vec(any::<u8>(), 0..=300),
        1 => Just(vec![u8::MAX; 4]),
        1 => Just(vec![0, 0, 0, 0, 1]),
    ];
    (any::<bool>(), magnitude).prop_map(|(negative, magnitude)| {
        let magnitude = BigInt::from(BigUint::from_bytes_le(&magnitude));
        if negative {
            -magnitude
        } else {
            magnitude
        }
    })
}

/// An exact fraction in lowest terms.
pub fn any_ratio() -> impl Strategy<Value = BigRational> {
    (any_integer(), any_integer()).prop_map(|(numer, denom)| {
        let denom = if denom == BigInt::from(0) { BigInt::from(1) } else { denom };
        BigRational::new(numer, denom)
    })
}

/// A message with the keys of its sender and its recipient; chunks included.
#[derive(Clone, Debug)]
pub struct Addressed {
    /// The message.
    pub plain: Plain,
    /// The sender's Ed25519 secret key.
    pub signing_key: [u8; 64],
    /// The recipient's X25519 secret key.
    pub opening_key: [u8; 32],
}

/// Any message, signed and addressed with real keys.
pub fn any_message() -> impl Strategy<Value = Addressed> {
    (any_seed(), any_seed(), any_body()).prop_map(|(sender, recipient, body)| {
        let (participant_pk, signing_key) = old::signing_key_pair(&sender);
        let (coordinator_pk, opening_key) = old::encrypt_key_pair(&recipient);
        let plain = Plain { participant_pk, coordinator_pk, body };
        Addressed { plain, signing_key, opening_key }
    })
}

/// Any payload.
pub fn any_body() -> impl Strategy<Value = Body> {
    let task = select(vec![Task::Sum, Task::Update, Task::Sum2]);
    prop_oneof![
        1 => (any_signature(), any_bytes())
            .prop_map(|(sum_signature, ephm_pk)| Body::Sum { sum_signature, ephm_pk }),
        3 => any_update(),
        2 => any_sum2(),
        1 => (task, any::<u16>(), any::<u16>(), any::<bool>(), vec(any::<u8>(), 0..=64)).prop_map(
            |(task, id, message_id, last, data)| Body::Chunk { task, id, message_id, last, data }
        ),
    ]
}

/// The payload of an update message with up to four sum participants.
pub fn any_update() -> impl Strategy<Value = Body> {
    let seed_dict = btree_map(any_bytes(), any_bytes(), 0..=4);
    (any_signature(), any_signature(), any_object(), seed_dict).prop_map(
        |(sum_signature, update_signature, masked_model, seed_dict)| Body::Update {
            sum_signature,
            update_signature,
            masked_model,
            seed_dict,
        },
    )
}

/// The payload of a sum2 message.
pub fn any_sum2() -> impl Strategy<Value = Body> {
    (any_signature(), any_object())
        .prop_map(|(sum_signature, mask)| Body::Sum2 { sum_signature, mask })
}
