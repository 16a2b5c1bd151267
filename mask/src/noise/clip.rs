//! From a local model to the difference that is masked.

use std::fmt;
use std::sync::Arc;

use super::norm::squared_norm;
use super::terms::Noise;
use crate::model::{DataType, Model};

/// Makes the difference of a local and a global model, clipped to a norm of C and divided by C, in steps: a vector of norm at
/// most 1, which is checked in integers as it will be encoded.
///
/// Two passes over the weights. The result depends on nothing but the models and C.
pub struct Clip {
    noise: Noise,
    local: Arc<Model>,
    global: Option<Arc<Model>>,
    clip: f64,
    stage: Stage,
    done: usize,
}

enum Stage {
    /// Adding up the squares of the differences.
    Measure {
        square: f64,
    },
    /// Scaling, and adding up the squares of what is encoded.
    Scale {
        norm: f64,
        factor: f64,
        attempts: i32,
        model: Model,
        square: u128,
    },
    Done(Result<Clipped, ClipError>),
}

/// A difference to be masked.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Clipped {
    /// Of norm at most 1, in the config's type.
    pub model: Model,
    /// The norm of the difference before it was clipped.
    pub norm: f64,
    /// Whether it was longer than C.
    pub clipped: bool,
}

/// Shows no weights, and nothing that follows from them.
impl fmt::Debug for Clipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clipped({:?})", self.model)
    }
}

/// Why there is no difference to be masked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// C is not above 0, or not finite. The round's terms are at fault.
    #[error("the clipping norm must be above 0 and finite (and not subnormal), and is {0:?}")]
    Norm(f64),
    /// The models are of different lengths, or of another than the round's.
    #[error(
        "the local model has {local} weights, the round's have {length}, the global one {global}"
    )]
    Length {
        /// Of the round.
        length: usize,
        /// Of the local model.
        local: usize,
        /// Of the global one.
        global: usize,
    },
    /// Weights of another type than the round's. Convert them first.
    #[error("the round wants {expected} weights, a model has {found} weights")]
    DataType {
        /// That of the config.
        expected: DataType,
        /// That of the model.
        found: DataType,
    },
    /// NaN or infinite, in one of the models, or as their difference.
    #[error(
        "weight {index} of the local model, less that of the global one, is not a finite number"
    )]
    NotFinite {
        /// Its index.
        index: usize,
    },
    /// The squares of the differences add up to more than a double holds.
    #[error("the local model is too far from the global one for their distance to be computed: it has diverged")]
    TooFar,
    /// The encoded difference is longer than the sensitivity after all: it must not be masked.
    #[error("the encoded difference has a squared norm of {square:?}, more than the sensitivity {sensitivity} allows")]
    Sensitivity {
        /// The squared norm; None if it is beyond all bounds.
        square: Option<u128>,
        /// The sensitivity, not squared.
        sensitivity: u64,
    },
}

/// Shows the shape and the progress.
impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = self.progress();
        write!(f, "Clip({}, {done} of {total} weights)", self.noise.config())
    }
}

/// Weights whose squares are added up apart from the others, so that rounding does not depend on steps.
const BLOCK: usize = 1024;

/// How much shorter than 1 a difference of norm C or more is made, so that rounding its weights to `f32` does not make it longer: far
/// less than any noise, and than the clipping norm is known.
const MARGIN: f64 = 1.0 / (1 << 22) as f64;

/// How often it is tried again with four times the margin. (The first time is always enough where weights are rounded as they
/// are expected to be: what is checked is not assumed.)
const ATTEMPTS: i32 = 8;

impl Clip {
    /// Begins with the difference of `local` and `global`, which is zero for the first round, and the norm C.
    ///
    /// # Errors
    /// If C is no norm, or the models do not fit the round or each other.
    pub fn new(
        noise: Noise,
        local: Arc<Model>,
        global: Option<Arc<Model>>,
        clip: f64,
    ) -> Result<Self, ClipError> {
        if !(clip > 0.0 && clip.is_normal()) {
            return Err(ClipError::Norm(clip));
        }
        let expected = noise.config().data_type();
        for model in std::iter::once(&local).chain(&global) {
            if model.data_type() != expected {
                return Err(ClipError::DataType { expected, found: model.data_type() });
            }
        }
        let (length, local_len) = (noise.length(), local.len());
        let global_len = global.as_ref().map_or(length, |model| model.len());
        if local_len != length || global_len != length {
            return Err(ClipError::Length { length, local: local_len, global: global_len });
        }
        Ok(Clip { noise, local, global, clip, stage: Stage::Measure { square: 0.0 }, done: 0 })
    }

    /// Goes over at most `max_weights` more (rounded up to whole blocks of 1024); returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        let blocks = max_weights.div_ceil(BLOCK).max(1);
        for _ in 0..blocks {
            if matches!(self.stage, Stage::Done(_)) {
                return true;
            }
            self.block();
        }
        matches!(self.stage, Stage::Done(_))
    }

    /// The progress: weights gone over, and those of both passes.
    pub fn progress(&self) -> (usize, usize) {
        let length = self.noise.length();
        let done = match &self.stage {
            Stage::Measure { .. } => self.done,
            Stage::Scale { .. } => length + self.done,
            Stage::Done(_) => 2 * length,
        };
        (done, 2 * length)
    }

    /// The difference; does what is left.
    ///
    /// # Errors
    /// If a weight is not finite, or no difference could be made whose norm is within the sensitivity.
    pub fn finish(mut self) -> Result<Clipped, ClipError> {
        while !self.step(usize::MAX) {}
        match self.stage {
            Stage::Done(result) => result,
            _ => unreachable!("step has said that it is done"),
        }
    }

    /// Does the next block, or goes on to the next stage.
    fn block(&mut self) {
        let length = self.noise.length();
        let range = self.done..length.min(self.done + BLOCK);
        let mut differences = [0.0; BLOCK];
        let differences = &mut differences[..range.len()];
        self.differences(range.start, differences);
        self.done = range.end;
        match &mut self.stage {
            Stage::Measure { square } => {
                if let Some(at) = differences.iter().position(|d| !d.is_finite()) {
                    let error = ClipError::NotFinite { index: range.start + at };
                    self.stage = Stage::Done(Err(error));
                    return;
                }
                *square += sum_of_squares(differences);
                if self.done == length {
                    let norm = square.sqrt();
                    self.begin_to_scale(norm, 0);
                }
            }
            Stage::Scale { factor, model, square, .. } => {
                let factor = *factor;
                match model {
                    Model::F32(out) => out.extend(differences.iter().map(|d| (d * factor) as f32)),
                    Model::F64(out) => out.extend(differences.iter().map(|d| d * factor)),
                    Model::I32(_) | Model::I64(_) => unreachable!("noise is for floats"),
                }
                let limit = u128::from(self.noise.sensitivity()).pow(2);
                let added =
                    squared_norm(&self.noise, model, range).map(|more| square.saturating_add(more));
                *square = added.unwrap_or(u128::MAX);
                if *square > limit {
                    self.again(added);
                } else if self.done == length {
                    self.end();
                }
            }
            Stage::Done(_) => {}
        }
    }

    fn begin_to_scale(&mut self, norm: f64, attempts: i32) {
        if !norm.is_finite() {
            self.stage = Stage::Done(Err(ClipError::TooFar));
            return;
        }
        let margin = MARGIN * 4f64.powi(attempts);
        let is_shorter = norm < self.clip * (1.0 - 4.0 * MARGIN) && attempts == 0;
        let factor =
            if is_shorter { 1.0 / self.clip } else { (1.0 - margin) / norm.max(self.clip) };
        let length = self.noise.length();
        let model = match self.noise.config().data_type() {
            DataType::F64 => Model::F64(Vec::with_capacity(length)),
            _ => Model::F32(Vec::with_capacity(length)),
        };
        self.stage = Stage::Scale { norm, factor, attempts, model, square: 0 };
        self.done = 0;
        if length == 0 {
            self.end();
        }
    }

    /// Rounding has made the difference too long: shorter, then.
    fn again(&mut self, square: Option<u128>) {
        let Stage::Scale { norm, attempts, .. } = self.stage else { return };
        if attempts < ATTEMPTS {
            self.begin_to_scale(norm, attempts + 1);
        } else {
            let sensitivity = self.noise.sensitivity();
            self.stage = Stage::Done(Err(ClipError::Sensitivity { square, sensitivity }));
        }
    }

    fn end(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Measure { square: 0.0 });
        let Stage::Scale { norm, model, .. } = stage else { return };
        self.stage = Stage::Done(Ok(Clipped { model, norm, clipped: norm > self.clip }));
    }

    fn differences(&self, start: usize, out: &mut [f64]) {
        let range = start..start + out.len();
        match (&*self.local, self.global.as_deref()) {
            (Model::F32(local), Some(Model::F32(global))) => {
                let pairs = local[range.clone()].iter().zip(&global[range]);
                out.iter_mut()
                    .zip(pairs)
                    .for_each(|(d, (l, g))| *d = f64::from(*l) - f64::from(*g));
            }
            (Model::F64(local), Some(Model::F64(global))) => {
                let pairs = local[range.clone()].iter().zip(&global[range]);
                out.iter_mut().zip(pairs).for_each(|(d, (l, g))| *d = l - g);
            }
            (Model::F32(local), _) => {
                out.iter_mut().zip(&local[range]).for_each(|(d, l)| *d = f64::from(*l));
            }
            (Model::F64(local), _) => out.copy_from_slice(&local[range]),
            (Model::I32(_) | Model::I64(_), _) => unreachable!("noise is for floats"),
        }
    }
}

/// Eight sums side by side, for vector registers.
fn sum_of_squares(numbers: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for numbers in numbers.chunks(8) {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number * number;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(name: &str, length: usize) -> Noise {
        Noise::new(name.parse().unwrap(), length, 1000).unwrap()
    }

    fn weights(model: &Model) -> Vec<f64> {
        match model {
            Model::F32(weights) => weights.iter().map(|w| f64::from(*w)).collect(),
            Model::F64(weights) => weights.clone(),
            _ => panic!("floats"),
        }
    }

    fn model(double: bool, weights: &[f64]) -> Model {
        match double {
            true => Model::F64(weights.to_vec()),
            false => Model::F32(weights.iter().map(|w| *w as f32).collect()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_difference_is_what_it_should_be_and_within_the_sensitivity(
            pairs in prop::collection::vec((-3.0f64..3.0, -3.0f64..3.0), 1..4000),
            clip in prop_oneof![1e-3f64..200.0, Just(1.0)], double: bool, wide: bool, step in 1usize..3000, first: bool, scale in -30i32..10,
        ) {
            let name = match (wide, double) {
                (true, true) => "Word64/F64/B0/M3",
                (true, false) => "Word64/F32/B0/M3",
                (false, true) => "Word32/F64/B0/M3",
                (false, false) => "Word32/F32/B0/M3",
            };
            let noise = noise(name, pairs.len());
            let (local, global): (Vec<_>, Vec<_>) = pairs.iter().map(|(a, b)| (a * 2f64.powi(scale), b * 2f64.powi(scale))).unzip();
            let local = Arc::new(model(double, &local));
            let global = (!first).then(|| Arc::new(model(double, &global)));
            let begin = || Clip::new(noise, local.clone(), global.clone(), clip).unwrap();
            let found = begin().finish().unwrap();
            let square = squared_norm(&noise, &found.model, 0..pairs.len()).unwrap();
            prop_assert!(square <= u128::from(noise.sensitivity()).pow(2));

            let zeros = vec![0.0; pairs.len()];
            let global = global.as_deref().map_or(zeros, weights);
            let differences: Vec<f64> = weights(&local).iter().zip(global).map(|(l, g)| l - g).collect();
            let norm = differences.iter().map(|d| d * d).sum::<f64>().sqrt();
            prop_assert!((found.norm - norm).abs() <= 1e-9 * norm);
            prop_assert_eq!(found.clipped, found.norm > clip);
            let share = (clip / norm).min(1.0) / clip;
            for (found, d) in weights(&found.model).iter().zip(&differences) {
                prop_assert!((found - d * share).abs() <= 1e-6 * (d * share).abs() + 1e-40, "{} {}", found, d * share);
            }

            let mut stepped = begin();
            while !stepped.step(step) {}
            let (done, total) = stepped.progress();
            prop_assert_eq!(done, total);
            prop_assert_eq!(stepped.finish().unwrap(), found);
        }
    }

    /// One weight holds all of it: no bit may be too many.
    #[test]
    fn a_single_long_weight_is_clipped_to_the_bound() {
        for name in ["Word32/F32/B0/M3", "Word64/F32/B0/M3", "Word64/F64/B0/M3"] {
            let noise = noise(name, 3);
            let double = name.contains("F64");
            for weight in [0.3, -0.7, 1.0, -1e30] {
                let clip = 0.1;
                let local = Arc::new(model(double, &[0.0, weight, 0.0]));
                let found = Clip::new(noise, local, None, clip).unwrap().finish().unwrap();
                let found_weight = weights(&found.model)[1];
                assert!(
                    found.clipped && found_weight.abs() <= 1.0 && found_weight.abs() > 0.999_999
                );
                assert_eq!(found_weight < 0.0, weight < 0.0);
            }
        }
    }

    #[test]
    fn what_cannot_be_clipped_is_refused_by_name() {
        let noise = noise("Word32/F32/B0/M3", 2);
        let f32s = |weights: &[f32]| Arc::new(Model::F32(weights.to_vec()));
        let clip = |local: Arc<Model>, global: Option<Arc<Model>>, clip: f64| {
            Clip::new(noise, local, global, clip).and_then(Clip::finish).map(|_| ()).unwrap_err()
        };
        for bad in [0.0, -1.0, f64::INFINITY, f64::from_bits(1)] {
            assert_eq!(clip(f32s(&[0.0; 2]), None, bad), ClipError::Norm(bad));
        }
        assert!(matches!(clip(f32s(&[0.0; 2]), None, f64::NAN), ClipError::Norm(_)));
        let length = |local, global| ClipError::Length { length: 2, local, global };
        assert_eq!(clip(f32s(&[0.0; 3]), None, 1.0), length(3, 2));
        assert_eq!(clip(f32s(&[0.0; 2]), Some(f32s(&[0.0])), 1.0), length(2, 1));
        let other = Arc::new(Model::F64(vec![0.0; 2]));
        let expected = ClipError::DataType { expected: DataType::F32, found: DataType::F64 };
        assert_eq!(clip(f32s(&[0.0; 2]), Some(other), 1.0), expected);
        let not_finite = ClipError::NotFinite { index: 1 };
        assert_eq!(clip(f32s(&[0.0, f32::NAN]), None, 1.0), not_finite);
        assert_eq!(clip(f32s(&[0.0; 2]), Some(f32s(&[0.0, f32::INFINITY])), 1.0), not_finite);

        let noise = self::noise("Word64/F64/B0/M3", 2);
        let far = Arc::new(Model::F64(vec![1e200; 2]));
        let found = Clip::new(noise, far, None, 1.0).unwrap().finish();
        assert_eq!(found.unwrap_err(), ClipError::TooFar);
    }
}
