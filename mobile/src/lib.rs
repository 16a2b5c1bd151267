//! Participants for Kotlin and Swift: [`pet_participant`] behind an interface that UniFFI writes in other languages.
//!
//! An app gives a [`Trainer`], which is asked for a local model whenever one is due, and perhaps a [`Listener`]; a
//! [`Participant`] does the rest on threads of its own, and keeps its state in a file to go on with later.

uniffi::setup_scaffolding!();

mod config;
mod error;
mod event;
mod participant;
mod running;
mod trainer;
mod weights;

pub use config::{Config, Settings};
pub use error::{ListenerError, ParticipantError, TrainerError};
pub use event::{Event, Listener, LogLevel};
pub use participant::{Participant, Task, View};
pub use trainer::{Trainer, Training};
pub use weights::{DataType, Weights};
