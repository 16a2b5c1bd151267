//! What is published, and the answers that follow from it (specification, section 3).

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::RoundSeed;
use crate::model::Model;
use crate::request::{Call, Response};
use crate::round::{RoundParameters, SeedDict, SumDict};

/// A change of what is published.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Publication {
    /// The parameters of a new round.
    Parameters(Arc<RoundParameters>),
    /// The sum dictionary, at the end of the sum phase.
    Sums(Arc<SumDict>),
    /// The seed dictionary, at the end of the update phase.
    Seeds(Arc<SeedDict>),
    /// Both dictionaries are no longer to be had.
    WithdrawDictionaries,
    /// A new global model.
    Model(GlobalModel),
}

/// The global model that a round has ended with.
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
}

/// All that is published at one time. Cheap to clone: a server keeps one that it replaces, and
/// answers from any number of threads.
#[derive(Debug, Clone, Default)]
pub struct Bulletin {
    parameters: Option<Arc<RoundParameters>>,
    sums: Option<Arc<SumDict>>,
    sums_bytes: Arc<OnceLock<Bytes>>,
    seeds: Option<Arc<SeedDict>>,
    model: Option<GlobalModel>,
}

impl Bulletin {
    /// With nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts up or takes down what the machine says.
    pub fn apply(&mut self, publication: Publication) {
        match publication {
            Publication::Parameters(parameters) => self.parameters = Some(parameters),
            Publication::Sums(sums) => {
                self.sums = Some(sums);
                self.sums_bytes = Arc::default();
            }
            Publication::Seeds(seeds) => self.seeds = Some(seeds),
            Publication::WithdrawDictionaries => {
                self.sums = None;
                self.sums_bytes = Arc::default();
                self.seeds = None;
            }
            Publication::Model(model) => self.model = Some(model),
        }
    }

    /// The current round's parameters.
    pub fn parameters(&self) -> Option<&Arc<RoundParameters>> {
        self.parameters.as_ref()
    }

    /// The latest global model.
    pub fn model(&self) -> Option<&GlobalModel> {
        self.model.as_ref()
    }

    /// Answers a call; `None` for a message, which is for the machine. The time that it takes grows
    /// with the dictionaries: `/sums` once a round, `/seeds` each time.
    pub fn answer(&self, call: &Call) -> Option<Response> {
        let body = match call {
            Call::Params => self.parameters.as_ref().map(|parameters| parameters.to_bytes().into()),
            Call::Sums => self
                .sums
                .as_ref()
                .map(|sums| self.sums_bytes.get_or_init(|| sums.to_bytes().into()).clone()),
            Call::Seeds(pk) => self
                .seeds
                .as_ref()
                // The unknown are told apart at once: a column takes a look at every update.
                .filter(|_| self.sums.as_ref().is_some_and(|sums| sums.contains(pk)))
                .map(|seeds| seeds.column(pk))
                .filter(|column| !column.is_empty())
                .map(|column| column.to_bytes().into()),
            Call::Model(_) => self.model.as_ref().map(|model| model.rationals.clone()),
            Call::Message(_) => return None,
        };
        Some(body.map_or_else(Response::no_content, |body: Bytes| Response::ok(body)))
    }
}
