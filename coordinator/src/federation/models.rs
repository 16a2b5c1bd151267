//! Global models of rounds of v2 in the forms that models of v1 have.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use pet_core::{coordinator::GlobalModel, model::ratio, v2::coordinator::Completed};

use crate::store::{rounds::Archive, Models, StoreError};

/// The model of a completed round. Takes as long as it is large: the old form is made of it.
pub(super) fn global_model(completed: &Completed) -> GlobalModel {
    // A weight that is no number, which no round gives, has no old form.
    let rationals = ratio::encode_model(&completed.model).unwrap_or_default();
    GlobalModel { rationals: rationals.into(), ..weights_only(completed) }
}

/// The same without the old form. Takes no time.
pub(super) fn weights_only(completed: &Completed) -> GlobalModel {
    GlobalModel {
        round_id: completed.round(),
        seed: completed.certificate.terms.parameters.seed,
        models: completed.models(),
        rationals: Bytes::new(),
        weights: Some(Arc::clone(&completed.model)),
        optimizer: None,
    }
}

/// The global models of the completed rounds in an archive.
pub fn completed_models(archive: Arc<dyn Archive>) -> Arc<dyn Models> {
    Arc::new(CompletedModels::new(archive))
}

/// The global models in an archive.
pub(crate) struct CompletedModels(Arc<dyn Archive>);

impl fmt::Debug for CompletedModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CompletedModels {
    pub fn new(archive: Arc<dyn Archive>) -> Self {
        Self(archive)
    }
}

impl Models for CompletedModels {
    fn rounds(&self) -> Vec<u64> {
        self.0.rounds()
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        Ok(self.0.completed(round_id)?.map(|completed| global_model(&completed)))
    }
}
