//! The C interface of PET participants: `include/pet.h`, `libpet.so` and `libpet.a`.
//!
//! Two levels, as in the libraries that people like:
//!
//! - [`Participant`] (`pet_participant_*`) is the state machine without IO: it is told what happened
//!   (`pet_participant_handle_input`) and says what should happen next (`pet_participant_poll_output`). Sockets, threads and
//!   clocks are the caller's: any event loop will do.
//! - [`Driver`] (`pet_driver_*`) is a running participant: a thread of its own, HTTP, saved states.
//!
//! The rules that hold for all functions are at the head of `pet.h`, which is made of this crate (`cbindgen.toml`); a test
//! compares it.

// What C calls cannot be safe: pointers come from outside. Each function says what it asks of them, and everything behind
// `memory` is safe code.

mod buffer;
mod config;
mod driver;
mod event;
mod input;
mod job;
mod memory;
mod news;
mod output;
mod participant;
mod settings;
mod status;
/// Versions and lengths.
pub mod version;
mod weights;

pub use buffer::Buffer;
pub use config::Config;
pub use driver::{Driver, View};
pub use event::{Event, EventKind};
pub use input::{Fault, Input, InputKind};
pub use job::Job;
pub use news::{News, NewsKind, Notice, NoticeLevel};
pub use output::{Header, Idle, Output, OutputKind, Request};
pub use participant::Participant;
pub use settings::Settings;
pub use status::Status;
pub use weights::{DataType, Model, Weights};

// What the header says of threads: raw pointers would hide from the compiler what cannot go there.
const _: () = {
    const fn several_at_once<T: Send + Sync>() {}
    const fn one_at_a_time<T: Send>() {}
    several_at_once::<Participant>();
    several_at_once::<Driver>();
    several_at_once::<Model>();
    several_at_once::<Buffer>();
    one_at_a_time::<Job>();
    one_at_a_time::<Output>();
    one_at_a_time::<Config>();
    one_at_a_time::<Settings>();
};
