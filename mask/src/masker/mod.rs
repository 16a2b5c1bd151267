//! Masking a model (spec section 5): from weights straight to the bytes of a message.

mod blocks;
mod parts;
#[cfg(test)]
mod several;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use num_rational::BigRational;

use super::config::{DataType, MaskConfig, MaskConfigPair};
use super::draw::MaskStream;
use super::element::Element;
use super::encode::{clamp_scalar, encode_exact, encode_unit, Clamped, Weight};
use super::group::{with_element_type, Elements, Group};
use super::object::{write_unit, write_vector_header, MaskObjectView};
use super::seed::MaskSeed;
use crate::model::{castable, CastError, Model, Scalar};
use blocks::{Line, Recipe};
pub use parts::MaskPart;
use parts::Split;

/// Why a model cannot be masked: the caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// NaN or infinite.
    #[error("weight {index} of the model is not a finite number")]
    NotFinite {
        /// Its index.
        index: usize,
    },
    /// The model's weights are of a type that cannot be had in the round's: floats for integers.
    #[error("the round wants {expected} weights, the model has {found} weights")]
    DataType {
        /// The config's type.
        expected: DataType,
        /// The model's type.
        found: DataType,
    },
    /// A weight is beyond the range of the round's type.
    #[error(transparent)]
    Cast(CastError),
    /// A model that no message can hold.
    #[error("a model of {0} weights cannot be sent (the limit is 4294967295)")]
    TooLong(usize),
    /// Several masks, with a config that has one only. The round's settings are at fault.
    #[error("the masks of {seeds} groups can only be added up with a word group, and the round has {config}: its settings need the group type Word32 or Word64")]
    NoWordGroup {
        /// The round's configs.
        config: MaskConfigPair,
        /// How many seeds there are.
        seeds: usize,
    },
    /// Without a mask the model would be sent for all to read.
    #[error("there is no seed to mask the model with")]
    NoSeed,
}

impl From<CastError> for MaskError {
    fn from(error: CastError) -> Self {
        match error {
            CastError::NotFinite { index, .. } => Self::NotFinite { index },
            CastError::FloatsForIntegers { actual, wanted } => {
                Self::DataType { expected: wanted, found: actual }
            }
            error => Self::Cast(error),
        }
    }
}

/// Reports what masking did to the model beyond rounding it. (How coarse that is follows from the config and the
/// scalar: [`MaskConfigPair::precision`].)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MaskReport {
    /// How many weights, multiplied by the scalar, were beyond the config's bound and put on it.
    pub clamped: u64,
    /// The largest of those before clamping, in absolute value and rounded; 0 if there were none.
    pub largest_clamped: f64,
    /// Whether the scalar was beyond the unit config's bound and put on it.
    pub scalar_clamped: bool,
}

/// Masks one model, in steps, and writes the mask object in its form on the wire (spec section 4).
///
/// One pass: each weight is encoded, masked and written before the next block is looked at. Masks are
/// wiped after use. The scalar is not: it is the caller's, and enters as big integers.
pub struct Masker {
    config: MaskConfigPair,
    length: usize,
    /// The scalar, for the report.
    scalar: f64,
    scalar_clamped: bool,
    /// The unit's number, masked.
    unit: Elements,
    blocks: Box<dyn Blocks>,
    /// In one piece from the beginning, so that parts write where their bytes belong.
    out: BytesMut,
    /// What comes behind the bytes that parts are writing, and how many parts there are.
    tail: BytesMut,
    parts: usize,
    done: usize,
    clamped: Clamped,
    error: Option<MaskError>,
}

/// Shows the shape and the progress: the rest is secret.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({}, {} of {} weights)", self.config, self.done, self.length)
    }
}

impl Masker {
    /// Begins to mask `model`, weighted by `scalar`. Weights of another type than the config's are converted block by
    /// block, as [`crate::model::CastError`] says. The time does not depend on the model's length.
    ///
    /// # Errors
    /// If the model's weights cannot be had in the config's type, or it is too long.
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
        out: Vec<u8>,
        seed: &MaskSeed,
        config: MaskConfigPair,
        scalar: &Scalar,
        model: impl Into<Arc<Model>>,
    ) -> Result<Self, MaskError> {
        Self::behind(&out, 0, seed, config, scalar, model.into())
    }

    /// Like [`new`](Self::new), with the mask object behind a copy of `beginning`, with memory for
    /// `more` bytes after the object.
    ///
    /// # Errors
    /// As for `new`.
    pub fn behind(
        beginning: &[u8],
        more: usize,
        seed: &MaskSeed,
        config: MaskConfigPair,
        scalar: &Scalar,
        model: Arc<Model>,
    ) -> Result<Self, MaskError> {
        Self::behind_all(beginning, more, std::slice::from_ref(seed), config, scalar, model)
    }

    /// Like [`behind`](Self::behind), under the sum of the masks of several seeds: to take it off takes all of them, or
    /// the sum of a [`MaskSum`](crate::MaskSum) for each. More than one take a word group, where adding masks costs
    /// no more than making them; with one seed the bytes are those of `behind`.
    ///
    /// # Errors
    /// As for `new`; if there is no seed; and if there are several, and vector or unit has another group than Word32 or
    /// Word64.
    pub fn behind_all(
        beginning: &[u8],
        more: usize,
        seeds: &[MaskSeed],
        config: MaskConfigPair,
        scalar: &Scalar,
        model: Arc<Model>,
    ) -> Result<Self, MaskError> {
        let streams = Streams::new(seeds, config)?;
        castable(model.data_type(), config.vect.data_type())?;
        let length = model.len();
        let too_long = MaskError::TooLong(length);
        let len = MaskObjectView::serialized_len(config, length).ok_or(too_long.clone())?;
        let mut header = Vec::new();
        write_vector_header(config.vect, length, &mut header).map_err(|_| too_long)?;
        let mut out = BytesMut::with_capacity(beginning.len() + len + more);
        out.extend_from_slice(beginning);
        out.extend_from_slice(&header);
        let (scalar, scalar_clamped) = clamp_scalar(scalar, config.unit);
        Ok(Masker {
            config,
            length,
            scalar: crate::model::convert::nearest_f64(&scalar),
            scalar_clamped,
            unit: mask_unit(&scalar, streams.all(), config.unit),
            blocks: blocks(streams, config.vect, &scalar, model),
            out,
            tail: BytesMut::new(),
            parts: 0,
            done: 0,
            clamped: Clamped::default(),
            error: None,
        })
    }

    /// Masks at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        let range = self.done..self.length.min(self.done.saturating_add(max_weights));
        if !range.is_empty() && self.error.is_none() {
            self.done = range.end;
            self.error = self.blocks.mask(range, &mut self.out, &mut self.clamped).err();
        }
        self.is_done()
    }

    fn is_done(&self) -> bool {
        self.error.is_some() || self.done >= self.length
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.length)
    }

    /// Splits off the next work as up to `parts` pieces, which can run at the same time: to be given back,
    /// all of them and in this order, before anything else is asked for. None if that is not worth it.
    pub fn split(&mut self, parts: usize) -> Vec<MaskPart> {
        if self.is_done() || self.parts > 0 {
            return Vec::new();
        }
        self.tail = self.out.split_off(self.out.len());
        let parts = self.blocks.split(parts, self.done..self.length, &mut self.tail);
        self.parts = parts.len();
        self.join();
        parts
    }

    /// Takes back a part that is done.
    pub fn absorb(&mut self, part: MaskPart) {
        let Some(masked) = self.blocks.absorb(part) else { return };
        self.done += masked.out.len() / self.config.vect.bytes_per_number();
        self.out.unsplit(masked.out);
        self.clamped.add(masked.clamped);
        if let (None, Err(error)) = (&self.error, masked.result) {
            self.error = Some(error);
        }
        self.parts = self.parts.saturating_sub(1);
        self.join();
    }

    fn join(&mut self) {
        if self.parts == 0 {
            self.out.unsplit(std::mem::take(&mut self.tail));
        }
    }

    /// Takes the first `len` bytes, for whoever wants to work on them while they are in the cache. None as long as
    /// there are fewer, and none once all is masked: the rest comes with [`finish_rest`](Self::finish_rest).
    pub fn take(&mut self, len: usize) -> Option<BytesMut> {
        let is_there = self.out.len() >= len && self.parts == 0 && !self.is_done();
        is_there.then(|| self.out.split_to(len))
    }

    /// The bytes, after those given at the beginning; masks what is left of the model.
    ///
    /// # Errors
    /// If a weight is not finite, or beyond the range of the config's type.
    pub fn finish(self) -> Result<(Vec<u8>, MaskReport), MaskError> {
        self.finish_rest().map(|(out, report)| (out.into(), report))
    }

    /// The same without what was [taken](Self::take): in memory the rest follows it, so that joining them copies nothing.
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    pub fn finish_rest(mut self) -> Result<(BytesMut, MaskReport), MaskError> {
        self.step(usize::MAX);
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut unit = Vec::new();
        write_unit(self.config.unit, &self.unit, &mut unit);
        self.out.extend_from_slice(&unit);
        let report = MaskReport {
            clamped: self.clamped.count,
            largest_clamped: self.clamped.largest * self.scalar,
            scalar_clamped: self.scalar_clamped,
        };
        Ok((self.out, report))
    }
}

/// The masks of all seeds: there is at least one.
struct Streams {
    first: MaskStream,
    more: Vec<MaskStream>,
}

impl Streams {
    fn new(seeds: &[MaskSeed], config: MaskConfigPair) -> Result<Self, MaskError> {
        let [first, more @ ..] = seeds else { return Err(MaskError::NoSeed) };
        let words = config.vect.group_type().is_word() && config.unit.group_type().is_word();
        if !more.is_empty() && !words {
            return Err(MaskError::NoWordGroup { config, seeds: seeds.len() });
        }
        let stream = |seed| MaskStream::new(seed, Elements::zeros(config.unit, 1));
        Ok(Streams { first: stream(first), more: more.iter().map(stream).collect() })
    }

    fn all(&self) -> impl Iterator<Item = &MaskStream> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

fn mask_unit<'a>(
    scalar: &BigRational,
    streams: impl Iterator<Item = &'a MaskStream>,
    config: MaskConfig,
) -> Elements {
    let mut unit = Elements::one(config, &encode_unit(scalar, config));
    streams.for_each(|stream| unit.add(stream.unit()));
    unit
}

/// Masking with the types erased.
trait Blocks: Split + Send {
    /// Appends the masked numbers of a range of weights.
    fn mask(
        &mut self,
        range: Range<usize>,
        out: &mut BytesMut,
        clamped: &mut Clamped,
    ) -> Result<(), MaskError>;
}

impl<E: Element, W: Weight> Blocks for Line<E, W> {
    fn mask(
        &mut self,
        range: Range<usize>,
        out: &mut BytesMut,
        clamped: &mut Clamped,
    ) -> Result<(), MaskError> {
        Line::mask(self, range, out, clamped)
    }
}

fn blocks(
    streams: Streams,
    config: MaskConfig,
    scalar: &BigRational,
    model: Arc<Model>,
) -> Box<dyn Blocks> {
    fn line<E: Element, W: Weight>(
        streams: Streams,
        config: MaskConfig,
        scalar: &BigRational,
        model: Arc<Model>,
    ) -> Box<dyn Blocks> {
        Box::new(Line::<E, W>::begin(Recipe::new(config, scalar, model), streams))
    }
    with_element_type!(config, E => match config.data_type() {
        DataType::F32 => line::<E, f32>(streams, config, scalar, model),
        DataType::F64 => line::<E, f64>(streams, config, scalar, model),
        DataType::I32 => line::<E, i32>(streams, config, scalar, model),
        DataType::I64 => line::<E, i64>(streams, config, scalar, model),
    })
}

/// Masks a model at once; gives the mask object in its form on the wire, and a report.
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
    write_unit(config.unit, &mask_unit(&scalar, std::iter::once(&stream), config.unit), &mut out);
    Ok((out, report))
}

#[cfg(test)]
mod tests {
    /// No multiple of any block's length.
    const BLOCK: usize = 5000;

    use super::*;
    use crate::config::{BoundType, GroupType};
    use crate::encode::samples::{any_f64, any_scalar, model};
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
        for step in [7, 100, BLOCK, BLOCK + 1, 10 * BLOCK] {
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
    fn what_is_taken_on_the_way_comes_first_and_lies_before_the_rest() {
        let (seed, config) = (MaskSeed::new([5; 32]), config([1, 0, 0, 3]));
        let model = waves(config.vect, 3 * BLOCK);
        let (whole, report) = mask_model(&seed, config, &Scalar::one(), &model).unwrap();
        let mut masker = Masker::new(&seed, config, &Scalar::one(), model).unwrap();
        assert!(masker.take(whole.len()).is_none(), "so much is not there yet");
        let mut taken = masker.take(4).unwrap();
        while !masker.step(BLOCK) {
            while let Some(piece) = masker.take(1000) {
                assert_eq!(piece.len(), 1000);
                taken.unsplit(piece);
            }
        }
        assert!(masker.take(1).is_none(), "all is masked");
        assert!(taken.len() > 2 * 1000 && taken[..] == whole[..taken.len()]);
        let (rest, rest_report) = masker.finish_rest().unwrap();
        assert_eq!(rest_report, report);
        let (beginning, middle) = (taken.as_ptr(), rest.as_ptr());
        assert_eq!(beginning.wrapping_add(taken.len()), middle);
        taken.unsplit(rest);
        assert_eq!((&taken[..], taken.as_ptr()), (&whole[..], beginning));
    }

    /// Masks in turns, with `steps` weights masked by a step after each turn.
    fn in_parts(mut masker: Masker, parts: usize, steps: usize) -> (Vec<u8>, MaskReport, usize) {
        let mut turns = 0;
        loop {
            let pieces = masker.split(parts);
            assert!(pieces.len() <= parts);
            turns += usize::from(!pieces.is_empty());
            let step = if pieces.is_empty() { 1 << 12 } else { steps };
            for mut piece in pieces {
                while !piece.step() {}
                let (done, total) = piece.progress();
                assert_eq!(done, total);
                masker.absorb(piece);
            }
            if (step > 0 || masker.is_done()) && masker.step(step) {
                let (bytes, report) = masker.finish().unwrap();
                return (bytes, report, turns);
            }
        }
    }

    fn waves(config: MaskConfig, len: usize) -> Model {
        let weights: Vec<_> = (0..len).map(|i| (i as f64).sin() * 1.1).collect();
        model(config.data_type(), &weights)
    }

    #[test]
    fn parts_give_the_same_bytes_for_all_configs() {
        for (i, config) in MaskConfig::all().enumerate() {
            // About as much key stream for all of them: enough for one turn, or for none.
            let share = with_element_type!(config, E => {
                let group = Group::<E>::new(config);
                group.acceptance() / group.draw_stride as f64
            });
            let len = (share * f64::from(1 << (18 + i % 2)) * 1.3) as usize;
            let seed = MaskSeed::new([i as u8; 32]);
            let (model, scalar) =
                (waves(config, len), Scalar::from_ratio(2u32.into(), 3u32.into()).unwrap());
            let whole = mask_model(&seed, config.into(), &scalar, &model).unwrap();
            let masker =
                Masker::behind(b"before", 9, &seed, config.into(), &scalar, model.into()).unwrap();
            let (bytes, report, turns) = in_parts(masker, 2 + i % 3, 0);
            assert!(turns > 0, "{config}");
            assert_eq!(bytes[..6], *b"before");
            assert!(bytes[6..] == whole.0, "{config}");
            assert_eq!(report, whole.1, "{config}");
        }
    }

    #[test]
    fn parts_are_bounded_and_tell_how_far_they_are() {
        let masker = |name: &str, len| {
            let config: MaskConfig = name.parse().unwrap();
            let seed = MaskSeed::new([1; 32]);
            Masker::new(&seed, config.into(), &Scalar::one(), waves(config, len)).unwrap()
        };
        // Not worth it, or not asked for, or done.
        assert!(masker("Prime/F32/B0/M3", 1000).split(2).is_empty());
        assert!(masker("Word32/F32/B0/M3", 1000).split(2).is_empty());
        assert!(masker("Prime/F32/B0/M3", 1 << 20).split(1).is_empty());
        let mut done = masker("Prime/F32/B0/M3", 1 << 17);
        done.step(1 << 17);
        assert!(done.split(2).is_empty());

        // Numbers of 8 bytes in memory, 6 in the message: 2 MiB of masks for each part.
        let most = (2 << 20) / 8;
        let mut masker = masker("Prime/F32/B0/M3", 1 << 20);
        let beginning = masker.out.as_ptr();
        let mut parts = masker.split(2);
        assert_eq!(parts.len(), 2);
        assert!(masker.split(2).is_empty());
        for part in &mut parts {
            // There are no masks yet.
            assert_eq!((part.progress(), part.bytes()), ((0, 0), 0));
            assert!(!part.step());
            while !part.step() {}
            let drawn = part.bytes() / 8;
            assert!((most..most + most / 25).contains(&drawn), "{drawn}");
        }
        parts.into_iter().for_each(|part| masker.absorb(part));
        assert_eq!(masker.progress(), (0, 1 << 20));
        let mut parts = masker.split(2);
        let counts: Vec<_> = parts.iter().map(|part| part.progress().1).collect();
        assert!((2 * most..2 * most + most / 50).contains(&counts.iter().sum::<usize>()));
        for (part, count) in parts.iter_mut().zip(&counts) {
            assert_eq!((part.progress(), part.bytes()), ((0, *count), 6 * count));
            assert!(!part.step());
            assert_eq!(part.progress(), ((256 << 10) / 8, *count));
            while !part.step() {}
            assert_eq!(part.progress(), (*count, *count));
            assert!(part.bytes() > 8 * most + 6 * count);
        }
        parts.into_iter().for_each(|part| masker.absorb(part));
        assert_eq!(masker.progress().0, counts.iter().sum::<usize>());
        // The message is where it was, and what follows goes behind it.
        masker.step(usize::MAX);
        assert_eq!(masker.out.as_ptr(), beginning);
    }

    #[test]
    fn parts_in_a_word_group_mask_at_once() {
        let config: MaskConfig = "Word32/F32/B0/M3".parse().unwrap();
        let seed = MaskSeed::new([1; 32]);
        let model = waves(config, 3 << 19);
        let mut masker = Masker::new(&seed, config.into(), &Scalar::one(), model).unwrap();
        let beginning = masker.out.as_ptr();
        // 2 MiB of masks, of 4 bytes each.
        for expected in [vec![1 << 19; 2], vec![1 << 18; 2]] {
            let mut parts = masker.split(2);
            assert_eq!(parts.iter().map(|part| part.progress().1).collect::<Vec<_>>(), expected);
            for part in &mut parts {
                assert_eq!(part.bytes(), 4 * part.progress().1);
                while !part.step() {}
            }
            parts.into_iter().for_each(|part| masker.absorb(part));
        }
        assert!(masker.is_done());
        assert_eq!(masker.out.as_ptr(), beginning);
    }

    #[test]
    fn many_turns_give_the_same_bytes() {
        for name in ["Prime/F32/B0/M3", "Word32/F32/B0/M3", "Integer/F64/B2/M6"] {
            let config: MaskConfig = name.parse().unwrap();
            let seed = MaskSeed::new([1; 32]);
            let model = Arc::new(waves(config, 2_000_003));
            let scalar = Scalar::one();
            let masker = || Masker::new(&seed, config.into(), &scalar, model.clone()).unwrap();
            let whole = masker().finish().unwrap();
            for (parts, steps) in [(2, 0), (3, 0), (3, 1000)] {
                let (bytes, report, turns) = in_parts(masker(), parts, steps);
                assert!(bytes == whole.0, "{name}, {parts} parts");
                assert_eq!((report, turns > 1), (whole.1, true));
            }
        }
    }

    #[test]
    fn parts_name_the_first_weight_that_is_not_finite() {
        for name in ["Prime/F32/B0/M3", "Word32/F32/B0/M3"] {
            let config: MaskConfig = name.parse().unwrap();
            let mut weights = vec![0.5f32; 300_000];
            let bad = [170_000, 170_003, 299_999];
            bad.iter().for_each(|&i| weights[i] = f32::NAN);
            let seed = MaskSeed::new([5; 32]);
            let mut masker =
                Masker::new(&seed, config.into(), &Scalar::one(), Model::from(weights)).unwrap();
            while !masker.is_done() {
                for mut piece in masker.split(3) {
                    while !piece.step() {}
                    masker.absorb(piece);
                }
            }
            assert_eq!(masker.finish(), Err(MaskError::NotFinite { index: bad[0] }));
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
