//! Mask configs, masking, aggregation and unmasking.

use std::convert::TryFrom;

use num_bigint::{BigInt, BigUint};
use num_bigint_old::{BigInt as OldBigInt, BigUint as OldBigUint};
use num_rational::BigRational;
use num_rational_old::Ratio as OldRatio;
use xaynet_core::{
    crypto::ByteObject,
    mask::{
        BoundType, DataType, FromPrimitives, GroupType, IntoPrimitives, MaskConfig, MaskConfigPair,
        MaskObject, MaskSeed, Masker, Model, ModelType,
    },
    message::{FromBytes, ToBytes},
};

use crate::{ConfigBytes, PairBytes, Weights};

/// What follows from a mask config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigParameters {
    /// The order of the group.
    pub order: BigUint,
    /// The size of one number on the wire.
    pub bytes_per_number: usize,
    /// What makes the weights non-negative.
    pub add_shift: BigRational,
    /// What makes them integers.
    pub exp_shift: BigUint,
    /// How many models may be added up.
    pub max_nb_models: u64,
}

/// Works out the parameters of a config.
pub fn config_parameters(config: ConfigBytes) -> ConfigParameters {
    let config = mask_config(config);
    let one_number = xaynet_core::mask::MaskUnit::default(config).buffer_length();
    ConfigParameters {
        order: new_uint(&config.order()),
        bytes_per_number: one_number - config.buffer_length(),
        add_shift: new_ratio(&config.add_shift()),
        exp_shift: new_int(&config.exp_shift()).to_biguint().expect("a shift is positive"),
        max_nb_models: config.model_type.max_nb_models() as u64,
    }
}

/// Masks a model, out-of-range weights and scalars clamped; the wire form of the masked object.
pub fn mask(seed: &[u8; 32], pair: PairBytes, scalar: f64, weights: &Weights) -> Vec<u8> {
    let masker = Masker::with_seed(config_pair(pair), mask_seed(seed));
    let (_, object) = masker.mask(scalar, &model(weights));
    bytes(&object)
}

/// Derives the mask of a seed; its wire form.
pub fn derive_mask(seed: &[u8; 32], pair: PairBytes, len: usize) -> Vec<u8> {
    bytes(&mask_seed(seed).derive_mask(len, config_pair(pair)))
}

/// A sum of masks or of masked models.
#[derive(Clone)]
pub struct Aggregation(xaynet_core::mask::Aggregation);

impl Aggregation {
    /// An empty sum.
    pub fn new(pair: PairBytes, len: usize) -> Self {
        Self(xaynet_core::mask::Aggregation::new(config_pair(pair), len))
    }

    /// Adds an object in wire form; the name of the error where the old validation fails.
    pub fn add(&mut self, object: &[u8]) -> Result<(), String> {
        let object = parse(object)?;
        self.0.validate_aggregation(&object).map_err(|error| format!("{error:?}"))?;
        self.0.aggregate(object);
        Ok(())
    }

    /// The sum, in wire form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let object: MaskObject = self.0.clone().into();
        bytes(&object)
    }

    /// The weighted mean of the masked models; the name of the error where validation fails.
    ///
    /// # Panics
    /// If all scalars are zero, as the old crate does.
    pub fn unmask(self, mask: &[u8]) -> Result<Vec<BigRational>, String> {
        let mask = parse(mask)?;
        self.0.validate_unmasking(&mask).map_err(|error| format!("{error:?}"))?;
        Ok(self.0.unmask(mask).iter().map(new_ratio).collect())
    }
}

/// A model of exact fractions as it is published: bincode.
pub fn ratio_model_to_bincode(weights: &[BigRational]) -> Vec<u8> {
    bincode::serialize(&model(&Weights::Ratio(weights.to_vec())))
        .expect("a vector of fractions can be written")
}

/// Reads a published model.
pub fn ratio_model_from_bincode(bytes: &[u8]) -> Result<Vec<BigRational>, String> {
    let model: Model = bincode::deserialize(bytes).map_err(|error| error.to_string())?;
    Ok(model.iter().map(new_ratio).collect())
}

/// The fractions as singles; `None` where the old conversion refuses one.
///
/// It never returns where numerator and denominator both leave the float's range.
pub fn to_f32(weights: &[BigRational]) -> Vec<Option<f32>> {
    primitives(weights)
}

/// The fractions as doubles; see [`to_f32`].
pub fn to_f64(weights: &[BigRational]) -> Vec<Option<f64>> {
    primitives(weights)
}

/// The fractions cut to integers; `None` where one is out of range.
pub fn to_i32(weights: &[BigRational]) -> Vec<Option<i32>> {
    primitives(weights)
}

/// The fractions cut to integers; `None` where one is out of range.
pub fn to_i64(weights: &[BigRational]) -> Vec<Option<i64>> {
    primitives(weights)
}

fn primitives<P: 'static>(weights: &[BigRational]) -> Vec<Option<P>>
where
    Model: IntoPrimitives<P>,
{
    model(&Weights::Ratio(weights.to_vec())).to_primitives().map(Result::ok).collect()
}

fn model(weights: &Weights) -> Model {
    match weights {
        Weights::F32(weights) => Model::from_primitives_bounded(weights.iter().copied()),
        Weights::F64(weights) => Model::from_primitives_bounded(weights.iter().copied()),
        Weights::I32(weights) => Model::from_primitives_bounded(weights.iter().copied()),
        Weights::I64(weights) => Model::from_primitives_bounded(weights.iter().copied()),
        Weights::Ratio(weights) => weights.iter().map(old_ratio).collect(),
    }
}

fn mask_seed(seed: &[u8; 32]) -> MaskSeed {
    MaskSeed::from_slice_unchecked(seed)
}

fn mask_config([group, data, bound, model]: ConfigBytes) -> MaskConfig {
    MaskConfig {
        group_type: GroupType::try_from(group).expect("a group type"),
        data_type: DataType::try_from(data).expect("a data type"),
        bound_type: BoundType::try_from(bound).expect("a bound type"),
        model_type: ModelType::try_from(model).expect("a model type"),
    }
}

pub(super) fn config_pair(pair: PairBytes) -> MaskConfigPair {
    MaskConfigPair { vect: mask_config(pair.vect), unit: mask_config(pair.unit) }
}

pub(super) fn config_bytes(config: &MaskConfig) -> ConfigBytes {
    bytes(config).try_into().expect("four bytes")
}

pub(super) fn parse(object: &[u8]) -> Result<MaskObject, String> {
    MaskObject::from_byte_slice(&object).map_err(|error| format!("{error:#}"))
}

pub(super) fn bytes<T: ToBytes>(value: &T) -> Vec<u8> {
    let mut buffer = vec![0; value.buffer_length()];
    value.to_bytes(&mut buffer);
    buffer
}

fn new_uint(old: &OldBigUint) -> BigUint {
    BigUint::from_bytes_le(&old.to_bytes_le())
}

fn new_int(old: &OldBigInt) -> BigInt {
    BigInt::from_signed_bytes_le(&old.to_signed_bytes_le())
}

fn new_ratio(old: &OldRatio<OldBigInt>) -> BigRational {
    // Raw: that the old crate keeps fractions in lowest terms is part of what is compared.
    BigRational::new_raw(new_int(old.numer()), new_int(old.denom()))
}

fn old_ratio(new: &BigRational) -> OldRatio<OldBigInt> {
    let old = |int: &BigInt| OldBigInt::from_signed_bytes_le(&int.to_signed_bytes_le());
    OldRatio::new_raw(old(new.numer()), old(new.denom()))
}
