//! Calls over HTTP.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use pet_core::participant::TransportFault;
use pet_core::request::{Call, CoordinatorUrl, RequestLimits, Response};

use crate::Tls;

/// Sends calls to one coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: CoordinatorUrl,
    limits: RequestLimits,
}

impl Client {
    pub(crate) fn new(url: CoordinatorUrl, limits: RequestLimits, tls: Tls) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.answer))
            // A message that is redirected would become a GET without it, and count as delivered.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(limits.total))
            .http_status_as_error(false)
            .tls_config(tls.config())
            .user_agent(concat!("pet-transport-blocking/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: ureq::Agent::new_with_config(config), url, limits }
    }

    /// Sends a call and reads the answer, whatever its status.
    pub(crate) fn send(&self, call: &Call) -> Result<Response, TransportFault> {
        let url = self.url.of(call);
        let headers = call.headers().iter();
        let answer = match call {
            Call::Message(body) => headers
                .fold(self.agent.post(url), |request, (name, value)| request.header(*name, *value))
                .send(&body[..]),
            _ => headers
                .fold(self.agent.get(url), |request, (name, value)| request.header(*name, *value))
                .call(),
        };
        let answer = answer.map_err(|error| fault(&error))?;
        let status = answer.status().as_u16();
        let (parts, body) = answer.into_parts();
        let body = read(body, self.limits.max_body_of(call))?;
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Response::new(status, body).headers(header("retry-after"), header("content-type")))
    }

    /// Gets what is at a path below the coordinator's URL: beside the protocol.
    pub(crate) fn get(
        &self,
        path: &str,
        time: Duration,
        most: u64,
    ) -> Result<Response, TransportFault> {
        let request = self.agent.get(format!("{}{path}", self.url.as_str()));
        let answer = request.config().timeout_global(Some(time)).build().call();
        let (parts, body) = answer.map_err(|error| fault(&error))?.into_parts();
        Ok(Response::new(parts.status.as_u16(), read(body, most)?))
    }
}

fn read(body: ureq::Body, limit: u64) -> Result<Bytes, TransportFault> {
    let announced = body.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(TransportFault::TooLarge);
    }
    // A lying length does no harm: memory is taken as the bytes come.
    let expected = announced.unwrap_or(0).min(1 << 20);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    let mut reader = body.into_with_config().limit(u64::MAX).reader().take(limit.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|error| match error.downcast::<ureq::Error>() {
        Ok(error) => fault(&error),
        Err(error) => TransportFault::Unreachable(error.to_string()),
    })?;
    if bytes.len() as u64 > limit {
        return Err(TransportFault::TooLarge);
    }
    Ok(bytes.into())
}

fn fault(error: &ureq::Error) -> TransportFault {
    match error {
        ureq::Error::Timeout(_) => TransportFault::TimedOut,
        error => TransportFault::Unreachable(error.to_string()),
    }
}
