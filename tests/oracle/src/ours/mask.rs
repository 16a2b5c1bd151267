//! Mask configs, masking, aggregation and unmasking.

use num_rational::BigRational;
use pet_core::{
    mask::{self, MaskConfig, MaskConfigPair, MaskObjectView, MaskSeed, MaskSum, Masker, Unmasker},
    model::{ratio, Model, Scalar},
};

pub use crate::old::ConfigParameters;
use crate::{ConfigBytes, PairBytes, Weights};

/// Works out the parameters of a config.
pub fn config_parameters(config: ConfigBytes) -> ConfigParameters {
    let config = mask_config(config);
    ConfigParameters {
        order: config.order(),
        bytes_per_number: config.bytes_per_number(),
        add_shift: config.add_shift(),
        exp_shift: config.exp_shift(),
        max_nb_models: config.max_nb_models(),
    }
}

/// Masks a model; the error as text.
pub fn mask(
    seed: &[u8; 32],
    pair: PairBytes,
    scalar: f64,
    weights: &Weights,
) -> Result<Vec<u8>, String> {
    let (seed, pair) = (MaskSeed::new(*seed), config_pair(pair));
    let scalar = Scalar::from_f64(scalar).map_err(text)?;
    let masked = match model(weights) {
        Ok(model) => mask::mask_model(&seed, pair, &scalar, &model),
        Err(ratios) => mask::mask_ratios(&seed, pair, &scalar, ratios),
    };
    masked.map(|(object, _)| object).map_err(text)
}

/// Masks a model, `step` weights at a time, behind `prefix`.
pub fn mask_in_steps(
    prefix: Vec<u8>,
    seed: &[u8; 32],
    pair: PairBytes,
    scalar: f64,
    model: Model,
    step: usize,
) -> Result<Vec<u8>, String> {
    let scalar = Scalar::from_f64(scalar).map_err(text)?;
    let seed = MaskSeed::new(*seed);
    let mut masker =
        Masker::append_to(prefix, &seed, config_pair(pair), &scalar, model).map_err(text)?;
    while !masker.step(step) {}
    masker.finish().map(|(object, _)| object).map_err(text)
}

/// The typed model; the fractions themselves if they are not of a model's type.
pub fn model(weights: &Weights) -> Result<Model, &[BigRational]> {
    Ok(match weights {
        Weights::F32(weights) => weights.clone().into(),
        Weights::F64(weights) => weights.clone().into(),
        Weights::I32(weights) => weights.clone().into(),
        Weights::I64(weights) => weights.clone().into(),
        Weights::Ratio(weights) => return Err(weights),
    })
}

/// Derives the mask of a seed; its wire form.
pub fn derive_mask(seed: &[u8; 32], pair: PairBytes, len: usize) -> Vec<u8> {
    mask::derive_mask(&MaskSeed::new(*seed), config_pair(pair), len)
        .to_bytes()
        .expect("a short mask can be written")
}

/// Adds up the masks of seeds, `step` numbers at a time; the wire form of the sum.
pub fn sum_masks(seeds: &[[u8; 32]], pair: PairBytes, len: usize, step: usize) -> Vec<u8> {
    finish(mask_sum(seeds, pair, len, step))
}

/// The same, as two sums that are merged.
pub fn sum_masks_in_parts(
    seeds: &[[u8; 32]],
    pair: PairBytes,
    len: usize,
    first_part: usize,
) -> Vec<u8> {
    let (first, second) = seeds.split_at(first_part);
    let mut sum = mask_sum(first, pair, len, usize::MAX);
    sum.merge(mask_sum(second, pair, len, usize::MAX)).expect("sums of the same shape");
    finish(sum)
}

fn mask_sum(seeds: &[[u8; 32]], pair: PairBytes, len: usize, step: usize) -> MaskSum {
    let mut sum = MaskSum::new(config_pair(pair), len);
    sum.add_seeds(seeds.iter().map(|seed| MaskSeed::new(*seed)));
    while !sum.step(step) {}
    sum
}

fn finish(sum: MaskSum) -> Vec<u8> {
    sum.finish().to_bytes().expect("a short mask can be written")
}

/// A sum of masks or of masked models.
#[derive(Clone)]
pub struct Aggregation(mask::Aggregation);

impl Aggregation {
    /// An empty sum.
    pub fn new(pair: PairBytes, len: usize) -> Self {
        Self(mask::Aggregation::new(config_pair(pair), len))
    }

    /// Adds an object in wire form; the name of the error where it is refused.
    pub fn add(&mut self, object: &[u8]) -> Result<(), String> {
        let view = MaskObjectView::parse_exact(object).map_err(text)?;
        self.0.aggregate(&view).map_err(|error| variant(&error))
    }

    /// Adds the models of another sum.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        self.0.merge(&other.0).map_err(|error| variant(&error))
    }

    /// The sum, in wire form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.object().to_bytes().expect("a short object can be written")
    }

    /// The weighted mean of the masked models, exactly; the name of the error where it is refused.
    pub fn unmask(&self, mask: &[u8]) -> Result<Vec<BigRational>, String> {
        let view = MaskObjectView::parse_exact(mask).map_err(text)?;
        mask::unmask_ratios(&self.0, &view).map_err(|error| variant(&error))
    }

    /// The same as it is published, and in the config's data type; in steps.
    pub fn publish(self, mask: &[u8], step: usize) -> Result<(Vec<u8>, Option<Model>), String> {
        let mut unmasker = Unmasker::new(self.0, mask.to_vec()).map_err(|error| variant(&error))?;
        while !unmasker.step(step) {}
        let unmasked = unmasker.finish().map_err(|error| variant(&error))?;
        Ok((unmasked.ratios, unmasked.model.ok()))
    }
}

/// Reads a published model of the config's data type; the error as text.
pub fn read_published(bytes: &[u8], config: ConfigBytes) -> Result<Model, String> {
    ratio::decode(bytes, mask_config(config).data_type()).map_err(text)
}

/// Writes exact weights as they are published.
pub fn write_published(weights: &[BigRational]) -> Vec<u8> {
    ratio::encode_ratios(weights)
}

pub(super) fn config_pair(pair: PairBytes) -> MaskConfigPair {
    MaskConfigPair { vect: mask_config(pair.vect), unit: mask_config(pair.unit) }
}

fn mask_config(config: ConfigBytes) -> MaskConfig {
    MaskConfig::from_bytes(config).expect("the four bytes of a config")
}

/// The name of an error's variant: the names are those of the old crate.
fn variant(error: &impl std::fmt::Debug) -> String {
    let shown = format!("{error:?}");
    let end = shown.find(|char: char| !char.is_alphanumeric()).unwrap_or(shown.len());
    shown[..end].to_owned()
}

pub(super) fn text(error: impl ToString) -> String {
    error.to_string()
}
