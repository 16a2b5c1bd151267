//! Drives a PET participant over HTTP with [ureq](https://docs.rs/ureq), on the caller's thread.
//!
//! A [`Participant`] does its work whenever [`Participant::next_event`] is called: it asks the
//! coordinator, masks and sends, and comes back with something that the caller may want to know.
//! A [`Handle`] reaches it from other threads, also while it works: it sets a model, asks for the
//! global model, takes a snapshot, and stops it at once.
//!
//! ```no_run
//! use pet_transport_blocking::core::model::Model;
//! use pet_transport_blocking::core::participant::Event;
//! use pet_transport_blocking::{Config, Participant};
//!
//! let config = Config::new("http://127.0.0.1:8081")?;
//! let mut participant = Participant::new(config)?;
//! let handle = participant.handle();
//! loop {
//!     match participant.next_event(None)? {
//!         Some(Event::ModelNeeded { length, .. }) => {
//!             let trained = vec![0.0; length as usize]; // train here
//!             handle.set_model(Model::F32(trained))?;
//!         }
//!         Some(Event::NewRound { .. }) => {
//!             let _model = participant.global_model()?;
//!         }
//!         _ => {}
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), pet_transport_blocking::Error>(())
//! ```
//!
//! A [`Member`] of version 2 is driven in the same way; its states go to a [`MemberStore`].
//!
//! # Proxies
//! [`Config::new`] takes `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and the like from the
//! process's environment, and they mean what they mean for curl: see [`network`]. Redirections are not followed;
//! [`Event::Trouble`](core::participant::Event::Trouble) says where they lead.

#![forbid(unsafe_code)]

mod clock;
mod config;
mod error;
mod handle;
mod held;
#[cfg(not(shuttle))]
mod http;
#[cfg(shuttle)]
#[path = "interleavings/http.rs"]
mod http;
#[cfg(all(test, shuttle))]
mod interleavings;
mod member;
mod observer;
mod participant;
mod store;
mod sync;
mod tls;

pub use config::Config;
pub use error::Error;
pub use handle::Handle;
pub use member::{Member, MemberConfig, MemberHandle, MemberStore};
pub use observer::Observer;
pub use participant::Participant;
pub use pet_core as core;
pub use pet_network as network;
pub use store::StateStore;
pub use tls::Tls;

/// Has the README's snippets compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
