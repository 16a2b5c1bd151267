//! Weights of one type as weights of another.
//!
//! The rule is the one by which a list of the same numbers would be taken: floats are rounded to the nearest value of
//! the wanted type, integers become floats where floats are wanted, and never the other way round. What the type does
//! not have is an error, never a silent change: NaN, the infinities, and numbers beyond its range.
//!
//! Weights are converted block by block ([`Model::blocks`]): a whole model in another type is never made.

use std::ops::Range;

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::{DataType, Model};

/// Why a local model's weights cannot be had in the coordinator's type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CastError {
    /// NaN or an infinity.
    #[error("weight {index} of the local model is {value}: weights must be finite numbers")]
    NotFinite {
        /// Which weight.
        index: usize,
        /// What it is: `NaN`, `inf` or `-inf`.
        value: String,
    },
    /// Beyond the range.
    #[error("weight {index} of the local model is {value}, beyond the range of this coordinator's {wanted} weights")]
    OutOfRange {
        /// Which weight.
        index: usize,
        /// What it is.
        value: String,
        /// The coordinator's type.
        wanted: DataType,
    },
    /// Floats for integers.
    #[error("the local model has {actual} weights, but this coordinator's models have {wanted} weights: round them yourself")]
    FloatsForIntegers {
        /// Of which type they are.
        actual: DataType,
        /// The coordinator's type.
        wanted: DataType,
    },
}

/// Whether weights of one type can be had in another, each in the range of which is.
///
/// # Errors
/// [`CastError::FloatsForIntegers`].
pub fn castable(actual: DataType, wanted: DataType) -> Result<(), CastError> {
    use DataType::{F32, F64, I32, I64};
    match (actual, wanted) {
        (F32 | F64, I32 | I64) => Err(CastError::FloatsForIntegers { actual, wanted }),
        (I32 | I64, _) | (_, F32 | F64) => Ok(()),
    }
}

/// Some weights of a model.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit floats.
    F64(&'a [f64]),
    /// 32-bit integers.
    I32(&'a [i32]),
    /// 64-bit integers.
    I64(&'a [i64]),
}

impl Model {
    /// How many weights [`Model::blocks`] shows at a time, at most: they fit the L1 cache.
    pub const BLOCK: usize = 1024;

    /// Shows the weights of a range (in order, a block at a time) as the wanted type has them. Weights that have that
    /// type are shown as they are, finite or not; all others are finite.
    ///
    /// # Errors
    /// [`CastError`], of the first weight that is none of the wanted type; what `see` says.
    ///
    /// # Panics
    /// If the model has no such range.
    pub fn blocks<Err: From<CastError>>(
        &self,
        wanted: DataType,
        range: Range<usize>,
        mut see: impl FnMut(Weights<'_>) -> Result<(), Err>,
    ) -> Result<(), Err> {
        castable(self.data_type(), wanted)?;
        match wanted {
            DataType::F32 => blocks(self, range, |weights| see(Weights::F32(weights))),
            DataType::F64 => blocks(self, range, |weights| see(Weights::F64(weights))),
            DataType::I32 => blocks(self, range, |weights| see(Weights::I32(weights))),
            DataType::I64 => blocks(self, range, |weights| see(Weights::I64(weights))),
        }
    }
}

impl Model {
    /// A model without weights, with memory for so many.
    pub fn with_capacity(data_type: DataType, weights: usize) -> Self {
        match data_type {
            DataType::F32 => Self::F32(Vec::with_capacity(weights)),
            DataType::F64 => Self::F64(Vec::with_capacity(weights)),
            DataType::I32 => Self::I32(Vec::with_capacity(weights)),
            DataType::I64 => Self::I64(Vec::with_capacity(weights)),
        }
    }

    /// Appends weights of any type, as this model's type has them: for those who read a model piece by piece.
    ///
    /// # Errors
    /// [`CastError`], in which weights are counted from this model's beginning. Some weights may be appended then.
    pub fn append_converted(&mut self, piece: &Model) -> Result<(), CastError> {
        let before = self.len();
        let appended = piece.blocks(self.data_type(), 0..piece.len(), |weights| {
            match (&mut *self, weights) {
                (Self::F32(all), Weights::F32(weights)) => all.extend_from_slice(weights),
                (Self::F64(all), Weights::F64(weights)) => all.extend_from_slice(weights),
                (Self::I32(all), Weights::I32(weights)) => all.extend_from_slice(weights),
                (Self::I64(all), Weights::I64(weights)) => all.extend_from_slice(weights),
                _ => debug_assert!(false, "weights of another type than was asked for"),
            }
            Ok(())
        });
        appended.map_err(|mut error: CastError| {
            if let CastError::NotFinite { index, .. } | CastError::OutOfRange { index, .. } =
                &mut error
            {
                *index += before;
            }
            error
        })
    }
}

fn blocks<W: Cast, Err: From<CastError>>(
    model: &Model,
    range: Range<usize>,
    mut see: impl FnMut(&[W]) -> Result<(), Err>,
) -> Result<(), Err> {
    if let Some(weights) = W::of(model) {
        return weights[range].chunks(Model::BLOCK).try_for_each(see);
    }
    let mut block = Zeroizing::new([W::default(); Model::BLOCK]);
    for start in range.clone().step_by(Model::BLOCK) {
        let block = &mut block[..Model::BLOCK.min(range.end - start)];
        W::cast(model, start, block)?;
        see(block)?;
    }
    Ok(())
}

/// A type that weights can be had in.
pub(crate) trait Cast: Copy + Default + Zeroize + 'static {
    /// The weights of a model of this type; None for another type.
    fn of(model: &Model) -> Option<&[Self]>;

    /// Fills `out` with the weights of a model of another type from `start` on.
    ///
    /// # Errors
    /// Of the first weight that is none of this type.
    fn cast(model: &Model, start: usize, out: &mut [Self]) -> Result<(), CastError>;
}

macro_rules! cast {
    ($type:ty, $variant:ident, { $($from:ident: $convert:expr),* }) => {
        impl Cast for $type {
            fn of(model: &Model) -> Option<&[Self]> {
                match model {
                    Model::$variant(weights) => Some(weights),
                    _ => None,
                }
            }

            fn cast(model: &Model, start: usize, out: &mut [Self]) -> Result<(), CastError> {
                match model {
                    Model::$variant(weights) => {
                        out.copy_from_slice(&weights[start..start + out.len()]);
                        Ok(())
                    }
                    $(Model::$from(weights) => {
                        convert(weights, start, out, DataType::$variant, $convert)
                    })*
                    #[allow(unreachable_patterns, reason = "floats have no other type that they do not take")]
                    other => castable(other.data_type(), DataType::$variant),
                }
            }
        }
    };
}

// Each gives the weight, and whether the type has it. Integers become 32-bit floats by way of a double, as the same
// number in a list goes.
cast!(f32, F32, {
    F64: |weight: f64| (weight as f32, (weight as f32).is_finite()),
    I32: |weight: i32| (f64::from(weight) as f32, true),
    I64: |weight: i64| (weight as f64 as f32, true)
});
cast!(f64, F64, {
    F32: |weight: f32| (f64::from(weight), weight.is_finite()),
    I32: |weight: i32| (f64::from(weight), true),
    I64: |weight: i64| (weight as f64, true)
});
cast!(i32, I32, { I64: |weight: i64| (weight as i32, i64::from(weight as i32) == weight) });
cast!(i64, I64, { I32: |weight: i32| (i64::from(weight), true) });

fn convert<S: Number, W>(
    weights: &[S],
    start: usize,
    out: &mut [W],
    wanted: DataType,
    convert: impl Fn(S) -> (W, bool),
) -> Result<(), CastError> {
    let weights = &weights[start..start + out.len()];
    let mut all = true;
    // Without a way out in the middle, so that vector instructions do it.
    for (to, &from) in out.iter_mut().zip(weights) {
        let (weight, has_it) = convert(from);
        *to = weight;
        all &= has_it;
    }
    if all {
        return Ok(());
    }
    let wrong = weights.iter().position(|&weight| !convert(weight).1).unwrap_or_default();
    Err(weights[wrong].wrong(start + wrong, wanted))
}

/// A weight that another type may not have.
trait Number: Copy {
    fn wrong(self, index: usize, wanted: DataType) -> CastError;
}

macro_rules! number {
    ($type:ty, $is_finite:expr, $format:literal) => {
        impl Number for $type {
            fn wrong(self, index: usize, wanted: DataType) -> CastError {
                if $is_finite(self) {
                    return CastError::OutOfRange { index, value: format!($format, self), wanted };
                }
                CastError::NotFinite { index, value: self.to_string() }
            }
        }
    };
}

number!(f32, f32::is_finite, "{:e}");
number!(f64, f64::is_finite, "{:e}");
number!(i32, |_| true, "{}");
number!(i64, |_| true, "{}");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPES: [DataType; 4] = [DataType::F32, DataType::F64, DataType::I32, DataType::I64];

    /// The weights as doubles and as integers, of which at least one is exact.
    fn seen(
        model: &Model,
        wanted: DataType,
        range: Range<usize>,
    ) -> Result<Vec<(f64, i64)>, CastError> {
        let mut all = Vec::new();
        model.blocks(wanted, range, |weights| {
            match weights {
                Weights::F32(weights) => all.extend(weights.iter().map(|&w| (f64::from(w), 0))),
                Weights::F64(weights) => all.extend(weights.iter().map(|&w| (w, 0))),
                Weights::I32(weights) => all.extend(weights.iter().map(|&w| (0.0, i64::from(w)))),
                Weights::I64(weights) => all.extend(weights.iter().map(|&w| (0.0, w))),
            }
            Ok::<_, CastError>(())
        })?;
        Ok(all)
    }

    /// One by one, as the rule says it.
    fn one_by_one(model: &Model, wanted: DataType) -> Result<Vec<(f64, i64)>, CastError> {
        let float = |index: usize, weight: f64| {
            if !weight.is_finite() {
                return Err(CastError::NotFinite { index, value: weight.to_string() });
            }
            let narrowed = if wanted == DataType::F32 { f64::from(weight as f32) } else { weight };
            if !narrowed.is_finite() {
                return Err(CastError::OutOfRange { index, value: format!("{weight:e}"), wanted });
            }
            Ok((narrowed, 0))
        };
        let integer = |index: usize, weight: i64| match wanted {
            DataType::F32 | DataType::F64 => float(index, weight as f64),
            DataType::I32 if i32::try_from(weight).is_err() => {
                Err(CastError::OutOfRange { index, value: weight.to_string(), wanted })
            }
            DataType::I32 | DataType::I64 => Ok((0.0, weight)),
        };
        castable(model.data_type(), wanted)?;
        match model {
            Model::F32(weights) => {
                weights.iter().enumerate().map(|(i, &w)| float(i, w.into())).collect()
            }
            Model::F64(weights) => weights.iter().enumerate().map(|(i, &w)| float(i, w)).collect(),
            Model::I32(weights) => {
                weights.iter().enumerate().map(|(i, &w)| integer(i, w.into())).collect()
            }
            Model::I64(weights) => {
                weights.iter().enumerate().map(|(i, &w)| integer(i, w)).collect()
            }
        }
    }

    fn any_model() -> impl Strategy<Value = Model> {
        let lengths = 0..2 * Model::BLOCK + 3;
        // Mostly what any type has, so that there are whole models.
        let f64s =
            prop_oneof![200 => -1e3..1e3, 1 => any::<f64>(), 1 => Just(f64::NAN), 1 => Just(1e39)];
        let i64s = prop_oneof![200 => -1000i64..1000, 1 => any::<i64>()];
        prop_oneof![
            prop::collection::vec(f64s.clone(), lengths.clone()).prop_map(Model::F64),
            prop::collection::vec(-1e3f64..1e3, lengths.clone()).prop_map(Model::F64),
            prop::collection::vec(f64s, lengths.clone())
                .prop_map(|weights| Model::F32(weights.iter().map(|&w| w as f32).collect())),
            prop::collection::vec(any::<i32>(), lengths.clone()).prop_map(Model::I32),
            prop::collection::vec(i64s, lengths).prop_map(Model::I64),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_are_what_each_weight_is(model in any_model()) {
            for wanted in TYPES.into_iter().filter(|&wanted| wanted != model.data_type()) {
                prop_assert_eq!(seen(&model, wanted, 0..model.len()), one_by_one(&model, wanted));
            }
        }
    }

    #[test]
    fn weights_of_the_wanted_type_are_shown_as_they_are() {
        let model = Model::F64(vec![1.0, f64::INFINITY, 1e300]);
        let all = seen(&model, DataType::F64, 0..3).unwrap();
        assert_eq!(all, [(1.0, 0), (f64::INFINITY, 0), (1e300, 0)]);
    }

    #[test]
    fn ranges_begin_and_end_anywhere_and_indices_are_the_models() {
        let mut weights: Vec<i64> = (0..5000).collect();
        weights[3456] = 1 << 40;
        let model = Model::I64(weights);
        let expected: Vec<_> = (100..3456).map(|w| (0.0, w)).collect();
        assert_eq!(seen(&model, DataType::I32, 100..3456).unwrap(), expected);
        let error = seen(&model, DataType::I32, 100..4000).unwrap_err();
        let value = (1i64 << 40).to_string();
        assert_eq!(error, CastError::OutOfRange { index: 3456, value, wanted: DataType::I32 });
    }

    #[test]
    fn pieces_are_appended_and_their_weights_counted_from_the_beginning() {
        let mut model = Model::with_capacity(DataType::F32, 5);
        model.append_converted(&Model::F64(vec![0.1, 0.2])).unwrap();
        model.append_converted(&Model::I32(vec![-3])).unwrap();
        model.append_converted(&Model::F32(vec![0.5])).unwrap();
        assert!(model == Model::F32(vec![0.1, 0.2, -3.0, 0.5]));
        let error = model.append_converted(&Model::F64(vec![1.0, f64::NAN])).unwrap_err();
        assert_eq!(error, CastError::NotFinite { index: 5, value: "NaN".into() });
    }

    #[test]
    fn nearest_floats_ties_to_even_and_the_edge_of_the_range() {
        let tie = f64::from(1.0f32) + f64::from(f32::EPSILON) / 2.0;
        // Halfway from the largest float to what would be the next: infinite. Just below: the largest.
        let edge = f64::from(f32::MAX) + 2f64.powi(103);
        let below = f64::from_bits(edge.to_bits() - 1);
        let model = Model::F64(vec![tie, -0.0, 1e-60, below, edge]);
        let all = seen(&model, DataType::F32, 0..4).unwrap();
        assert_eq!(all, [(1.0, 0), (-0.0, 0), (0.0, 0), (f64::from(f32::MAX), 0)]);
        assert!(all[1].0.is_sign_negative());
        let error = seen(&model, DataType::F32, 0..5).unwrap_err();
        let value = format!("{edge:e}");
        assert_eq!(error, CastError::OutOfRange { index: 4, value, wanted: DataType::F32 });
        // An integer goes by way of a double: this one is rounded twice.
        let integer = (1i64 << 60) + (1 << 36) + 1;
        let expected = f64::from(integer as f64 as f32);
        assert_eq!(seen(&Model::I64(vec![integer]), DataType::F32, 0..1).unwrap()[0].0, expected);
        assert_ne!(expected, f64::from(integer as f32));
    }

    #[test]
    fn messages_name_the_weight() {
        let told =
            |model: Model, wanted| seen(&model, wanted, 0..model.len()).unwrap_err().to_string();
        assert_eq!(
            told(Model::F64(vec![0.0, f64::NAN]), DataType::F32),
            "weight 1 of the local model is NaN: weights must be finite numbers"
        );
        assert_eq!(
            told(Model::F64(vec![f64::NEG_INFINITY]), DataType::F32),
            "weight 0 of the local model is -inf: weights must be finite numbers"
        );
        assert_eq!(
            told(Model::F64(vec![1e39]), DataType::F32),
            "weight 0 of the local model is 1e39, beyond the range of this coordinator's F32 weights"
        );
        assert_eq!(
            told(Model::F32(vec![1.0]), DataType::I64),
            "the local model has F32 weights, but this coordinator's models have I64 weights: round them yourself"
        );
    }
}
