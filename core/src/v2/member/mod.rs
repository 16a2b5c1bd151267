//! A member of a group: a small program that is always on, keeps keys, and adds up masks.
//!
//! A [`Member`] is told what happened ([`Member::handle_input`]) and says what should happen next
//! ([`Member::poll_output`]). It talks to no one itself: its driver sends the requests, runs the jobs, stores the states
//! and keeps the time. Unlike a participant's, its time is that of the world: milliseconds since the Unix epoch.
//!
//! # How to drive it
//! 1. Call `poll_output` until it gives [`Output::Idle`]; do what each output says.
//! 2. Wait for whatever comes first: an answer to a request, a finished job, a stored state, or `wake_at`.
//! 3. Tell the machine with `handle_input`, and begin again.
//!
//! # What it promises
//! - **One context for each number of a round**, and numbers only rise: the promise is stored
//!   ([`Output::Persist`], [`Input::Persisted`]) before the announcement leaves.
//! - **One decision for each context**: stored as well before the vote leaves; and whatever is restored, from whatever
//!   moment, cannot vote in a round that was announced before. The key that it votes with is derived from a *boot seed*
//!   that is drawn anew at every start and never stored. That alone would not do: a member that was restored from before
//!   its announcement could announce itself again in the same context with another key, and so vote twice. Therefore an
//!   announcement waits until the member's clock has passed the time at which the round was opened, and a restored member
//!   announces itself only in rounds opened after its own start: two lives never share a context, as long as the
//!   machine's clock is not set back.
//! - **The key of a round opens no earlier one**: its root seed ratchets when the round is over, and what was in the boxes
//!   is wiped.
//!
//! A state from before the last announcement does not know its number. Whoever goes back to one may sign another context
//! with a number that was used; it is opened later, nothing that belongs to the first context fits into it, and so no
//! claim depends on it.
//!
//! # What it checks
//! The roster against its pinned hash; the terms; every signature in the list of announcements, and its own place in it;
//! for each update its credential, statement, box and commitment; the set and the decision that follows from it; and the
//! votes of a majority of every group before it gives away the sum of the masks. Each refusal is an
//! [`Event::Refused`] that says who is to blame and what to do.

mod answers;
mod event;
mod io;
mod jobs;
mod machine;
mod refusal;
mod results;
mod round;
mod settings;
mod snapshot;
mod status;
mod steps;
mod terms;
#[cfg(test)]
mod tests;

pub use crate::participant::Polling;
pub use crate::snapshot::EnvelopeError as RestoreError;
pub use event::{Event, Post, Trouble, TroubleReason};
pub use io::{Idle, Input, Output, PersistId, Reject, Why};
pub use jobs::Outcome;
pub use machine::Member;
pub use refusal::Refusal;
pub use settings::{Settings, LONGEST_LEAP};
pub use snapshot::Snapshot;
pub use status::Status;

/// A member's job.
pub type Job = crate::job::Job<Outcome>;
/// What a member's job has done.
pub type JobResult = crate::job::JobResult<Outcome>;
