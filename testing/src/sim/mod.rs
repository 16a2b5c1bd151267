//! Large, hostile federations in virtual time, without any IO.
//!
//! A [`Scenario`] says how many participants there are and what goes wrong; [`run`] plays it, with the
//! real state machines and real cryptography, and stops at the first [`Violation`]. All that happens
//! follows from the scenario, its seed included, bit for bit. Time advances exactly from one thing that
//! happens to the next: a machine that forgets to ask for its next wake-up stands still, and is found.
//!
//! * The network loses, delays, duplicates and reorders; it cuts participants off.
//! * Participants crash and are restored, from older snapshots as well; some of them [lie](lies::Lie).
//! * The coordinator crashes and is restored from what its store has confirmed (or from nothing); the
//!   store is slow; jobs are lost.
//!
//! What is checked as it goes is in [`violation`]; the [`ledger`] knows what each global model must be.
//! After the storm everyone must find back, and rounds must be completed.

mod agenda;
mod client;
pub mod drivers;
pub mod ledger;
pub mod lies;
pub mod random;
pub mod report;
pub mod scenario;
mod server;
mod shrink;
mod simulation;
mod trace;
pub mod violation;

pub use drivers::{CoordinatorDriver, Drivers, NoDrivers, ParticipantDriver};
pub use report::{Failure, Progress, Report};
pub use scenario::{Fault, Faults, Scenario};
pub use shrink::{shrink, shrink_with};
pub use simulation::{run, run_watched, run_with};
pub use violation::Violation;
