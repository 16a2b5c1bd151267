//! Work that is too long for a state machine's own calls.
//!
//! Whatever grows with the model or the number of participants is given to the driver as a [`Job`]:
//! an owned value that may run on any thread, in bounded steps, and whose result is handed back as
//! an input. Dropping a job cancels it. A job's result depends on nothing but the job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one job of one state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// How far a job has come, in units of its own (numbers of the model, mostly).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many units are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

impl Progress {
    /// The share that is done, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total == 0 {
            return 1.0;
        }
        self.done as f64 / self.total as f64
    }
}

/// What one kind of job does. `R` is its result.
pub(crate) trait Work<R>: Send {
    /// What the job does, in two or three words.
    fn name(&self) -> &'static str;

    /// Does the next bounded piece of work; true once nothing is left.
    fn step(&mut self) -> bool;

    /// How far it has come.
    fn progress(&self) -> Progress;

    /// Takes what can be done independently out of the work, as up to `parts` pieces.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<R>>> {
        let _ = parts;
        Vec::new()
    }

    /// Takes back the finished work that a piece of this one has done.
    fn absorb(&mut self, part: R) {
        let _ = part;
    }

    /// The result, once `step` has returned true.
    fn finish(self: Box<Self>) -> R;
}

/// Frees memory: that takes time as well, if it is much.
pub(crate) struct Release<T, R> {
    garbage: Option<T>,
    result: R,
}

impl<T, R> Release<T, R> {
    pub(crate) fn new(garbage: T, result: R) -> Self {
        Self { garbage: Some(garbage), result }
    }
}

impl<T: Send, R: Send> Work<R> for Release<T, R> {
    fn name(&self) -> &'static str {
        "free memory"
    }

    fn step(&mut self) -> bool {
        self.garbage = None;
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: u64::from(self.garbage.is_none()), total: 1 }
    }

    fn finish(self: Box<Self>) -> R {
        self.result
    }
}

/// A piece of work for any thread. See the [module's page](self).
pub struct Job<R> {
    id: JobId,
    work: Box<dyn Work<R>>,
}

impl<R> Job<R> {
    pub(crate) fn new(id: JobId, work: impl Work<R> + 'static) -> Self {
        Self { id, work: Box::new(work) }
    }

    /// The job's id: its result, or its loss, is reported with it.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// What the job does, in two or three words.
    pub fn name(&self) -> &'static str {
        self.work.name()
    }

    /// Does the next piece of work, which takes about a millisecond; true once nothing is left.
    pub fn step(&mut self) -> bool {
        self.work.step()
    }

    /// How far the job has come.
    pub fn progress(&self) -> Progress {
        self.work.progress()
    }

    /// Takes what can be done in parallel out of the job, as up to `parts` pieces of about the same
    /// size. Run them on any threads and hand what they give to [`Job::absorb`]; only then go on with
    /// the job itself. Jobs that cannot be split give none.
    pub fn split(&mut self, parts: usize) -> Vec<Part<R>> {
        self.work.split(parts).into_iter().map(|work| Part { work }).collect()
    }

    /// Takes in what a part of this job has done, in any order.
    pub fn absorb(&mut self, part: PartResult<R>) {
        self.work.absorb(part.0);
    }

    /// Does all that is left and gives the result.
    pub fn finish(mut self) -> JobResult<R> {
        while !self.step() {}
        JobResult { id: self.id, outcome: self.work.finish() }
    }

    /// Does the whole job, in up to `parts` parts at the same time, and gives its result; nothing if
    /// it was cancelled.
    ///
    /// `run_parts` runs the parts that it is given, on whatever threads, with [`Part::run`], and gives
    /// back all their results, or nothing if one of them was cancelled. It is not called for a job
    /// that cannot be split.
    pub fn run(
        mut self,
        parts: usize,
        cancelled: impl Fn() -> bool,
        run_parts: impl FnOnce(Vec<Part<R>>) -> Option<Vec<PartResult<R>>>,
    ) -> Option<JobResult<R>> {
        let parts = if parts > 1 { self.work.split(parts) } else { Vec::new() };
        if !parts.is_empty() {
            let count = parts.len();
            let results = run_parts(parts.into_iter().map(|work| Part { work }).collect())?;
            if results.len() != count {
                return None;
            }
            for result in results {
                if cancelled() {
                    return None;
                }
                self.work.absorb(result.0);
            }
        }
        while !cancelled() {
            if self.step() {
                return Some(self.finish());
            }
        }
        None
    }
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("progress", &self.progress())
            .finish()
    }
}

/// A part of a job, for another thread.
pub struct Part<R> {
    work: Box<dyn Work<R>>,
}

impl<R> Part<R> {
    /// Does the next piece of work, which takes about a millisecond; true once nothing is left.
    pub fn step(&mut self) -> bool {
        self.work.step()
    }

    /// Does all that is left and gives the result; nothing if it was cancelled.
    pub fn run(mut self, cancelled: impl Fn() -> bool) -> Option<PartResult<R>> {
        while !cancelled() {
            if self.work.step() {
                return Some(self.finish());
            }
        }
        None
    }

    /// Does all that is left and gives the result.
    pub fn finish(mut self) -> PartResult<R> {
        while !self.step() {}
        PartResult(self.work.finish())
    }
}

impl<R> fmt::Debug for Part<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("progress", &self.work.progress()).finish()
    }
}

/// What a part of a job has done.
pub struct PartResult<R>(R);

impl<R> fmt::Debug for PartResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartResult")
    }
}

/// What a job has done: an input for the state machine that gave the job out.
pub struct JobResult<R> {
    pub(crate) id: JobId,
    pub(crate) outcome: R,
}

impl<R> JobResult<R> {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }
}

impl<R> fmt::Debug for JobResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobResult").field("id", &self.id).finish_non_exhaustive()
    }
}
