//! Inputs and outputs of the member's machine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Event, Job, JobResult, Snapshot, Trouble};
use crate::job::JobId;
use crate::participant::TransportFault;
use crate::request::{Call, RequestId, Response};
use crate::time::Timestamp;

/// The id of one state that a member, or an updater, wants stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PersistId(pub u64);

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
    /// A state is stored, so that it is there after a loss of power: only now may what it promises be seen by anyone.
    Persisted(PersistId),
    /// Do nothing more.
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
    /// Run a job on any thread and report its result.
    Job(Job),
    /// Store this state in place of the one before, so that it is there after a loss of power, and say so with
    /// [`Input::Persisted`]. If that fails try again: the member waits, since what it signs next must not be forgotten.
    Persist {
        /// To be given back.
        id: PersistId,
        /// The whole state, less than 4 KiB: it holds secret keys.
        snapshot: Snapshot,
    },
    /// Something that the operator may want to know.
    Event(Event),
    /// There is nothing to do until the next input.
    Idle(Idle),
}

/// The machine is idle: nothing is due.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Idle {
    /// When to come back with [`Input::Tick`] if nothing else happens before; `None` if only an answer or a
    /// confirmation brings this machine on.
    pub wake_at: Option<Timestamp>,
    /// What the machine waits for.
    pub why: Why,
    /// Why the last try has failed, if it has.
    pub failure: Option<Arc<Trouble>>,
}

/// What a member waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The first look at the coordinator, or the next one after a failure; or that it has found its state again, in the
    /// middle of a round.
    Coordinator,
    /// A round whose terms this member accepts.
    Round,
    /// This machine's clock, which is behind the time at which the round was opened: before, nothing is announced.
    Clock,
    /// The announcements of the other members: the coordinator fixes the list.
    Announcements,
    /// The updates: the coordinator ends the phase.
    Updates,
    /// The reports of the other members: the coordinator fixes the set.
    Reports,
    /// The votes of the other members.
    Votes,
    /// The masks of the other groups, and the global model.
    Masks,
    /// The end of a round that this member sits out.
    SitsOut,
    /// An answer to a request.
    Answer,
    /// The end of a job.
    Job,
    /// The end of a job that is given out again: it was lost before.
    LostJob,
    /// The confirmation that the state is stored.
    Storage,
    /// Nothing: it was stopped.
    Stopped,
}

impl Why {
    /// A short, stable name, for metrics and other languages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Round => "round",
            Self::Clock => "clock",
            Self::Announcements => "announcements",
            Self::Updates => "updates",
            Self::Reports => "reports",
            Self::Votes => "votes",
            Self::Masks => "masks",
            Self::SitsOut => "sits_out",
            Self::Answer => "answer",
            Self::Job => "job",
            Self::LostJob => "lost_job",
            Self::Storage => "storage",
            Self::Stopped => "stopped",
        }
    }
}

/// For people: what follows "it waits for".
impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "the coordinator",
            Self::Round => "a round whose terms it accepts",
            Self::Clock => "its clock to reach the time at which the round was opened",
            Self::Announcements => "the announcements of the other members",
            Self::Updates => "the updates",
            Self::Reports => "the reports of the other members",
            Self::Votes => "the votes of the other members",
            Self::Masks => "the masks of the other groups",
            Self::SitsOut => "the end of a round that it sits out",
            Self::Answer => "an answer",
            Self::Job => "a job",
            Self::LostJob => "a job that was lost before",
            Self::Storage => "its state to be stored",
            Self::Stopped => "nothing: it was stopped",
        })
    }
}

/// Why an input was not taken. The machine is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reject {
    /// The request is not being waited for (any more): nothing is wrong, the answer is just late.
    #[error("request {0:?} is not being waited for")]
    UnknownRequest(RequestId),
    /// The job is not being waited for (any more).
    #[error("job {0:?} is not being waited for")]
    UnknownJob(JobId),
    /// No such state is being waited for (any more).
    #[error("the confirmation {0:?} is not being waited for")]
    UnknownPersist(PersistId),
    /// The member was stopped.
    #[error("the member was stopped: restore it from its saved state to go on")]
    Stopped,
}
