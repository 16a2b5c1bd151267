//! PET participants for WebAssembly.
//!
//! This is `pet-core`'s [state machine](pet_core::participant::Participant) behind functions that JavaScript can call: they
//! take numbers and pieces of memory. Their only caller is `js/instance.js`, which keeps the rules that are written here as
//! safety sections. What is small goes to and fro as JSON ([`exchange`]); what grows with a model as bytes.
//!
//! Nothing here has a clock, a socket, a thread or random numbers: all that is JavaScript's.
//!
//! A panic is a bug of ours. It traps, and whoever called makes an error of it with [`panics::pet_panic_text`].

pub mod events;
pub mod exchange;
pub mod inputs;
pub mod jobs;
pub mod memory;
pub mod outputs;
pub mod panics;
pub mod participant;
pub mod settings;

/// The number of this interface: JavaScript refuses a module that has another one.
pub const INTERFACE: u32 = 1;

/// See [`INTERFACE`].
#[no_mangle]
pub extern "C" fn pet_interface() -> u32 {
    INTERFACE
}
