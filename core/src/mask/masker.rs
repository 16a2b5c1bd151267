//! Masking a model (spec section 5): from weights straight to the bytes of a message.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use num_bigint::BigUint;
use num_rational::BigRational;
use zeroize::Zeroizing;

use super::config::{DataType, MaskConfig, MaskConfigPair};
use super::draw::MaskStream;
use super::element::Element;
use super::encode::{clamp_scalar, encode_exact, encode_unit, Encoded, Encoder, Weight};
use super::group::{with_element_type, Group};
use super::object::{write_unit, write_vector_header, MaskObjectView};
use super::seed::MaskSeed;
use crate::model::{Model, Scalar};

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
/// One pass: each weight is encoded, masked and written before the next block is looked at.
pub struct Masker {
    config: MaskConfigPair,
    model: Arc<Model>,
    scalar: BigRational,
    blocks: Box<dyn Blocks + Send>,
    out: Vec<u8>,
    done: usize,
    report: MaskReport,
    error: Option<MaskError>,
}

/// Shows the shape and the progress: the rest is secret.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Masker({}, {} of {} weights)",
            self.config,
            self.done,
            self.model.len()
        )
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
        let blocks: Box<dyn Blocks + Send> = with_element_type!(config.vect, E => {
            Box::new(TypedBlocks::<E> {
                stream: MaskStream::new(seed, config),
                group: Group::new(config.vect),
                encoder: Encoder::new(config.vect, &scalar),
                block: Zeroizing::new(vec![E::default(); BLOCK]),
            })
        });
        let report = MaskReport {
            scalar_clamped,
            ..MaskReport::default()
        };
        Ok(Masker {
            config,
            model,
            scalar,
            blocks,
            out,
            done: 0,
            report,
            error: None,
        })
    }

    /// Masks at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        let end = self.model.len().min(self.done.saturating_add(max_weights));
        while self.done < end && self.error.is_none() {
            let range = self.done..end.min(self.done + BLOCK);
            self.done = range.end;
            let result = self
                .blocks
                .mask(&self.model, range, &mut self.out, &mut self.report);
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
        let unit = mask_unit(&self.scalar, self.blocks.unit_mask(), self.config.unit);
        write_unit(self.config.unit, &unit, &mut self.out);
        // So far the largest weight was kept as it is; the report is about scaled ones.
        self.report.largest_clamped *= crate::model::convert::nearest_f64(&self.scalar);
        Ok((self.out, self.report))
    }
}

fn mask_unit(scalar: &BigRational, mask: &BigUint, config: MaskConfig) -> BigUint {
    (encode_unit(scalar, config) + mask) % config.order()
}

/// Masking with the element type erased.
trait Blocks {
    /// Appends the masked numbers of a range of at most `BLOCK` weights.
    fn mask(
        &mut self,
        model: &Model,
        range: Range<usize>,
        out: &mut Vec<u8>,
        report: &mut MaskReport,
    ) -> Result<(), MaskError>;

    fn unit_mask(&self) -> &BigUint;
}

struct TypedBlocks<E: Element> {
    stream: MaskStream,
    group: Group<E>,
    encoder: Encoder<E>,
    block: Zeroizing<Vec<E>>,
}

impl<E: Element> Blocks for TypedBlocks<E> {
    fn mask(
        &mut self,
        model: &Model,
        range: Range<usize>,
        out: &mut Vec<u8>,
        report: &mut MaskReport,
    ) -> Result<(), MaskError> {
        let start = range.start;
        let result = match model {
            Model::F32(weights) => self.mask_weights(&weights[range], out, report),
            Model::F64(weights) => self.mask_weights(&weights[range], out, report),
            Model::I32(weights) => self.mask_weights(&weights[range], out, report),
            Model::I64(weights) => self.mask_weights(&weights[range], out, report),
        };
        result.map_err(|index| MaskError::NotFinite {
            index: start + index,
        })
    }

    fn unit_mask(&self) -> &BigUint {
        self.stream.unit()
    }
}

impl<E: Element> TypedBlocks<E> {
    /// The error is the index of a weight that is not finite.
    fn mask_weights<W: Weight>(
        &mut self,
        weights: &[W],
        out: &mut Vec<u8>,
        report: &mut MaskReport,
    ) -> Result<(), usize> {
        let block = &mut self.block[..weights.len()];
        self.stream.fill(&self.group, block);
        let limit = self.encoder.limit::<W>();
        for (i, (masked, &weight)) in block.iter_mut().zip(weights).enumerate() {
            let number = match self.encoder.encode(weight, limit) {
                Encoded::Within(number) => number,
                Encoded::Clamped(number) => {
                    report.clamped += 1;
                    report.largest_clamped = report.largest_clamped.max(weight.abs_f64());
                    number
                }
                Encoded::NotFinite => return Err(i),
            };
            *masked = self.group.add(number, *masked);
        }
        self.group.write(block, out);
        Ok(())
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
    let mut report = MaskReport {
        scalar_clamped,
        ..MaskReport::default()
    };
    let mut stream = MaskStream::new(seed, config);
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
    write_unit(
        config.unit,
        &mask_unit(&scalar, stream.unit(), config.unit),
        &mut out,
    );
    Ok((out, report))
}
