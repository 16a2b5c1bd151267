//! A coordinator's machine, with what it publishes. What it would have stored is reported as stored at
//! once: it lives in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use pet_transport_blocking::core::coordinator::{
    Coordinator, Event, Front, Input, Output, Reject, Rejection, Ticket, Why,
};
use pet_transport_blocking::core::crypto::{PublicSigningKey, RootSeed};
use pet_transport_blocking::core::job::JobId;
use pet_transport_blocking::core::model::DataType;
use pet_transport_blocking::core::request::Call;
use pet_transport_blocking::core::time::Timestamp;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::attend::{self, Due};
use super::job::{of_another, Job, JobResult, Outcome};
use super::participant::ParticipantMachine;
use super::{parameters, seed};
use crate::errors::{CoordinatorInit, StaleInput, XaynetError};
use crate::{settings, weights_out};

/// The coordinator of `xaynet_sdk.protocol`.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_CoordinatorMachine", frozen)]
pub(crate) struct CoordinatorMachine {
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) machine: Coordinator,
    pub(super) front: Front,
    /// How many fronts there were before it.
    generation: u64,
    /// How many messages were handed to the machine.
    pub(super) messages: u64,
    /// What the user calls those that are being processed; messages of `request` have no name.
    tickets: HashMap<Ticket, u64>,
    /// What has become of messages that could not even be opened, to be told.
    pub(super) rejected: VecDeque<(Option<u64>, Rejection)>,
}

#[pymethods]
impl CoordinatorMachine {
    #[new]
    #[pyo3(signature = (settings, seed_bytes, state, now))]
    fn new(
        settings: Vec<(String, String)>,
        seed_bytes: Option<&[u8]>,
        state: Option<&[u8]>,
        now: u64,
    ) -> PyResult<Self> {
        let settings = settings::load(settings)?.settings.protocol();
        let now = Timestamp::from_millis(now);
        let machine = match state {
            None => Coordinator::new(settings, RootSeed::new(seed(seed_bytes)?), now)
                .map_err(|error| error.to_string()),
            Some(state) => {
                Coordinator::restore(state, settings, now).map_err(|error| error.to_string())
            }
        };
        let inner = Inner {
            machine: machine.map_err(CoordinatorInit::new_err)?,
            front: Front::new(),
            generation: 0,
            messages: 0,
            tickets: HashMap::new(),
            rejected: VecDeque::new(),
        };
        Ok(Self { inner: Mutex::new(inner) })
    }

    fn tick(&self, now: u64) -> PyResult<()> {
        self.handle(now, Input::Tick)
    }

    fn job_done(&self, now: u64, result: &JobResult) -> PyResult<()> {
        match result.take()? {
            Outcome::Coordinator(outcome) => self.handle(now, Input::JobDone(outcome)),
            outcome => {
                result.put_back(outcome);
                Err(of_another())
            }
        }
    }

    fn job_lost(&self, now: u64, id: u64) -> PyResult<()> {
        self.handle(now, Input::JobLost(JobId(id)))
    }

    fn stop(&self, now: u64) -> PyResult<()> {
        self.handle(now, Input::Stop)
    }

    /// Answers a call: status and body. A message is opened here, and what comes of it is an output.
    fn request<'py>(
        &self,
        py: Python<'py>,
        now: u64,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> PyResult<(u16, Bound<'py, PyBytes>)> {
        let Some(call) = call(method, path, body) else {
            return Ok((404, PyBytes::new(py, b"")));
        };
        let answer = self.lock().front.answer(&call);
        if let Some(response) = answer {
            return Ok((response.status, PyBytes::new(py, &response.body)));
        }
        self.take_in(py, now, None, call.body().to_vec())?;
        Ok((200, PyBytes::new(py, b"")))
    }

    /// Opens a participant's message. What becomes of it is an output with the same ticket.
    fn message(&self, py: Python<'_>, now: u64, ticket: u64, body: &[u8]) -> PyResult<()> {
        self.take_in(py, now, Some(ticket), body.to_vec())
    }

    /// Has participants of this process do all that they can now, on so many threads. Gives for each when it is due again,
    /// and its events.
    fn attend<'py>(
        &self,
        py: Python<'py>,
        now: u64,
        participants: Vec<Py<ParticipantMachine>>,
        threads: usize,
    ) -> PyResult<Vec<Due<'py>>> {
        attend::attend(py, self, Timestamp::from_millis(now), &participants, threads)
    }

    /// Another number whenever something else is published.
    #[getter]
    fn generation(&self) -> u64 {
        self.lock().generation
    }

    fn poll_output<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let output = {
            let mut inner = self.lock();
            if let Some((ticket, rejection)) = inner.rejected.pop_front() {
                let round = inner.machine.round_id();
                drop(inner);
                return rejection_tuple(py, ticket, &rejection, round);
            }
            inner.poll()?
        };
        match output {
            Output::Job(job) => ("job", Py::new(py, Job::from(job))?).into_pyobject(py),
            Output::Reply { ticket, outcome } => {
                let (ticket, round) = {
                    let mut inner = self.lock();
                    (inner.tickets.remove(&ticket), inner.machine.round_id())
                };
                match outcome {
                    Ok(()) => ("message_accepted", ticket).into_pyobject(py),
                    Err(rejection) => rejection_tuple(py, ticket, &rejection, round),
                }
            }
            Output::Event(event) => event_tuple(py, event),
            Output::Idle(idle) => {
                let why = match idle.why {
                    Why::MinTime(_) => "min_time",
                    Why::Messages(_) => "messages",
                    Why::Job => "job",
                    Why::LostJob => "lost_job",
                    Why::Stopped => "stopped",
                    _ => "other",
                };
                ("idle", idle.wake_at.map(Timestamp::as_millis), why).into_pyobject(py)
            }
            other => ("other", format!("{other:?}")).into_pyobject(py),
        }
    }

    #[getter]
    fn round_id(&self) -> u64 {
        self.lock().machine.round_id()
    }

    #[getter]
    fn phase(&self) -> String {
        self.lock().machine.phase().to_string()
    }

    #[getter]
    fn accepted(&self) -> u64 {
        self.lock().machine.accepted()
    }

    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let known = self.lock().machine.parameters().clone();
        parameters(py, &known)
    }

    /// The latest global model.
    fn global_model<'py>(
        &self,
        py: Python<'py>,
        as_array: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let weights = self.lock().front.model().and_then(|model| model.weights.clone());
        match weights {
            None => Ok(None),
            Some(weights) if as_array => weights_out::to_array(py, &weights).map(Some),
            Some(weights) => Ok(Some(weights_out::to_list(py, &weights)?.into_any())),
        }
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let snapshot = self.lock().machine.snapshot();
        let bytes = py.detach(|| snapshot.to_bytes());
        PyBytes::new(py, &bytes)
    }
}

impl CoordinatorMachine {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, py: Python<'_>, now: u64, name: Option<u64>, body: Vec<u8>) -> PyResult<()> {
        let front = self.lock().front.clone();
        // Without the machine's lock either: it may be asked for other things meanwhile.
        let opened = py.detach(|| front.open(body));
        let mut inner = self.lock();
        match opened {
            Ok(message) => {
                inner.messages += 1;
                let ticket = Ticket(inner.messages);
                let input = Input::Message { ticket, message };
                inner.machine.handle_input(Timestamp::from_millis(now), input).map_err(rejected)?;
                inner.tickets.extend(name.map(|name| (ticket, name)));
            }
            Err(rejection) => inner.rejected.push_back((name, rejection)),
        }
        Ok(())
    }

    fn handle(&self, now: u64, input: Input) -> PyResult<()> {
        self.lock().machine.handle_input(Timestamp::from_millis(now), input).map_err(rejected)
    }
}

impl Inner {
    /// The next output that is of interest to a user.
    fn poll(&mut self) -> PyResult<Output> {
        loop {
            match self.machine.poll_output() {
                // The machine's own time goes on with inputs that carry one.
                Output::Persist { id, .. } => self
                    .machine
                    .handle_input(Timestamp::ZERO, Input::Persisted(id))
                    .map_err(rejected)?,
                Output::Front(front) => {
                    self.front = front;
                    self.generation += 1;
                }
                output => return Ok(output),
            }
        }
    }
}

/// What has become of a message that was rejected, and what its sender would be told.
fn rejection_tuple<'py>(
    py: Python<'py>,
    ticket: Option<u64>,
    rejection: &Rejection,
    round: u64,
) -> PyResult<Bound<'py, PyTuple>> {
    let problem = rejection.problem(round);
    (
        "message_rejected",
        rejection.to_string(),
        ticket,
        rejection.label(),
        problem.status,
        PyBytes::new(py, &problem.to_json()),
    )
        .into_pyobject(py)
}

pub(super) fn rejected(reject: Reject) -> PyErr {
    match reject {
        Reject::Stopped => XaynetError::new_err(reject.to_string()),
        stale => StaleInput::new_err(stale.to_string()),
    }
}

/// The call that a request is; nothing if it is none.
fn call(method: &str, path: &str, body: &[u8]) -> Option<Call> {
    match (method, path) {
        ("GET", "/params") => Some(Call::Params),
        ("GET", "/sums") => Some(Call::Sums),
        ("GET", "/model") => Some(Call::Model(DataType::F32)), // whichever: it is the old form
        ("POST", "/message") => Some(Call::Message(body.to_vec().into())),
        ("GET", path) => {
            let key = path.strip_prefix("/seeds?pk=")?;
            let key = key.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            let key = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
            Some(Call::Seeds(PublicSigningKey::new(key.try_into().ok()?)))
        }
        _ => None,
    }
}

fn event_tuple<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        Event::PhaseBegan { round_id, phase } => {
            ("phase_began", round_id, phase.to_string()).into_pyobject(py)
        }
        Event::PhaseEnded { round_id, phase, accepted, took } => {
            ("phase_ended", round_id, phase.to_string(), accepted, took.as_secs_f64())
                .into_pyobject(py)
        }
        Event::RoundCompleted { round_id, models, votes } => {
            ("round_completed", round_id, models, votes).into_pyobject(py)
        }
        Event::RoundFailed { round_id, phase, failure } => {
            ("round_failed", round_id, phase.to_string(), failure.to_string(), failure.label())
                .into_pyobject(py)
        }
        other => ("other", format!("{other:?}")).into_pyobject(py),
    }
}
