//! Drives a PET participant over HTTP with [reqwest](https://docs.rs/reqwest), on
//! [tokio](https://docs.rs/tokio).
//!
//! A [`Participant`] does its work while [`Participant::next_event`] is awaited: it asks the
//! coordinator, masks and sends, and comes back with something that the caller may want to know.
//! Awaiting is cancel-safe: a request or a job that is under way goes on and is picked up by the next
//! call. A [`Handle`] reaches the participant from other tasks and threads.
//!
//! ```no_run
//! use pet_transport_tokio::core::model::Model;
//! use pet_transport_tokio::core::participant::Event;
//! use pet_transport_tokio::{Config, Participant};
//!
//! # async fn run() -> Result<(), pet_transport_tokio::Error> {
//! let config = Config::new("http://127.0.0.1:8081")?;
//! let mut participant = Participant::new(config)?;
//! let handle = participant.handle();
//! loop {
//!     match participant.next_event().await? {
//!         Event::ModelNeeded { length, .. } => {
//!             let trained = vec![0.0; length as usize]; // train here
//!             handle.set_model(Model::F32(trained))?;
//!         }
//!         Event::NewRound { .. } => {
//!             let _model = participant.global_model().await?;
//!         }
//!         _ => {}
//!     }
//! }
//! # }
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
mod http;
mod member;
mod participant;
mod store;

pub use config::Config;
pub use error::Error;
pub use handle::Handle;
pub use member::{Member, MemberConfig, MemberHandle, MemberStore};
pub use participant::Participant;
pub use pet_core as core;
pub use pet_network as network;
pub use store::StateStore;

/// Has the README's snippets compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
