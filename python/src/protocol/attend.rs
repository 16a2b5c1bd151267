//! Many participants and their coordinator in this process: all that they can do at one time, on several threads. Participants
//! look and work at the same time; what they send is handed to the coordinator in their order, so that the same draws give the
//! same rounds however many threads there are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pet_participant::{LocalModelError, Polled};
use pet_transport_blocking::core::coordinator::{Front, Input as ToCoordinator, Ticket};
use pet_transport_blocking::core::coordinator::{Rejection, Verified};
use pet_transport_blocking::core::participant::{Event, Idle, Input, Job, Output};
use pet_transport_blocking::core::request::{RequestId, Response};
use pet_transport_blocking::core::time::Timestamp;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::coordinator::{rejected, CoordinatorMachine};
use super::job;
use super::participant::{event_tuple, ParticipantMachine};
use crate::errors::{self, JobCancelled};

/// How many participants' messages are in memory at most, for each thread.
const AHEAD: usize = 4;
/// From so many participants on, their looks are shared out; each takes some microseconds.
const MANY: usize = 128;
/// From so many weights in all on, their work is: less is done before another thread is awake.
const MUCH: u64 = 1 << 15;

/// When a participant is due again, and its events.
pub(super) type Due<'py> = (Option<u64>, Bound<'py, PyList>);

/// What a participant has to tell.
pub(super) enum Told {
    Event(Event),
    ModelRejected(LocalModelError),
}

/// A participant that is attended to.
struct Attended<'a> {
    participant: &'a ParticipantMachine,
    told: Vec<Told>,
    next: Next,
}

/// What it waits for.
enum Next {
    Job(Job),
    Message(RequestId, Result<Verified, Rejection>),
    Idle(Idle),
    /// Between two of these.
    Nothing,
}

/// The time, what the coordinator publishes, and how work is done.
struct Around<'a> {
    now: Timestamp,
    front: Front,
    threads: usize,
    cancelled: &'a AtomicBool,
}

impl Attended<'_> {
    /// Goes on until there is work, a message, or nothing to do.
    fn go_on(&mut self, around: &Around<'_>) -> PyResult<()> {
        let mut machine = self.participant.lock();
        let tell = |machine: &mut pet_participant::Machine, input| {
            machine.handle_input(around.now, input).map_err(super::participant::rejected)
        };
        self.next = loop {
            match machine.poll() {
                Polled::ModelRejected(error) => self.told.push(Told::ModelRejected(error)),
                Polled::Output(Output::Event(event)) => self.told.push(Told::Event(event)),
                Polled::Output(Output::Job(job)) => break Next::Job(job),
                Polled::Output(Output::Idle(idle)) => break Next::Idle(idle),
                Polled::Output(Output::HandOver { id, message }) => {
                    break Next::Message(id, around.front.take(message));
                }
                Polled::Output(Output::Request { id, call }) => match around.front.answer(&call) {
                    Some(response) => tell(&mut machine, Input::Response { id, response })?,
                    None => break Next::Message(id, around.front.open(call.body().to_vec())),
                },
                Polled::Output(_) => {}
            }
        };
        Ok(())
    }

    /// Does its work, until there is a message or nothing to do.
    fn work(&mut self, around: &Around<'_>, threads: usize) -> PyResult<()> {
        loop {
            let job = match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Job(job) => job,
                other => {
                    self.next = other;
                    return Ok(());
                }
            };
            let done = job::run(job, threads, around.cancelled)?;
            let handed_in = self.participant.lock().handle_input(around.now, Input::JobDone(done));
            handed_in.map_err(super::participant::rejected)?;
            self.go_on(around)?;
        }
    }
}

/// Has participants do all that they can now. (Outputs of the coordinator are polled afterwards.)
pub(super) fn attend<'py>(
    py: Python<'py>,
    coordinator: &CoordinatorMachine,
    now: Timestamp,
    participants: &[Py<ParticipantMachine>],
    threads: usize,
) -> PyResult<Vec<Due<'py>>> {
    let cancelled = AtomicBool::new(false);
    let around =
        Around { now, front: coordinator.front(), threads: threads.max(1), cancelled: &cancelled };
    let mut attended: Vec<_> = participants
        .iter()
        .map(|participant| {
            let participant = participant.get();
            Attended { participant, told: Vec::new(), next: Next::Nothing }
        })
        .collect();
    py.detach(|| all(&around, coordinator, &mut attended))?;
    attended.into_iter().map(|each| each.tell(py)).collect()
}

fn all(
    around: &Around<'_>,
    coordinator: &CoordinatorMachine,
    attended: &mut [Attended<'_>],
) -> PyResult<()> {
    let looking = if attended.len() < MANY { 1 } else { around.threads };
    each(around, looking, attended, |one, _| {
        let ticked = one.participant.lock().handle_input(around.now, Input::Tick);
        ticked.map_err(super::participant::rejected)?;
        one.go_on(around)
    })?;
    let mut busy: Vec<_> =
        attended.iter_mut().filter(|one| !matches!(one.next, Next::Idle(_))).collect();
    let length = around.front.parameters().map_or(0, |known| known.model_length);
    for window in busy.chunks_mut(AHEAD * around.threads) {
        let is_much = length.saturating_mul(window.len() as u64) >= MUCH;
        let threads = if is_much { around.threads } else { 1 };
        each(around, threads, window, |one, threads| one.work(around, threads))?;
        for one in window {
            deliver(around, coordinator, one)?;
        }
    }
    Ok(())
}

/// Hands over what a participant sends, until it has nothing to do any more.
fn deliver(
    around: &Around<'_>,
    coordinator: &CoordinatorMachine,
    one: &mut Attended<'_>,
) -> PyResult<()> {
    loop {
        match std::mem::replace(&mut one.next, Next::Nothing) {
            Next::Message(id, message) => {
                coordinator.take(around.now, message)?;
                // As older coordinators, it says nothing of what becomes of it.
                let answer = Input::Response { id, response: Response::ok("") };
                let taken = one.participant.lock().handle_input(around.now, answer);
                taken.map_err(super::participant::rejected)?;
                one.go_on(around)?;
            }
            Next::Job(job) => {
                one.next = Next::Job(job);
                one.work(around, around.threads)?;
            }
            idle => {
                one.next = idle;
                return Ok(());
            }
        }
    }
}

/// Does something for each, on so many threads; `action` is told how many of them are its own.
fn each<T: Send>(
    around: &Around<'_>,
    threads: usize,
    items: &mut [T],
    action: impl Fn(&mut T, usize) -> PyResult<()> + Sync,
) -> PyResult<()> {
    let workers = threads.min(items.len());
    if workers < 2 {
        return items.iter_mut().try_for_each(|item| action(item, threads));
    }
    let own = threads / workers;
    let rest = Mutex::new(items.iter_mut());
    let failed: Mutex<Option<PyErr>> = Mutex::new(None);
    let failures = AtomicUsize::new(0);
    let work = || loop {
        let next = rest.lock().unwrap_or_else(PoisonError::into_inner).next();
        let (Some(item), 0) = (next, failures.load(Ordering::Relaxed)) else { return };
        if let Err(error) = action(item, own) {
            let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
            around.cancelled.store(true, Ordering::Relaxed);
            failures.fetch_add(1, Ordering::Relaxed);
            // What stops the others comes before what they say of having been stopped.
            if first.is_none() || !is_cancelled(&error) {
                *first = Some(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn is_cancelled(error: &PyErr) -> bool {
    Python::attach(|py| error.is_instance_of::<JobCancelled>(py))
}

impl Attended<'_> {
    /// When it is due again, and what has happened.
    fn tell<'py>(self, py: Python<'py>) -> PyResult<Due<'py>> {
        let wake_at = match self.next {
            Next::Idle(idle) => idle.wake_at.map(Timestamp::as_millis),
            _ => None,
        };
        let told = self.told.into_iter().map(|told| -> PyResult<Bound<'py, PyTuple>> {
            match told {
                Told::Event(event) => event_tuple(py, event, true),
                Told::ModelRejected(error) => {
                    let error = errors::model_error(&error).into_value(py);
                    ("model_rejected", error).into_pyobject(py)
                }
            }
        });
        let told: Vec<_> = told.collect::<PyResult<_>>()?;
        let foreseen = self.participant.lock().take_foreseen();
        if let Some(findings) = foreseen {
            self.participant.warn_of(py, &findings);
        }
        Ok((wake_at, PyList::new(py, told)?))
    }
}

impl CoordinatorMachine {
    /// Takes a message that was opened, or could not be.
    fn take(&self, now: Timestamp, message: Result<Verified, Rejection>) -> PyResult<()> {
        let mut inner = self.lock();
        match message {
            Ok(message) => {
                inner.messages += 1;
                let ticket = Ticket(inner.messages);
                let input = ToCoordinator::Message { ticket, message };
                inner.machine.handle_input(now, input).map_err(rejected)
            }
            Err(rejection) => {
                inner.rejected.push_back((None, rejection));
                Ok(())
            }
        }
    }

    fn front(&self) -> Front {
        self.lock().front.clone()
    }
}
