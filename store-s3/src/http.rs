//! Calls over HTTP, tried again until a deadline.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pet_ledger::{LedgerError, Limits};
use pet_network::Environment;
use ureq::{
    tls::{parse_pem, PemItem, RootCerts, TlsConfig},
    Agent,
};
use url::Url;

use crate::ENGINE;

/// The pause before the second try; each one after that is twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The most of an error's text that is read and told.
const MOST_TEXT: usize = 300;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Method {
    Get,
    Head,
    Delete,
    Put(Bytes),
}

impl Method {
    fn writes(&self) -> bool {
        matches!(self, Self::Put(_) | Self::Delete)
    }
}

/// An answer that is no failure.
#[derive(Debug)]
pub(crate) struct Answer {
    pub found: bool,
    pub body: Bytes,
    /// The storage's clock, if it told the time.
    pub date: Option<std::time::SystemTime>,
}

/// A client that trusts the authorities that the environment names, or the web's.
pub(crate) fn client() -> Result<Agent, LedgerError> {
    let wrong = |why: String| LedgerError::Setting { setting: "s3.region", why };
    let mut tls = TlsConfig::builder();
    let named = Environment::of_process().authorities();
    if let Some(named) = named.map_err(|error| wrong(error.to_string()))? {
        let certificates = parse_pem(named.pem()).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates.collect::<Vec<_>>()));
    }
    let config = Agent::config_builder()
        .proxy(None)
        .timeout_connect(Some(CONNECT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .tls_config(tls.build())
        .user_agent(concat!("pet-store-s3/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().into())
}

/// Asks, and asks again after what may pass, until the deadline. `sign` makes the URL anew for each try.
pub(crate) async fn call(
    agent: &Agent,
    method: Method,
    deadline: Duration,
    sign: impl Fn() -> Url + Send,
) -> Result<Answer, LedgerError> {
    let until = Instant::now() + deadline;
    let mut pause = PAUSE;
    let mut unknown = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let (agent, sent, url) = (agent.clone(), method.clone(), sign());
        let tried = tokio::task::spawn_blocking(move || once(&agent, &sent, url.as_str(), left));
        let error = match tried.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(error) => LedgerError::Engine { engine: ENGINE, why: error.to_string() },
        };
        if error.is_unknown() {
            unknown = Some(error.clone());
        }
        if !error.is_passing() || Instant::now() + pause >= until {
            return Err(unknown.unwrap_or(error));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn once(agent: &Agent, method: &Method, url: &str, left: Duration) -> Result<Answer, LedgerError> {
    let config = |request: ureq::RequestBuilder<ureq::typestate::WithoutBody>| {
        request.config().timeout_global(Some(left)).build()
    };
    let answered = match method {
        Method::Get => config(agent.get(url)).call(),
        Method::Head => config(agent.head(url)).call(),
        Method::Delete => config(agent.delete(url)).call(),
        Method::Put(bytes) => {
            agent.put(url).config().timeout_global(Some(left)).build().send(&bytes[..])
        }
    };
    let (parts, body) = answered.map_err(|error| lost(method, &error))?.into_parts();
    let status = parts.status.as_u16();
    let date = parts.headers.get("date").and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let read = |most: usize| {
        let limit = most as u64 + 1;
        body.into_with_config().limit(limit).read_to_vec().map_err(|error| lost(method, &error))
    };
    match status {
        200..=299 => Ok(Answer { found: true, body: read(Limits::ALL.part)?.into(), date }),
        // (An object that is not there. What a bucket that is not there says is looked for at the start.)
        404 => {
            let text = read(1 << 20).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if text.contains("NoSuchBucket") {
                let why = "there is no such bucket: make it, or write its name right".into();
                return Err(LedgerError::Setting { setting: "s3.buckets", why });
            }
            Ok(Answer { found: false, body: Bytes::new(), date })
        }
        _ => {
            let text = read(1 << 20).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            Err(of_status(status, &said(&text)))
        }
    }
}

/// Code and message of an error.
fn said(text: &str) -> String {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0)
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => text.chars().take(MOST_TEXT).collect(),
    }
}

fn of_status(status: u16, said: &str) -> LedgerError {
    let why = format!("status {status}, {said}");
    match status {
        401 | 403 => LedgerError::Denied {
            engine: ENGINE,
            why,
            rights: "s3.access_key and s3.secret_access_key have to be right, and may get, put, list and delete in the \
                     bucket; the clocks of both machines may differ by minutes only",
        },
        // What may pass: too slow, too much, or not there for the moment.
        408 | 429 | 500 | 502..=504 => LedgerError::Unreachable { engine: ENGINE, why },
        507 => LedgerError::NoRoom { engine: ENGINE, why },
        _ if said.contains("StorageFull") || said.contains("QuotaExceeded") => {
            LedgerError::NoRoom { engine: ENGINE, why }
        }
        _ => LedgerError::Engine { engine: ENGINE, why },
    }
}

/// What it means if no answer came.
fn lost(method: &Method, error: &ureq::Error) -> LedgerError {
    let why = error.to_string();
    let sent = !matches!(
        error,
        ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
    ) && !matches!(error, ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused);
    if method.writes() && sent {
        LedgerError::Unknown { engine: ENGINE, why }
    } else {
        LedgerError::Unreachable { engine: ENGINE, why }
    }
}
