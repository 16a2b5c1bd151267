//! Calls over HTTP.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use pet_core::participant::TransportFault;
use pet_core::request::{Call, CoordinatorUrl, Patience, RequestLimits, Response};

use pet_network::{explain, redirected, Proxy};

use crate::{Config, Error};

/// Sends calls to one coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: CoordinatorUrl,
    limits: RequestLimits,
    tls: ureq::tls::TlsConfig,
    proxy: Option<Proxy>,
}

impl Client {
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let Config { url, limits, mut tls, environment, .. } = config;
        let proxy = environment.proxy_for(&url)?;
        if url.is_https() && tls.trusts_the_web() {
            if let Some(authorities) = environment.authorities()? {
                tls = tls.trusting(authorities.pem())?;
            }
        }
        let tls = tls.config();
        let agent = make(&url, &limits, &tls, proxy.as_ref())?;
        Ok(Self { agent, url, limits, tls, proxy })
    }

    /// A line of its own to the same coordinator, which can be hung up.
    pub(crate) fn line(&self) -> Result<Self, Error> {
        let agent = make(&self.url, &self.limits, &self.tls, self.proxy.as_ref())?;
        Ok(Self { agent, ..self.clone() })
    }

    /// Ends what is being sent or waited for on this line, on any thread. Nothing more can be sent on it.
    pub(crate) fn hang_up(self) {
        self.agent.shutdown();
    }

    /// How long answers may be held back.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.patience()
    }

    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Sends a call and reads the answer, whatever its status.
    pub(crate) fn send(&self, call: &Call) -> Result<Response, TransportFault> {
        self.exchange(call, None)
    }

    /// The same for a call whose answer may be held back.
    pub(crate) fn send_patiently(
        &self,
        call: &Call,
        patience: &Patience,
    ) -> Result<Response, TransportFault> {
        self.exchange(call, Some(patience))
    }

    fn exchange(
        &self,
        call: &Call,
        patience: Option<&Patience>,
    ) -> Result<Response, TransportFault> {
        let url = self.url.of(call);
        let headers = call.headers();
        let headers = headers.iter().map(|(name, value)| (*name, &**value));
        let answer = match call.method() {
            "POST" => headers
                .fold(self.agent.post(url), |request, (name, value)| request.header(name, value))
                .send(&call.body()[..]),
            _ => {
                let request = headers.fold(self.agent.get(url), |request, (name, value)| {
                    request.header(name, value)
                });
                match patience {
                    None => request.call(),
                    Some(patience) => {
                        let time = self.limits.answer.saturating_add(patience.wait);
                        let headers = patience.headers().into_iter();
                        headers
                            .fold(request, |request, (name, value)| request.header(name, value))
                            .config()
                            .timeout_recv_response(Some(time))
                            .build()
                            .call()
                    }
                }
            }
        };
        let answer = answer.map_err(|error| self.fault(&error))?;
        let status = answer.status().as_u16();
        let (parts, body) = answer.into_parts();
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let is_known = status == 304 && patience.is_some_and(|patience| patience.known.is_some());
        if matches!(status, 300..=399) && !is_known {
            let words = redirected(&self.url, &call.path_and_query(), status, header("location"));
            return Err(TransportFault::Unreachable(words));
        }
        if let (407, Some(_)) = (status, &self.proxy) {
            return Err(self.unreachable("HTTP status 407"));
        }
        let body = self.read(body, self.limits.max_body_of(call))?;
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
        let (parts, body) = answer.map_err(|error| self.fault(&error))?.into_parts();
        Ok(Response::new(parts.status.as_u16(), self.read(body, most)?))
    }

    fn read(&self, body: ureq::Body, limit: u64) -> Result<Bytes, TransportFault> {
        let announced = body.content_length();
        if announced.is_some_and(|length| length > limit) {
            return Err(TransportFault::TooLarge);
        }
        // A lying length does no harm: memory is taken as the bytes come.
        let expected = announced.unwrap_or(0).min(1 << 20);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        let mut reader =
            body.into_with_config().limit(u64::MAX).reader().take(limit.saturating_add(1));
        reader.read_to_end(&mut bytes).map_err(|error| match error.downcast::<ureq::Error>() {
            Ok(error) => self.fault(&error),
            Err(error) => self.unreachable(&error.to_string()),
        })?;
        if bytes.len() as u64 > limit {
            return Err(TransportFault::TooLarge);
        }
        Ok(bytes.into())
    }

    fn fault(&self, error: &ureq::Error) -> TransportFault {
        match error {
            ureq::Error::Timeout(_) => TransportFault::TimedOut,
            error => self.unreachable(&error.to_string()),
        }
    }

    fn unreachable(&self, error: &str) -> TransportFault {
        TransportFault::Unreachable(explain(&self.url, self.proxy.as_ref(), error))
    }
}

/// A client for one coordinator, straight or through a proxy.
fn make(
    url: &CoordinatorUrl,
    limits: &RequestLimits,
    tls: &ureq::tls::TlsConfig,
    proxy: Option<&Proxy>,
) -> Result<ureq::Agent, Error> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(limits.connect))
        .timeout_recv_response(Some(limits.answer))
        // A message that is redirected would become a GET without it, and count as delivered. Where only what
        // is asked were redirected, a participant would train for nothing.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(limits.total))
        .http_status_as_error(false)
        .tls_config(tls.clone())
        .user_agent(concat!("pet-transport-blocking/", env!("CARGO_PKG_VERSION")));
    Ok(pet_network::agent(config, url, proxy)?)
}
