//! The precision of a config, and what a small scalar costs.

use num_rational::BigRational;
use num_traits::Zero;

use super::super::encode::clamp_scalar;
use super::{DataType, MaskConfig, MaskConfigPair};
use crate::model::convert::nearest_f64;
use crate::model::Scalar;

/// The precision with which a model's weights and its scalar are masked: see [`MaskConfigPair::precision`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Precision {
    /// Weights are rounded down to multiples of this: `1 / (E * scalar)`, in units of the weights themselves.
    pub weight_step: f64,
    /// What share of the scalar rounding takes away: 0 for nothing, 1 if the model does not count at all. With it
    /// the mean of all models is wrong by a share of this size at most.
    pub scalar_loss: f64,
    /// Whether weights that are whole numbers are kept exactly.
    pub whole_numbers_are_exact: bool,
}

impl Precision {
    /// How coarse is too coarse: a step of a thousandth of the largest weight. The largest weight then keeps ten
    /// bits; a weight of a quarter of it, which is about what the bulk of a trained model's weights are, keeps
    /// eight, as many as a bfloat16 has, the coarsest type that models are commonly trained in.
    pub const TOO_COARSE: f64 = 1.0 / 1024.0;

    /// Whether masking is too coarse for a model with this largest weight (in absolute value): more is lost than
    /// [`TOO_COARSE`](Self::TOO_COARSE) allows, of the weights or of the scalar.
    pub fn is_too_coarse_for(&self, largest_weight: f64, data_type: DataType) -> bool {
        let integers = matches!(data_type, DataType::I32 | DataType::I64);
        let exact = largest_weight == 0.0 || (integers && self.whole_numbers_are_exact);
        self.scalar_loss > Self::TOO_COARSE
            || (!exact && self.weight_step > Self::TOO_COARSE * largest_weight)
    }
}

impl MaskConfigPair {
    /// The precision with which these configs mask a model with this scalar. `None` for a scalar of 0, with which
    /// a model does not count.
    ///
    /// What is masked is scalar times weight, so a small scalar loses precision first. Only the scalars' ratios
    /// matter: let the largest be near 1.
    ///
    /// ```
    /// use pet_mask::{DataType, MaskConfig, MaskConfigPair};
    /// use pet_mask::model::Scalar;
    ///
    /// let config: MaskConfigPair = "Word32/F32/B0/M3".parse::<MaskConfig>()?.into();
    /// let fine = config.precision(&Scalar::from_f64(1.0)?).expect("it counts");
    /// assert!(!fine.is_too_coarse_for(0.5, DataType::F32));
    /// // One of 50,000 samples: weights become multiples of 0.024.
    /// let coarse = config.precision(&Scalar::from_f64(1.0 / 50_000.0)?).expect("it counts");
    /// assert!(coarse.weight_step > 0.023 && coarse.is_too_coarse_for(0.5, DataType::F32));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn precision(self, scalar: &Scalar) -> Option<Precision> {
        let (scalar, _) = clamp_scalar(scalar, self.unit);
        if scalar.is_zero() {
            return None;
        }
        let number =
            |config: MaskConfig| &scalar * BigRational::from_integer(config.exp_shift().into());
        let (weight, unit) = (number(self.vect), number(self.unit));
        Some(Precision {
            weight_step: nearest_f64(&weight.recip()),
            scalar_loss: nearest_f64(&(unit.fract() / &unit)),
            whole_numbers_are_exact: weight.is_integer(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::{derive_mask, mask_model, unmask_ratios, Aggregation, MaskObjectView, MaskSeed};

    fn precision(config: &str, scalar: f64) -> Precision {
        let config: MaskConfigPair = config.parse::<MaskConfig>().unwrap().into();
        config.precision(&Scalar::from_f64(scalar).unwrap()).unwrap()
    }

    #[test]
    fn steps_are_those_of_the_config_over_the_scalar() {
        for (config, scalar, step) in [
            ("Word32/F32/B0/M3", 1.0, 2f64.powi(-21)),
            ("Word32/F32/B0/M3", 0.25, 2f64.powi(-19)),
            ("Prime/F32/B0/M3", 1.0, 1e-10),
            ("Prime/F32/B2/M3", 50.0, 2e-12),
            // Beyond the bound of scalars, which is 1: they count as 1.
            ("Prime/F32/B0/M3", 50.0, 1e-10),
            ("Prime/F64/B0/M3", 0.5, 2e-20),
        ] {
            let found = precision(config, scalar).weight_step;
            assert!((found / step - 1.0).abs() < 1e-12, "{config} {scalar}: {found}");
        }
    }

    #[test]
    fn what_is_lost_of_a_scalar() {
        assert_eq!(precision("Prime/F32/B0/M3", 0.5).scalar_loss, 0.0);
        // The double next to 1e-8 is a little less, and 99 of 99.99... steps are left.
        let lost = precision("Prime/F32/B0/M3", 0.999_999e-8).scalar_loss;
        assert!((lost - 0.01).abs() < 1e-4, "{lost}");
        assert_eq!(precision("Prime/F32/B0/M3", 1e-11).scalar_loss, 1.0);
        let config: MaskConfigPair = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into();
        assert_eq!(config.precision(&Scalar::from_f64(0.0).unwrap()), None);
    }

    #[test]
    fn whole_numbers_may_be_exact_where_steps_are_coarse() {
        let found = precision("Word32/I32/B6/M3", 1.0);
        assert!(found.weight_step == 0.5 && found.whole_numbers_are_exact);
        assert!(!found.is_too_coarse_for(3.0, DataType::I32));
        assert!(found.is_too_coarse_for(3.0, DataType::F32));
        assert!(precision("Word32/I32/B6/M3", 0.01).is_too_coarse_for(3.0, DataType::I32));
    }

    #[test]
    fn nothing_is_too_coarse_for_a_model_of_zeros() {
        let found = precision("Word32/F32/B0/M3", 1.0 / 65_536.0);
        assert!(!found.is_too_coarse_for(0.0, DataType::F32));
        assert!(found.is_too_coarse_for(1.0, DataType::F32));
    }

    const WEIGHT: f64 = 0.123_456_7;

    /// For every config: one model alone comes back less than a step lower, never higher.
    #[test]
    fn a_weight_loses_less_than_a_step() {
        for config in MaskConfig::all().filter(|config| config.data_type() == DataType::F64) {
            let pair = MaskConfigPair::from(config);
            for scalar in [1.0, 2f64.powi(-7), 2f64.powi(-18)] {
                let scalar = Scalar::from_f64(scalar).unwrap();
                let precision = pair.precision(&scalar).unwrap();
                // Scalars that are no whole number of steps change the weights as well: not asked here.
                if precision.scalar_loss > 0.0 {
                    continue;
                }
                let (seed, model) = (MaskSeed::new([7; 32]), Model::F64(vec![WEIGHT]));
                let (bytes, _) = mask_model(&seed, pair, &scalar, &model).unwrap();
                let mut sum = Aggregation::new(pair, 1);
                sum.aggregate(&MaskObjectView::parse_exact(&bytes).unwrap()).unwrap();
                let mask = derive_mask(&seed, pair, 1).to_bytes().unwrap();
                let mask = MaskObjectView::parse_exact(&mask).unwrap();
                let found = nearest_f64(&unmask_ratios(&sum, &mask).unwrap()[0]);
                let lost = WEIGHT - found;
                let rounding = 1e-12;
                assert!(
                    lost > -rounding && lost < precision.weight_step + rounding,
                    "{config} {precision:?}: {found}"
                );
            }
        }
    }
}
