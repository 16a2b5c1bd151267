//! Whose turn it is: which of the tasks that could go on goes on next follows from a seed.
//!
//! The runtime wakes tasks in an order that differs from run to run: channels that several wait for (`watch`) draw it from
//! random numbers that nobody can seed. Here each task that is woken lines up first, until all have done so that could, and
//! then one is drawn. So equal seeds give equal runs, and other seeds other orders.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::{poll_fn, Future},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;
use pet_testing::sim::random::Random;
use tokio::task::JoinHandle;

thread_local! {
    /// Those of the runtime of this thread.
    static TURNS: RefCell<Option<Turns>> = const { RefCell::new(None) };
}

/// Gives tasks their turns. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    last_task: u64,
    /// Tasks that could go on.
    lined_up: BTreeMap<u64, Waker>,
    /// The one that goes on now.
    turn: Option<u64>,
    /// Wakes whoever gives the turns.
    usher: Option<Waker>,
}

/// Runs a task; in turns, if there are any in this thread.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(in_turn(future))
}

/// A task, whoever spawns it; in turns, if there are any in this thread.
pub(crate) fn in_turn<F: Future>(future: F) -> impl Future<Output = F::Output> {
    match TURNS.with_borrow(Clone::clone) {
        Some(turns) => turns.take_in(future).left_future(),
        None => future.right_future(),
    }
}

impl Turns {
    /// Runs a future to its end in a runtime of this thread, and with it all that is [spawned](spawn): in turns that follow
    /// from the random numbers.
    pub fn block_on<T: Send + 'static>(
        random: Random,
        runtime: &tokio::runtime::Runtime,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let state =
            State { random, last_task: 0, lined_up: BTreeMap::new(), turn: None, usher: None };
        let turns = Self(Arc::new(Mutex::new(state)));
        let _guard = Entered(TURNS.replace(Some(turns.clone())));
        runtime.block_on(async move {
            tokio::spawn(poll_fn(move |context| turns.usher(context)));
            match spawn(future).await {
                Ok(done) => done,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
    }

    fn take_in<F: Future>(&self, future: F) -> InTurn<F> {
        let number = {
            let mut state = self.lock();
            state.last_task += 1;
            state.last_task
        };
        InTurn { turns: self.clone(), number, future: Box::pin(future) }
    }

    /// Gives the next turn. (It is woken when a task has lined up, and is then behind all that were woken with that.)
    fn usher(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        state.usher = Some(context.waker().clone());
        let waiting = state.lined_up.len() as u64;
        if state.turn.is_none() && waiting > 0 {
            let index = state.random.below(waiting) as usize;
            let next = state.lined_up.keys().nth(index).copied();
            state.turn = next;
            let waker = next.and_then(|next| state.lined_up.remove(&next));
            drop(state);
            waker.inspect(Waker::wake_by_ref);
        }
        Poll::Pending
    }

    /// Whether it is the turn of a task; otherwise that lines up.
    fn is_turn_of(&self, number: u64, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.turn == Some(number) {
            return true;
        }
        state.lined_up.insert(number, context.waker().clone());
        state.next();
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while it is locked")
    }
}

impl State {
    fn next(&self) {
        if self.turn.is_none() {
            self.usher.as_ref().inspect(|usher| usher.wake_by_ref());
        }
    }

    fn end_turn(&mut self, number: u64) {
        if self.turn == Some(number) {
            self.turn = None;
        }
        self.next();
    }
}

/// A task that goes on when it is its turn.
struct InTurn<F> {
    turns: Turns,
    number: u64,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.turns.is_turn_of(self.number, context) {
            return Poll::Pending;
        }
        let polled = self.future.as_mut().poll(context);
        self.turns.lock().end_turn(self.number);
        polled
    }
}

/// Also of one that is aborted, or has panicked.
impl<F> Drop for InTurn<F> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.lined_up.remove(&self.number);
        state.end_turn(self.number);
    }
}

/// Until then this thread had these turns.
struct Entered(Option<Turns>);

impl Drop for Entered {
    fn drop(&mut self) {
        TURNS.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::watch, time::sleep};

    use super::*;

    /// Which of several tasks that wait for the same thing go on, one after the other.
    fn order(seed: u64) -> Vec<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        Turns::block_on(Random::new(seed), &runtime, async {
            let (go, _) = watch::channel(false);
            let order = Arc::new(Mutex::new(Vec::new()));
            let tasks: Vec<_> = (0..20)
                .map(|number| {
                    let (mut gone, order) = (go.subscribe(), Arc::clone(&order));
                    spawn(async move {
                        gone.changed().await.unwrap();
                        order.lock().unwrap().push(number);
                    })
                })
                .collect();
            sleep(std::time::Duration::from_millis(1)).await;
            // One that is aborted while it waits for its turn is in nobody's way.
            tasks[7].abort();
            go.send_replace(true);
            for (number, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.is_ok(), number != 7);
            }
            let order = order.lock().unwrap().clone();
            order
        })
    }

    #[test]
    fn the_order_of_tasks_follows_from_the_seed() {
        let orders: Vec<_> = (0..3).map(order).collect();
        assert_ne!(orders[0], orders[1]);
        for (seed, before) in orders.into_iter().enumerate() {
            assert_eq!(before.len(), 19);
            for _ in 0..5 {
                assert_eq!(order(seed as u64), before);
            }
        }
    }

    #[test]
    #[should_panic(expected = "as it should")]
    fn panics_get_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Turns::block_on(Random::new(1), &runtime, async { panic!("as it should") })
    }
}
