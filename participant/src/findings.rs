//! What masking will do to a local model that its sender may not expect: weights beyond the bound, and weights that
//! are rounded coarsely.

use std::fmt;

use pet_transport_blocking::core::mask::{MaskConfig, MaskConfigPair, Precision};
use pet_transport_blocking::core::model::convert::nearest_f64;
use pet_transport_blocking::core::model::{Model, Scalar};

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
    /// What masking with this config and scalar will do to a model of the config's data type.
    pub(crate) fn new(config: MaskConfigPair, model: &Model, scalar: &Scalar) -> Self {
        let bound = nearest_f64(&config.vect.add_shift());
        let scalar_bound = nearest_f64(&config.unit.add_shift());
        let given = scalar.to_f64();
        let factor = given.min(scalar_bound);
        let mut sizes = Sizes { bound, ..Sizes::default() };
        match model {
            Model::F32(weights) => sizes.count(weights.iter().map(|&w| f64::from(w)), factor),
            Model::F64(weights) => sizes.count(weights.iter().copied(), factor),
            Model::I32(weights) => sizes.count(weights.iter().map(|&w| f64::from(w)), factor),
            Model::I64(weights) => sizes.count(weights.iter().map(|&w| w as f64), factor),
        }
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
        Self {
            excess: (excess.weights > 0 || excess.scalar.is_some()).then_some(excess),
            loss: coarse.map(|precision| Loss {
                config: config.vect,
                precision,
                largest: sizes.largest,
                scalar: factor,
            }),
        }
    }
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
}

impl Sizes {
    fn count(&mut self, weights: impl Iterator<Item = f64>, factor: f64) {
        for weight in weights.map(f64::abs) {
            self.largest = self.largest.max(weight);
            let scaled = weight * factor;
            if scaled > self.bound {
                self.beyond += 1;
                self.largest_beyond = self.largest_beyond.max(scaled);
            }
        }
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
