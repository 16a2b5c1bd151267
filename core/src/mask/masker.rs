//! Masking a model (spec section 5): from weights straight to the bytes of a message.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use num_rational::BigRational;
use zeroize::Zeroizing;

use super::config::{DataType, MaskConfig, MaskConfigPair};
use super::draw::MaskStream;
use super::element::Element;
use super::encode::{clamp_scalar, encode_exact, encode_unit, Clamped, Encoder, Weight};
use super::group::{with_element_type, Elements, Group};
use super::object::{write_unit, write_vector_header, MaskObjectView};
use super::seed::MaskSeed;
use crate::model::{Model, Scalar};
use crate::simd::{Kernel, Level};

/// Numbers made at a time: they and their masks fit the L1 cache.
const BLOCK: usize = 512;

/// Why a model cannot be masked: the caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// NaN or infinite.
    #[error("weight {index} of the model is not a finite number")]
    NotFinite {
        /// Its index.
        index: usize,
    },
    /// The model's weights are not of the round's type.
    #[error("the round wants {expected} weights, the model has {found} weights")]
    DataType {
        /// The config's type.
        expected: DataType,
        /// The model's type.
        found: DataType,
    },
    /// A model that no message can hold.
    #[error("a model of {0} weights cannot be sent (the limit is 4294967295)")]
    TooLong(usize),
}

/// What masking did to the model beyond rounding it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MaskReport {
    /// How many weights, multiplied by the scalar, were beyond the config's bound and put on it.
    pub clamped: u64,
    /// The largest of those before clamping, in absolute value and rounded; 0 if there were none.
    pub largest_clamped: f64,
    /// Whether the scalar was beyond the unit config's bound and put on it.
    pub scalar_clamped: bool,
}

/// Masks one model, in steps; writes the mask object as it travels (spec section 4).
///
/// One pass: each weight is encoded, masked and written before the next block is looked at. Masks are
/// wiped after use. The scalar is not: it is the caller's, and enters as big integers.
pub struct Masker {
    config: MaskConfigPair,
    model: Arc<Model>,
    /// The scalar, for the report.
    scalar: f64,
    scalar_clamped: bool,
    /// The unit's number, masked.
    unit: Elements,
    blocks: Box<dyn Blocks + Send>,
    out: Vec<u8>,
    done: usize,
    clamped: Clamped,
    error: Option<MaskError>,
}

/// Shows the shape and the progress: the rest is secret.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({}, {} of {} weights)", self.config, self.done, self.model.len())
    }
}

impl Masker {
    /// Begins to mask `model`, weighted by `scalar`. The time does not depend on the model's length.
    ///
    /// # Errors
    /// If the model's type is not the config's, or it is too long.
    pub fn new(
        seed: &MaskSeed,
        config: MaskConfigPair,
        scalar: &Scalar,
        model: impl Into<Arc<Model>>,
    ) -> Result<Self, MaskError> {
        Self::append_to(Vec::new(), seed, config, scalar, model)
    }

    /// Like [`new`](Self::new), and the mask object is appended to `out`, say the beginning of a message.
    ///
    /// # Errors
    /// As for `new`.
    pub fn append_to(
        mut out: Vec<u8>,
        seed: &MaskSeed,
        config: MaskConfigPair,
        scalar: &Scalar,
        model: impl Into<Arc<Model>>,
    ) -> Result<Self, MaskError> {
        let model = model.into();
        let (expected, found) = (config.vect.data_type, model.data_type());
        if expected != found {
            return Err(MaskError::DataType { expected, found });
        }
        let too_long = MaskError::TooLong(model.len());
        let len = MaskObjectView::serialized_len(config, model.len()).ok_or(too_long.clone())?;
        out.reserve(len);
        write_vector_header(config.vect, model.len(), &mut out).map_err(|_| too_long)?;
        let (scalar, scalar_clamped) = clamp_scalar(scalar, config.unit);
        let stream = MaskStream::new(seed, Elements::zeros(config.unit, 1));
        let unit = mask_unit(&scalar, &stream, config.unit);
        let blocks = blocks(stream, config.vect, &scalar);
        let clamped = Clamped::default();
        let scalar = crate::model::convert::nearest_f64(&scalar);
        Ok(Masker {
            config,
            model,
            scalar,
            scalar_clamped,
            unit,
            blocks,
            out,
            done: 0,
            clamped,
            error: None,
        })
    }

    /// Masks at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        let end = self.model.len().min(self.done.saturating_add(max_weights));
        while self.done < end && self.error.is_none() {
            let range = self.done..end.min(self.done + BLOCK);
            self.done = range.end;
            let result = self.blocks.mask(&self.model, range, &mut self.out, &mut self.clamped);
            self.error = result.err();
        }
        self.error.is_some() || self.done == self.model.len()
    }

    /// Weights done, and in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.model.len())
    }

    /// The bytes, after those given at the beginning; masks what is left of the model.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn finish(mut self) -> Result<(Vec<u8>, MaskReport), MaskError> {
        self.step(usize::MAX);
        if let Some(error) = self.error {
            return Err(error);
        }
        write_unit(self.config.unit, &self.unit, &mut self.out);
        let report = MaskReport {
            clamped: self.clamped.count,
            largest_clamped: self.clamped.largest * self.scalar,
            scalar_clamped: self.scalar_clamped,
        };
        Ok((self.out, report))
    }
}

fn mask_unit(scalar: &BigRational, stream: &MaskStream, config: MaskConfig) -> Elements {
    let mut unit = Elements::one(config, &encode_unit(scalar, config));
    unit.add(stream.unit());
    unit
}

/// Masking with the types erased.
trait Blocks {
    /// Appends the masked numbers of a range of at most `BLOCK` weights.
    fn mask(
        &mut self,
        model: &Model,
        range: Range<usize>,
        out: &mut Vec<u8>,
        clamped: &mut Clamped,
    ) -> Result<(), MaskError>;
}

fn blocks(stream: MaskStream, config: MaskConfig, scalar: &BigRational) -> Box<dyn Blocks + Send> {
    with_element_type!(config, E => match config.data_type {
        DataType::F32 => Box::new(TypedBlocks::<E, f32>::new(stream, config, scalar)),
        DataType::F64 => Box::new(TypedBlocks::<E, f64>::new(stream, config, scalar)),
        DataType::I32 => Box::new(TypedBlocks::<E, i32>::new(stream, config, scalar)),
        DataType::I64 => Box::new(TypedBlocks::<E, i64>::new(stream, config, scalar)),
    })
}

struct TypedBlocks<E: Element, W: Weight> {
    stream: MaskStream,
    group: Group<E>,
    encoder: Encoder<E, W>,
    masks: Zeroizing<Vec<E>>,
    numbers: Zeroizing<Vec<E>>,
}

impl<E: Element, W: Weight> TypedBlocks<E, W> {
    fn new(stream: MaskStream, config: MaskConfig, scalar: &BigRational) -> Self {
        TypedBlocks {
            stream,
            group: Group::new(config),
            encoder: Encoder::new(config, scalar),
            masks: Zeroizing::new(vec![E::default(); BLOCK]),
            numbers: Zeroizing::new(vec![E::default(); BLOCK]),
        }
    }
}

impl<E: Element, W: Weight> Blocks for TypedBlocks<E, W> {
    fn mask(
        &mut self,
        model: &Model,
        range: Range<usize>,
        out: &mut Vec<u8>,
        clamped: &mut Clamped,
    ) -> Result<(), MaskError> {
        let start = range.start;
        // The type was checked at the beginning.
        let weights = &W::of(model).unwrap_or_default()[range];
        let (masks, numbers) =
            (&mut self.masks[..weights.len()], &mut self.numbers[..weights.len()]);
        self.stream.fill(&self.group, masks);
        let level = Level::detected();
        self.encoder
            .encode(level, weights, numbers, clamped)
            .map_err(|index| MaskError::NotFinite { index: start + index })?;
        level.run(Add { group: &self.group, numbers, masks });
        self.group.write(numbers, out);
        Ok(())
    }
}

/// Adds masks to numbers.
pub(super) struct Add<'a, E> {
    pub(super) group: &'a Group<E>,
    pub(super) numbers: &'a mut [E],
    pub(super) masks: &'a [E],
}

impl<E: Element> Kernel for Add<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let group = *self.group;
        for (number, mask) in self.numbers.iter_mut().zip(self.masks) {
            *number = group.add(*number, *mask);
        }
    }
}

/// Masks a model at once: the mask object as it travels, and what became of the weights.
///
/// # Errors
/// As [`Masker`].
pub fn mask_model(
    seed: &MaskSeed,
    config: MaskConfigPair,
    scalar: &Scalar,
    model: &Model,
) -> Result<(Vec<u8>, MaskReport), MaskError> {
    Masker::new(seed, config, scalar, model.clone())?.finish()
}

/// Masks exact weights, of any data type (slow: for tests and tools).
///
/// # Errors
/// [`MaskError::TooLong`].
pub fn mask_ratios(
    seed: &MaskSeed,
    config: MaskConfigPair,
    scalar: &Scalar,
    weights: &[BigRational],
) -> Result<(Vec<u8>, MaskReport), MaskError> {
    let mut out = Vec::new();
    write_vector_header(config.vect, weights.len(), &mut out)
        .map_err(|_| MaskError::TooLong(weights.len()))?;
    let (scalar, scalar_clamped) = clamp_scalar(scalar, config.unit);
    let mut report = MaskReport { scalar_clamped, ..MaskReport::default() };
    let mut stream = MaskStream::new(seed, Elements::zeros(config.unit, 1));
    with_element_type!(config.vect, E => {
        let group = Group::<E>::new(config.vect);
        for weight in weights {
            let mut mask = [E::default()];
            stream.fill(&group, &mut mask);
            let (number, clamped) = encode_exact(weight, &scalar, config.vect);
            if clamped {
                report.clamped += 1;
                let scaled = crate::model::convert::nearest_f64(&(weight * &scalar)).abs();
                report.largest_clamped = report.largest_clamped.max(scaled);
            }
            group.write(&[group.add(E::from_biguint(&number), mask[0])], &mut out);
        }
    });
    write_unit(config.unit, &mask_unit(&scalar, &stream, config.unit), &mut out);
    Ok((out, report))
}

#[cfg(test)]
mod tests {
    use super::super::config::{BoundType, GroupType};
    use super::super::encode::samples::{any_f64, any_scalar, model};
    use super::*;
    use crate::model::convert;
    use num_traits::Zero;
    use proptest::prelude::*;

    fn exact(model: &Model) -> Vec<BigRational> {
        match model {
            Model::F32(weights) => weights.iter().map(|w| convert::from_f32(*w).unwrap()).collect(),
            Model::F64(weights) => weights.iter().map(|w| convert::from_f64(*w).unwrap()).collect(),
            Model::I32(weights) => {
                weights.iter().map(|w| BigRational::from_integer((*w).into())).collect()
            }
            Model::I64(weights) => {
                weights.iter().map(|w| BigRational::from_integer((*w).into())).collect()
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        /// Every config in every case, with exact rational arithmetic as the oracle.
        #[test]
        fn all_configs_mask_exactly(
            scalar in any_scalar(), weights in prop::collection::vec(any_f64(), 1..12), seed: [u8; 32],
        ) {
            let seed = MaskSeed::new(seed);
            for config in MaskConfig::all() {
                // The largest bound there is for the unit: few scalars are clamped.
                let unit = MaskConfig::new(GroupType::Integer, DataType::I64, BoundType::Bmax, config.model_type()).unwrap();
                for config in [config.into(), MaskConfigPair { vect: config, unit }] {
                    let model = model(config.vect.data_type, &weights);
                    let ours = mask_model(&seed, config, &scalar, &model).unwrap();
                    let oracle = mask_ratios(&seed, config, &scalar, &exact(&model)).unwrap();
                    prop_assert_eq!(ours.0, oracle.0, "{}", config);
                    prop_assert_eq!(ours.1.clamped, oracle.1.clamped, "{}", config);
                    prop_assert_eq!(ours.1.scalar_clamped, oracle.1.scalar_clamped);
                    let (found, expected) = (ours.1.largest_clamped, oracle.1.largest_clamped);
                    prop_assert!(found == expected || (found / expected - 1.0).abs() < 1e-9);
                }
            }
        }
    }

    fn config(bytes: [u8; 4]) -> MaskConfigPair {
        MaskConfig::from_bytes(bytes).unwrap().into()
    }

    #[test]
    fn steps_of_any_size_give_the_same_bytes() {
        let weights: Vec<f32> = (0..3 * BLOCK + 7).map(|i| (i as f32).sin()).collect();
        let (seed, config, model) =
            (MaskSeed::new([5; 32]), config([1, 0, 0, 3]), Model::from(weights));
        let whole = mask_model(&seed, config, &Scalar::one(), &model).unwrap();
        for step in [1, 100, BLOCK, BLOCK + 1, 10 * BLOCK] {
            let mut masker = Masker::new(&seed, config, &Scalar::one(), model.clone()).unwrap();
            let mut steps = 1;
            while !masker.step(step) {
                steps += 1;
            }
            assert_eq!(steps, model.len().div_ceil(step));
            assert_eq!(masker.progress(), (model.len(), model.len()));
            assert_eq!(masker.finish().unwrap(), whole);
        }
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_index() {
        let (seed, config) = (MaskSeed::new([5; 32]), config([1, 1, 255, 3]));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut weights = vec![0.5; 2 * BLOCK];
            weights[BLOCK + 3] = bad;
            let result = mask_model(&seed, config, &Scalar::one(), &weights.into());
            assert_eq!(result, Err(MaskError::NotFinite { index: BLOCK + 3 }));
        }
    }

    #[test]
    fn the_type_must_be_the_configs() {
        let result = mask_model(
            &MaskSeed::new([5; 32]),
            config([0, 2, 0, 3]),
            &Scalar::one(),
            &Model::from(vec![1.0f32]),
        );
        assert_eq!(
            result,
            Err(MaskError::DataType { expected: DataType::I32, found: DataType::F32 })
        );
    }

    #[test]
    fn an_empty_model_has_a_unit() {
        let config = config([2, 0, 0, 3]);
        let (bytes, report) =
            mask_model(&MaskSeed::new([5; 32]), config, &Scalar::one(), &Model::F32(vec![]))
                .unwrap();
        let view = MaskObjectView::parse_exact(&bytes).unwrap();
        assert!(view.matches(config, 0) && !view.unit_number().is_zero());
        assert_eq!(report, MaskReport::default());
    }

    #[test]
    fn clamping_is_reported() {
        let config = config([1, 0, 0, 3]);
        let model = Model::F32(vec![0.25, -3.0, 1.0, 2.5, -1.0]);
        let (_, report) =
            mask_model(&MaskSeed::new([5; 32]), config, &Scalar::from(7), &model).unwrap();
        // The scalar is clamped to 1 first.
        assert_eq!(report, MaskReport { clamped: 2, largest_clamped: 3.0, scalar_clamped: true });
    }
}
