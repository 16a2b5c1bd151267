//! The front of a coordinator: what a server answers with (specification, sections 3 and 4).

pub(super) mod stored;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::context::{RoundContext, Unsealed};
use super::{GlobalModel, Phase, Rejection, Verified};
use crate::crypto::{verify_all, Digest};
use crate::mask::sha512;
use crate::message::HandedOver;
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
    /// A call that names another round than this one is answered with 412: whoever asks is behind, or this front is.
    pub fn answer(&self, call: &Call) -> Option<Response> {
        if call.round().is_some_and(|round| !self.is_of(round)) {
            return Some(Response::new(412, Bytes::new()));
        }
        let body: Option<Bytes> = match call {
            Call::Params => self.parameters().map(|parameters| parameters.to_bytes().into()),
            Call::Sums | Call::SumsOf(_) => {
                self.round.as_ref().and_then(|round| round.sums_bytes())
            }
            Call::Seeds(pk) | Call::SeedsOf(pk, _) => self
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

    /// Whether the other one is a copy of this one: it answers with the same, and opens the same messages.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_round = match (&self.round, &other.round) {
            (Some(round), Some(other)) => Arc::ptr_eq(round, other),
            (None, None) => true,
            _ => false,
        };
        let same_model = match (&self.model, &other.model) {
            (Some(model), Some(other)) => model.is_same(other),
            (None, None) => true,
            _ => false,
        };
        same_round && same_model
    }

    /// Whether this is the round whose parameters have this tag.
    pub fn is_of(&self, round: &Digest) -> bool {
        self.parameters().is_some_and(|parameters| parameters.tag() == *round)
    }

    /// Opens a sealed message where it lies and checks it, in the order of the specification's section 4: all
    /// that can be said without knowing what other messages have done. Takes time proportional to the message.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn open(&self, sealed: Vec<u8>) -> Result<Verified, Rejection> {
        let unsealed = self.open_box(sealed)?;
        let is_signed = unsealed.signed().is_some_and(|signed| signed.is_right());
        self.check(unsealed, is_signed)
    }

    /// Opens several sealed messages, each as [`open`](Self::open) does, and gives what became of them in their order.
    /// It takes as long as one after another, or, where the processor can hash several messages at the same time,
    /// about half as long: see [`opened_at_once`](Self::opened_at_once).
    pub fn open_all(&self, sealed: Vec<Vec<u8>>) -> Vec<Result<Verified, Rejection>> {
        let unsealed: Vec<_> = sealed.into_iter().map(|sealed| self.open_box(sealed)).collect();
        let mut right = Self::are_signed(unsealed.iter().flatten()).into_iter();
        let check = |unsealed: Result<Unsealed<Vec<u8>>, Rejection>| {
            unsealed.and_then(|message| self.check(message, right.next().unwrap_or(false)))
        };
        unsealed.into_iter().map(check).collect()
    }

    /// The first step of [`open`](Self::open), for whoever does the steps for several messages by himself: takes a message
    /// out of its box, where it lies, in whatever buffer that is.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn open_box<B: AsMut<[u8]>>(&self, sealed: B) -> Result<Unsealed<B>, Rejection> {
        self.round.as_ref().ok_or(Rejection::NoRound)?.open_box(sealed)
    }

    /// The second step: whether messages are signed by those whom they name, in their order. This is what takes less
    /// time for several of them.
    pub fn are_signed<'a, B: AsRef<[u8]> + 'a>(
        messages: impl IntoIterator<Item = &'a Unsealed<B>>,
    ) -> Vec<bool> {
        let signed: Vec<_> = messages.into_iter().map(Unsealed::signed).collect();
        let mut right =
            verify_all(&signed.iter().flatten().copied().collect::<Vec<_>>()).into_iter();
        signed.iter().map(|signed| signed.is_some() && right.next().unwrap_or(false)).collect()
    }

    /// The last step: checks all the rest of a message. (`is_signed` is what [`are_signed`](Self::are_signed) said of it.)
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn check<B: Into<Bytes>>(
        &self,
        message: Unsealed<B>,
        is_signed: bool,
    ) -> Result<Verified, Rejection> {
        let round = self.round.as_ref().ok_or(Rejection::NoRound)?;
        round.check_unsealed(message.into_bytes(), is_signed)
    }

    /// How many messages, best of about the same length, are opened in the least time by one thread that opens them
    /// all: 1 if nothing is gained by that on this processor.
    pub fn opened_at_once() -> usize {
        let most = sha512::LANES;
        if sha512::gains(most) {
            most
        } else {
            1
        }
    }

    /// Takes a message of a participant's machine in this same process: all is checked but signature and seal, which it does
    /// not have.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn take(&self, message: HandedOver) -> Result<Verified, Rejection> {
        let round = self.round.as_ref().ok_or(Rejection::NoRound)?;
        round.check_unsealed(message.frame, true)
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
