//! The front of a coordinator: what a server answers with.

mod answer;
mod open;
mod view;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::entries::Entries;
use super::phases::{Agreed, Masks, Reports, Stage, Uploads};
use super::state::{Round, State};
use super::{Completed, Object, Phase, Rejection};
use crate::crypto::EncryptKeyPair;
use crate::model::array;
use crate::problem::Problem;
use crate::request::{ModelForm, Response};
use crate::v2::{Announcement, Announcements, MemberId, Roster, Terms};

/// What a server answers with at one time: all that is published, and what opens and checks messages.
///
/// The machine puts out a new one ([`Output::Front`](super::Output::Front)) whenever something of it has
/// changed. A server keeps the latest one only, and answers from any number of threads: it is cheap to clone, and
/// never changes. **It holds the round's secret key.**
#[derive(Clone, Default)]
pub struct Front {
    round: Option<Arc<Shown>>,
    last: Option<Arc<Completed>>,
}

/// What is shown of a round.
#[derive(Clone)]
struct Shown {
    round: Arc<Round>,
    keys: EncryptKeyPair,
    phase: Phase,
    /// No message is taken any more.
    closed: bool,
    what: What,
    wanted: Vec<MemberId>,
    failure: Option<Arc<str>>,
    /// How many entries there are in a page.
    page: usize,
}

/// What was collected. All of it is shared with the machine.
#[derive(Clone)]
enum What {
    Nothing,
    Announce(Arc<Vec<Announcement>>),
    Update { announcements: Arc<Announcements>, uploads: Arc<Uploads>, complete: u64 },
    Check { entries: Arc<Entries>, reports: Arc<Reports> },
    Agree(Agreed),
    Masks { agreed: Arc<Agreed>, masks: Arc<Masks> },
}

impl What {
    fn of(stage: &Stage) -> Self {
        match stage {
            Stage::Idle | Stage::Failed => Self::Nothing,
            Stage::Announce(stage) => Self::Announce(stage.list().clone()),
            Stage::Update(update) => Self::Update {
                announcements: update.announcements().clone(),
                uploads: update.uploads().clone(),
                complete: stage.accepted(),
            },
            Stage::Check(stage) => {
                Self::Check { entries: stage.entries().clone(), reports: stage.reports().clone() }
            }
            Stage::Agree(stage) => Self::Agree(stage.agreed().clone()),
            Stage::Sum2(stage) => {
                Self::Masks { agreed: stage.agreed().clone(), masks: stage.masks().clone() }
            }
            Stage::Unmask(stage) => {
                Self::Masks { agreed: stage.agreed().clone(), masks: stage.masks().clone() }
            }
        }
    }

    /// The list of announcements, once it is fixed.
    fn announcements(&self) -> Option<&Arc<Announcements>> {
        match self {
            Self::Update { announcements, .. } => Some(announcements),
            what => what.entries().map(|entries| &entries.announcements),
        }
    }

    /// The updates, once no more are taken.
    fn entries(&self) -> Option<&Arc<Entries>> {
        match self {
            Self::Check { entries, .. } => Some(entries),
            what => what.agreed().map(|agreed| &agreed.checked.entries),
        }
    }

    /// What members have against them.
    fn reports(&self) -> Option<&Arc<Reports>> {
        match self {
            Self::Check { reports, .. } => Some(reports),
            what => what.agreed().map(|agreed| &agreed.checked.reports),
        }
    }

    /// Rejects the report of whoever has accused too many.
    fn listen_to(&self, member: MemberId) -> Result<(), Rejection> {
        self.agreed().map_or(Ok(()), |agreed| agreed.checked.listen_to(member))
    }

    /// What is voted for, once it is fixed.
    fn agreed(&self) -> Option<&Agreed> {
        match self {
            Self::Agree(agreed) => Some(agreed),
            Self::Masks { agreed, .. } => Some(agreed),
            _ => None,
        }
    }

    fn masks(&self) -> Option<&Arc<Masks>> {
        match self {
            Self::Masks { masks, .. } => Some(masks),
            _ => None,
        }
    }
}

/// What a call is answered with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer {
    /// This, as it is.
    Ready(Response),
    /// All bytes of an object, which the driver has stored.
    Object(Object),
    /// The model of this round, in whatever form the caller accepts.
    Model(Arc<Completed>),
    /// It is a message: it is to be [opened](Front::open) and given to the machine.
    Message,
}

impl Answer {
    /// The whole answer, for drivers that have no forms of their own for models: objects are read by `load`, and models
    /// are weights of their own type. Nothing for a message.
    pub fn respond(self, load: impl FnOnce(Object) -> Option<Bytes>) -> Option<Response> {
        Some(match self {
            Self::Ready(response) => response,
            Self::Object(object) => match load(object) {
                Some(bytes) => Response::ok(bytes),
                None => answer::not_there(&format!("{object} is not kept any more"), None),
            },
            Self::Model(completed) => {
                let mut bytes = Vec::new();
                array::write_weights(&completed.model, &mut bytes);
                let model_form = ModelForm::Array(completed.model.data_type());
                Response { model_form, ..Response::ok(bytes) }
            }
            Self::Message => return None,
        })
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self::Ready(Response::new(problem.status, problem.to_json()))
    }
}

/// Shows how far the round is, and neither key nor content.
impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("round", &self.round())
            .field("phase", &self.phase())
            .field("completed", &self.last)
            .finish_non_exhaustive()
    }
}

impl Front {
    /// The front of a coordinator of which nothing is known yet: it publishes nothing, and takes no message.
    pub fn new() -> Self {
        Self::default()
    }

    /// In a phase that is the stage's, or idle: then nothing is gone on with.
    pub(super) fn of(state: &State, phase: Phase, wanted: Vec<MemberId>, page: usize) -> Self {
        let what = match phase {
            Phase::Idle => What::Nothing,
            _ => What::of(state.stage()),
        };
        let (round, keys) = (state.round().clone(), state.keys().clone());
        let failure = state.failure().cloned();
        let shown = Shown { round, keys, phase, closed: false, what, wanted, failure, page };
        Self { round: Some(Arc::new(shown)), last: state.last().cloned() }
    }

    /// This front once the coordinator is stopped: it still publishes, but takes no more messages.
    #[must_use]
    pub fn closed(mut self) -> Self {
        if let Some(shown) = &mut self.round {
            Arc::make_mut(shown).closed = true;
        }
        self
    }

    /// This front with another completed round: it answers what is asked about that one.
    #[must_use]
    pub fn with_completed(self, last: Option<Arc<Completed>>) -> Self {
        Self { last, ..self }
    }

    /// The current round's number; `None` before the first.
    pub fn round(&self) -> Option<u64> {
        self.terms().map(|terms| terms.round)
    }

    /// The current phase; [`Phase::Idle`] before the first round.
    pub fn phase(&self) -> Phase {
        self.round.as_ref().map_or(Phase::Idle, |shown| shown.phase)
    }

    /// The current round's terms.
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        self.round.as_ref().map(|shown| &shown.round.terms)
    }

    /// The current round's roster.
    pub fn roster(&self) -> Option<&Arc<Roster>> {
        self.round.as_ref().map(|shown| &shown.round.roster)
    }

    /// About how much memory it holds that the next one does not.
    pub(super) fn bytes_beside(&self, next: &Self) -> usize {
        let entries =
            |front: &Self| front.round.as_ref().and_then(|shown| shown.what.entries()).cloned();
        let beside = match (entries(self), entries(next)) {
            (Some(entries), Some(next)) if Arc::ptr_eq(&entries, &next) => 0,
            (Some(entries), _) => entries.bytes(),
            (None, _) => 0,
        };
        let last = match (&self.last, &next.last) {
            (Some(last), Some(next)) if Arc::ptr_eq(last, next) => 0,
            (Some(last), _) => last.bytes(),
            (None, _) => 0,
        };
        beside + last
    }

    /// The round that was completed last.
    pub fn completed(&self) -> Option<&Arc<Completed>> {
        self.last.as_ref()
    }
}
