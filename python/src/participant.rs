//! The class `Participant`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pet_participant::rounds::Over;
use pet_participant::{CheckedModel, Driver, Gone, News, Short, Store, View};
use pet_transport_blocking::core::crypto::Task;
use pet_transport_blocking::core::model::Scalar;
use pet_transport_blocking::core::participant::Snapshot;
use pet_transport_blocking::core::v2::Pin;
use pet_transport_blocking::{Config, Tls};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::{self, ParticipantInit};
use crate::pin::{self, PinTuple, Spent};
use crate::protocol::message_size;
use crate::state_file::StateFile;
use crate::state_in::read_state;
use crate::{exit, logging, weights_in, weights_out};

/// How long a call waits before it looks whether the user has pressed Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// A participant that works on a native thread of its own from now on, until `save()`.
///
/// `scalar` weighs its local models: the global model is sum(s_i * w_i) / sum(s_i). `state` is what
/// `save()` gave earlier. `timeout` is the longest wait for an answer of the coordinator, in seconds. `tls` has
/// certificates in PEM form: those of authorities, then one to show and its key. Messages of more than
/// `max_message_size` bytes are split. In `state_file` the state is kept, and read from there if none is given.
///
/// Raises CryptoInit, ParticipantInit or ParticipantRestore.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", frozen)]
pub(crate) struct Participant {
    driver: Arc<Driver>,
    ticks: Mutex<Ticks>,
    told: errors::Told,
    pin: Option<Pin>,
    /// Until it is saved: then another participant may have it.
    state_file: Mutex<Option<Arc<StateFile>>>,
}

/// In PEM form: authorities to trust instead of the web's; a certificate to show, and its key.
type Certificates = (Option<PyBackedBytes>, Option<(PyBackedBytes, PyBackedBytes)>);

/// What the last `tick()` knew.
#[derive(Debug, Default)]
struct Ticks {
    happened: u64,
    progress: u64,
    made_progress: bool,
}

#[pymethods]
impl Participant {
    #[new]
    #[pyo3(signature = (
        url, scalar, state=None, *, timeout=60.0, tls=None, keep_models=true, max_message_size=None,
        pin=None, credential=None, identity=None, state_file=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords, for whoever calls it")]
    fn new(
        py: Python<'_>,
        url: &str,
        scalar: f64,
        state: Option<&Bound<'_, PyAny>>,
        timeout: f64,
        tls: Option<Certificates>,
        keep_models: bool,
        max_message_size: Option<usize>,
        pin: Option<PinTuple>,
        credential: Option<&[u8]>,
        identity: Option<&[u8]>,
        state_file: Option<PathBuf>,
    ) -> PyResult<Self> {
        let mut config = Config::new(url).map_err(errors::participant_error)?;
        config.settings.scalar = Scalar::from_f64(scalar)
            .map_err(|error| ParticipantInit::new_err(error.to_string()))?;
        config.settings.keep_models = keep_models;
        config.settings.max_message_size = message_size(max_message_size)?;
        pin::settle(&mut config.settings, pin, credential)?;
        let (pin, identity) = (config.settings.pin, pin::identity(identity)?);
        let answer = Duration::try_from_secs_f64(timeout)
            .ok()
            .filter(|answer| !answer.is_zero())
            .ok_or_else(|| {
            ParticipantInit::new_err(format!(
                "timeout must be a positive number of seconds, and {} is not",
                Short(timeout)
            ))
        })?;
        config.tls = tls.map(read_tls).transpose()?.unwrap_or_default();
        config.limits.answer = answer;
        config.limits.connect = config.limits.connect.min(answer);
        let state_file = state_file.map(|path| StateFile::open(&path)).transpose()?.map(Arc::new);
        let state = match (state, &state_file) {
            (Some(state), _) => Some(read_state(state)?),
            (None, Some(file)) => file.read()?,
            (None, None) => None,
        };
        let store = state_file.as_ref().map(Arc::downgrade).map(|file| -> Store {
            // Nothing is written any more once the last state is.
            Box::new(move |state: &Snapshot| match file.upgrade() {
                Some(file) => file.write(&state.to_bytes()),
                None => Err(std::io::Error::other("the participant was stopped")),
            })
        });
        let driver = py.detach(|| {
            Driver::start_stored(config, identity, state.as_ref().map(|bytes| &bytes[..]), store)
        });
        let driver = driver.map_err(errors::start_error)?;
        exit::remember(&driver);
        Ok(Self {
            driver,
            ticks: Mutex::default(),
            told: errors::Told::default(),
            pin,
            state_file: Mutex::new(state_file),
        })
    }

    /// Waits until something happens, at most `timeout` seconds. Afterwards the other methods tell
    /// what is due.
    #[pyo3(signature = (timeout=0.1))]
    fn tick(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let timeout = Duration::try_from_secs_f64(timeout).map_err(|error| {
            PyValueError::new_err(format!("timeout={}: {error}", Short(timeout)))
        })?;
        let seen = self.ticks().happened;
        wait(py, Some(timeout), |slice| Ok(self.driver.wait_beyond(seen, slice)?.then_some(())))?;
        let View { happened, progress, .. } = self.view()?;
        {
            let mut ticks = self.ticks();
            ticks.made_progress = progress > ticks.progress;
            ticks.happened = happened;
            ticks.progress = progress;
        }
        self.tell(py)
    }

    /// Whether the participant made progress in the last `tick()`.
    fn made_progress(&self) -> PyResult<bool> {
        self.view()?;
        Ok(self.ticks().made_progress)
    }

    /// Whether the participant is to update the global model and waits for a local model.
    fn should_set_model(&self) -> PyResult<bool> {
        Ok(self.view()?.model_needed)
    }

    /// What the participant does in the current round: 0 nothing, 1 sum, 2 update.
    fn task(&self) -> PyResult<u8> {
        Ok(match self.driver.task().map_err(errors::gone)? {
            Task::Sum => 1,
            Task::Update => 2,
            _ => 0,
        })
    }

    /// Whether a new round has begun since the global model was last fetched: there may be a new one.
    fn new_global_model(&self) -> PyResult<bool> {
        Ok(self.view()?.new_global_model)
    }

    /// How many rounds have begun while this participant was there. One that it is restored in counts, too,
    /// as soon as it gets on in it.
    fn rounds(&self) -> PyResult<u64> {
        Ok(self.view()?.rounds)
    }

    /// Sets the local model: a list of numbers, or any one-dimensional array or buffer of numbers. It
    /// is used when the participant next updates; until then a later call replaces it. It may be set at
    /// any time: before the first contact with the coordinator it is kept and checked later, and what
    /// is wrong with it then is logged, and raised by the next call of this method or of
    /// `global_model()`, which does nothing else.
    ///
    /// A restored participant, too, does not know the current round before the first contact.
    ///
    /// Raises LocalModelLengthMisMatch or LocalModelDataTypeMisMatch. Warns with ClampWarning of weights
    /// beyond the bound of the coordinator's mask config, and once with PrecisionWarning if the scalar is too small
    /// for it, as far as that is known.
    fn set_model(&self, py: Python<'_>, model: &Bound<'_, PyAny>) -> PyResult<()> {
        let checked = self.check(py, model)?;
        py.detach(|| self.driver.set_model(checked)).map_err(errors::set_error)
    }

    /// Sets the local model, for the participant's round of this number (as `rounds()` gives it) only. Tells whether
    /// that round is still on: if not, nothing was done.
    #[pyo3(name = "_set_model_for")]
    fn set_model_for(
        &self,
        py: Python<'_>,
        model: &Bound<'_, PyAny>,
        round: u64,
    ) -> PyResult<bool> {
        let checked = self.check(py, model)?;
        py.detach(|| self.driver.set_model_for(round, checked)).map_err(errors::set_error)
    }

    /// The number of the round whose global model was fetched last, as `rounds()` gives it; 0 before.
    #[pyo3(name = "_fetched_in")]
    fn fetched_in(&self) -> PyResult<u64> {
        Ok(self.view()?.fetched_in)
    }

    /// What a participant of version 2 has spent of its privacy: as an epsilon, for which delta, in how many rounds, and
    /// the epsilon of its budget. None for one of version 1.
    #[pyo3(name = "_spent")]
    fn spent(&self) -> PyResult<Option<Spent>> {
        let ledger = self.driver.ledger().map_err(errors::gone)?;
        Ok(ledger.map(|ledger| pin::spent(&ledger, self.pin.as_ref())))
    }

    /// Multiplier and clip of the noise of the current round, if there is any.
    #[pyo3(name = "_noise")]
    fn noise(&self) -> PyResult<Option<(f64, f64)>> {
        let terms = self.driver.terms().map_err(errors::gone)?;
        Ok(terms.and_then(|terms| pin::noise(&terms)))
    }

    /// The news since the last call, about local models and rounds: a list of tuples of a name and what belongs
    /// to it.
    #[pyo3(name = "_news")]
    fn news<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let news = self.driver.take_news().map_err(errors::gone)?.into_iter();
        news.map(|news| news_tuple(py, news)).collect()
    }

    /// The participant's public key, by which the coordinator knows it: 32 bytes.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.driver.public_key().as_bytes())
    }

    /// Raises what was wrong with a local model that was set earlier and could not be checked then, once.
    fn raise_model_error(&self, py: Python<'_>) -> PyResult<()> {
        self.tell(py)?;
        match self.driver.take_model_error().map_err(errors::gone)? {
            Some(error) => Err(errors::model_error(&error)),
            None => Ok(()),
        }
    }

    /// Fetches the global model: a list, or a NumPy array with `as_array`; None while there is none.
    ///
    /// Raises GlobalModelUnavailable if the coordinator cannot be reached, GlobalModelDataTypeMisMatch if
    /// the model has weights that its data type does not have.
    #[pyo3(signature = (as_array=false))]
    fn global_model<'py>(
        &self,
        py: Python<'py>,
        as_array: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.raise_model_error(py)?;
        let fetch = self.driver.fetch_model().map_err(errors::gone)?;
        let answer = wait(py, None, |slice| fetch.wait(slice))?;
        drop(fetch);
        let model = match answer {
            Some(Ok(Some(model))) => model,
            Some(Ok(None)) | None => return Ok(None),
            Some(Err(error)) => return Err(errors::fetch_error(&error)),
        };
        if as_array {
            weights_out::to_array(py, &model).map(Some)
        } else {
            Ok(Some(weights_out::to_list(py, &model)?.into_any()))
        }
    }

    /// Stops the participant at once, whatever it is doing, and gives the state to go on from: a list of
    /// integers, and bytes at the same time. It holds secret keys. Every call afterwards raises UninitializedParticipant.
    fn save<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (state, notices) = py.detach(|| self.driver.save()).map_err(errors::gone)?;
        // A log handler that fails must not lose the state.
        if let Err(error) = logging::tell(py, &self.driver.name(), notices) {
            error.write_unraisable(py, None);
        }
        let file = self.state_file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(file) = file {
            // The state is given all the same: it must not be lost.
            if let Err(error) = py.detach(|| file.write_final(&state)) {
                PyErr::from(error).write_unraisable(py, None);
            }
        }
        let state = PyBytes::new(py, &state);
        py.import("xaynet_sdk._saved")?.getattr("SavedState")?.call1((state,))
    }

    /// Stops the participant at once: calls that wait and later ones raise UninitializedParticipant,
    /// except for one of `save()`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.driver.close()).map_err(errors::gone)
    }
}

impl Participant {
    fn ticks(&self) -> MutexGuard<'_, Ticks> {
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> PyResult<View> {
        self.driver.view().map_err(errors::gone)
    }

    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        let notices = self.driver.take_notices().map_err(errors::gone)?;
        logging::tell(py, &self.driver.name(), notices)
    }

    /// Reads a local model, looks it over, and warns of what masking will do to it. Where warnings are errors it is
    /// not set.
    fn check(&self, py: Python<'_>, model: &Bound<'_, PyAny>) -> PyResult<CheckedModel> {
        self.raise_model_error(py)?;
        let check = self.driver.model_check().map_err(errors::gone)?;
        let weights = weights_in::read(model, check.data_type())?;
        let checked = py.detach(|| check.check(weights));
        let checked = checked.map_err(|error| errors::model_error(&error))?;
        if let Some(findings) = checked.findings() {
            errors::warn_of(py, findings, &self.told)?;
        }
        Ok(checked)
    }
}

fn news_tuple(py: Python<'_>, news: News) -> PyResult<Bound<'_, PyTuple>> {
    match news {
        News::Round => ("round",).into_pyobject(py),
        News::Masked => ("masked",).into_pyobject(py),
        News::Outdated => ("outdated",).into_pyobject(py),
        News::Sent => ("sent",).into_pyobject(py),
        News::Rejected { late, why } => ("rejected", late, why).into_pyobject(py),
        News::GaveUp(why) => ("gave_up", why).into_pyobject(py),
        News::Over(over) => over_tuple(py, over),
        News::Refused(refusal) => {
            ("refused", errors::refused(py, &refusal).into_value(py)).into_pyobject(py)
        }
        News::Certified { round, count, included } => {
            ("certified", round, count, included).into_pyobject(py)
        }
        News::NotCertified { round, why } => ("not_certified", round, why).into_pyobject(py),
        // News of a newer participant, which nobody asks about.
        _ => ("other",).into_pyobject(py),
    }
}

/// Of a round that is over.
pub(crate) fn over_tuple(py: Python<'_>, over: Over) -> PyResult<Bound<'_, PyTuple>> {
    let (reason, why) = over.failure.unzip();
    ("over", over.id, reason, why).into_pyobject(py)
}

/// Waits without the interpreter's lock, in slices, between which Ctrl-C is heard.
fn wait<R: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    wait_for: impl Fn(Duration) -> Result<Option<R>, Gone> + Sync,
) -> PyResult<Option<R>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.unwrap_or(SIGNAL_INTERVAL).min(SIGNAL_INTERVAL);
        let result = py.detach(|| wait_for(slice)).map_err(errors::gone)?;
        py.check_signals()?;
        if result.is_some() || left.is_some_and(|left| left <= slice) {
            return Ok(result);
        }
    }
}

fn read_tls((authorities, identity): Certificates) -> PyResult<Tls> {
    let mut tls = Tls::default();
    if let Some(authorities) = authorities {
        tls = tls.trusting(&authorities).map_err(errors::participant_error)?;
    }
    if let Some((certificate, key)) = identity {
        tls = tls.with_identity(&certificate, &key).map_err(errors::participant_error)?;
    }
    Ok(tls)
}
