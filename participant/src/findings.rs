//! What masking will do to a local model that its sender may not expect: weights beyond the bound, and weights that
//! are rounded coarsely.

use std::fmt;

use pet_transport_blocking::core::mask::{MaskConfig, MaskConfigPair, Precision};
use pet_transport_blocking::core::model::convert::nearest_f64;
use pet_transport_blocking::core::model::{CastError, Model, Scalar, Weights};

use crate::short::Short;

/// What to tell about a model before it is masked. Both are written for people: they say what to do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Findings {
    /// Something is beyond the bound.
    pub excess: Option<Excess>,
    /// Something is rounded coarsely.
    pub loss: Option<Loss>,
}

impl Findings {
    /// What masking with this config and scalar will do to a model, each of whose weights is looked at once.
    ///
    /// # Errors
    /// If a weight cannot be had in the config's type.
    pub(crate) fn new(
        config: MaskConfigPair,
        model: &Model,
        scalar: &Scalar,
    ) -> Result<Self, CastError> {
        let bound = nearest_f64(&config.vect.add_shift());
        let scalar_bound = nearest_f64(&config.unit.add_shift());
        let given = scalar.to_f64();
        let factor = given.min(scalar_bound);
        let mut sizes = Sizes { bound, finite: true, ..Sizes::default() };
        let mut index = 0;
        model.blocks(config.vect.data_type(), 0..model.len(), |weights| {
            let count = match weights {
                // Most are within the bound, which the largest of them tells in a tenth of the time.
                Weights::F32(weights) => match largest(weights) {
                    Some(largest) if largest * factor <= bound => {
                        sizes.largest = sizes.largest.max(largest);
                        weights.len()
                    }
                    _ => sizes.count(weights.iter().map(|&w| w.into()), factor),
                },
                Weights::F64(weights) => sizes.count(weights.iter().copied(), factor),
                Weights::I32(weights) => sizes.count(weights.iter().map(|&w| w.into()), factor),
                Weights::I64(weights) => sizes.count(weights.iter().map(|&w| w as f64), factor),
            };
            if !sizes.finite {
                check_finite_from(index, weights)?;
            }
            index += count;
            Ok::<_, CastError>(())
        })?;
        let excess = Excess {
            config: config.vect,
            weights: sizes.beyond,
            of: model.len(),
            largest: sizes.largest_beyond,
            bound,
            scalar: (given > scalar_bound).then_some((given, scalar_bound)),
        };
        let coarse = config.precision(scalar).filter(|precision| {
            precision.is_too_coarse_for(sizes.largest, config.vect.data_type())
        });
        Ok(Self {
            excess: (excess.weights > 0 || excess.scalar.is_some()).then_some(excess),
            loss: coarse.map(|precision| Loss {
                config: config.vect,
                precision,
                largest: sizes.largest,
                scalar: factor,
            }),
        })
    }
}

/// The largest absolute value; nothing if one of them is not finite.
fn largest(weights: &[f32]) -> Option<f64> {
    // Without their signs, floats are in the order of their bits, as signed numbers: a maximum that the compiler vectorizes.
    let bits = weights.iter().map(|weight| (weight.to_bits() & i32::MAX as u32) as i32).max();
    let largest = f32::from_bits(bits.unwrap_or(0) as u32);
    largest.is_finite().then_some(f64::from(largest))
}

/// How large weights are.
#[derive(Debug, Default)]
struct Sizes {
    bound: f64,
    beyond: usize,
    /// Multiplied by the scalar.
    largest_beyond: f64,
    /// As it is.
    largest: f64,
    finite: bool,
}

impl Sizes {
    /// Gives how many there were.
    fn count(&mut self, weights: impl ExactSizeIterator<Item = f64>, factor: f64) -> usize {
        let count = weights.len();
        for weight in weights.map(f64::abs) {
            self.finite &= weight.is_finite();
            self.largest = self.largest.max(weight);
            let scaled = weight * factor;
            if scaled > self.bound {
                self.beyond += 1;
                self.largest_beyond = self.largest_beyond.max(scaled);
            }
        }
        count
    }
}

/// Whether a model has weights that no coordinator takes.
pub(crate) fn check_finite(model: &Model) -> Result<(), CastError> {
    let mut index = 0;
    model.blocks(model.data_type(), 0..model.len(), |weights| {
        index = check_finite_from(index, weights)?;
        Ok(())
    })
}

/// The same of some weights, of which the first has this index; gives the index of the next.
fn check_finite_from(index: usize, weights: Weights<'_>) -> Result<usize, CastError> {
    fn check(
        index: usize,
        weights: impl ExactSizeIterator<Item = f64>,
    ) -> Result<usize, CastError> {
        let end = index + weights.len();
        match weights.enumerate().find(|(_, weight)| !weight.is_finite()) {
            None => Ok(end),
            Some((place, weight)) => {
                Err(CastError::NotFinite { index: index + place, value: weight.to_string() })
            }
        }
    }
    match weights {
        Weights::F32(weights) => check(index, weights.iter().map(|&weight| weight.into())),
        Weights::F64(weights) => check(index, weights.iter().copied()),
        Weights::I32(weights) => Ok(index + weights.len()),
        Weights::I64(weights) => Ok(index + weights.len()),
    }
}

/// How many weights are beyond the bound, and by how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Excess {
    config: MaskConfig,
    weights: usize,
    of: usize,
    largest: f64,
    bound: f64,
    scalar: Option<(f64, f64)>,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, weights, of, largest, bound, scalar } = self;
        if *weights > 0 {
            write!(
                f,
                "{weights} of {of} weights of the local model, multiplied by the scalar, are beyond {}, the \
                 bound of the coordinator's mask config {config}: the largest is {}, {} times as much. \
                 They will be put on the bound: scale your weights down, or ask for a mask config with a larger bound",
                Short(*bound),
                Short(*largest),
                Short(largest / bound)
            )?;
        }
        if let Some((scalar, bound)) = scalar {
            let separator = if *weights > 0 { ". " } else { "" };
            write!(
                f,
                "{separator}The scalar {} is beyond {} and will be put on it: this participant's models \
                 count for less than they should",
                Short(*scalar),
                Short(*bound)
            )?;
        }
        Ok(())
    }
}

/// How coarsely a model is rounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    config: MaskConfig,
    precision: Precision,
    largest: f64,
    scalar: f64,
}

impl Loss {
    /// The mask config that it is about.
    pub fn config(&self) -> MaskConfig {
        self.config
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, precision, largest, scalar } = self;
        let Precision { weight_step, scalar_loss, .. } = precision;
        let scalar = Short(*scalar);
        if *weight_step > Precision::TOO_COARSE * largest && *largest > 0.0 {
            write!(
                f,
                "With a scalar of {scalar} the coordinator's mask config {config} rounds each weight of the local model \
                 down to a multiple of {}, and the largest weight is {}: {:.0} bits of it are left, and fewer of the \
                 others",
                Short(*weight_step),
                Short(*largest),
                (largest / weight_step).log2().floor().max(0.0)
            )?;
        } else {
            write!(f, "The coordinator's mask config {config} rounds the scalar {scalar} down")?;
        }
        if *scalar_loss >= 1.0 {
            write!(f, ". The scalar becomes 0: this participant's models do not count at all")?;
        } else if *scalar_loss > Precision::TOO_COARSE {
            write!(f, ". Of the scalar {:.1} % are lost", scalar_loss * 100.0)?;
        }
        write!(
            f,
            ". Only the ratios of the participants' scalars matter: give larger ones, such as this participant's \
             number of samples divided by that of the largest participant, or by any number that all participants \
             agree on; or ask for a mask config with finer steps (a smaller bound, another group type)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(config: &str, model: &Model, scalar: f64) -> Result<Findings, CastError> {
        let config: MaskConfig = config.parse().unwrap();
        Findings::new(config.into(), model, &Scalar::from_f64(scalar).unwrap())
    }

    #[test]
    fn weights_beyond_the_bound_are_counted_as_the_round_has_them() {
        let mut weights = vec![0.5f64; 3000];
        (weights[7], weights[2999]) = (2.0, -4.0);
        // The nearest 32-bit float is 1, which is not beyond.
        weights[1500] = 1.0 + 1e-12;
        let found = findings("Prime/F32/B0/M3", &Model::F64(weights.clone()), 1.0).unwrap();
        let text = found.excess.unwrap().to_string();
        assert!(text.starts_with("2 of 3000 weights"), "{text}");
        assert!(text.contains("the largest is 4, 4 times as much"), "{text}");
        let found = findings("Prime/F64/B0/M3", &Model::F64(weights), 1.0).unwrap();
        assert!(found.excess.unwrap().to_string().starts_with("3 of 3000 weights"));
        let found = findings("Prime/I32/B0/M3", &Model::I64(vec![1, -1, 0]), 1.0).unwrap();
        assert_eq!(found, Findings { excess: None, loss: None });
    }

    #[test]
    fn a_scalar_beyond_its_bound_and_one_that_is_too_small_are_told_of() {
        let model = Model::F32(vec![0.5; 3]);
        let found = findings("Prime/F32/B0/M3", &model, 3.0).unwrap();
        assert!(found.excess.unwrap().to_string().contains("The scalar 3 is beyond 1"));
        let found = findings("Prime/F32/B0/M3", &model, 1e-9).unwrap();
        assert!(found.loss.unwrap().to_string().contains("With a scalar of 1e-9"));
    }

    #[test]
    fn the_first_weight_that_is_not_finite_is_named() {
        for at in [0, 1023, 1024, 2500] {
            let mut weights = vec![0.5f32; 3000];
            (weights[at], weights[2999]) = (f32::NAN, f32::INFINITY);
            let expected = CastError::NotFinite { index: at, value: "NaN".into() };
            for config in ["Prime/F32/B0/M3", "Prime/F64/B0/M3"] {
                let model = Model::F32(weights.clone());
                assert_eq!(findings(config, &model, 1.0), Err(expected.clone()));
                assert_eq!(check_finite(&model), Err(expected.clone()));
            }
        }
    }
}
