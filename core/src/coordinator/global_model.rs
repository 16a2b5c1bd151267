//! The global model, which a round is for.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::RoundSeed;
use crate::model::Model;

/// The global model that a round has ended with. Cheap to clone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct GlobalModel {
    /// The round's number.
    pub round_id: u64,
    /// The round's seed.
    pub seed: RoundSeed,
    /// How many updates it is made of.
    pub models: u64,
    /// The old wire form: bincode of exact rationals.
    pub rationals: Bytes,
    /// The weights in the round's data type; `None` if one of them is beyond its range.
    pub weights: Option<Arc<Model>>,
}

/// Shows its size, not its weights.
impl fmt::Debug for GlobalModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GlobalModel({}, of {} models, {:?})", self.id(), self.models, self.weights)
    }
}

impl GlobalModel {
    /// The model's name in a store: `<round id>_<hex round seed>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.round_id, self.seed)
    }

    /// Whether both are the same round's, and so the same model.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.round_id, self.seed) == (other.round_id, other.seed)
    }
}
