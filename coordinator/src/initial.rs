//! The model that a federation begins with, where it begins with one.

use pet_core::{
    coordinator::GlobalModel,
    crypto::RootSeed,
    model::{CastError, DataType, Model},
};
use thiserror::Error;

use crate::{coordinator::StartError, settings::Settings, store::Store};

/// Why a federation cannot begin with a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InitialModelError {
    /// It has more weights than the federation's models, or fewer.
    #[error("the initial model has {actual} weights, and the models of this federation have {expected} (model.length)")]
    Length {
        /// How many it has.
        actual: u64,
        /// How many models have.
        expected: u64,
    },
    /// Its weights are none of the federation's type.
    #[error("the initial model cannot be used with this mask's {wanted} weights: {source}")]
    Weights {
        /// The federation's type.
        wanted: DataType,
        /// What is wrong.
        source: CastError,
    },
    /// There is one already.
    #[error(
        "this federation has a global model already, of round {round_id}: an imported one is what the first round begins \
         with. Import it into a new place"
    )]
    TooLate {
        /// The round of the latest.
        round_id: u64,
    },
    /// NaN or an infinity.
    #[error("weight {index} of the initial model is not a finite number")]
    NotFinite {
        /// Which weight.
        index: usize,
    },
    /// Rounds of version 2 begin without one.
    #[error("a federation of version 2 has no initial model: its members vouch for nothing but sums of updates. Give the participants the model to begin with")]
    OfFederation,
    /// Several coordinators share the federation.
    #[error("several coordinators share this federation: begin it with `pet-coordinator import-model`, and leave --initial-model out")]
    OfShared,
    /// A record has nothing of it.
    #[error("rounds that begin with an initial model cannot be recorded: leave --record out")]
    Recorded,
}

/// The model of round 0, whose weights have the type that models of these settings have.
pub(crate) fn initial_model(
    weights: &Model,
    settings: &Settings,
) -> Result<GlobalModel, InitialModelError> {
    let (actual, expected) = (weights.len() as u64, settings.model.length);
    if actual != expected {
        return Err(InitialModelError::Length { actual, expected });
    }
    let wanted = settings.mask.data_type();
    let mut typed = Model::with_capacity(wanted, weights.len());
    let converted = typed.append_converted(weights);
    converted.map_err(|source| InitialModelError::Weights { wanted, source })?;
    GlobalModel::initial(typed).map_err(|index| InitialModelError::NotFinite { index })
}

/// Has what is in a store, where no round has ended with a global model yet, begin with one: as
/// [`Options::initial_model`](crate::Options::initial_model), without starting it. May block.
///
/// # Errors
/// [`StartError::InitialModel`] if there is a global model, or this one does not fit; whatever the store says.
pub fn import_model(
    store: &mut dyn Store,
    weights: &Model,
    settings: &Settings,
) -> Result<(), StartError> {
    if settings.pet.v2.is_on() {
        return Err(InitialModelError::OfFederation.into());
    }
    let model = initial_model(weights, settings)?;
    let root = RootSeed::try_fill(|seed| getrandom::fill(seed)).map_err(StartError::Randomness)?;
    store.restore(root)?;
    if let Some(&round_id) = store.models().rounds().last() {
        return Err(InitialModelError::TooLate { round_id }.into());
    }
    Ok(store.begin_with(&model)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_get_the_type_of_the_round_or_are_refused() {
        let settings = Settings::for_model_length(2);
        let model = initial_model(&Model::F64(vec![0.1, -2.0]), &settings).unwrap();
        assert_eq!(model.weights.as_deref(), Some(&Model::F32(vec![0.1, -2.0])));
        assert_eq!((model.round_id, model.models), (0, 0));
        let refused = |weights| initial_model(&weights, &settings).unwrap_err().to_string();
        assert!(refused(Model::F32(vec![1.0])).contains("1 weights"));
        assert!(refused(Model::F32(vec![1.0, f32::NAN])).contains("weight 1"));
        assert!(refused(Model::F64(vec![1.0, 1e300])).contains("range"));
        let mut settings = settings;
        settings.mask = "Prime/I32/B0/M3".parse().unwrap();
        let error = initial_model(&Model::F32(vec![1.0, 2.0]), &settings).unwrap_err();
        assert!(matches!(error, InitialModelError::Weights { .. }), "{error}");
    }
}
