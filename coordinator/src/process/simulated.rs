//! Processes that a test runs in one thread.

pub(crate) mod time;
mod turns;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use pet_testing::sim::random::Random;
use tokio::{sync::watch, time::sleep};

use self::time::Pace;
pub(crate) use self::turns::{in_turn, spawn, Turns};

thread_local! {
    /// The process whose task is being polled.
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// A process: some tasks, and all that they spawn. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    died: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    life: Life,
    random: Random,
    pace: Pace,
    tasks: BTreeMap<u64, Waker>,
    last_task: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Runs,
    /// As after `SIGSTOP`: nothing happens, and the clock goes on.
    Stands,
    /// As after `SIGKILL`.
    Dead,
}

impl Process {
    /// A process; what it leaves to chance follows from the random numbers.
    pub fn new(random: Random) -> Self {
        let (tasks, last_task) = (BTreeMap::new(), 0);
        let (life, pace) = (Life::Runs, Pace::right());
        let state = Mutex::new(State { life, random, pace, tasks, last_task });
        Self(Arc::new(Inner { state, died: watch::Sender::new(false) }))
    }

    /// The one that calls this.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// A future that runs in this process, as long as that does.
    pub fn run<F: Future>(&self, future: F) -> InProcess<F> {
        let number = {
            let mut state = self.lock();
            state.last_task += 1;
            state.last_task
        };
        InProcess { process: self.clone(), number, future: Some(Box::pin(future)) }
    }

    /// Stops it, or lets it go on.
    pub fn stand_still(&self, stands: bool) {
        let mut state = self.lock();
        if state.life != Life::Dead {
            state.life = if stands { Life::Stands } else { Life::Runs };
        }
        state.wake();
    }

    /// Ends it: none of its tasks gets any further, and what they hold is dropped.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.life = Life::Dead;
        state.wake();
        drop(state);
        self.0.died.send_replace(true);
    }

    /// Sets its clock ahead, and has it count so many milliseconds in a second from now on.
    pub fn set_clock(&self, rate: u32, ahead: Duration) {
        let mut state = self.lock();
        state.pace.change(rate, ahead);
        state.wake();
    }

    /// Sets its clock ahead.
    pub fn jump(&self, ahead: Duration) {
        let rate = self.pace().rate();
        self.set_clock(rate, ahead);
    }

    fn pace(&self) -> Pace {
        self.lock().pace
    }

    /// Whether it has not been killed.
    pub fn is_alive(&self) -> bool {
        self.lock().life != Life::Dead
    }

    /// Whether it gets on.
    pub fn runs(&self) -> bool {
        self.lock().life == Life::Runs
    }

    /// Waits until it is killed.
    pub async fn died(&self) {
        let mut died = self.0.died.subscribe();
        // (The sender is ours.)
        let _ = died.wait_for(|died| *died).await;
    }

    pub(super) fn fill_random(&self, buffer: &mut [u8]) {
        self.lock().random.fill(buffer);
    }

    /// What a thread needs for some work.
    pub(super) fn take_time(&self) -> impl Future<Output = ()> + Send + 'static {
        let micros = self.lock().random.below(3000);
        sleep(Duration::from_micros(micros))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics while it is locked")
    }
}

impl State {
    fn wake(&mut self) {
        std::mem::take(&mut self.tasks).into_values().for_each(Waker::wake);
    }
}

/// A task of a process.
pub(crate) struct InProcess<F> {
    process: Process,
    number: u64,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for InProcess<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let life = {
            let mut state = this.process.lock();
            state.tasks.insert(this.number, context.waker().clone());
            state.life
        };
        let Some(future) = &mut this.future else { return Poll::Pending };
        match life {
            Life::Runs => {}
            Life::Stands => return Poll::Pending,
            Life::Dead => {
                this.future = None;
                return Poll::Pending;
            }
        }
        let outer = CURRENT.replace(Some(this.process.clone()));
        let polled = future.as_mut().poll(context);
        CURRENT.set(outer);
        polled
    }
}

impl<F> Drop for InProcess<F> {
    fn drop(&mut self) {
        self.process.lock().tasks.remove(&self.number);
        // Whatever is dropped may look where it is.
        let outer = CURRENT.replace(Some(self.process.clone()));
        self.future = None;
        CURRENT.set(outer);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{timeout, Instant};

    use super::*;
    use crate::process::{spawn, spawn_blocking};

    #[tokio::test(start_paused = true)]
    async fn what_a_process_spawns_stands_still_and_dies_with_it() {
        let process = Process::new(Random::new(1));
        let (said, mut heard) = watch::channel(0);
        let ticking = process.run(async move {
            // In a task of a task, after some work.
            let inner = spawn(async move {
                spawn_blocking(|| {}).await.unwrap();
                loop {
                    sleep(Duration::from_millis(10)).await;
                    said.send_modify(|number| *number += 1);
                }
            });
            inner.await.unwrap();
        });
        tokio::spawn(ticking);
        heard.wait_for(|number| *number >= 3).await.unwrap();
        process.stand_still(true);
        let stood = *heard.borrow_and_update();
        assert!(timeout(Duration::from_secs(9), heard.changed()).await.is_err());
        let began = Instant::now();
        process.stand_still(false);
        heard.changed().await.unwrap();
        // What had been waited for is over long since.
        assert_eq!((*heard.borrow(), began.elapsed()), (stood + 1, Duration::ZERO));
        process.kill();
        process.died().await;
        let ended = async { while heard.changed().await.is_ok() {} };
        timeout(Duration::from_secs(1), ended).await.expect("what its tasks hold is dropped");
        assert!(!process.is_alive() && !process.runs());
    }

    #[test]
    fn chance_follows_from_the_seed() {
        let bytes = |seed| {
            let mut bytes = [0; 16];
            Process::new(Random::new(seed)).fill_random(&mut bytes);
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
