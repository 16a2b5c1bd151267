//! Recorded updaters.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use zeroize::Zeroizing;

use super::Updater;
use crate::job::JobId;
use crate::participant::{
    read_input, write_input, Event, Input, Job, Outcome, Output, Reject, Settings, Written,
};
use crate::record::{Jobs, Machine, Recordable, Recorded, Sink};
use crate::time::Timestamp;
use crate::v2::{Credential, Pin};

/// An updater's settings, and its state as saved.
#[derive(Serialize, Deserialize)]
pub struct Beginning {
    settings: Settings,
    pin: Pin,
    credential: Option<Credential>,
    clock_tolerance: Duration,
    snapshot: Vec<u8>,
    stores: bool,
}

impl Recorded<Updater> {
    /// Records from now on. The updater goes on from its saved state, as after a restart: record it before it is told
    /// anything.
    ///
    /// **The record holds all its secrets**: see the [module's page](crate::record).
    pub fn record(&mut self, sink: Sink) {
        let settings = self.settings().clone();
        let beginning = Beginning {
            pin: *self.pin(),
            credential: settings.credential,
            clock_tolerance: settings.clock_tolerance,
            settings,
            snapshot: self.state().to_vec(),
            stores: self.stores,
        };
        *self = Self::begin(beginning, sink).expect("a machine reads what it has written itself");
    }
}

impl Recordable for Updater {}

impl Machine for Updater {
    const KIND: u8 = b'u';
    type Input = Input;
    type Output = Output;
    type Reject = Reject;
    type Outcome = Outcome;
    type Beginning = Beginning;
    type Written = Written;

    fn begin(beginning: Beginning) -> Result<Self, String> {
        let Beginning { settings, pin, credential, clock_tolerance, snapshot, stores } = beginning;
        let settings = Settings { credential, clock_tolerance, ..settings };
        let restored = Self::restore(&snapshot, pin, settings);
        let mut machine = restored.map_err(|error| error.to_string())?;
        machine.stores = stores;
        Ok(machine)
    }

    fn tell(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.take_input(now, input)
    }

    fn ask(&mut self) -> Output {
        self.next_output()
    }

    fn take_lost_jobs(&mut self) -> Vec<JobId> {
        self.watch.take_lost()
    }

    fn job_lost(id: JobId) -> Input {
        Input::JobLost(id)
    }

    fn state(&self) -> Zeroizing<Vec<u8>> {
        self.snapshot().to_bytes()
    }

    fn write(input: &Input) -> Written {
        write_input(input)
    }

    fn read(written: Written, jobs: &mut Jobs<Self>) -> Option<Input> {
        read_input(written, jobs)
    }

    fn content(output: &Output) -> Vec<u8> {
        match output {
            Output::Request { call, .. } => call.body().to_vec(),
            Output::Event(Event::GlobalModel(Some(model))) => {
                bincode::serialize(&**model).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    fn into_job(output: Output) -> Option<Job> {
        match output {
            Output::Job(job) => Some(job),
            _ => None,
        }
    }
}
