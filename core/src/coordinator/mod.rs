//! The coordinator's state machine (specification, sections 1 and 4).
//!
//! A [`Coordinator`] is told what happened ([`Coordinator::handle_input`]) and says what should happen
//! next ([`Coordinator::poll_output`]). Around it a server does two things:
//!
//! * It answers calls, and opens messages, on any number of threads, with the latest [`Front`]: pure functions
//!   from a call to its answer, and from sealed bytes to a [`Verified`] message, which is then a short input.
//! * It runs the jobs, keeps the time, stores the [`Record`]s, and passes replies on.
//!
//! # How to drive it
//! 1. Call `poll_output` until it gives [`Output::Idle`]; do what each output says, in order.
//! 2. Wait for whatever comes first: a verified message, a finished job, the store's confirmation,
//!    or `wake_at`.
//! 3. Tell the machine with `handle_input`, and begin again.
//!
//! What must not be seen before it is stored (a reply, a front) comes out only after the
//! confirmation ([`Input::Persisted`]) of the records before it.
//!
//! # Several replicas
//! The machine runs at one place at a time; the records say what it is, wherever they are read.
//!
//! * A [`Follower`] makes of the records the [`Front`]s that the machine puts out, so that any replica can answer,
//!   and the [`Recovery`] with which it can take the machine's place.
//! * A message that one replica has verified goes to the machine as bytes: [`Verified::to_bytes`].
//! * Masked models need not go to the machine: replicas add them up, as [`shards`].
//! * A [`relay::Relay`] is what stands at a replica where messages come in and the machine does not run.

// How it is made: `machine` takes inputs; `messages`, `results` and `rounds` decide what is to be, by the rules
// of the phase (`phases`, a file for each), and write it as a record (`stored`). `state` is changed by applying
// records and in no other way, in the running machine and in `recovery` alike. `underway` has what no record
// tells of yet, and `outbox` keeps back what depends on records that are not stored.

mod assemble;
pub(crate) mod clock;
mod context;
mod control;
mod ended;
mod follower;
mod front;
pub(crate) mod garbage;
mod global_model;
mod io;
pub(crate) mod jobs;
mod machine;
mod messages;
mod optimizer;
mod outbox;
mod phase;
mod phases;
mod record;
mod recovery;
mod rejection;
pub mod relay;
mod results;
mod rounds;
mod settings;
pub mod shards;
mod snapshot;
mod state;
mod stored;
#[cfg(test)]
mod tests;
mod underway;
mod verified;

pub use context::Unsealed;
pub use ended::EndedRound;
pub use follower::{Follower, LargePiece, SupplyError};
pub use front::Front;
pub use global_model::GlobalModel;
pub use io::{Event, Idle, Input, Output, PersistId, Reject, RoundFailure, Ticket, Why};
pub use jobs::Outcome;
pub use machine::Coordinator;
pub use optimizer::{
    InvalidLearningRate, LearningRate, OptimizeError, Optimizer, OptimizerKind, OptimizerState,
    StepRule, UnknownOptimizer,
};
pub use phase::Phase;
pub use recovery::{Recovery, RecoveryError, ResumeError};
pub use rejection::Rejection;
pub use settings::{
    CountRange, Field, InvalidSettings, Quorum, Rule, Settings, Sum2Settings, SumSettings,
    TimeRange, UpdateSettings, Violation,
};
#[doc(inline)]
pub use shards::{
    Admission, MaskedModel, PartDone, PartFault, PartId, Shard, ShardSum, ShardSumError,
    MOST_IN_PART,
};
pub use snapshot::{RestoreError, Snapshot};
pub use stored::{Large, Record};
pub use verified::Verified;

pub use crate::snapshot::EnvelopeError;

/// A coordinator's job.
pub type Job = crate::job::Job<Outcome>;
/// What a coordinator's job has done.
pub type JobResult = crate::job::JobResult<Outcome>;
