//! Who trains.

use crate::error::TrainerError;
use crate::weights::{DataType, Weights};

/// What a local model is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Training {
    /// How many rounds have begun while this participant was there: the round that it is for.
    pub round: u64,
    /// How many weights the model has to have.
    pub length: u64,
    /// Of which type they are best: others are converted, if that loses nothing but precision.
    pub data_type: DataType,
    /// The global model to begin with; nothing before there is one.
    pub global_model: Option<Weights>,
}

/// Trains when it is asked to, on a thread of the participant's: take all the time that the round has.
#[uniffi::export(foreign)]
pub trait Trainer: Send + Sync {
    /// A local model for this round; nothing, to sit it out.
    fn train(&self, training: Training) -> Result<Option<Weights>, TrainerError>;
}
