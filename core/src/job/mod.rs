//! Jobs: work that takes too long for a state machine's own calls.
//!
//! Whatever grows with the model or the number of participants is given to the driver as a [`Job`]:
//! an owned value that may run on any thread, in bounded steps, and whose result is handed back as
//! an input. A job's result depends on nothing but the job.
//!
//! A job that is dropped, or whose result is, is lost. Its machine notices at the next call and gives the job out
//! again, if it is still needed; one that is lost [`MAX_LOSSES`] times in a row is given up, and what it was for
//! fails. So a driver need do nothing about a thread that panics or a task that is cancelled but call the machine
//! again, with its `Tick`. A machine that waits for a job asks for that every ten seconds.

mod kind;
mod watch;

use std::fmt;

pub use kind::{JobClass, JobKind};
use serde::{Deserialize, Serialize};
pub use watch::MAX_LOSSES;
pub(crate) use watch::{Token, Watch, LOOK_EVERY};

use crate::crypto::wiping_stack;

/// The id of one job of one state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// The progress of a job, in units of its own (numbers of the model, mostly).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The job's kind.
    fn kind(&self) -> JobKind;

    /// Does the next bounded piece of work; true once nothing is left.
    fn step(&mut self) -> bool;

    /// How far it has come.
    fn progress(&self) -> Progress;

    /// Takes what can be done independently at this point out of the work, as up to `parts` pieces: none
    /// where `step` has to come first. Once all are absorbed, there may be more.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<R>>> {
        let _ = parts;
        Vec::new()
    }

    /// Takes back the finished work that a piece of this one has done. Called for all pieces of a split, in
    /// their order, before anything else.
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
    fn kind(&self) -> JobKind {
        JobKind::FreeMemory
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
#[must_use = "a job that is dropped is lost, and its machine waits for it: run it, and hand in its result"]
pub struct Job<R> {
    id: JobId,
    work: Box<dyn Work<R>>,
    /// Nothing for a job that nobody waits for.
    token: Option<Token>,
}

impl<R> Job<R> {
    /// A job that nobody waits for.
    pub(crate) fn new(id: JobId, work: impl Work<R> + 'static) -> Self {
        Self { id, work: Box::new(work), token: None }
    }

    /// A job that its machine waits for.
    pub(crate) fn watched(id: JobId, work: impl Work<R> + 'static, watch: &mut Watch) -> Self {
        Self { id, work: Box::new(work), token: Some(watch.begin(id)) }
    }

    /// The job's id: its result, or its loss, is reported with it.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The job's kind.
    pub fn kind(&self) -> JobKind {
        self.work.kind()
    }

    /// The job's class, which says how to run it.
    pub fn class(&self) -> JobClass {
        self.kind().class()
    }

    /// The job's name for people, in two or three words.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Does the next piece of work, which takes about a millisecond; true once nothing is left.
    pub fn step(&mut self) -> bool {
        wiping_stack(|| self.work.step())
    }

    /// The job's progress.
    pub fn progress(&self) -> Progress {
        self.work.progress()
    }

    /// Splits off what can run in parallel at this point, as up to `parts` pieces of about the same size.
    /// Run them on any threads and hand what they give to [`Job::absorb`], all of it and in the order of
    /// the pieces; only then go on with the job itself. When there is nothing to share out there are none:
    /// after a [`step`](Self::step) or a round of pieces there may be some again. [`run`](Self::run) does
    /// all this.
    pub fn split(&mut self, parts: usize) -> Vec<Part<R>> {
        self.work.split(parts).into_iter().map(|work| Part { work }).collect()
    }

    /// Takes back what a part of this job has done.
    pub fn absorb(&mut self, part: PartResult<R>) {
        self.work.absorb(part.0);
    }

    /// Does all that is left and gives the result.
    pub fn finish(mut self) -> JobResult<R> {
        while !self.step() {}
        JobResult { id: self.id, outcome: wiping_stack(|| self.work.finish()), token: self.token }
    }

    /// Does the whole job, in up to `parts` parts at the same time, and gives its result; nothing if
    /// it was cancelled.
    ///
    /// `run_parts` runs the parts that it is given, on whatever threads, with [`Part::run`], and gives
    /// back their results in the same order, or nothing if one of them was cancelled. It is called as
    /// often as the job has something to share out: a long one comes in stretches, so that memory stays
    /// small, and not at all for a job that cannot be split, or is too short to gain by it. Best it runs the first part on
    /// its own thread, which has nothing else to do.
    pub fn run(
        mut self,
        parts: usize,
        cancelled: impl Fn() -> bool,
        mut run_parts: impl FnMut(Vec<Part<R>>) -> Option<Vec<PartResult<R>>>,
    ) -> Option<JobResult<R>> {
        while !cancelled() {
            let pieces = if parts > 1 { self.split(parts) } else { Vec::new() };
            if pieces.is_empty() {
                if self.step() {
                    return Some(self.finish());
                }
                continue;
            }
            let count = pieces.len();
            let results = match <[Part<R>; 1]>::try_from(pieces) {
                // No other thread is woken for a single one.
                Ok([piece]) => vec![piece.run(&cancelled)?],
                Err(pieces) => run_parts(pieces)?,
            };
            if results.len() != count {
                return None;
            }
            for result in results {
                if cancelled() {
                    return None;
                }
                self.absorb(result);
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
#[must_use = "the job cannot go on without its parts: run them, and hand what they give to Job::absorb"]
pub struct Part<R> {
    work: Box<dyn Work<R>>,
}

impl<R> Part<R> {
    /// Does the next piece of work, which takes about a millisecond; true once nothing is left.
    pub fn step(&mut self) -> bool {
        wiping_stack(|| self.work.step())
    }

    /// Does all that is left and gives the result; nothing if it was cancelled.
    pub fn run(mut self, cancelled: impl Fn() -> bool) -> Option<PartResult<R>> {
        while !cancelled() {
            if self.step() {
                return Some(self.finish());
            }
        }
        None
    }

    /// Does all that is left and gives the result.
    pub fn finish(mut self) -> PartResult<R> {
        while !self.step() {}
        PartResult(wiping_stack(|| self.work.finish()))
    }
}

impl<R> fmt::Debug for Part<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("progress", &self.work.progress()).finish()
    }
}

/// The result of a part of a job.
#[must_use = "the job cannot go on without it: hand it to Job::absorb"]
pub struct PartResult<R>(R);

impl<R> fmt::Debug for PartResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartResult")
    }
}

/// The result of a job: an input for the state machine that gave the job out.
#[must_use = "the machine waits for it: hand it in with Input::JobDone"]
pub struct JobResult<R> {
    id: JobId,
    outcome: R,
    token: Option<Token>,
}

impl<R> JobResult<R> {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// It was handed in: what it is worth is the machine's affair.
    pub(crate) fn handed_in(self) -> (JobId, R) {
        if let Some(token) = self.token {
            token.done();
        }
        (self.id, self.outcome)
    }
}

impl<R> fmt::Debug for JobResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobResult").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds up numbers, four at a time, in as many pieces as there are.
    #[derive(Default)]
    struct Sum {
        waiting: Vec<u64>,
        sum: u64,
    }

    impl Work<u64> for Sum {
        fn kind(&self) -> JobKind {
            JobKind::AddMasks
        }

        fn step(&mut self) -> bool {
            self.sum += self.waiting.pop().unwrap_or(0);
            self.waiting.is_empty()
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }

        fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<u64>>> {
            if self.waiting.len() < 4 {
                return Vec::new();
            }
            let stretch = self.waiting.split_off(self.waiting.len() - 4);
            let pieces = stretch.chunks(4usize.div_ceil(parts));
            pieces.map(|piece| Box::new(Sum { waiting: piece.to_vec(), sum: 0 }) as _).collect()
        }

        fn absorb(&mut self, part: u64) {
            self.sum += part;
        }

        fn finish(self: Box<Self>) -> u64 {
            self.sum
        }
    }

    fn job() -> Job<u64> {
        Job::new(JobId(7), Sum { waiting: (1..=10).collect(), sum: 0 })
    }

    #[test]
    fn whatever_can_be_shared_out_is() {
        for parts in 1..6 {
            let mut sizes = Vec::new();
            let run_parts = |parts: Vec<Part<u64>>| {
                sizes.push(parts.len());
                parts.into_iter().map(|part| part.run(|| false)).collect()
            };
            let result = job().run(parts, || false, run_parts).unwrap();
            assert_eq!((result.id(), result.outcome), (JobId(7), 55));
            let expected: &[usize] = if parts == 1 { &[] } else { &[parts.min(4), parts.min(4)] };
            // Three parts of four numbers: two numbers each, so that two are enough.
            assert_eq!(sizes, if parts == 3 { &[2, 2] } else { expected });
        }
        assert_eq!(job().finish().outcome, 55);
    }

    /// It is not worth another thread.
    #[test]
    fn a_single_piece_stays_where_the_job_is() {
        let work = Sum { waiting: vec![1, 2, 3, 4], sum: 0 };
        let mut one_by_one = Job::new(JobId(7), OnePiece(work));
        assert_eq!(one_by_one.split(2).len(), 1);
        let work = Sum { waiting: vec![1, 2, 3, 4], sum: 0 };
        let never = |_: Vec<Part<u64>>| panic!("there is but one piece");
        let result = Job::new(JobId(7), OnePiece(work)).run(2, || false, never).unwrap();
        assert_eq!(result.outcome, 10);
    }

    /// The same, of which there is never more than one piece.
    struct OnePiece(Sum);

    impl Work<u64> for OnePiece {
        fn kind(&self) -> JobKind {
            JobKind::AddMasks
        }

        fn step(&mut self) -> bool {
            self.0.step()
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }

        fn split(&mut self, _: usize) -> Vec<Box<dyn Work<u64>>> {
            self.0.split(1)
        }

        fn absorb(&mut self, part: u64) {
            self.0.absorb(part);
        }

        fn finish(self: Box<Self>) -> u64 {
            self.0.sum
        }
    }

    #[test]
    fn a_cancelled_job_has_no_result() {
        let parts =
            |parts: Vec<Part<u64>>| parts.into_iter().map(|part| part.run(|| true)).collect();
        assert!(job().run(2, || false, parts).is_none());
        let lost = |mut parts: Vec<Part<u64>>| {
            parts.pop();
            parts.into_iter().map(|part| part.run(|| false)).collect()
        };
        assert!(job().run(2, || false, lost).is_none());
        assert!(job().run(1, || true, |_| None).is_none());
    }
}
