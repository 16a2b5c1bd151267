//! The coordinator in this process.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pet_coordinator::{Coordinator, Options};
use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::errors::{CoordinatorInit, XaynetError};
use crate::{settings, weights_in, weights_out};

/// Threads for its sockets and its machine; jobs have the cores' own.
const WORKERS: usize = 2;
/// How often a wait for the end looks whether the user has pressed Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// A running coordinator on a port of this machine, with its records in memory.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_CoordinatorServer", frozen)]
pub(crate) struct CoordinatorServer {
    address: SocketAddr,
    tls: bool,
    process: u32,
    running: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    coordinator: Coordinator,
}

#[pymethods]
impl CoordinatorServer {
    #[new]
    fn new(
        py: Python<'_>,
        settings: Vec<(String, String)>,
        seed: Option<&[u8]>,
        initial_model: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let seed = seed.map(|bytes| crate::protocol::seed(Some(bytes))).transpose()?;
        let loaded = settings::load(settings)?;
        let tls = loaded.settings.api.tls_certificate.is_some();
        let mut options = Options::default();
        options.seed = seed;
        let wanted = loaded.settings.mask.data_type();
        let initial_model = initial_model.map(|model| weights_in::read(model, Some(wanted)));
        options.initial_model = initial_model.transpose().map_err(|error| {
            CoordinatorInit::new_err(format!("the initial model cannot be used: {error}"))
        })?;
        let started = py.detach(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(WORKERS)
                .thread_name("xaynet-coordinator")
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            let coordinator = runtime
                .block_on(Coordinator::start_with(loaded.settings, options))
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(Running { runtime, coordinator })
        });
        let running = started.map_err(CoordinatorInit::new_err)?;
        Ok(Self {
            address: running.coordinator.local_addr(),
            tls,
            process: std::process::id(),
            running: Mutex::new(Some(running)),
        })
    }

    /// The URL that it listens on: `http://127.0.0.1:8081`.
    #[getter]
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its status as JSON, as from `/status`.
    fn status(&self) -> PyResult<String> {
        let status = match &*self.running()? {
            Some(running) => running.coordinator.status(),
            None => return Err(stopped()),
        };
        serde_json::to_string(&status).map_err(|error| XaynetError::new_err(error.to_string()))
    }

    /// The rounds whose models are kept.
    fn rounds(&self) -> PyResult<Vec<u64>> {
        let models = match &*self.running()? {
            Some(running) => running.coordinator.models().clone(),
            None => return Err(stopped()),
        };
        Ok(models.rounds())
    }

    /// The global model of a round, if it is kept.
    fn global_model<'py>(
        &self,
        py: Python<'py>,
        round: u64,
        as_array: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let models = match &*self.running()? {
            Some(running) => running.coordinator.models().clone(),
            None => return Err(stopped()),
        };
        let model = py
            .detach(|| models.load(round))
            .map_err(|error| XaynetError::new_err(error.to_string()))?;
        match model.and_then(|model| model.weights) {
            None => Ok(None),
            Some(model) if as_array => weights_out::to_array(py, &model).map(Some),
            Some(model) => Ok(Some(weights_out::to_list(py, &model)?.into_any())),
        }
    }

    /// Stops, after answering the requests in flight for at most so many seconds. Once more does
    /// nothing.
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let running = self.running()?.take();
        let Some(Running { runtime, coordinator }) = running else {
            return Ok(());
        };
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        let deadline = Instant::now().checked_add(timeout);
        let mut shutdown = Box::pin(coordinator.shutdown());
        let result = loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = left.unwrap_or(SIGNAL_INTERVAL).min(SIGNAL_INTERVAL);
            let result = py.detach(|| {
                runtime.block_on(async { tokio::time::timeout(slice, shutdown.as_mut()).await })
            });
            match (result, py.check_signals()) {
                (_, Err(interrupted)) => break Err(interrupted),
                (Ok(Ok(())), _) => break Ok(()),
                (Ok(Err(error)), _) => break Err(XaynetError::new_err(error.to_string())),
                // Whoever is still being answered at the end of the time is cut off.
                (Err(_), _) if left.is_some_and(|left| left <= slice) => break Ok(()),
                (Err(_), _) => {}
            }
        };
        py.detach(|| {
            drop(shutdown);
            runtime.shutdown_background();
        });
        result
    }
}

impl CoordinatorServer {
    fn running(&self) -> PyResult<MutexGuard<'_, Option<Running>>> {
        if self.process != std::process::id() {
            return Err(XaynetError::new_err(
                "the coordinator runs in the process that made it, and this one was forked from that",
            ));
        }
        Ok(self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for CoordinatorServer {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { runtime, coordinator }) = running {
            if self.process == std::process::id() {
                drop(coordinator);
                // Waiting for threads is nothing for a destructor.
                runtime.shutdown_background();
            } else {
                // Its threads do not exist in a forked process.
                std::mem::forget((runtime, coordinator));
            }
        }
    }
}

fn stopped() -> PyErr {
    XaynetError::new_err("the coordinator was stopped")
}
