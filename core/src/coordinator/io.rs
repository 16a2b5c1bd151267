//! Inputs and outputs of the coordinator's machine.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::optimizer::OptimizeError;
use super::phases::facts;
use super::{
    Admission, Front, Job, JobResult, PartDone, PartFault, PartId, Phase, Record, Rejection,
    Settings, Shard, Verified,
};
use crate::job::{JobId, JobKind};
use crate::mask::UnmaskError;
use crate::time::Timestamp;

/// The driver's name for a message: the reply carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The number of a record: records are numbered in order, from 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PersistId(pub u64);

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time has passed, and nothing else has happened.
    Tick,
    /// A message was opened and verified.
    Message {
        /// To be given back with the reply.
        ticket: Ticket,
        /// The message.
        message: Verified,
    },
    /// A job is finished.
    JobDone(JobResult),
    /// A job was lost. There is no need to say so of one that was dropped: the machine notices by itself. If it is
    /// still needed it is given out again, up to [`MAX_LOSSES`](crate::job::MAX_LOSSES) times in a row.
    JobLost(JobId),
    /// All records up to this one are stored.
    Persisted(PersistId),
    /// Stop: take no more messages, and begin no more rounds.
    Stop,
    /// Pause: the round goes on, but none begins after it. This is not saved: a restored coordinator is not
    /// paused.
    Pause,
    /// End the pause: rounds begin again.
    Resume,
    /// End the round without a model: it fails as [`RoundFailure::Skipped`].
    Skip,
    /// A shard has verified an update message, and would add up its model: see [`Shard`]. The reply says whether the
    /// participant is reserved for it.
    Admit {
        /// To be given back with the reply.
        ticket: Ticket,
        /// Who would.
        shard: Shard,
        /// What the machine has to know of the message.
        admission: Admission,
    },
    /// A shard has stored a part. The reply comes once that is recorded: then the participants count.
    Part {
        /// To be given back with the reply.
        ticket: Ticket,
        /// What is in it.
        done: PartDone,
    },
    /// A shard is gone: its reservations end. Its recorded part counts.
    ShardLost {
        /// Which.
        shard: Shard,
    },
    /// A part that was [asked for](Output::Fetch): try for as long as it may still be had, before saying that it is not
    /// there. The round cannot do without it.
    Fetched {
        /// Which.
        part: PartId,
        /// Its bytes; nothing if it is not there.
        bytes: Option<Bytes>,
    },
    /// Change the settings from the next round on. They are not saved: a restored coordinator has those that
    /// it is restored with.
    ChangeSettings(Box<Settings>),
}

/// Something that should happen.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an output is said once: do what it says, and ask for the next one until it is Idle"]
pub enum Output {
    /// Run a job on any thread and report its result.
    Job(Job),
    /// Store a record, and report when it and all before it are safe. A driver that keeps nothing
    /// reports at once.
    Persist {
        /// The record's number.
        id: PersistId,
        /// What to store.
        record: Record,
    },
    /// Answer with this from now on: it replaces the one before.
    Front(Front),
    /// A message was processed: answer its sender.
    Reply {
        /// Which message.
        ticket: Ticket,
        /// Whether it was accepted.
        outcome: Result<(), Rejection>,
    },
    /// Get a part that a shard has stored, and hand it in with [`Input::Fetched`]. At most four are asked for at a
    /// time.
    Fetch {
        /// Which.
        part: PartId,
    },
    /// Something that the operator may want to know.
    Event(Event),
    /// There is nothing to do until the next input.
    Idle(Idle),
}

impl Output {
    /// Another one like this, unless it is a job.
    pub(super) fn copy(&self) -> Option<Self> {
        Some(match self {
            Self::Job(_) => return None,
            Self::Persist { id, record } => Self::Persist { id: *id, record: record.clone() },
            Self::Front(front) => Self::Front(front.clone()),
            Self::Reply { ticket, outcome } => {
                Self::Reply { ticket: *ticket, outcome: outcome.clone() }
            }
            Self::Fetch { part } => Self::Fetch { part: *part },
            Self::Event(event) => Self::Event(event.clone()),
            Self::Idle(idle) => Self::Idle(*idle),
        })
    }
}

/// The machine is idle: nothing is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// When to come back with [`Input::Tick`] if nothing else happens before; `None` if only a
    /// message or the store brings this machine on.
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

/// What a coordinator waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The end of a phase's minimal time; enough messages are there.
    MinTime(Phase),
    /// More messages.
    Messages(Phase),
    /// The end of a job.
    Job,
    /// The end of a job that is given out again: it was lost before.
    LostJob,
    /// Other replicas: updates that are reserved for them, or parts that are to be got.
    Shards,
    /// The store.
    Store,
    /// The command to begin rounds again.
    Resume,
    /// Nothing: it was stopped.
    Stopped,
}

/// Events for the coordinator's operator.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A phase has begun.
    PhaseBegan {
        /// In which round.
        round_id: u64,
        /// Which phase.
        phase: Phase,
    },
    /// A phase has ended well.
    PhaseEnded {
        /// In which round.
        round_id: u64,
        /// Which phase.
        phase: Phase,
        /// How many messages it has accepted.
        accepted: u64,
        /// How long it took.
        took: Duration,
    },
    /// A round has ended with a global model.
    RoundCompleted {
        /// Which round.
        round_id: u64,
        /// How many updates the model is made of.
        models: u64,
        /// How many sum participants have voted for its mask.
        votes: u64,
    },
    /// A round has failed.
    RoundFailed {
        /// Which round.
        round_id: u64,
        /// In which phase.
        phase: Phase,
        /// Why.
        failure: RoundFailure,
    },
}

/// Why a round has failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RoundFailure {
    /// A phase's time ran out.
    #[error("only {accepted} of at least {needed} {phase} messages came in time")]
    TooFewMessages {
        /// Which phase.
        phase: Phase,
        /// How many messages it had accepted.
        accepted: u64,
        /// How many it needed.
        needed: u64,
    },
    /// No mask was sent.
    #[error("no sum participant has sent a mask")]
    NoMask,
    /// Several masks have the most votes.
    #[error("{masks} different masks have {votes} votes each: none of them wins")]
    TiedMasks {
        /// How many masks.
        masks: usize,
        /// How many votes each of them has.
        votes: u64,
    },
    /// One sum participant alone has sent a mask, and more are needed.
    #[error(
        "only one of {sum_participants} sum participants has sent a mask, and {needed} are needed"
    )]
    LoneVote {
        /// How many there were in the sum dictionary.
        sum_participants: u64,
        /// How many votes are needed.
        needed: u64,
    },
    /// The mask with the most votes has too few of them.
    #[error("the mask with the most votes has {votes} of {cast}, and needs {needed}")]
    NoQuorum {
        /// How many votes it has.
        votes: u64,
        /// How many were cast.
        cast: u64,
        /// How many it needs.
        needed: u64,
    },
    /// A job that the round cannot do without was lost each time: it panics, or whoever runs it drops it.
    #[error("the job to {job} was lost {times} times: see what the log says of panics, and please report it")]
    JobLost {
        /// What it does.
        job: JobKind,
        /// How often it was given out.
        times: u32,
    },
    /// A part of the aggregate cannot be had: without it the model would be another one.
    #[error("part {part} of the aggregate is lost ({fault}): see that the store keeps parts until their round is over")]
    PartLost {
        /// Which.
        part: PartId,
        /// What is wrong with it.
        fault: PartFault,
    },
    /// The operator has ended it.
    #[error("the round was skipped by the operator")]
    Skipped,
    /// The winning mask cannot be taken off.
    #[error("the aggregate cannot be unmasked: {0}")]
    Unmask(#[from] UnmaskError),
    /// The optimiser cannot make a step.
    #[error("{0}")]
    Optimizer(#[from] OptimizeError),
}

impl RoundFailure {
    /// All that [`RoundFailure::label`] can give.
    pub const LABELS: [&'static str; 17] = [
        "impossible_sum",
        "job_lost",
        "lone_vote",
        "no_mask",
        "no_quorum",
        "optimizer",
        "out_of_memory",
        "part_lost",
        "scalar_sum_zero",
        "skipped",
        "tied_masks",
        "too_few_messages",
        "too_few_sum",
        "too_few_sum2",
        "too_few_update",
        "too_many_models",
        "unmask",
    ];

    /// A short, stable name of the reason, for counting and for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooFewMessages { phase, .. } => facts(*phase).too_few,
            Self::JobLost { .. } => "job_lost",
            Self::PartLost { .. } => "part_lost",
            Self::Skipped => "skipped",
            Self::NoMask => "no_mask",
            Self::TiedMasks { .. } => "tied_masks",
            Self::LoneVote { .. } => "lone_vote",
            Self::NoQuorum { .. } => "no_quorum",
            Self::Unmask(UnmaskError::ScalarSumZero) => "scalar_sum_zero",
            Self::Unmask(UnmaskError::TooManyModels(_) | UnmaskError::TooManyScalars(_)) => {
                "too_many_models"
            }
            Self::Unmask(UnmaskError::OutOfMemory { .. }) => "out_of_memory",
            Self::Unmask(UnmaskError::ImpossibleSum { .. }) => "impossible_sum",
            Self::Unmask(_) => "unmask",
            Self::Optimizer(OptimizeError::OutOfMemory { .. }) => "out_of_memory",
            Self::Optimizer(_) => "optimizer",
        }
    }
}

/// Why an input was not taken. The machine is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reject {
    /// The job is not being waited for (any more): nothing is wrong, its result is just late.
    #[error("job {0:?} is not being waited for")]
    UnknownJob(JobId),
    /// The part is not being waited for (any more): nothing is wrong, it is just late.
    #[error("part {0} is not being waited for")]
    UnknownPart(PartId),
    /// The coordinator was stopped.
    #[error("the coordinator was stopped")]
    Stopped,
    /// There is no round to be skipped.
    #[error("no round is under way")]
    NoRound,
    /// A setting breaks a rule: [`Settings::validate`] says which.
    #[error("a setting breaks a rule")]
    InvalidSettings,
}
