//! Shards: replicas that take update messages for the one that runs the machine.
//!
//! The machine runs at one replica, and masked models are large. So that they need not all go there, a replica can
//! verify update messages and add up their models by itself:
//!
//! 1. It opens the message ([`Front::open`](super::Front::open)) and splits it ([`Verified::admission`]): the
//!    [`Admission`] goes to the machine ([`Input::Admit`](super::Input::Admit)), the [`MaskedModel`] stays. `Ok` means
//!    that the participant is reserved for this shard: nobody else's message of it is taken meanwhile.
//! 2. It adds up to [`MOST_IN_PART`] reserved models to its [`ShardSum`], and stores the bytes of that as a part with a
//!    new [`PartId`]. A part is cumulative: it replaces the one before.
//! 3. It says so with [`PartDone`] ([`Input::Part`](super::Input::Part)). `Ok` comes after the record is stored; now
//!    the participants count, and may be told so.
//!
//! The update phase ends as it always does; then the machine asks for the latest part of each shard
//! ([`Output::Fetch`](super::Output::Fetch)) and adds them to the sum of the updates that it has taken itself.
//!
//! Reservations are in no record. They end with the phase, with the shard ([`Input::ShardLost`](super::Input::ShardLost)),
//! and with the machine: a part whose participants are not reserved any more is turned down with
//! [`Rejection::NotReserved`](super::Rejection::NotReserved). So a replica keeps the masked models until their part
//! is recorded, and the sum before it: it has the participants admitted again, leaves out those that are not, and makes
//! another part of the sum before. Of a participant that it holds already, and is admitted once more, it keeps one model.
//!
//! ```
//! use pet_core::coordinator::{Admission, Front, PartDone, PartId, Shard, ShardSum};
//! use pet_core::job::JobId;
//! # fn machine_admits(_: Shard, _: Admission) -> bool { true }
//! # fn store(_: PartId, _: Vec<u8>) {}
//! # fn machine_records(_: &PartDone) -> bool { true }
//!
//! /// Takes update messages in; gives the replica's sum with those that count.
//! fn take(front: &Front, sum: ShardSum, before: Option<PartId>, sealed: Vec<Vec<u8>>, part: PartId)
//!     -> Result<ShardSum, Box<dyn std::error::Error>>
//! {
//!     let mut models = Vec::new();
//!     for message in sealed {
//!         let verified = front.open(message)?;
//!         let Some((admission, model)) = verified.admission() else { continue };
//!         if machine_admits(sum.shard(), admission) {
//!             models.push(model);
//!         }
//!     }
//!     let job = sum.add(JobId(1), &models)?;
//!     let new = sum.added(job.finish())?; // any thread, in steps, or split over several
//!     store(part, new.to_bytes());
//!     let done = new.part(part, before, &models);
//!     Ok(if machine_records(&done) { new } else { sum })
//! }
//! ```
//!
//! [`Verified::admission`]: super::Verified::admission

mod admission;
mod machine;
mod merge;
mod merging;
mod part;
mod parts;
mod reservations;
mod sum;

use std::time::Duration;

use crate::crypto::public_bytes;

pub(super) use admission::check as check_admission;
pub use admission::{Admission, MaskedModel};
pub(super) use merging::{FetchedPart, Merging};
pub use part::{PartDone, PartFault};
pub(super) use parts::Parts;
pub(super) use reservations::Reservations;
pub use sum::{ShardSum, ShardSumError};

/// The most participants whose updates a part can add to the one before.
pub const MOST_IN_PART: usize = 64;

/// For how long after the update phase's time the updates that shards have reserved are waited for, if the round needs
/// them: whoever holds them may be gone.
pub(super) const RESERVED_FOR: Duration = Duration::from_secs(10);

public_bytes! {
    /// A replica that takes update messages: the number of its incarnation, random and new each time that it starts.
    Shard, 16
}

public_bytes! {
    /// The name of a part: random, or what nobody else can come upon.
    PartId, 16
}
