//! The contract of a machine with its driver, and a watch over it.
//!
//! A machine of `pet-core` relies on its driver: each request gets one answer or one fault, each job comes back or is
//! reported lost, records are confirmed once they are safe, the time never goes back, and nothing is left in the
//! machine that should be done. A [`Watched`] machine has the two methods of the machine itself and keeps account of
//! all that; its [`Watch`] says what was done wrong. It goes wherever the machine goes: into a simulated world, into a
//! test with real sockets, on another thread.
//!
//! ```
//! use pet_core::crypto::RootSeed;
//! use pet_core::participant::{Input, Output, Participant, Settings, TransportFault};
//! use pet_core::time::Timestamp;
//! use pet_testing::contract::{Breach, Watched};
//!
//! let participant = Participant::from_seed(RootSeed::new([1; 32]), Settings::default());
//! let (mut machine, watch) = Watched::new(participant);
//! machine.handle_input(Timestamp::ZERO, Input::Tick)?;
//! let Output::Request { id, .. } = machine.poll_output() else { panic!("it asks for the round") };
//! while !matches!(machine.poll_output(), Output::Idle(_)) {}
//!
//! // A driver that reports one fault twice.
//! for _ in 0..2 {
//!     let fault = TransportFault::TimedOut;
//!     let _ = machine.handle_input(Timestamp::from_millis(9), Input::Fault { id, fault });
//! }
//! assert_eq!(watch.breach(), Some(Breach::AnsweredTwice(id)));
//! # Ok::<(), pet_core::participant::Reject>(())
//! ```

mod account;
mod breach;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pet_core::coordinator::{self, Coordinator, PersistId};
use pet_core::job::JobId;
use pet_core::participant::{self, Participant};
use pet_core::time::Timestamp;

use self::account::Account;
pub use self::breach::Breach;

/// A machine whose driver is watched. What it has beside inputs and outputs is there by dereferencing.
#[derive(Debug)]
pub struct Watched<M> {
    machine: M,
    watch: Watch,
}

/// The view of a [`Watched`] machine from outside. Clones are of the same machine.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Account>>);

impl Watch {
    /// The driver's first breach.
    pub fn breach(&self) -> Option<Breach> {
        self.account().first()
    }

    /// What the driver should have done more than `patience` before `now`, which is a time as the machine is told
    /// it.
    pub fn overdue(&self, now: Timestamp, patience: Duration) -> Option<Breach> {
        self.account().overdue(now, patience)
    }

    /// Checks that no outputs were left in the machine. Ask when the driver waits.
    pub fn left(&self) -> Option<Breach> {
        self.account().left()
    }

    /// Checks all of these at once: for when the driver waits.
    pub fn finding(&self, now: Timestamp, patience: Duration) -> Option<Breach> {
        let account = self.account();
        account.first().or_else(|| account.left()).or_else(|| account.overdue(now, patience))
    }

    /// Tells that all records up to this one are safe. From the first call on, it is a breach to confirm
    /// later ones.
    pub fn stored(&self, id: PersistId) {
        self.account().stored(id);
    }

    /// Tells that a job was dropped, as by a thread that has panicked. The machine sees that by itself, so it is no
    /// breach to say nothing more of it.
    pub fn dropped(&self, id: JobId) {
        self.account().job_dropped(id);
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Watched<M> {
    /// A machine to give to a driver, and the view of it.
    pub fn new(machine: M) -> (Self, Watch) {
        let watch = Watch::default();
        (Self { machine, watch: watch.clone() }, watch)
    }

    /// The machine, not watched any more.
    pub fn into_inner(self) -> M {
        self.machine
    }
}

impl<M> Deref for Watched<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl Watched<Participant> {
    /// The machine's `handle_input`.
    ///
    /// # Errors
    /// As the machine's own.
    pub fn handle_input(
        &mut self,
        now: Timestamp,
        input: participant::Input,
    ) -> Result<(), participant::Reject> {
        use participant::Input;
        let mut account = self.watch.account();
        account.told(now);
        match &input {
            Input::Response { id, .. } | Input::Fault { id, .. } => account.answered(*id),
            Input::JobDone(result) => account.job_reported(result.id()),
            Input::JobLost(id) => account.job_reported(*id),
            _ => {}
        }
        drop(account);
        self.machine.handle_input(now, input)
    }

    /// The machine's `poll_output`.
    pub fn poll_output(&mut self) -> participant::Output {
        use participant::Output;
        let output = self.machine.poll_output();
        let mut account = self.watch.account();
        match &output {
            Output::Request { id, .. } => account.requested(*id),
            Output::Cancel(id) => account.cancelled(*id),
            Output::Job(job) => account.job_given(job.id(), job.name()),
            Output::Idle(idle) => account.idle(idle.wake_at),
            _ => {}
        }
        output
    }
}

impl Watched<Coordinator> {
    /// The machine's `handle_input`.
    ///
    /// # Errors
    /// As the machine's own.
    pub fn handle_input(
        &mut self,
        now: Timestamp,
        input: coordinator::Input,
    ) -> Result<(), coordinator::Reject> {
        use coordinator::Input;
        let mut account = self.watch.account();
        account.told(now);
        match &input {
            Input::Message { ticket, .. } => account.delivered(*ticket),
            Input::JobDone(result) => account.job_reported(result.id()),
            Input::JobLost(id) => account.job_reported(*id),
            Input::Persisted(id) => account.confirmed(*id),
            _ => {}
        }
        drop(account);
        self.machine.handle_input(now, input)
    }

    /// The machine's `poll_output`.
    pub fn poll_output(&mut self) -> coordinator::Output {
        use coordinator::Output;
        let output = self.machine.poll_output();
        let mut account = self.watch.account();
        match &output {
            Output::Reply { ticket, .. } => account.replied(*ticket),
            Output::Job(job) => account.job_given(job.id(), job.name()),
            Output::Idle(idle) => account.idle(idle.wake_at),
            _ => {}
        }
        output
    }
}
