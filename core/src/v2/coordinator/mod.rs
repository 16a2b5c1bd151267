//! The coordinator's state machine of version 2.
//!
//! A [`Coordinator`] is told what happened ([`Coordinator::handle_input`]) and says what should happen
//! next ([`Coordinator::poll_output`]). Around it a server does three things:
//!
//! * It answers calls, and opens messages, on any number of threads, with the latest [`Front`]: pure functions
//!   from a call to its answer, and from what was sent to a [`Verified`] message, which is then a short input.
//! * It runs the jobs, keeps the time, stores the [`Record`]s, and passes replies on.
//! * It stores the round's large [`Object`]s chunk by chunk, and reads them back: the masked models are added up only
//!   once every group has agreed to the set of them, so that nothing is ever taken off again, and a restart loses
//!   nothing.
//!
//! # How to drive it
//! 1. Call `poll_output` until it gives [`Output::Idle`]; do what each output says, in order.
//! 2. Wait for whatever comes first: a verified message, a finished job, an object that was read, the store's
//!    confirmation, or `wake_at`.
//! 3. Tell the machine with `handle_input`, and begin again.
//!
//! What must not be seen before it is stored (a reply, a front) comes out only after the
//! confirmation ([`Input::Persisted`]) of the records before it.
//!
//! # What a driver keeps
//! The records since the last [`Record::RoundBegan`], the last [`Completed`] round, the objects of the current round and of
//! as many completed ones as it wants audited. What of a round is not needed any more shows in its records: the objects of
//! [`Record::UploadDropped`] and of whoever is not complete at [`Record::UpdateEnded`], and all of a round that has failed.

// How it is made: `machine` takes inputs; `messages`, `results` and `rounds` decide what is to be, by the rules
// of the phase (`phases`, a file for each), and write it as a record. `state` is changed by applying records and in no
// other way, in the running machine and in `recovery` alike. `underway` has what no record tells of yet, and `outbox`
// keeps back what depends on records that are not stored.

mod completed;
mod entries;
mod failure;
mod front;
mod io;
mod jobs;
mod machine;
mod message;
mod messages;
mod missing;
mod object;
mod outbox;
mod patience;
mod phases;
mod record;
mod recovery;
mod rejection;
mod results;
mod rounds;
mod ruling;
mod settings;
mod shape;
mod state;
mod stored;
mod sums;
#[cfg(test)]
mod tests;
mod underway;
mod verified;

use crate::coordinator::{clock, garbage};

pub use completed::Completed;
pub use failure::RoundFailure;
pub use front::{Answer, Front};
pub use io::{Conflict, Event, Idle, Input, Output, PersistId, Reject, Ticket, Why};
pub use jobs::Outcome;
pub use machine::Coordinator;
pub use message::MessageKind;
pub use object::{Object, ObjectKind};
pub use record::{Large, Record};
pub use recovery::{Recovery, RecoveryError, ResumeError};
pub use rejection::Rejection;
pub use ruling::Ruling;
pub use settings::{
    CountRange, Field, InvalidSettings, Limits, Rule, Settings, TimeRange, Times, Violation,
    LONGEST_ROUND,
};
pub use verified::Verified;

pub use crate::v2::Phase;

/// A coordinator's job.
pub type Job = crate::job::Job<Outcome>;
/// What a coordinator's job has done.
pub type JobResult = crate::job::JobResult<Outcome>;
