//! Calls over HTTP.

use std::time::Duration;

use pet_core::participant::TransportFault;
use pet_core::problem::Problem;
use pet_core::request::{CoordinatorUrl, Response};
use pet_core::v2::Call;

use crate::Failure;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Speaks to a coordinator.
pub struct Client {
    agent: ureq::Agent,
    url: CoordinatorUrl,
}

impl Client {
    pub fn new(url: &str) -> Result<Self, Failure> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false);
        Ok(Self { agent: config.build().into(), url: CoordinatorUrl::parse(url)? })
    }

    /// Makes a call; the answer, whatever its status.
    pub fn call(&self, call: &Call) -> Result<Response, TransportFault> {
        let url = format!("{}{}", self.url.as_str(), call.path_and_query());
        let headers = call.headers().iter();
        let answer = match call.method() {
            "POST" => headers
                .fold(self.agent.post(url), |request, (name, value)| request.header(*name, *value))
                .send(&call.body()[..]),
            _ => headers
                .fold(self.agent.get(url), |request, (name, value)| request.header(*name, *value))
                .call(),
        };
        let unreachable = |error: ureq::Error| TransportFault::Unreachable(error.to_string());
        let (parts, mut body) = answer.map_err(unreachable)?.into_parts();
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let bytes = body.read_to_vec().map_err(unreachable)?;
        let response = Response::new(parts.status.as_u16(), bytes);
        Ok(response.headers(header("retry-after"), header("content-type")))
    }

    /// Makes a call that must be answered with what was asked for; its bytes.
    pub fn done(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let response = self.call(call)?;
        match response.status {
            200 => Ok(response.body.to_vec()),
            status => {
                Err(format!("{call:?} is answered with {status}, {}", answer(&response)).into())
            }
        }
    }
}

/// What became of a message: `taken`, or the name of the problem.
pub fn answer(response: &Response) -> String {
    match (response.status, Problem::of(response)) {
        (200, _) => "taken".to_owned(),
        (_, Some(problem)) => problem.name.into_owned(),
        (status, None) => format!("status_{status}"),
    }
}
