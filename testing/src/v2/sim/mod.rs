//! A federation of version 2 in virtual time: the real coordinator, members and updaters, a network that loses, doubles and delays,
//! crashes of everyone, members and updaters that lie, and a coordinator that shows different sets to different members.
//!
//! Everything follows from the seed of a [`Scenario`]. What must hold is checked as it goes, by a [`Watch`] that knows every
//! model, every stored state and every vote:
//!
//! - never two decisions with the votes of a majority of an honest group in one context;
//! - nothing that a member has signed leaves before the promise of it is stored;
//! - every update that was accepted is in the set, or excluded by name;
//! - each global model is, to the last bit but the rounding to `f32`, the mean of exactly the set's models;
//! - queues and states are bounded, and every machine waits for something;
//! - once the storm is over, rounds complete.
//!
//! A failure is made small by [`shrink()`].

pub mod actors;
mod network;
mod scenario;
pub mod server;
mod shrink;
#[cfg(test)]
mod tests;
mod watch;
mod world;

pub use scenario::{CheatKind, LieKind, Scenario};
pub use shrink::shrink;
pub use watch::{Violation, Watch};
pub use world::{run, Failure, Report};
