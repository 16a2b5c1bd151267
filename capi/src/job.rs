//! Work that takes long.

use pet_participant::transport::core::participant as core;

use crate::memory;
use crate::status::{free, guard, Error, Status};

/// A piece of work that grows with the model: run it on any thread (each job on one at a time) and hand it in with
/// `PET_INPUT_JOB_DONE`. One that is freed instead is noticed, and given out again if it is still needed.
#[derive(Debug)]
pub struct Job {
    state: State,
    /// The participant that it is of: others have jobs of the same numbers.
    owner: u64,
}

#[derive(Debug)]
enum State {
    Running(core::Job),
    Done(core::JobResult),
    /// In between, and after a panic.
    Lost,
}

impl Job {
    pub(crate) fn new(job: core::Job, owner: u64) -> Self {
        Self { state: State::Running(job), owner }
    }

    /// Whether this participant can take its result.
    pub(crate) fn check(&self, owner: u64) -> Result<(), Error> {
        if self.owner != owner {
            return Err(Error::argument(
                "the job is of another participant: hand it in where it was given out",
            ));
        }
        match self.state {
            State::Running(_) => Err(Error::argument(
                "the job is not finished: run it, with pet_job_run or pet_job_step, before it is handed in",
            )),
            State::Done(_) | State::Lost => Ok(()),
        }
    }

    /// Its result; nothing if it was lost.
    pub(crate) fn into_result(self) -> Option<core::JobResult> {
        match self.state {
            State::Done(result) => Some(result),
            State::Running(_) | State::Lost => None,
        }
    }

    fn step(&mut self) -> Result<bool, Error> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Running(mut job) => {
                let done = job.step();
                self.state = if done { State::Done(job.finish()) } else { State::Running(job) };
                Ok(done)
            }
            State::Done(result) => {
                self.state = State::Done(result);
                Ok(true)
            }
            State::Lost => Err(lost()),
        }
    }
}

fn lost() -> Error {
    Error::new(
        Status::Bug,
        "the job was lost in a call that failed: free it, and it is given out again",
    )
}

/// Does all that is left, on this thread.
///
/// # Safety
/// `job` is of this library, not freed or handed in, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_job_run(job: *mut Job) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let job = unsafe { memory::of_mut(job, "job")? };
        while !job.step()? {}
        Ok(())
    })
}

/// Does the next piece, which takes about a millisecond; `done` is set to whether nothing is left. For event loops that have
/// one thread.
///
/// # Safety
/// As for `pet_job_run`; `done` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_job_step(job: *mut Job, done: *mut bool) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (job, done) = unsafe { (memory::of_mut(job, "job")?, memory::out(done, "done")?) };
        done.set(job.step()?);
        Ok(())
    })
}

/// How far it is, from 0 to 1.
///
/// # Safety
/// As for `pet_job_run`; `fraction` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_job_progress(job: *const Job, fraction: *mut f64) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (job, fraction) =
            unsafe { (memory::of(job, "job")?, memory::out(fraction, "fraction")?) };
        fraction.set(match &job.state {
            State::Running(job) => job.progress().fraction(),
            State::Done(_) => 1.0,
            State::Lost => return Err(lost()),
        });
        Ok(())
    })
}

/// Frees it, finished or not. A null pointer is nothing to free. A job that was handed in must not be freed.
///
/// # Safety
/// `job` is null, or of this library, was not handed in, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_job_free(job: *mut Job) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(job) }));
}
