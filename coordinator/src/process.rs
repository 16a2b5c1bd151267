//! What a replica asks of the process that it runs in: tasks, threads, time, randomness.
//!
//! So that a test can run several processes in one thread and in virtual time, have each of them stand still or die with all
//! its tasks at any moment, and see the same again from the same seed: see [`simulated`]. In a program that is not a test all
//! of this is tokio's and the operating system's.

#[cfg(test)]
#[cfg_attr(not(feature = "replicas"), allow(dead_code, unused_imports))]
pub(crate) mod simulated;

use std::future::Future;

#[cfg(test)]
pub(crate) use self::simulated::time;
#[cfg(not(test))]
pub(crate) use tokio::time;

use tokio::task::JoinHandle;

/// Runs a task.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(test)]
    if let Some(process) = simulated::Process::current() {
        return simulated::spawn(process.run(future));
    }
    tokio::spawn(future)
}

/// A future that runs in this process, whoever spawns it.
#[cfg(all(not(test), feature = "replicas"))]
pub(crate) fn within<F: Future>(future: F) -> F {
    future
}

/// A future that runs in this process, whoever spawns it.
#[cfg(all(test, feature = "replicas"))]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    use futures_util::future::Either;
    match simulated::Process::current() {
        Some(process) => Either::Left(simulated::in_turn(process.run(future))),
        None => Either::Right(future),
    }
}

/// Does what blocks, or takes long, on a thread of its own.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(test)]
    if let Some(process) = simulated::Process::current() {
        let working = process.take_time();
        return spawn(async move {
            working.await;
            work()
        });
    }
    tokio::task::spawn_blocking(work)
}

/// Fills a buffer with random bytes.
///
/// # Errors
/// If the operating system has none.
#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
pub(crate) fn fill_random(buffer: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(test)]
    if let Some(process) = simulated::Process::current() {
        process.fill_random(buffer);
        return Ok(());
    }
    getrandom::fill(buffer)
}
