//! Work that takes long.

use pet_core::participant as core;

/// A job, running or finished.
pub struct Job {
    state: State,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

enum State {
    Running(core::Job),
    Done(core::JobResult),
    /// Only while a step runs: a panic there ends the instance.
    Between,
}

impl Job {
    pub(crate) fn new(job: core::Job) -> Self {
        Self { state: State::Running(job) }
    }

    /// Its result: all that is left is done first.
    pub(crate) fn into_result(self) -> Option<core::JobResult> {
        match self.state {
            State::Running(job) => Some(job.finish()),
            State::Done(result) => Some(result),
            State::Between => None,
        }
    }

    fn step(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Running(mut job) => {
                let done = job.step();
                self.state = if done { State::Done(job.finish()) } else { State::Running(job) };
                done
            }
            state => {
                self.state = state;
                true
            }
        }
    }

    fn progress(&self) -> f64 {
        match &self.state {
            State::Running(job) => job.progress().fraction(),
            State::Done(_) | State::Between => 1.0,
        }
    }
}

/// Does the next piece, of about a millisecond; 1 once nothing is left.
///
/// # Safety
/// The job was given out, and neither handed in nor freed.
#[no_mangle]
pub unsafe extern "C" fn pet_job_step(job: *mut Job) -> u32 {
    // SAFETY: as the caller promises.
    u32::from(unsafe { &mut *job }.step())
}

/// How far it is, from 0 to 1.
///
/// # Safety
/// As for [`pet_job_step`].
#[no_mangle]
pub unsafe extern "C" fn pet_job_progress(job: *const Job) -> f64 {
    // SAFETY: as the caller promises.
    unsafe { &*job }.progress()
}

/// Frees it: its participant notices, and gives it out again if it is still needed.
///
/// # Safety
/// As for [`pet_job_step`], and it is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_job_free(job: *mut Job) {
    // SAFETY: as the caller promises.
    drop(unsafe { crate::memory::take_back(job) });
}
