//! The front of a coordinator: what a server answers with (specification, sections 3 and 4).

pub(super) mod stored;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::context::RoundContext;
use super::{GlobalModel, Phase, Rejection, Verified};
use crate::problem::Problem;
use crate::request::{Call, Response};
use crate::round::{RoundParameters, SeedDict, SumDict};

/// What a server answers with at one time: all that is published, and what opens and checks messages.
///
/// The machine puts out a new one ([`Output::Front`](super::Output::Front)) whenever something of it has
/// changed. A server keeps the latest one only, and answers from any number of threads: it is cheap to clone, and
/// never changes. All of it belongs together: the parameters, the dictionaries and the key are one round's, and
/// the dictionaries that are published are those that messages are checked against.
///
/// Another process can answer, too: see [`Front::to_bytes`]. **It holds the round's secret key.**
#[derive(Clone, Default)]
pub struct Front {
    round: Option<Arc<RoundContext>>,
    model: Option<GlobalModel>,
}

/// Shows how far the round is, and neither key nor content.
impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("round_id", &self.round_id())
            .field("phase", &self.phase())
            .field("sums", &self.sums().map(|sums| sums.len()))
            .field("seeds", &self.seeds().map(|seeds| seeds.len()))
            .field("model", &self.model)
            .finish()
    }
}

impl Front {
    /// The front of a coordinator of which nothing is known yet: it publishes nothing, and takes no message.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn of(round: Arc<RoundContext>, model: Option<GlobalModel>) -> Self {
        Self { round: Some(round), model }
    }

    /// This front with another global model.
    #[must_use]
    pub fn with_model(self, model: Option<GlobalModel>) -> Self {
        Self { model, ..self }
    }

    /// This front once the coordinator is stopped: it still publishes, but takes no more messages.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.round = self.round.map(|round| Arc::new(round.closed()));
        self
    }

    /// The current round's number; `None` before the first.
    pub fn round_id(&self) -> Option<u64> {
        self.round.as_ref().map(|round| round.round_id)
    }

    /// The current phase; [`Phase::Idle`] before the first round.
    pub fn phase(&self) -> Phase {
        self.round.as_ref().map_or(Phase::Idle, |round| round.phase)
    }

    /// The current round's parameters.
    pub fn parameters(&self) -> Option<&Arc<RoundParameters>> {
        self.round.as_ref().map(|round| &round.parameters)
    }

    /// The sum dictionary, from the end of the sum phase to the end of the sum2 phase.
    pub fn sums(&self) -> Option<&Arc<SumDict>> {
        self.round.as_ref().and_then(|round| round.sum_dict.as_ref())
    }

    /// The seed dictionary, in the sum2 phase.
    pub fn seeds(&self) -> Option<&Arc<SeedDict>> {
        self.round.as_ref().and_then(|round| round.seeds.as_ref())
    }

    /// The latest global model.
    pub fn model(&self) -> Option<&GlobalModel> {
        self.model.as_ref()
    }

    /// The length in bytes of the longest sealed message that this phase can take.
    pub fn max_message_len(&self) -> usize {
        self.round.as_ref().map_or(0, |round| round.max_message_len())
    }

    /// Answers a call; `None` for a message, which is to be [opened](Self::open) and given to the machine. The
    /// time that it takes grows with the dictionaries: `/sums` once a phase, `/seeds` each time.
    pub fn answer(&self, call: &Call) -> Option<Response> {
        let body: Option<Bytes> = match call {
            Call::Params => self.parameters().map(|parameters| parameters.to_bytes().into()),
            Call::Sums => self.round.as_ref().and_then(|round| round.sums_bytes()),
            Call::Seeds(pk) => self
                .seeds()
                // The unknown are told apart at once: a column takes a look at every update.
                .filter(|_| self.sums().is_some_and(|sums| sums.contains(pk)))
                .map(|seeds| seeds.column(pk))
                .filter(|column| !column.is_empty())
                .map(|column| column.to_bytes().into()),
            Call::Model(_) => self.model().map(|model| model.rationals.clone()),
            Call::Message(_) => return None,
            Call::V2(_) => return Some(no_version_2()),
        };
        Some(body.map_or_else(Response::no_content, Response::ok))
    }

    /// Opens a sealed message where it lies and checks it, in the order of the specification's section 4: all
    /// that can be said without knowing what other messages have done. Takes time proportional to the message.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn open(&self, sealed: Vec<u8>) -> Result<Verified, Rejection> {
        self.round.as_ref().ok_or(Rejection::NoRound)?.open(sealed)
    }

    /// About how much memory it holds that the next one does not.
    pub(super) fn bytes_beside(&self, next: &Self) -> usize {
        let round = match (&self.round, &next.round) {
            (Some(round), Some(next)) => round.bytes_beside(next),
            _ => 0,
        };
        let model = match (self.model(), next.model()) {
            (Some(model), Some(next)) if !model.is_same(next) => model.rationals.len(),
            _ => 0,
        };
        round + model
    }
}

/// What a call of version 2 is told.
fn no_version_2() -> Response {
    let (name, status) = ("version_1_only", 404);
    let detail = "this coordinator runs rounds of version 1 of the protocol only";
    let problem = Problem::new(name, status, "No version 2 here", detail);
    Response::new(status, problem.to_json())
}
