//! Inputs and outputs of the participant's machine.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ComposeError, Job, JobResult, Snapshot};
use crate::crypto::Task;
use crate::job::JobId;
use crate::mask::{DataType, MaskError, MaskReport};
use crate::message::{HandedOver, Tag};
use crate::model::{ArrayError, Model, RatioError};
use crate::problem::Problem;
use crate::request::{Call, RequestId, Response};
use crate::round::{DecodeError, RoundParameters};
use crate::time::Timestamp;
use crate::v2::member::PersistId;
use crate::v2::Refusal;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time has passed, and nothing else has happened.
    Tick,
    /// A request was answered.
    Response {
        /// Which request.
        id: RequestId,
        /// The answer, whatever its status.
        response: Response,
    },
    /// A request was not answered.
    Fault {
        /// Which request.
        id: RequestId,
        /// What went wrong.
        fault: TransportFault,
    },
    /// A job is finished.
    JobDone(JobResult),
    /// A job was lost. There is no need to say so of one that was dropped: the machine notices by itself. If it is
    /// still needed it is given out again, up to [`MAX_LOSSES`](crate::job::MAX_LOSSES) times in a row.
    JobLost(JobId),
    /// Set a trained model, which is sent when this participant is next chosen to update. It
    /// replaces an earlier one that was not yet used.
    ///
    /// Its weights may be of another type than the round's: they are converted block by block while it is masked,
    /// floats to the nearest of the round's type, integers to floats where floats are wanted. Type and length are
    /// checked at once, the weights themselves in the job, both with [`Event::ModelRejected`] where the round is not
    /// known before.
    SetModel(Model),
    /// Fetch the global model: the answer is [`Event::GlobalModel`] or [`Event::GlobalModelFailed`]. Each wish
    /// gets an answer of its own, in the order of the wishes, with a model that was asked for afterwards or is
    /// still the current one: not with one of a round that was over before.
    FetchModel,
    /// The state is stored, and will be there after a power cut.
    Persisted(PersistId),
    /// The state could not be stored: it is asked for again after a pause.
    NotPersisted {
        /// Which state.
        id: PersistId,
        /// Why, for people.
        reason: String,
    },
    /// The driver knows of answers that are held back, up to so long ([`RequestLimits::patience`]): of each request it
    /// asks for the machine's [`patience`](super::Machine::patience), sends that along, waits so much longer for the
    /// answer, does everything else meanwhile, and takes [`Output::Cancel`]. From now on, and until another one says
    /// otherwise; a driver that says nothing of this has its answers at once.
    ///
    /// [`RequestLimits::patience`]: crate::request::RequestLimits::patience
    Patience(Duration),
    /// Do nothing more. Take a snapshot first if the participant is to go on later.
    Stop,
}

/// Something that should happen.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an output is said once: do what it says, and ask for the next one until it is Idle"]
pub enum Output {
    /// Send a request and report its answer, or the lack of one, with the same id.
    Request {
        /// To be given back with the answer.
        id: RequestId,
        /// What to ask.
        call: Call,
    },
    /// Hand a message to the coordinator's machine in this process, with [`Front::take`](crate::coordinator::Front::take), and
    /// report the answer as that to a request: only with [`Settings::hand_over`](super::Settings::hand_over).
    HandOver {
        /// To be given back with the answer.
        id: RequestId,
        /// The message.
        message: HandedOver,
    },
    /// The answer to this request is not waited for any more, and the request can be dropped. Only for drivers that
    /// have said [`Input::Patience`].
    Cancel(RequestId),
    /// Run a job on any thread and report its result.
    Job(Job),
    /// Store this state in place of the one before, and report that with [`Input::Persisted`]: what was promised and spent
    /// must not be forgotten. Only of participants in rounds of version 2 whose driver has said that it
    /// [stores promises](super::Machine::store_promises). The masked model is not in it: who goes on from it sits the round
    /// out.
    Persist {
        /// To be given back.
        id: PersistId,
        /// What to store.
        snapshot: Snapshot,
    },
    /// Something that the user may want to know.
    Event(Event),
    /// There is nothing to do until the next input.
    Idle(Idle),
}

/// The machine is idle: nothing is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// When to come back with [`Input::Tick`] if nothing else happens before; `None` if only an
    /// answer or a command brings this machine on.
    pub wake_at: Option<Timestamp>,
    /// What the machine waits for.
    pub why: Why,
}

impl Idle {
    /// Nothing to do before this time, or before the next input.
    pub fn new(wake_at: Option<Timestamp>, why: Why) -> Self {
        Self { wake_at, why }
    }
}

/// What a participant waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The time of the next look at the coordinator.
    Poll,
    /// A local model, without which an update participant cannot go on; the coordinator is still
    /// looked at from time to time.
    LocalModel,
    /// An answer to a request.
    Answer,
    /// The end of a job.
    Job,
    /// The end of a job that is given out again: it was lost before.
    LostJob,
    /// That its state is stored.
    Storage,
    /// Nothing: it was stopped.
    Stopped,
}

/// Events for the participant's user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A new round has begun; there may be a new global model.
    NewRound {
        /// What this participant does in it.
        task: Task,
        /// The round's parameters.
        parameters: Arc<RoundParameters>,
    },
    /// This participant is to update and has no local model: please set one. Said once a round.
    ModelNeeded {
        /// Of what type the weights must be.
        data_type: DataType,
        /// How many there must be.
        length: u64,
    },
    /// The local model cannot be used and was dropped.
    ModelRejected(ModelMismatch),
    /// The local model was set in an earlier round, was not used in it, and was dropped: only where
    /// [`Settings::keep_models`](super::Settings::keep_models) says so.
    ModelOutdated,
    /// The local model was masked.
    ModelMasked(MaskReport),
    /// A part of a message was delivered.
    Progress {
        /// Of which message.
        tag: Tag,
        /// How many parts are delivered.
        sent: usize,
        /// How many there are.
        total: usize,
    },
    /// A message was delivered. Whether it was accepted is not known: older coordinators do not tell.
    Sent(Tag),
    /// The coordinator has rejected a message, for good: this participant can do nothing more in this
    /// round.
    Rejected {
        /// What the message was for.
        tag: Tag,
        /// Why.
        problem: Problem,
    },
    /// This participant can do nothing more in this round.
    GaveUp(ComposeError),
    /// The coordinator could not be asked, or gave a wrong answer: it is asked again later.
    Trouble(Trouble),
    /// The global model, as asked for; `None` while there is none.
    GlobalModel(Option<Arc<Model>>),
    /// The global model could not be fetched: ask again later.
    GlobalModelFailed(FetchError),
    /// Version 2: this participant does not go on as things are. The coordinator is asked again: it may be put right.
    Refused(Refusal),
    /// Version 2: a round has ended with a global model, and its certificate holds.
    Certified {
        /// The number of the round.
        round: u64,
        /// How many models were added up.
        count: u64,
        /// Whether this participant's is one of them: proven, or it was left out; `None` if it has sent none in that
        /// round.
        included: Option<bool>,
    },
    /// Version 2: a round in which this participant has made its statement has ended without a certificate.
    NotCertified {
        /// The number of the round.
        round: u64,
        /// Why, as far as the coordinator says.
        reason: Option<String>,
    },
    /// Version 2: a model was masked for a round with noise, which costs privacy whether the round ends well or not.
    BudgetSpent {
        /// The number of the round.
        round: u64,
        /// What was spent in all rounds so far, as an epsilon.
        spent: f64,
        /// For this delta.
        delta: f64,
        /// The epsilon of the budget, if there is one.
        budget: Option<f64>,
    },
}

/// An unsuccessful request to the coordinator.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{call}: {reason}")]
#[non_exhaustive]
pub struct Trouble {
    /// What was asked: `params`, `sums`, `seeds`, `model` or `message`; in version 2 `round`, `roster`, `announcements`,
    /// `certificate`, `proof`, `model` or `update`.
    pub call: &'static str,
    /// What went wrong.
    pub reason: TroubleReason,
}

impl Trouble {
    /// One of a call; for those who test what they make of it.
    pub fn new(call: &'static str, reason: TroubleReason) -> Self {
        Self { call, reason }
    }
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TroubleReason {
    /// The participant's state could not be stored. Nothing that depends on it leaves before it is.
    #[error("the participant's state cannot be stored: {0}; its update is not sent before it is: see to the place where states are kept")]
    NotStored(String),
    /// There was no answer.
    #[error(transparent)]
    Transport(#[from] TransportFault),
    /// The answer has an unexpected status.
    #[error("the coordinator answered with HTTP status {0}{advice}", advice = advice(*.0))]
    Status(u16),
    /// Something in front of the coordinator has refused the message for its length: it is split and sent
    /// again.
    #[error("something before the coordinator, such as a proxy, refuses messages of {size} bytes with HTTP status 413: it is sent in parts of at most {parts} bytes from now on; have that limit raised (nginx: client_max_body_size), or set max_message_size")]
    NotLetThrough {
        /// How long the message was, or its part.
        size: usize,
        /// How long its parts are from now on.
        parts: usize,
    },
    /// The answer is malformed.
    #[error("the coordinator's answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The answer is of a round that this participant has seen pass.
    #[error("the coordinator gives the parameters of a round that is over: a replica of it that is behind has answered, or it goes on from an old copy; its next round is waited for")]
    PastRound,
    /// An answer of version 2 is malformed.
    #[error("the coordinator's answer is malformed: {0}")]
    V2(crate::v2::DecodeError),
    /// The coordinator says why it does not answer now.
    #[error("the coordinator refuses the request: {0}")]
    Problem(Problem),
    /// The global model that it gives is none.
    #[error(transparent)]
    Model(Box<FetchError>),
}

/// What to do about an unexpected status.
pub(crate) fn advice(status: u16) -> &'static str {
    match status {
        300..=399 => {
            ": it sends participants elsewhere, and what they send would be lost; give the URL that it sends them to"
        }
        400 => ": whatever has answered does not understand participants; is it a coordinator?",
        401 | 403 => ": something before the coordinator does not let this participant in",
        404 | 405 | 410 => ": there is no coordinator under this URL; is its path right, and its port?",
        407 => ": the proxy wants a user name and a password, which go into the proxy's URL",
        411 | 414 | 431 => ": something before the coordinator does not let this request through",
        421 => ": whatever has answered is not responsible for this host; is the URL right?",
        502..=504 => ": the coordinator does not run behind its proxy, or has too much to do",
        _ => "",
    }
}

/// Why the global model could not be fetched.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The coordinator could not be asked.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// It cannot be given in the round's data type.
    #[error("the global model cannot be read: {0}")]
    Model(#[from] RatioError),
    /// It has another number of weights than the round's models: it is of a round before the coordinator was set up
    /// anew, or the coordinator lies.
    #[error("the global model has {actual} weights, but this round's models have {expected}: it is of another setup of the coordinator, and cannot be trained further")]
    Length {
        /// How many it should have.
        expected: u64,
        /// How many it has.
        actual: u64,
    },
    /// The job that reads it was lost each time: it panics, or whoever runs it drops it.
    #[error("the job that reads the global model was lost {0} times: see what the log says of panics, and please report it")]
    JobLost(u32),
    /// Its short form is not what was asked for.
    #[error("the global model cannot be read: {0}")]
    Array(#[from] ArrayError),
    /// Version 2: it must not be relied on, or this participant takes no part.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A request that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TransportFault {
    /// No connection could be made, or it broke.
    #[error("the coordinator cannot be reached: {0}")]
    Unreachable(String),
    /// There was no answer in time.
    #[error("the coordinator did not answer in time")]
    TimedOut,
    /// The answer is longer than any legal one.
    #[error("the coordinator's answer is too long")]
    TooLarge,
}

/// Why a local model cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ModelMismatch {
    /// It has another number of weights than the round's models.
    #[error("the local model has {actual} weights, but this coordinator's models have {expected}")]
    Length {
        /// How many it should have.
        expected: u64,
        /// How many it has.
        actual: u64,
    },
    /// Its weights are floats, and the round's are integers.
    #[error("the local model has {actual} weights, but this coordinator's models have {expected} weights: round them yourself")]
    DataType {
        /// Of which type the round's are.
        expected: DataType,
        /// Of which type they are.
        actual: DataType,
    },
    /// It cannot be masked.
    #[error(transparent)]
    Mask(#[from] MaskError),
}

/// Why an input was not taken. The machine is as it was.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Reject {
    /// The request is not being waited for (any more): nothing is wrong, the answer is just late.
    #[error("request {0:?} is not being waited for")]
    UnknownRequest(RequestId),
    /// The job is not being waited for (any more).
    #[error("job {0:?} is not being waited for")]
    UnknownJob(JobId),
    /// That state is not waited for (any more).
    #[error("{0:?} is not being waited for")]
    UnknownPersist(PersistId),
    /// The local model does not fit the round.
    #[error(transparent)]
    Model(#[from] ModelMismatch),
    /// The participant was stopped.
    #[error("the participant was stopped: restore it from its saved state to go on")]
    Stopped,
}
