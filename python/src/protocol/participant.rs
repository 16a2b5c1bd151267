//! A participant's machine.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pet_participant::{CheckedModel, Findings, Machine, Polled, Refused, Short};
use pet_transport_blocking::core::crypto::RootSeed;
use pet_transport_blocking::core::job::JobId;
use pet_transport_blocking::core::message::MessageSize;
use pet_transport_blocking::core::model::Scalar;
use pet_transport_blocking::core::participant::{
    Event, Input, Output, Reject, Settings, TransportFault, Why,
};
use pet_transport_blocking::core::request::{Patience, RequestId, Response};
use pet_transport_blocking::core::time::Timestamp;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::job::{of_another, Job, JobResult, Outcome};
use super::{parameters, seed, task_name, type_name};
use crate::errors::{self, ParticipantInit, ParticipantRestore, StaleInput};
use crate::pin::{self, PinTuple, Spent};
use crate::state_in::read_state;
use crate::{weights_in, weights_out};

/// The participant of `xaynet_sdk.protocol`.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_ParticipantMachine", frozen)]
pub(crate) struct ParticipantMachine {
    machine: Mutex<Machine>,
    told: errors::Told,
}

/// A local model that was looked over.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_PreparedModel", frozen)]
pub(crate) struct PreparedModel(Mutex<Option<CheckedModel>>);

#[pymethods]
impl ParticipantMachine {
    #[new]
    #[pyo3(signature = (
        seed_bytes, state, scalar, max_message_size, max_model_length, polling, keep_models,
        pin=None, credential=None, identity=None, hand_over=false
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords, for whoever calls it")]
    fn new(
        seed_bytes: Option<&[u8]>,
        state: Option<&Bound<'_, PyAny>>,
        scalar: f64,
        max_message_size: Option<usize>,
        max_model_length: Option<u64>,
        polling: Option<(f64, f64, f64, f64)>,
        keep_models: bool,
        pin: Option<PinTuple>,
        credential: Option<&[u8]>,
        identity: Option<&[u8]>,
        hand_over: bool,
    ) -> PyResult<Self> {
        let mut settings = settings(scalar, max_message_size, max_model_length, polling)?;
        settings.keep_models = keep_models;
        settings.hand_over = hand_over;
        pin::settle(&mut settings, pin, credential)?;
        let identity = pin::identity(identity)?;
        let machine = match state {
            None => {
                let root = RootSeed::new(seed(seed_bytes)?);
                match identity {
                    None => Machine::new(root, settings),
                    Some(keys) => Machine::with_keys(keys, root, settings),
                }
            }
            Some(saved) => Machine::restore(&read_state(saved)?, settings)
                .map_err(|error| ParticipantRestore::new_err(error.to_string()))?,
        };
        Ok(Self { machine: Mutex::new(machine), told: errors::Told::default() })
    }

    fn tick(&self, now: u64) -> PyResult<()> {
        self.handle(now, Input::Tick)
    }

    fn response(
        &self,
        now: u64,
        id: u64,
        status: u16,
        body: &[u8],
        retry_after: Option<&str>,
        content_type: Option<&str>,
    ) -> PyResult<()> {
        let response = Response::new(status, body.to_vec()).headers(retry_after, content_type);
        self.handle(now, Input::Response { id: RequestId(id), response })
    }

    fn fault(&self, now: u64, id: u64, kind: &str, reason: &str) -> PyResult<()> {
        let fault = match kind {
            "unreachable" => TransportFault::Unreachable(reason.into()),
            "timed_out" => TransportFault::TimedOut,
            "too_large" => TransportFault::TooLarge,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "a fault is \"unreachable\", \"timed_out\" or \"too_large\", not {kind:?}"
                )))
            }
        };
        self.handle(now, Input::Fault { id: RequestId(id), fault })
    }

    fn job_done(&self, now: u64, result: &JobResult) -> PyResult<()> {
        match result.take()? {
            Outcome::Participant(outcome) => self.handle(now, Input::JobDone(outcome)),
            outcome => {
                result.put_back(outcome);
                Err(of_another())
            }
        }
    }

    fn job_lost(&self, now: u64, id: u64) -> PyResult<()> {
        self.handle(now, Input::JobLost(JobId(id)))
    }

    fn set_model(&self, py: Python<'_>, now: u64, model: &Bound<'_, PyAny>) -> PyResult<()> {
        let prepared = self.prepare(py, model)?;
        self.set_prepared(py, now, &prepared)
    }

    /// Does what takes time in setting a model: on any thread.
    #[pyo3(name = "_prepare")]
    fn prepare(&self, py: Python<'_>, model: &Bound<'_, PyAny>) -> PyResult<PreparedModel> {
        let check = self.lock().model_check();
        let weights = weights_in::read(model, check.data_type())?;
        let checked = py.detach(|| check.check(weights));
        let checked = checked.map_err(|error| errors::model_error(&error))?;
        Ok(PreparedModel(Mutex::new(Some(checked))))
    }

    /// Sets a model that was prepared, once. It is here that the user is warned.
    #[pyo3(name = "_set_prepared")]
    fn set_prepared(&self, py: Python<'_>, now: u64, prepared: &PreparedModel) -> PyResult<()> {
        let slot = || prepared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let findings = slot().as_ref().and_then(|checked| checked.findings().cloned());
        if let Some(findings) = findings {
            // Where warnings are errors it is not set, and may be set again.
            errors::warn_of(py, &findings, &self.told)?;
        }
        let Some(checked) = slot().take() else {
            return Err(StaleInput::new_err("the model was set before"));
        };
        let set = self.lock().set_model(Timestamp::from_millis(now), checked);
        set.map_err(|refused| match refused {
            Refused::Model(error) => errors::model_error(&error),
            Refused::Reject(reject) => rejected(reject),
        })
    }

    fn fetch_model(&self, now: u64) -> PyResult<()> {
        self.handle(now, Input::FetchModel)
    }

    /// Answers may be held back for so many seconds.
    fn patience(&self, now: u64, seconds: f64) -> PyResult<()> {
        let most = Duration::try_from_secs_f64(seconds).map_err(|_| {
            PyValueError::new_err(format!(
                "answers can be held back for a number of seconds that is not negative, not for {}",
                Short(seconds)
            ))
        })?;
        self.handle(now, Input::Patience(most))
    }

    fn stop(&self, now: u64) -> PyResult<()> {
        self.handle(now, Input::Stop)
    }

    /// The next output: a tuple of its name and what belongs to it.
    #[pyo3(signature = (as_array))]
    fn poll_output<'py>(&self, py: Python<'py>, as_array: bool) -> PyResult<Bound<'py, PyTuple>> {
        let (polled, foreseen, patience) = {
            let mut machine = self.lock();
            let polled = machine.poll();
            let patience = match &polled {
                Polled::Output(Output::Request { id, .. }) => machine.core().patience(*id).cloned(),
                _ => None,
            };
            (polled, machine.take_foreseen(), patience)
        };
        if let Some(findings) = foreseen {
            // The model is set already, and the output must not be lost.
            self.warn_of(py, &findings);
        }
        let output = match polled {
            Polled::Output(output) => output,
            Polled::ModelRejected(error) => {
                let error = errors::model_error(&error).into_value(py);
                return ("model_rejected", error).into_pyobject(py);
            }
        };
        match output {
            Output::Request { id, call } => {
                let more = patience.as_ref().map(Patience::headers).unwrap_or_default();
                let more = more.into_iter().map(|(name, value)| (name, value.into()));
                (
                    "request",
                    id.0,
                    call.method(),
                    call.path_and_query(),
                    PyBytes::new(py, &call.body()),
                    call.headers().into_iter().chain(more).collect::<Vec<_>>(),
                    patience.map_or(0.0, |patience| patience.wait.as_secs_f64()),
                )
                    .into_pyobject(py)
            }
            Output::Cancel(id) => ("cancel", id.0).into_pyobject(py),
            Output::Job(job) => ("job", Py::new(py, Job::from(job))?).into_pyobject(py),
            Output::Event(event) => event_tuple(py, event, as_array),
            Output::Idle(idle) => {
                ("idle", idle.wake_at.map(Timestamp::as_millis), why_name(idle.why))
                    .into_pyobject(py)
            }
            // An output of a newer core.
            other => ("other", format!("{other:?}")).into_pyobject(py),
        }
    }

    #[getter]
    fn task(&self) -> &'static str {
        task_name(self.lock().core().task())
    }

    #[getter]
    fn needs_model(&self) -> bool {
        self.lock().needs_model()
    }

    #[getter]
    fn has_model(&self) -> bool {
        self.lock().has_model()
    }

    /// What was spent of its privacy: see `Participant._spent`.
    #[getter]
    fn spent(&self) -> Option<Spent> {
        let machine = self.lock();
        let core = machine.core();
        core.ledger().map(|ledger| pin::spent(ledger, core.settings().pin.as_ref()))
    }

    /// Multiplier and clip of the noise of the current round, if there is any.
    #[getter]
    fn noise(&self) -> Option<(f64, f64)> {
        self.lock().core().terms().and_then(|terms| pin::noise(terms))
    }

    /// Whether its time is the time of day.
    #[getter]
    fn needs_time_of_day(&self) -> bool {
        self.lock().core().needs_time_of_day()
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let key = self.lock().core().keys().public();
        PyBytes::new(py, key.as_bytes())
    }

    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let known = self.lock().core().parameters().cloned();
        known.map(|known| parameters(py, &known)).transpose()
    }

    /// Whether a warning of lost precision was given (see `simulate`, whose participants need not all give it).
    #[getter]
    fn told_of_precision(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Has no warning of precision be given by this participant, if another has in the same round.
    fn spare_precision(&self, other: &Self) {
        let told = *other.told.lock().unwrap_or_else(PoisonError::into_inner);
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let snapshot = self.lock().snapshot();
        let bytes = py.detach(|| snapshot.to_bytes());
        PyBytes::new(py, &bytes)
    }
}

impl ParticipantMachine {
    pub(super) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn warn_of(&self, py: Python<'_>, findings: &Findings) {
        if let Err(error) = errors::warn_of(py, findings, &self.told) {
            error.write_unraisable(py, None);
        }
    }

    fn handle(&self, now: u64, input: Input) -> PyResult<()> {
        self.lock().handle_input(Timestamp::from_millis(now), input).map_err(rejected)
    }
}

pub(super) fn rejected(reject: Reject) -> PyErr {
    match reject {
        Reject::Model(mismatch) => errors::model_error(&mismatch.into()),
        Reject::Stopped => errors::stopped(),
        stale => StaleInput::new_err(stale.to_string()),
    }
}

fn settings(
    scalar: f64,
    max_message_size: Option<usize>,
    max_model_length: Option<u64>,
    polling: Option<(f64, f64, f64, f64)>,
) -> PyResult<Settings> {
    let wrong = |error: String| ParticipantInit::new_err(error);
    let scalar = Scalar::from_f64(scalar).map_err(|error| wrong(error.to_string()))?;
    let mut settings = Settings::default().with_scalar(scalar);
    settings.max_message_size = message_size(max_message_size)?;
    if let Some(length) = max_model_length {
        settings.max_model_length = length;
    }
    if let Some((after_progress, initial, factor, max)) = polling {
        let seconds = |seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| wrong(format!("a pause of {} seconds: {error}", Short(seconds))))
        };
        settings.polling.after_progress = seconds(after_progress)?;
        settings.polling.initial = seconds(initial)?;
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(wrong(format!(
                "pauses grow by a factor of 1 or more from one look to the next, not by {}",
                Short(factor)
            )));
        }
        settings.polling.factor = factor;
        settings.polling.max = seconds(max)?;
    }
    Ok(settings)
}

/// The most bytes of a message; any number if none is given.
pub(crate) fn message_size(size: Option<usize>) -> PyResult<MessageSize> {
    let size = size.map_or(Ok(MessageSize::UNLIMITED), MessageSize::at_most);
    size.map_err(|error| ParticipantInit::new_err(error.to_string()))
}

fn why_name(why: Why) -> &'static str {
    match why {
        Why::Poll => "poll",
        Why::LocalModel => "local_model",
        Why::Answer => "answer",
        Why::Job => "job",
        Why::LostJob => "lost_job",
        Why::Stopped => "stopped",
        _ => "other",
    }
}

pub(super) fn event_tuple<'py>(
    py: Python<'py>,
    event: Event,
    as_array: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        Event::NewRound { task, parameters: known } => {
            ("new_round", task_name(task), parameters(py, &known)?).into_pyobject(py)
        }
        Event::ModelNeeded { data_type, length } => {
            ("model_needed", type_name(data_type), length).into_pyobject(py)
        }
        Event::ModelOutdated => ("model_outdated",).into_pyobject(py),
        Event::ModelMasked(report) => {
            ("model_masked", report.clamped, report.largest_clamped, report.scalar_clamped)
                .into_pyobject(py)
        }
        Event::Progress { tag, sent, total } => {
            ("progress", tag.name(), sent, total).into_pyobject(py)
        }
        Event::Sent(tag) => ("sent", tag.name()).into_pyobject(py),
        Event::Rejected { tag, problem } => {
            ("rejected", tag.name(), problem.name.as_ref(), problem.status, problem.detail.as_str())
                .into_pyobject(py)
        }
        Event::GaveUp(error) => ("gave_up", error.to_string()).into_pyobject(py),
        Event::Trouble(trouble) => {
            ("trouble", trouble.call, trouble.reason.to_string()).into_pyobject(py)
        }
        Event::GlobalModel(model) => {
            let model = match model {
                None => None,
                Some(model) if as_array => Some(weights_out::to_array(py, &model)?),
                Some(model) => Some(weights_out::to_list(py, &model)?.into_any()),
            };
            ("global_model", model).into_pyobject(py)
        }
        Event::GlobalModelFailed(error) => {
            ("global_model_failed", errors::fetch_error(&error).into_value(py)).into_pyobject(py)
        }
        Event::Refused(refusal) => {
            ("refused", errors::refused(py, &refusal).into_value(py)).into_pyobject(py)
        }
        Event::Certified { round, count, included } => {
            ("certified", round, count, included).into_pyobject(py)
        }
        Event::NotCertified { round, reason } => {
            ("not_certified", round, reason.unwrap_or_default()).into_pyobject(py)
        }
        Event::BudgetSpent { round, spent, delta, budget } => {
            ("budget_spent", round, spent, delta, budget).into_pyobject(py)
        }
        other => ("other", format!("{other:?}")).into_pyobject(py),
    }
}
