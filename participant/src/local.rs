//! Checks local models before they are given to a machine, so that their sender learns at once what is wrong with
//! them, and what masking will do to them.

use pet_transport_blocking::core::mask::MaskConfigPair;
use pet_transport_blocking::core::model::{DataType, Model, Scalar};
use pet_transport_blocking::core::participant::ModelMismatch;
use pet_transport_blocking::core::round::RoundParameters;
use thiserror::Error;

use crate::cast::{cast, check, CastError};
use crate::findings::Findings;

/// What a round's models are: how they are masked, which says of which type they are, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) config: MaskConfigPair,
    pub(crate) length: u64,
}

impl From<&RoundParameters> for Shape {
    fn from(parameters: &RoundParameters) -> Self {
        Self { config: parameters.mask_config, length: parameters.model_length }
    }
}

impl Shape {
    pub(crate) fn data_type(self) -> DataType {
        self.config.vect.data_type()
    }

    /// What masking will do to a model beyond what its sender may expect.
    pub(crate) fn findings(self, model: &Model, scalar: &Scalar) -> Findings {
        Findings::new(self.config, model, scalar)
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

    /// Checks each weight, once: takes time in proportion to the model's length, on any thread, and holds no
    /// lock. The length itself is looked at when the model is set.
    ///
    /// # Errors
    /// If the model has weights that the round's type does not have: NaN, the infinities, what is beyond the
    /// type's range, floats for integers. Before the type is known, only what no type has is refused.
    pub fn check(&self, model: Model) -> Result<CheckedModel, LocalModelError> {
        let Some(shape) = self.shape else {
            check(&model)?;
            return Ok(CheckedModel { model, findings: None });
        };
        let model = cast(model, shape.data_type())?;
        let findings = shape.findings(&model, &self.scalar);
        Ok(CheckedModel { model, findings: Some(findings) })
    }
}

/// A local model that was checked.
#[derive(Debug, Clone)]
pub struct CheckedModel {
    pub(crate) model: Model,
    pub(crate) findings: Option<Findings>,
}

impl CheckedModel {
    /// What its sender should be told before it is set; `None` where the round was not known.
    pub fn findings(&self) -> Option<&Findings> {
        self.findings.as_ref()
    }
}
