//! The running participant that language bindings share: free of any language.
//!
//! A binding converts types and errors, and lets its interpreter go on while a call waits; everything else is here.
//!
//! - [`Driver`]: a participant on a thread of its own, and what its user asks now and then: what has happened
//!   ([`View`], [`News`], [`Notice`]), what is due, the global model. Every wait is bounded, so that a binding can look
//!   in between whether the user has pressed Ctrl-C.
//! - [`Machine`]: the same participant without thread and network, for those who drive it themselves.
//! - [`ModelCheck`]: what is wrong with a local model, and what masking will do to it ([`Findings`]), before it is set.
//! - [`seal`]: saved states that only a key opens. [`rounds`]: what a coordinator tells of the rounds before, and what
//!   to do about it. [`Registry`]: who has to be halted when the process exits.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use pet_participant::transport::core::model::Model;
//! use pet_participant::transport::Config;
//! use pet_participant::Driver;
//!
//! let driver = Driver::start(Config::new("http://127.0.0.1:8081")?, None)?;
//! let mut seen = 0;
//! loop {
//!     driver.wait_beyond(seen, Duration::from_millis(100))?;
//!     let view = driver.view()?;
//!     seen = view.happened;
//!     for notice in driver.take_notices()? {
//!         eprintln!("{}: {}", driver.name(), notice.text);
//!     }
//!     if view.model_needed {
//!         let trained = Model::F32(vec![0.5; 10]);
//!         driver.set_model(driver.model_check()?.check(trained)?)?;
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod driver;
mod findings;
mod inbox;
#[cfg(all(test, shuttle))]
mod interleavings;
mod local;
mod machine;
mod mailbox;
mod notice;
mod registry;
pub mod rounds;
mod saved;
pub mod seal;
mod short;
mod state_file;
mod sync;
mod thread;
mod watch;

pub use driver::{Driver, Fetch, SetError, StartError, Store};
pub use findings::{Excess, Findings, Loss};
pub use inbox::{Answer, News, View};
pub use local::{CheckedModel, LocalModelError, ModelCheck};
pub use machine::{Machine, Polled, Refused};
pub use mailbox::Gone;
pub use notice::{Level, Notice};
pub use pet_transport_blocking as transport;
pub use registry::Registry;
pub use saved::StateError;
pub use short::Short;
pub use state_file::StateFile;
