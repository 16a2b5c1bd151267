//! Proxies and certificate authorities, for those that send requests in Python themselves.

use pet_transport_blocking::core::request::CoordinatorUrl;
use pet_transport_blocking::network::{explain, redirected, Environment, Proxy};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::ParticipantInit;

/// How a coordinator is reached: through which proxy, and with whose certificates, as the environment says; without
/// `environment`, straight.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", frozen, name = "_Network")]
pub(crate) struct Network {
    url: CoordinatorUrl,
    proxy: Option<Proxy>,
    authorities: Option<Vec<u8>>,
}

#[pymethods]
impl Network {
    #[new]
    fn new(url: &str, environment: bool) -> PyResult<Self> {
        let refused = |error: &dyn std::fmt::Display| ParticipantInit::new_err(error.to_string());
        let url = CoordinatorUrl::parse(url).map_err(|error| refused(&error))?;
        let environment = match environment {
            true => Environment::of_process(),
            false => Environment::default(),
        };
        let proxy = environment.proxy_for(&url).map_err(|error| refused(&error))?;
        let authorities = url.is_https().then(|| environment.authorities()).transpose();
        let authorities = authorities.map_err(|error| refused(&error))?.flatten();
        Ok(Self { url, proxy, authorities: authorities.map(|found| found.pem().to_vec()) })
    }

    /// The coordinator's URL, without a slash at its end.
    #[getter]
    fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The proxy: its URL, user name and password.
    #[getter]
    fn proxy(&self) -> Option<(&str, Option<(String, String)>)> {
        self.proxy.as_ref().map(|proxy| (proxy.url(), proxy.user()))
    }

    /// The certificates to trust instead of the web's, in PEM form.
    #[getter]
    fn authorities<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.authorities.as_ref().map(|pem| PyBytes::new(py, pem))
    }

    /// An error of an HTTP library in words.
    fn explain(&self, error: &str) -> String {
        explain(&self.url, self.proxy.as_ref(), error)
    }

    /// Where an answer sends participants, in words.
    fn redirected(&self, path: &str, status: u16, location: Option<&str>) -> String {
        redirected(&self.url, path, status, location)
    }
}
