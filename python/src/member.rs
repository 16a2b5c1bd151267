//! A member of a group of version 2 in this process.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pet_coordinator::member::{Directory, MemberService, MemberWatch, ServiceConfig};
use pet_transport_blocking::core::v2::{Budget, Pin, RosterHash};
use pet_transport_blocking::{MemberConfig, Tls};
use pyo3::prelude::*;

use crate::errors::{MemberInit, XaynetError};

/// A member on a thread of its own, with its key and its state in a directory.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_MemberService", frozen)]
pub(crate) struct Service {
    process: u32,
    watch: MemberWatch,
    public_key: String,
    running: Mutex<Option<MemberService>>,
}

/// Authorities, and a certificate with its key.
type TlsFiles = (Option<Vec<u8>>, Option<(Vec<u8>, Vec<u8>)>);

#[pymethods]
impl Service {
    #[new]
    #[allow(clippy::too_many_arguments, reason = "the wrapper in Python names them")]
    fn new(
        py: Python<'_>,
        url: &str,
        roster: &str,
        data_dir: PathBuf,
        n_min: u64,
        budget: Option<(f64, f64)>,
        least_noise: Option<u32>,
        poll: f64,
        tls: TlsFiles,
    ) -> PyResult<Self> {
        let roster: RosterHash = roster.parse().map_err(failed)?;
        let mut pin = Pin::new(roster, n_min);
        pin.budget = budget.map(|(epsilon, delta)| Budget::new(epsilon, delta));
        let mut driver = MemberConfig::new(url).map_err(failed)?;
        driver.settings = driver.settings.with_least_noise(least_noise);
        driver.settings.polling.max = Duration::try_from_secs_f64(poll).map_err(failed)?;
        driver.tls = read_tls(tls)?;
        // Who stops it waits for a request that is under way.
        driver.limits.answer = Duration::from_secs(20);
        let config = ServiceConfig::new(data_dir, pin, driver);
        let service = py.detach(|| MemberService::start(config)).map_err(failed)?;
        Ok(Self {
            process: std::process::id(),
            watch: service.watch(),
            public_key: service.public_key().to_string(),
            running: Mutex::new(Some(service)),
        })
    }

    #[getter]
    fn public_key(&self) -> String {
        self.public_key.clone()
    }

    /// How it stands, as JSON.
    fn status(&self) -> PyResult<String> {
        self.look()?;
        Ok(self.watch.page().to_json())
    }

    /// What is wrong with it.
    fn complaint(&self) -> PyResult<Option<String>> {
        self.look()?;
        Ok(self.watch.complaint())
    }

    /// Whether it still runs.
    fn is_running(&self) -> PyResult<bool> {
        Ok(self.running()?.as_ref().is_some_and(MemberService::is_running))
    }

    /// Stops it, and waits until it has let go of its directory. Once more does nothing.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let service = self.running()?.take();
        if let Some(service) = service {
            py.detach(|| service.stop());
        }
        Ok(())
    }
}

impl Service {
    /// Refuses to look from a process that was forked.
    fn look(&self) -> PyResult<()> {
        self.running().map(drop)
    }

    fn running(&self) -> PyResult<MutexGuard<'_, Option<MemberService>>> {
        if self.process != std::process::id() {
            return Err(XaynetError::new_err(
                "the member runs in the process that started it, and this one was forked from that",
            ));
        }
        Ok(self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let service = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(service) = service else { return };
        if self.process != std::process::id() {
            // Its thread does not exist in a forked process.
            std::mem::forget(service);
            return;
        }
        // Waiting for a thread that waits for an answer is nothing for a destructor.
        std::thread::spawn(move || drop(service));
    }
}

/// Makes the directory and the key of a member, and gives the key's public half; that of the key that is there if there is
/// one.
#[pyfunction(name = "_member_key")]
pub(crate) fn member_key(py: Python<'_>, data_dir: PathBuf) -> PyResult<String> {
    let keys = py.detach(|| {
        let directory = Directory::open(&data_dir)?;
        match directory.key_file().exists() {
            true => directory.key(None),
            false => directory.create_key(),
        }
    });
    Ok(keys.map_err(failed)?.public().to_string())
}

fn read_tls((ca, identity): TlsFiles) -> PyResult<Tls> {
    let mut tls = Tls::default();
    if let Some(pem) = ca {
        tls = tls.trusting(&pem).map_err(failed)?;
    }
    if let Some((certificate, key)) = identity {
        tls = tls.with_identity(&certificate, &key).map_err(failed)?;
    }
    Ok(tls)
}

fn failed(error: impl std::fmt::Display) -> PyErr {
    MemberInit::new_err(error.to_string())
}
