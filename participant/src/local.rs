//! Checks local models before they are given to a machine, so that their sender learns at once what is wrong with
//! them, and what masking will do to them.

use pet_transport_blocking::core::mask::MaskConfigPair;
use pet_transport_blocking::core::model::{CastError, DataType, Model, Scalar};
use pet_transport_blocking::core::participant::ModelMismatch;
use pet_transport_blocking::core::round::RoundParameters;
use thiserror::Error;

use crate::findings::{check_finite, Findings};

/// What a round's models are: how they are masked, which says of which type they are, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) config: MaskConfigPair,
    pub(crate) length: u64,
    /// Whether there is noise (version 2): then the clipped difference from the global model is masked, which is within the
    /// bound whatever the weights are.
    pub(crate) has_noise: bool,
}

impl From<&RoundParameters> for Shape {
    fn from(parameters: &RoundParameters) -> Self {
        let (config, length) = (parameters.mask_config, parameters.model_length);
        Self { config, length, has_noise: false }
    }
}

impl Shape {
    /// Of a round with noise, or without.
    pub(crate) fn with_noise(self, has_noise: bool) -> Self {
        Self { has_noise, ..self }
    }

    pub(crate) fn data_type(self) -> DataType {
        self.config.vect.data_type()
    }

    /// Whether a model has as many weights as the round's.
    pub(crate) fn check_length(self, model: &Model) -> Result<(), ModelMismatch> {
        let (expected, actual) = (self.length, model.len() as u64);
        if expected == actual {
            return Ok(());
        }
        Err(ModelMismatch::Length { expected, actual })
    }
}

/// Why a local model was refused.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LocalModelError {
    /// It does not fit the round.
    #[error(transparent)]
    Mismatch(#[from] ModelMismatch),
    /// It has a weight that cannot be converted to the round's type.
    #[error(transparent)]
    Cast(#[from] CastError),
}

/// The check for local models, as far as the round is known.
#[derive(Debug, Clone)]
pub struct ModelCheck {
    pub(crate) shape: Option<Shape>,
    pub(crate) scalar: Scalar,
}

impl ModelCheck {
    /// Of which type the current round's models are; `None` before the first contact with the coordinator.
    pub fn data_type(&self) -> Option<DataType> {
        self.shape.map(Shape::data_type)
    }

    /// How many weights the current round's models have; `None` before the first contact with the coordinator.
    pub fn length(&self) -> Option<u64> {
        self.shape.map(|shape| shape.length)
    }

    /// Checks each weight, once: takes time in proportion to the model's length, on any thread, and holds no
    /// lock. The length itself is looked at when the model is set.
    ///
    /// # Errors
    /// If the model has weights that the round's type does not have: NaN, the infinities, what is beyond the
    /// type's range, floats for integers. Before the type is known, only what no type has is refused.
    pub fn check(&self, model: Model) -> Result<CheckedModel, LocalModelError> {
        let findings = self.look_over(&model)?;
        Ok(CheckedModel { model, wanted: self.data_type(), findings })
    }

    pub(crate) fn look_over(&self, model: &Model) -> Result<Option<Findings>, CastError> {
        match self.shape {
            None => check_finite(model).map(|()| None),
            Some(shape) => {
                let findings = Findings::new(shape.config, model, &self.scalar)?;
                // What masking does to the weights themselves says nothing about their difference.
                Ok(Some(findings).filter(|_| !shape.has_noise))
            }
        }
    }
}

/// A local model that was checked.
#[derive(Debug, Clone)]
pub struct CheckedModel {
    pub(crate) model: Model,
    /// The type that its weights can be had in for certain.
    pub(crate) wanted: Option<DataType>,
    pub(crate) findings: Option<Findings>,
}

impl CheckedModel {
    /// What its sender should be told before it is set; `None` where the round was not known.
    pub fn findings(&self) -> Option<&Findings> {
        self.findings.as_ref()
    }
}

/// A local model that a machine has and that was set before its round was known.
#[derive(Debug, Default)]
pub(crate) struct Unchecked {
    /// There is one.
    is_there: bool,
    /// It was found to be no good, and its user knows that: the machine finds it out when it comes to mask it.
    is_told: bool,
}

impl Unchecked {
    /// A model was set; `known` is whether its round is.
    pub(crate) fn set(&mut self, known: bool) {
        *self = Self { is_there: !known, is_told: false };
    }

    /// Looks a model over that could not be checked before, now that its round is known; once.
    pub(crate) fn look_over(
        &mut self,
        model: Option<&Model>,
        check: &ModelCheck,
    ) -> Option<Result<Findings, LocalModelError>> {
        let model = model.filter(|_| std::mem::take(&mut self.is_there))?;
        let result = check.look_over(model).map_err(LocalModelError::from).transpose()?;
        self.is_told = result.is_err();
        Some(result)
    }

    /// Whether a model that the machine gives back is one of which everything was told.
    pub(crate) fn was_told(&mut self) -> bool {
        std::mem::take(&mut self.is_told)
    }

    /// Whether the machine's model is no good.
    pub(crate) fn is_bad(&self) -> bool {
        self.is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: Option<&str>) -> ModelCheck {
        let shape = config.map(|config| {
            let config: pet_transport_blocking::core::mask::MaskConfig = config.parse().unwrap();
            Shape { config: config.into(), length: 3, has_noise: false }
        });
        ModelCheck { shape, scalar: Scalar::one() }
    }

    #[test]
    fn weights_are_checked_as_far_as_the_round_is_known() {
        let beyond = Model::F64(vec![0.5, 1e39, 0.5]);
        assert!(check(None).check(beyond.clone()).unwrap().findings().is_none());
        let error = check(Some("Prime/F32/Bmax/M3")).check(beyond.clone()).unwrap_err();
        assert!(error
            .to_string()
            .contains("weight 1 of the local model is 1e39, beyond the range"));
        assert!(check(Some("Prime/F64/Bmax/M3")).check(beyond).is_ok());
        for config in [None, Some("Prime/F32/B0/M3")] {
            let error = check(config).check(Model::F32(vec![0.0, f32::INFINITY])).unwrap_err();
            assert_eq!(
                error.to_string(),
                "weight 1 of the local model is inf: weights must be finite numbers"
            );
        }
        let error = check(Some("Prime/I32/B0/M3")).check(Model::F32(vec![])).unwrap_err();
        assert!(error.to_string().ends_with("round them yourself"), "{error}");
    }

    #[test]
    fn with_noise_nothing_is_said_about_the_bound() {
        let large = Model::F32(vec![7.0, 0.5]);
        let findings = |check: ModelCheck| check.check(large.clone()).unwrap().findings;
        let without = check(Some("Word32/F32/B0/M3"));
        let with = ModelCheck {
            shape: without.shape.map(|shape| shape.with_noise(true)),
            ..without.clone()
        };
        assert!(findings(without).is_some_and(|findings| findings.excess.is_some()));
        assert!(findings(with.clone()).is_none());
        assert!(with.check(Model::F64(vec![f64::NAN])).is_err());
    }

    #[test]
    fn a_model_that_could_not_be_checked_is_looked_over_once() {
        let model = Model::F64(vec![0.5, 1e39, 0.5]);
        let known = check(Some("Prime/F32/B0/M3"));
        let mut unchecked = Unchecked::default();
        assert!(unchecked.look_over(Some(&model), &known).is_none());
        unchecked.set(false);
        assert!(unchecked.look_over(Some(&model), &known).unwrap().is_err());
        assert!(unchecked.look_over(Some(&model), &known).is_none());
        assert!(unchecked.is_bad() && unchecked.was_told() && !unchecked.was_told());
        // Another one, which is good.
        unchecked.set(false);
        let good = Model::F64(vec![0.5; 3]);
        assert!(unchecked.look_over(Some(&good), &known).unwrap().is_ok());
        assert!(!unchecked.was_told());
        // One that was checked when it was set.
        unchecked.set(true);
        assert!(unchecked.look_over(Some(&model), &known).is_none());
    }
}
