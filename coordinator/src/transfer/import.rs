//! Beginning what several coordinators share with a model.

use std::sync::Arc;

use pet_core::{
    coordinator::{EndedRound, GlobalModel},
    crypto::{PublicEncryptKey, RoundSeed},
    model::Model,
    round::RoundParameters,
};

use super::{restore::new_root, Holdings, TransferError};
use crate::{
    initial::initial_model,
    replica::{self, SharedStore},
    settings::Settings,
    store::{Models, StoreError},
};

/// The only model that there is.
#[derive(Debug)]
struct Only(GlobalModel);

impl Models for Only {
    fn rounds(&self) -> Vec<u64> {
        vec![self.0.round_id]
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        Ok((round_id == self.0.round_id).then(|| self.0.clone()))
    }
}

/// Begins what several coordinators share with a global model, of as many weights as models of these settings have; it must be new.
/// To participants it is the model of round 0, as [`Options::initial_model`](crate::Options::initial_model) is.
///
/// # Errors
/// [`TransferError`]. It may be called again; [`TransferError::NotEmpty`] then says that it was done after all.
pub async fn import_shared(
    weights: &Model,
    settings: &Settings,
    to: &SharedStore,
) -> Result<(), TransferError> {
    let model = initial_model(weights, settings)?;
    let protocol = settings.protocol();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(crate::SharedError::Randomness)?;
    // As if round 0 had ended with it.
    let parameters = RoundParameters {
        pk: PublicEncryptKey::new([0; 32]),
        sum: protocol.sum.prob,
        update: protocol.update.prob,
        seed: RoundSeed::new(seed),
        mask_config: protocol.mask,
        model_length: protocol.model_length,
    };
    let round = EndedRound { round_id: model.round_id, parameters: Arc::new(parameters) };
    let holdings = Holdings { root: new_root()?, round, models: Arc::new(Only(model)) };
    replica::found(to, &holdings, || Ok(())).await.map(drop)
}
