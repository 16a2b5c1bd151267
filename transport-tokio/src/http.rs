//! Calls over HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pet_core::participant::TransportFault;
use pet_core::request::{Call, CoordinatorUrl, Patience, RequestLimits, Response};

use pet_network::{explain, redirected, Environment, Proxy};

use crate::{Config, Error};

/// Sends calls to one coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    client: reqwest::Client,
    url: CoordinatorUrl,
    limits: RequestLimits,
    proxy: Option<Proxy>,
}

impl Client {
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let Config { client, url, limits, environment, .. } = config;
        // What this library cannot read would fail with each request.
        reqwest::Url::parse(url.as_str())
            .map_err(|error| Error::Client(format!("{}: {error}", url.shown())))?;
        let (client, proxy) = match client {
            Some(client) => (client, None),
            None => {
                let proxy = environment.proxy_for(&url)?;
                (make(&url, &limits, &environment, proxy.as_ref())?, proxy)
            }
        };
        Ok(Self { client, url, limits, proxy })
    }

    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// How long answers may be held back.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.patience()
    }

    /// Sends a call and reads the answer, whatever its status.
    pub(crate) async fn send(&self, call: Call) -> Result<Response, TransportFault> {
        self.exchange(call, None).await
    }

    /// The same for a call whose answer may be held back, or not.
    pub(crate) async fn exchange(
        &self,
        call: Call,
        patience: Option<Patience>,
    ) -> Result<Response, TransportFault> {
        let wait = patience.as_ref().map_or(Duration::ZERO, |patience| patience.wait);
        let until_answer = self.limits.until_answer(&call).saturating_add(wait);
        let limit = self.limits.max_body_of(&call);
        let (url, path) = (self.url.of(&call), call.path_and_query());
        let headers = call.headers();
        let request = match call.method() {
            "POST" => self.client.post(url).body(call.body()),
            _ => self.client.get(url),
        };
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, &**value));
        let more = patience.as_ref().map(Patience::headers).unwrap_or_default();
        let request =
            more.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let has_known = patience.is_some_and(|patience| patience.known.is_some());
        let exchange = async {
            let answer = tokio::time::timeout(until_answer, request.send())
                .await
                .map_err(|_| TransportFault::TimedOut)?
                .map_err(|error| self.fault(&error))?;
            let status = answer.status().as_u16();
            let headers = answer.headers().clone();
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
            if matches!(status, 300..=399) && !(status == 304 && has_known) {
                let words = redirected(&self.url, &path, status, header("location"));
                return Err(TransportFault::Unreachable(words));
            }
            if let (407, Some(_)) = (status, &self.proxy) {
                return Err(self.unreachable("HTTP status 407"));
            }
            let body = self.read(answer, limit).await?;
            Ok(Response::new(status, body).headers(header("retry-after"), header("content-type")))
        };
        tokio::time::timeout(self.limits.total, exchange)
            .await
            .unwrap_or(Err(TransportFault::TimedOut))
    }

    async fn read(
        &self,
        mut answer: reqwest::Response,
        limit: u64,
    ) -> Result<Bytes, TransportFault> {
        let announced = answer.content_length();
        if announced.is_some_and(|length| length > limit) {
            return Err(TransportFault::TooLarge);
        }
        // A lying length does no harm: memory is taken as the bytes come.
        let expected = announced.unwrap_or(0).min(1 << 20);
        let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.fault(&error))? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(TransportFault::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    fn fault(&self, error: &reqwest::Error) -> TransportFault {
        if error.is_timeout() {
            return TransportFault::TimedOut;
        }
        // The error's own text names only the outermost cause.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.unreachable(&text)
    }

    fn unreachable(&self, error: &str) -> TransportFault {
        TransportFault::Unreachable(explain(&self.url, self.proxy.as_ref(), error))
    }
}

/// A client for one coordinator, straight or through a proxy.
fn make(
    url: &CoordinatorUrl,
    limits: &RequestLimits,
    environment: &Environment,
    proxy: Option<&Proxy>,
) -> Result<reqwest::Client, Error> {
    let failed = |error: reqwest::Error| Error::Client(error.to_string());
    let mut builder = reqwest::Client::builder()
        .connect_timeout(limits.connect)
        // A message that is redirected would become a GET without it, and count as delivered. Where only what is
        // asked were redirected, a participant would train for nothing.
        .redirect(reqwest::redirect::Policy::none())
        // Otherwise it reads the environment itself.
        .no_proxy()
        .user_agent(concat!("pet-transport-tokio/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = proxy {
        let mut through = reqwest::Proxy::all(proxy.url()).map_err(failed)?;
        if let Some((user, password)) = proxy.user() {
            through = through.basic_auth(&user, &password);
        }
        builder = builder.proxy(through);
    }
    if let Some(authorities) =
        url.is_https().then(|| environment.authorities()).transpose()?.flatten()
    {
        let invalid = |error: &dyn std::fmt::Display| {
            Error::Client(format!("{} cannot be used: {error}", authorities.variable()))
        };
        builder = builder.tls_built_in_root_certs(false);
        let certificates = reqwest::Certificate::from_pem_bundle(authorities.pem());
        for certificate in certificates.map_err(|error| invalid(&error))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(failed)
}
