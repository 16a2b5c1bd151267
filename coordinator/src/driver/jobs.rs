//! A machine's jobs, on blocking threads and on all cores.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, OnceLock,
    },
    thread,
};

use pet_core::job::{Job, JobClass, JobResult};
use tokio::sync::{mpsc, Semaphore};
use tracing::error;

use crate::process::{spawn, spawn_blocking};

/// What became of a job: nothing if it was lost, which its machine sees by itself.
pub(crate) type Done<R> = Option<JobResult<R>>;

/// Runs jobs with results of one kind. Once it is dropped, no result is wanted any more.
pub(crate) struct Jobs<R> {
    results: mpsc::UnboundedSender<Done<R>>,
    /// As many places as there are cores, for the jobs that there may be any number of.
    small: Arc<Semaphore>,
    /// Set once no job's result is wanted any more.
    cancelled: Arc<AtomicBool>,
}

impl<R: Send + 'static> Jobs<R> {
    /// Gives as well where results arrive.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Done<R>>) {
        let (results, done) = mpsc::unbounded_channel();
        let small = Arc::new(Semaphore::new(cores()));
        (Self { results, small, cancelled: Arc::default() }, done)
    }

    /// Runs a job, once it is its turn.
    pub fn start(&self, job: Job<R>) {
        let results = self.results.clone();
        let cancelled = Arc::clone(&self.cancelled);
        let small_jobs = Arc::clone(&self.small);
        spawn(async move {
            let name = job.name();
            let turn = match job.class() {
                // A round waits for it.
                JobClass::Parallel => None,
                // The semaphore is never closed.
                _ => small_jobs.acquire_owned().await.ok(),
            };
            let run = move || {
                let result = run_job(job, &cancelled);
                drop(turn);
                result
            };
            let done = match spawn_blocking(run).await {
                Ok(Some(result)) => Some(result),
                Ok(None) => return,
                Err(error) => {
                    error!(job = name, %error, "a job was lost; please report this");
                    None
                }
            };
            let _ = results.send(done);
        });
    }
}

impl<R> Drop for Jobs<R> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// How many cores there are to compute on. (To ask takes some files of the control group's: too much for each job.)
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Runs a job on this thread, and what it has to share out on the process's rayon threads as well. `None` if it was
/// cancelled.
fn run_job<R: Send>(job: Job<R>, cancelled: &AtomicBool) -> Option<JobResult<R>> {
    let cancelled = || cancelled.load(Ordering::Relaxed);
    job.run(cores(), cancelled, |parts| {
        let mut results: Vec<_> = parts.iter().map(|_| None).collect();
        rayon::in_place_scope(|scope| {
            let mut work = parts.into_iter().zip(&mut results);
            let own = work.next();
            for (part, result) in work {
                scope.spawn(move |_| *result = part.run(cancelled));
            }
            if let Some((part, result)) = own {
                *result = part.run(cancelled);
            }
        });
        results.into_iter().collect()
    })
}
