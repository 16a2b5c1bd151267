//! What recording and replaying need to know of a machine.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::Serialize;
use zeroize::Zeroizing;

use super::replay::Jobs;
use crate::job::{Job, JobId};
use crate::time::Timestamp;

/// A machine as records see it. Out of reach for other crates: with `read` they could make messages that
/// nobody has verified.
pub trait Machine: Sized {
    /// Tells the records of different machines apart.
    const KIND: u8;
    /// What goes in.
    type Input;
    /// What comes out.
    type Output: fmt::Debug;
    /// Why an input is not taken.
    type Reject: fmt::Debug;
    /// What its jobs give.
    type Outcome;
    /// All that a machine begins with.
    type Beginning: Serialize + DeserializeOwned;
    /// An input, as it is written.
    type Written: Serialize + DeserializeOwned + fmt::Debug;

    /// A machine; the reason if there cannot be such a one.
    fn begin(beginning: Self::Beginning) -> Result<Self, String>;

    /// The machine's `handle_input`, but that it does not look for lost jobs.
    fn tell(&mut self, now: Timestamp, input: Self::Input) -> Result<(), Self::Reject>;

    /// The machine's `poll_output`, but that it does not look for lost jobs.
    fn ask(&mut self) -> Self::Output;

    /// The jobs that were lost since the last look. Whether one is found now or later depends on other threads: so
    /// that a record can be replayed, each is told to the machine as an input.
    fn take_lost_jobs(&mut self) -> Vec<JobId>;

    /// The input that tells of a lost job.
    fn job_lost(id: JobId) -> Self::Input;

    /// The machine's snapshot.
    fn state(&self) -> Zeroizing<Vec<u8>>;

    /// How an input is written.
    fn write(input: &Self::Input) -> Self::Written;

    /// What was written; nothing if it is the result of a job that was never given out.
    fn read(written: Self::Written, jobs: &mut Jobs<Self>) -> Option<Self::Input>;

    /// What of an output its `Debug` does not show.
    fn content(output: &Self::Output) -> Vec<u8>;

    /// The job, if the output is one.
    fn into_job(output: Self::Output) -> Option<Job<Self::Outcome>>;
}
