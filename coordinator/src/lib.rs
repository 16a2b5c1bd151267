//! The coordinator of the PET protocol: HTTP, settings and storage around `pet-core`'s coordinator
//! state machine.
//!
//! [`Coordinator::start`] runs one on the current tokio runtime; the binary `pet-coordinator` is a
//! thin shell around it. The parts, from the outside in:
//!
//! * [`settings`]: what can be set, and where settings come from;
//! * HTTP: the calls of the protocol and those of our own, uploads within limits;
//! * the intake: messages are opened and verified on all cores, rejections counted;
//! * the driver: the one task that owns the state machine, keeps its time, runs its jobs;
//! * [`status`]: what the coordinator is doing, for people and programs that watch it;
//! * [`Store`]: where its records go;
//! * `member`: a member of version 2 as a small service (feature `member`);
//! * [`log`]: log output that never holds anyone up.
#![forbid(unsafe_code)]

mod admin;
mod board;
mod coordinator;
mod driver;
mod failure;
mod federation;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
mod in_use;
mod initial;
mod intake;
pub mod keys;
pub mod log;
#[cfg(feature = "member")]
pub mod member;
mod metrics;
pub mod models;
mod opener;
mod panics;
mod private;
mod process;
#[cfg(feature = "replicas")]
mod replica;
pub mod roster;
mod route;
pub mod settings;
pub mod status;
mod store;
mod summary;
mod tls;
#[cfg(feature = "replicas")]
pub mod transfer;

pub use admin::AdminError;
pub use coordinator::{check_roster, Coordinator, Options, RosterError, RunError, StartError};
pub use driver::DriverError;
pub use federation::completed_models;
pub use initial::{import_model, InitialModelError};
pub use metrics::{Metrics, Rejections};
pub use private::read_secret;
#[cfg(feature = "replicas")]
pub use replica::{init_shared, open_shared, SharedError, SharedStore};
pub use store::{
    open_round_store, open_store,
    rounds::{Archive, Kept, RestoredRounds, RoundMemory, RoundStore, Spent},
    Confirmations, DiskStore, Models, Restored, RoundDisk, Store, StoreError, Volatile,
    SECRET_VARIABLE,
};
pub use tls::TlsError;

/// Has the README's snippets compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
