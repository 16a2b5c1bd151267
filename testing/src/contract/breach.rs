//! Breaches: what a driver can do wrong.

use std::time::Duration;

use pet_core::coordinator::{PersistId, Ticket};
use pet_core::job::JobId;
use pet_core::request::RequestId;
use thiserror::Error;

/// A driver has not kept its side of the [contract](super).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Breach {
    /// A second answer, or fault, to one request.
    #[error("request {0:?} was answered twice: give the machine one answer, or one fault")]
    AnsweredTwice(RequestId),
    /// An answer to a request that the machine has never made.
    #[error("request {0:?} was answered, which this machine has never made: give answers back with the id that came with the request")]
    UnknownRequest(RequestId),
    /// A request that was given out was neither answered nor failed.
    #[error("request {id:?} has been under way for {waited:?}: report a fault if no answer comes")]
    RequestForgotten {
        /// Which one.
        id: RequestId,
        /// For how long.
        waited: Duration,
    },
    /// Two requests have gone out under one id.
    #[error("request id {0:?} was used again, or after a later one: late answers to the first would be taken for the second's")]
    RequestIdReused(RequestId),
    /// A job's result was reported twice.
    #[error("the result of job {0:?} was reported twice")]
    JobReportedTwice(JobId),
    /// A job's result, or its loss, was reported that this machine has never given out.
    #[error("job {0:?} was reported, which this machine has never given out")]
    UnknownJob(JobId),
    /// A job that was given out was neither done nor reported lost.
    #[error("job {id:?} ({name}) was given out {waited:?} ago: report its result, or its loss")]
    JobForgotten {
        /// Which one.
        id: JobId,
        /// What it does.
        name: &'static str,
        /// For how long nobody has heard of it.
        waited: Duration,
    },
    /// A record was confirmed before it was stored, or given out.
    #[error("record {confirmed:?} was confirmed when only those up to {stored:?} were stored: what it stands for is shown to others, and a crash takes it back")]
    ConfirmedEarly {
        /// Which one.
        confirmed: PersistId,
        /// The last one that is safe.
        stored: PersistId,
    },
    /// Two messages have one ticket.
    #[error("ticket {0:?} was given to a second message before the first was answered")]
    TicketReused(Ticket),
    /// The time that a machine was told went back.
    #[error("the machine was told a time {0:?} before the latest: its clock must never go back")]
    TimeWentBack(Duration),
    /// The machine was not asked for all of its outputs.
    #[error("outputs were left in the machine: ask for them until it is idle")]
    NotDrained,
    /// The machine was not told the time that it had asked to be told.
    #[error("the machine was to be woken {0:?} ago")]
    NotWoken(Duration),
}
