//! Inputs and outputs of the machine.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Front, Job, JobResult, Object, Phase, Record, Rejection, RoundFailure, Settings, Verified,
};
pub use crate::coordinator::{PersistId, Ticket};
use crate::crypto::PublicSigningKey;
use crate::job::JobId;
use crate::time::Timestamp;
use crate::v2::{Accusation, MemberId};

/// Something that happened. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time has passed, and nothing else has happened.
    Tick,
    /// A message was [opened](Front::open) and verified.
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
    /// An object was read back: the answer to [`Output::Load`].
    Loaded {
        /// Which one.
        object: Object,
        /// All its bytes; nothing if the store does not have them.
        bytes: Option<Bytes>,
    },
    /// Stop: take no more messages, and begin no more rounds.
    Stop,
    /// Pause: the round goes on, but none begins after it. This is not saved.
    Pause,
    /// End the pause: rounds begin again.
    Resume,
    /// End the round without a model: it fails as [`RoundFailure::Skipped`].
    Skip,
    /// Change the settings from the next round on. They are not saved.
    ChangeSettings(Box<Settings>),
}

/// Something that should happen.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an output is said once: do what it says, and ask for the next one until it is Idle"]
pub enum Output {
    /// Run a job on any thread and report its result.
    Job(Job),
    /// Store a record, and report when it and all before it are safe. A driver that keeps nothing reports at once,
    /// but keeps the [objects](Object) of the round in memory.
    Persist {
        /// The record's number: they are numbered in order, from 1.
        id: PersistId,
        /// What to store.
        record: Record,
    },
    /// Read an object back and hand it in with [`Input::Loaded`], also when it cannot be read. A few are asked for at a
    /// time. All its chunks were put out with [`Output::Persist`] before, and are confirmed.
    Load(Object),
    /// Answer with this from now on: it replaces the one before.
    Front(Front),
    /// A message was processed: answer its sender.
    Reply {
        /// Which message.
        ticket: Ticket,
        /// Whether it was accepted, or is there already.
        outcome: Result<(), Rejection>,
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
            Self::Load(object) => Self::Load(*object),
            Self::Front(front) => Self::Front(front.clone()),
            Self::Reply { ticket, outcome } => {
                Self::Reply { ticket: *ticket, outcome: outcome.clone() }
            }
            Self::Event(event) => Self::Event(event.clone()),
            Self::Idle(idle) => Self::Idle(*idle),
        })
    }
}

/// The machine is idle: nothing is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// When to come back with [`Input::Tick`] if nothing else happens before; `None` if only a message, the store or
    /// an operator brings this machine on.
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
    /// More messages, at the latest until the phase's time is over.
    Messages(Phase),
    /// The end of a job.
    Job,
    /// The end of a job that is given out again: it was lost before.
    LostJob,
    /// An object that the store reads back.
    Object,
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
        round: u64,
        /// Which phase.
        phase: Phase,
    },
    /// A phase has ended well.
    PhaseEnded {
        /// In which round.
        round: u64,
        /// Which phase.
        phase: Phase,
        /// How many messages it has accepted: announcements, updates, reports, votes, masks.
        accepted: u64,
        /// How long it took.
        took: Duration,
    },
    /// There is a global model, and the round does not start from it: it is of another roster, whose certificate nobody
    /// accepts any more, or of another length or type.
    StartsFromNothing {
        /// Which round.
        round: u64,
        /// The round that the model is of.
        last: u64,
        /// Whether it is of another roster.
        is_other_roster: bool,
    },
    /// Members that had announced themselves, or might have, and were not heard of in a phase. It ended without
    /// them: their groups had a majority.
    MembersMissing {
        /// In which round.
        round: u64,
        /// Which phase.
        phase: Phase,
        /// Who.
        members: Vec<MemberId>,
    },
    /// Uploads that were not complete at the end of the update phase: those updaters are not in the round.
    UploadsDropped {
        /// In which round.
        round: u64,
        /// Whose; at most 32 of them are named.
        updaters: Vec<PublicSigningKey>,
        /// How many.
        count: u64,
    },
    /// An upload of which nothing came for long has given way to another one.
    UploadStalled {
        /// In which round.
        round: u64,
        /// Whose.
        updater: PublicSigningKey,
    },
    /// Members have accused updaters: they are excluded from the round.
    UpdatersExcluded {
        /// In which round.
        round: u64,
        /// Who, by whom, and of what; at most 32 of them are named.
        excluded: Vec<(PublicSigningKey, MemberId, Accusation)>,
        /// How many.
        count: u64,
    },
    /// A member has accused more updaters than a member may, and more than a majority of its group: its report does not
    /// count. Its vote and its mask do.
    MemberDisregarded {
        /// In which round.
        round: u64,
        /// Who.
        member: MemberId,
        /// How many it has accused.
        accused: u64,
        /// How many it may.
        most: u64,
    },
    /// Somebody has signed two different things of which only one may be.
    Conflict {
        /// In which round.
        round: u64,
        /// Who and what.
        conflict: Conflict,
    },
    /// A member's mask is not the one that the majority of its group has: it lies, or computes wrongly.
    LyingMask {
        /// In which round.
        round: u64,
        /// Who.
        member: MemberId,
    },
    /// A member has not sent the mask that it has the digest of, or has stopped in the middle: another one is asked.
    MaskSourceChanged {
        /// In which round.
        round: u64,
        /// Who was waited for.
        from: MemberId,
        /// Who is asked now.
        to: MemberId,
    },
    /// A round has ended with a global model and its certificate.
    RoundCompleted {
        /// Which round.
        round: u64,
        /// How many updates the model is made of.
        models: u64,
        /// How many updaters were excluded.
        excluded: u64,
        /// How many members have voted.
        votes: u64,
    },
    /// A round has failed.
    RoundFailed {
        /// Which round.
        round: u64,
        /// In which phase.
        phase: Phase,
        /// Why.
        failure: RoundFailure,
    },
}

/// Two different things, of which somebody signs at most one in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Conflict {
    /// A second announcement.
    Announcement(MemberId),
    /// A second statement: another masked model or other seeds.
    Statement(PublicSigningKey),
    /// A second report.
    Report(MemberId),
    /// A second mask digest.
    Mask(MemberId),
}

/// Why an input was not taken. The machine is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The job is not being waited for (any more): nothing is wrong, its result is just late.
    #[error("job {0:?} is not being waited for")]
    UnknownJob(JobId),
    /// The object is not being waited for (any more): nothing is wrong, it is just late.
    #[error("{0} is not being waited for")]
    UnknownObject(Object),
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
