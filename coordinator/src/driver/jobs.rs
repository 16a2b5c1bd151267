//! A machine's jobs, on blocking threads and on all cores.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
};

use pet_core::job::{Job, JobClass, JobResult};
use rayon::prelude::{IntoParallelIterator, ParallelIterator};
use tokio::{
    sync::{mpsc, Semaphore},
    task::spawn_blocking,
};
use tracing::error;

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
        tokio::spawn(async move {
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

/// How many cores there are to compute on.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a job on this thread, and what it has to share out on the process's rayon threads. `None` if it was
/// cancelled.
fn run_job<R: Send>(job: Job<R>, cancelled: &AtomicBool) -> Option<JobResult<R>> {
    let cancelled = || cancelled.load(Ordering::Relaxed);
    job.run(cores(), cancelled, |parts| {
        parts.into_par_iter().map(|part| part.run(cancelled)).collect()
    })
}
