//! The global model, which a round is for.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::OptimizerState;
use crate::crypto::{Blake2b, RoundSeed};
use crate::model::{ratio, Model};

/// The global model that a round has ended with, or that the first round begins with. Cheap to clone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct GlobalModel {
    /// The round's number; 0 of an initial model.
    pub round_id: u64,
    /// The round's seed; of an initial model a digest of its weights, so that two models never have one name.
    pub seed: RoundSeed,
    /// How many updates it is made of; 0 of an initial model.
    pub models: u64,
    /// The old wire form: bincode of exact rationals.
    pub rationals: Bytes,
    /// The weights in the round's data type; `None` if one of them is beyond its range.
    pub weights: Option<Arc<Model>>,
    /// What the optimiser remembers that has made it of the round's mean; nothing if it is the mean. In a form of its own
    /// ([`GlobalModel::to_bytes`]), if there is one.
    #[serde(skip)]
    pub optimizer: Option<Arc<OptimizerState>>,
}

/// Shows its size, not its weights.
impl fmt::Debug for GlobalModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GlobalModel({}, of {} models, {:?})", self.id(), self.models, self.weights)
    }
}

impl GlobalModel {
    /// The model that a federation's first round begins with, where it begins with one: a trained one that is to be trained further.
    /// It is given to [`Recovery::with_model`](super::Recovery::with_model) of a coordinator that has had no round yet; to
    /// participants it is the global model of round 0, also to those of old.
    ///
    /// ```
    /// use pet_core::coordinator::{GlobalModel, Recovery};
    /// use pet_core::crypto::RootSeed;
    /// use pet_core::model::Model;
    ///
    /// let model = GlobalModel::initial(Model::F32(vec![0.5, -1.0])).unwrap();
    /// assert_eq!((model.round_id, model.models), (0, 0));
    /// assert!(!model.is_same(&GlobalModel::initial(Model::F32(vec![0.5, -2.0])).unwrap()));
    /// let recovery = Recovery::new(RootSeed::new([1; 32])).with_model(Some(model));
    ///
    /// assert_eq!(GlobalModel::initial(Model::F32(vec![0.5, f32::NAN])), Err(1));
    /// ```
    ///
    /// # Errors
    /// The index of the first weight that is not finite.
    pub fn initial(weights: Model) -> Result<Self, usize> {
        let rationals = ratio::encode_model(&weights)?;
        Ok(Self {
            round_id: 0,
            seed: RoundSeed::new(*Blake2b::hash(&[&rationals]).as_bytes()),
            models: 0,
            rationals: rationals.into(),
            weights: Some(Arc::new(weights)),
            optimizer: None,
        })
    }

    /// The model's name in a store: `<round id>_<hex round seed>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.round_id, self.seed)
    }

    /// Whether both are the same round's, and so the same model.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.round_id, self.seed) == (other.round_id, other.seed)
    }
}
