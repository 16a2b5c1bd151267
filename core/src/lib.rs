//! The PET protocol for privacy-preserving federated learning, without any IO.
//!
//! Participants train on their own data and mask their models; a coordinator adds up the masked
//! models; a few *sum participants* add up the masks; and only the sum of all models is ever
//! revealed. This crate has the whole protocol as plain values and two state machines,
//! [`participant::Participant`] and [`coordinator::Coordinator`]. It opens no socket, reads no clock,
//! starts no thread and draws no randomness: equal inputs give equal outputs, byte for byte. Around
//! it, `pet-transport-blocking` and `pet-transport-tokio` drive participants, and `pet-coordinator`
//! is a server.
//!
//! It speaks to existing Xaynet 0.11 deployments in both roles. What it says on the wire is in
//! `docs/protocol.md`, which comments cite as "specification, section N".
//!
//! # The ten types that matter
//!
//! | type | what it is |
//! |---|---|
//! | [`Participant`](participant::Participant) | the participant's state machine |
//! | [`Coordinator`](coordinator::Coordinator) | the coordinator's state machine |
//! | [`Input`](participant::Input) ([of coordinators](coordinator::Input)) | what you tell a machine: something happened |
//! | [`Output`](participant::Output) ([of coordinators](coordinator::Output)) | what a machine tells you: something should happen, or it is idle |
//! | [`Job`](job::Job) | work that grows with the model, in small steps, for any thread |
//! | [`Call`](request::Call) | what a participant asks its coordinator; the answer is a [`Response`](request::Response) |
//! | [`Front`](coordinator::Front) | what a server answers calls with, and opens messages with |
//! | [`Model`](model::Model) | the weights of a model: a plain array |
//! | [`MaskConfigPair`](mask::MaskConfigPair) | how models are masked: the group, the type of the weights, their bound |
//! | [`RootSeed`](crypto::RootSeed) | where a machine gets all its randomness from |
//!
//! # A whole round
//! This is all that a driver does: it hands requests and answers to and fro, runs jobs, and passes the
//! time on. Here it does so for a coordinator and ten participants at once, in memory.
//!
//! ```
//! use pet_core::coordinator::{self, Coordinator, Front, Ticket};
//! use pet_core::crypto::{RootSeed, Seed, SigningKeyPair};
//! use pet_core::model::Model;
//! use pet_core::participant::{self, Participant};
//! use pet_core::request::{Call, Response};
//! use pet_core::time::Timestamp;
//! # use pet_core::coordinator::{CountRange, Settings, Sum2Settings, SumSettings, TimeRange, UpdateSettings};
//! # use std::time::Duration;
//! # let count = CountRange { min: 1, max: 10 };
//! # let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
//! # let settings = Settings::new(
//! #     SumSettings::new(0.3, count, time),
//! #     UpdateSettings::new(1.0, CountRange { min: 3, max: 10 }, time),
//! #     Sum2Settings::new(count, time),
//! #     "Prime/F32/B0/M3".parse::<pet_core::mask::MaskConfig>()?,
//! #     4,
//! # );
//!
//! // The server around a coordinator, and what it answers with.
//! struct Server {
//!     machine: Coordinator,
//!     front: Front,
//! }
//!
//! impl Server {
//!     /// Does what the machine says until it is idle.
//!     fn drain(&mut self, now: Timestamp) {
//!         use coordinator::{Input, Output};
//!         loop {
//!             let input = match self.machine.poll_output() {
//!                 Output::Job(job) => Input::JobDone(job.finish()),
//!                 Output::Persist { id, .. } => Input::Persisted(id),
//!                 Output::Front(front) => {
//!                     self.front = front;
//!                     continue;
//!                 }
//!                 Output::Reply { outcome, .. } => {
//!                     assert_eq!(outcome, Ok(()));
//!                     continue;
//!                 }
//!                 Output::Event(_) => continue,
//!                 Output::Idle(_) => return,
//!                 _ => continue,
//!             };
//!             self.machine.handle_input(now, input).unwrap();
//!         }
//!     }
//!
//!     /// Answers one call.
//!     fn answer(&mut self, now: Timestamp, call: Call) -> Response {
//!         if let Some(response) = self.front.answer(&call) {
//!             return response;
//!         }
//!         // Opening a message needs no machine: a server does it on many threads.
//!         if let Ok(message) = self.front.open(call.body().to_vec()) {
//!             let input = coordinator::Input::Message { ticket: Ticket(0), message };
//!             self.machine.handle_input(now, input).unwrap();
//!             self.drain(now);
//!         }
//!         Response::ok("")
//!     }
//! }
//!
//! let machine = Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO)?;
//! let mut server = Server { machine, front: Front::new() };
//! server.drain(Timestamp::ZERO);
//!
//! // Ten participants. All randomness comes from their seeds.
//! let mut participants: Vec<Participant> = (0..10)
//!     .map(|i| {
//!         let keys = SigningKeyPair::from_seed(&Seed::new([i; 32]));
//!         Participant::new(keys, RootSeed::new([i; 32]), participant::Settings::default())
//!     })
//!     .collect();
//!
//! // Time passes, from one moment at which something is due to the next.
//! let mut now = Timestamp::ZERO;
//! let mut trained = 0.0;
//! while server.front.model().is_none() {
//!     for participant in &mut participants {
//!         use participant::{Event, Input, Output};
//!         participant.handle_input(now, Input::Tick)?;
//!         loop {
//!             let input = match participant.poll_output() {
//!                 Output::Request { id, call } => {
//!                     Input::Response { id, response: server.answer(now, call) }
//!                 }
//!                 Output::Job(job) => Input::JobDone(job.finish()),
//!                 Output::Event(Event::ModelNeeded { .. }) => {
//!                     trained += 1.0; // the participant's training takes place here
//!                     Input::SetModel(Model::F32(vec![trained / 16.0, 0.5, -0.25, 0.0]))
//!                 }
//!                 Output::Event(_) => continue,
//!                 Output::Idle(_) => break,
//!                 _ => continue,
//!             };
//!             participant.handle_input(now, input)?;
//!         }
//!     }
//!     now = now + std::time::Duration::from_millis(100);
//!     server.machine.handle_input(now, coordinator::Input::Tick)?;
//!     server.drain(now);
//! }
//!
//! // The mean of all models, and no trace of any single one.
//! let model = server.front.model().unwrap();
//! let Some(Model::F32(weights)) = model.weights.as_deref() else { panic!() };
//! assert_eq!(model.models as f32, trained);
//! for (weight, expected) in weights.iter().zip([(trained + 1.0) / 32.0, 0.5, -0.25, 0.0]) {
//!     assert!((weight - expected).abs() < 1e-9);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod coordinator;
pub mod crypto;
mod holding;
pub mod job;
pub mod message;
pub mod participant;
pub mod problem;
pub mod record;
pub mod request;
pub mod round;
mod snapshot;
pub mod time;
pub mod v2;

#[doc(no_inline)]
pub use pet_mask as mask;
#[doc(no_inline)]
pub use pet_mask::model;

/// Has the README's snippets compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
