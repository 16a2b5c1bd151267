//! What is tried: whatever stands between a machine and the world.

use std::fmt;

use pet_core::coordinator::{self, Coordinator};
use pet_core::participant::{self, Participant};
use pet_core::time::Timestamp;

use crate::contract::Watched;

/// A participant's driver, as one process sees the world: it is told what happens, in the words of the machine, and
/// says what should be done. Between the two it may do what it likes: keep queues, rename requests, run jobs itself.
pub trait ParticipantDriver: fmt::Debug {
    /// Something has happened. Once it has asked for something the driver is told what becomes of it: each request is
    /// answered or fails, each job is done or lost.
    ///
    /// # Errors
    /// If the driver does not take it: that ends the run.
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: participant::Input,
    ) -> Result<(), participant::Reject>;

    /// What should be done next; idle at last. Ids of requests must be larger each time, in one life of the process.
    fn poll_output(&mut self) -> participant::Output;

    /// The machine, to take snapshots of and to look at.
    fn machine(&self) -> &Participant;
}

/// A coordinator's driver. It is told what happens, in the words of the machine, and says what should be done: what it
/// puts out to be published can be read by all participants at once.
pub trait CoordinatorDriver: fmt::Debug {
    /// Something has happened.
    ///
    /// # Errors
    /// If the driver does not take it: that ends the run, unless it was the end of a job, which may come too late.
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: coordinator::Input,
    ) -> Result<(), coordinator::Reject>;

    /// What should be done next; idle at last.
    fn poll_output(&mut self) -> coordinator::Output;

    /// The machine, to take snapshots of and to look at.
    fn machine(&self) -> &Coordinator;
}

/// Makes the drivers of a simulated federation, each time one of its processes begins. By default there are none: the
/// world drives the machines itself.
pub trait Drivers {
    /// Of participant number so and so, which begins anew or goes on from a snapshot.
    fn participant(
        &self,
        number: usize,
        machine: Watched<Participant>,
    ) -> Box<dyn ParticipantDriver> {
        let _ = number;
        Box::new(machine)
    }

    /// Of the coordinator, which begins anew or goes on from what was stored.
    fn coordinator(&self, machine: Watched<Coordinator>) -> Box<dyn CoordinatorDriver> {
        Box::new(machine)
    }
}

/// No drivers: the world drives the machines itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDrivers;

impl Drivers for NoDrivers {}

impl ParticipantDriver for Watched<Participant> {
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: participant::Input,
    ) -> Result<(), participant::Reject> {
        self.handle_input(now, input)
    }

    fn poll_output(&mut self) -> participant::Output {
        self.poll_output()
    }

    fn machine(&self) -> &Participant {
        self
    }
}

impl CoordinatorDriver for Watched<Coordinator> {
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: coordinator::Input,
    ) -> Result<(), coordinator::Reject> {
        self.handle_input(now, input)
    }

    fn poll_output(&mut self) -> coordinator::Output {
        self.poll_output()
    }

    fn machine(&self) -> &Coordinator {
        self
    }
}
