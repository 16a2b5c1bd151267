//! Jobs: the work of a state machine that takes time.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pet_transport_blocking::core::coordinator::{
    Job as OfCoordinator, JobResult as FromCoordinator,
};
use pet_transport_blocking::core::job::{
    Job as CoreJob, JobKind, JobResult as CoreResult, Part, PartResult,
};
use pet_transport_blocking::core::participant::{
    Job as OfParticipant, JobResult as FromParticipant,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::JobCancelled;

/// How often a running job looks whether the user has pressed Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// A piece of work. It may be run anywhere, once; dropping it loses it.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_Job", frozen)]
pub(crate) struct Job {
    id: u64,
    kind: JobKind,
    work: Mutex<Option<Work>>,
    cancelled: AtomicBool,
}

/// What a job has done, for the machine that gave it out.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_JobResult", frozen)]
pub(crate) struct JobResult {
    id: u64,
    outcome: Mutex<Option<Outcome>>,
}

enum Work {
    Participant(OfParticipant),
    Coordinator(OfCoordinator),
}

/// The result of either machine's job.
pub(super) enum Outcome {
    Participant(FromParticipant),
    #[cfg_attr(
        not(feature = "coordinator"),
        expect(dead_code, reason = "only a coordinator's machine takes it")
    )]
    Coordinator(FromCoordinator),
}

impl From<OfParticipant> for Job {
    fn from(job: OfParticipant) -> Self {
        Self::new(job.id().0, job.kind(), Work::Participant(job))
    }
}

impl From<OfCoordinator> for Job {
    fn from(job: OfCoordinator) -> Self {
        Self::new(job.id().0, job.kind(), Work::Coordinator(job))
    }
}

impl Job {
    fn new(id: u64, kind: JobKind, work: Work) -> Self {
        Self { id, kind, work: Mutex::new(Some(work)), cancelled: AtomicBool::new(false) }
    }
}

#[pymethods]
impl Job {
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    #[getter]
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.kind.label()
    }

    #[getter]
    fn job_class(&self) -> &'static str {
        self.kind.class().label()
    }

    /// Does the whole job, on so many threads, without the interpreter's lock.
    #[pyo3(signature = (threads=1))]
    fn run(&self, py: Python<'_>, threads: usize) -> PyResult<JobResult> {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = work.ok_or_else(|| PyValueError::new_err("a job can be run only once"))?;
        let id = self.id;
        let outcome = py.detach(|| match work {
            Work::Participant(job) => run(job, threads, &self.cancelled).map(Outcome::Participant),
            Work::Coordinator(job) => run(job, threads, &self.cancelled).map(Outcome::Coordinator),
        })?;
        Ok(JobResult { id, outcome: Mutex::new(Some(outcome)) })
    }

    /// Has `run` end with an error soon, whichever thread it is on.
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn __repr__(&self) -> String {
        format!("<Job {}: {}>", self.id, self.kind)
    }
}

#[pymethods]
impl JobResult {
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    fn __repr__(&self) -> String {
        format!("<JobResult {}>", self.id)
    }
}

impl JobResult {
    pub(super) fn take(&self) -> PyResult<Outcome> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.ok_or_else(|| PyValueError::new_err("a job's result can be handed in only once"))
    }

    pub(super) fn put_back(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// For a result that another machine's job has given.
pub(super) fn of_another() -> PyErr {
    PyValueError::new_err("this is the result of another machine's job")
}

/// Runs it, unless that is cancelled: by whoever sets the flag, or the user with Ctrl-C, which sets it.
pub(super) fn run<R: Send>(
    job: CoreJob<R>,
    threads: usize,
    cancelled: &AtomicBool,
) -> PyResult<CoreResult<R>> {
    let interrupted = Cell::new(None);
    let looked = Cell::new(Instant::now());
    let stop = || {
        if looked.get().elapsed() >= SIGNAL_INTERVAL {
            looked.set(Instant::now());
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                interrupted.set(Some(error));
                cancelled.store(true, Ordering::Relaxed);
            }
        }
        cancelled.load(Ordering::Relaxed)
    };
    let stop_part = || cancelled.load(Ordering::Relaxed);
    let run_parts = |parts: Vec<Part<R>>| -> Option<Vec<PartResult<R>>> {
        std::thread::scope(|scope| {
            let mut parts = parts.into_iter();
            // The first is for this thread, which has nothing else to do.
            let own = parts.next();
            let threads: Vec<_> = parts.map(|part| scope.spawn(|| part.run(stop_part))).collect();
            let own = own.map(|part| part.run(stop_part));
            let others = threads.into_iter().map(|thread| thread.join().ok().flatten());
            own.into_iter().chain(others).collect()
        })
    };
    let result = job.run(threads.max(1), stop, run_parts);
    match (result, interrupted.take()) {
        (Some(result), None) => Ok(result),
        (_, Some(error)) => Err(error),
        (None, None) => Err(JobCancelled::new_err("the job was cancelled")),
    }
}
