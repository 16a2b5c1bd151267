//! Calls over HTTP, tried again until a deadline.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use pet_ledger::{LedgerError, Limits};
use pet_network::Environment;
use ureq::{
    tls::{parse_pem, PemItem, RootCerts, TlsConfig},
    Agent,
};
use url::Url;

use crate::ENGINE;

/// The pause before the second try; each one after that is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The most of an error's text that is read and told.
const MOST_TEXT: usize = 300;
/// What signatures bear: with more between the clocks a refusal is about that.
const MOST_SKEW: Duration = Duration::from_secs(300);

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
    pub date: Option<SystemTime>,
}

/// A client that trusts the authorities in a file, those that the environment names, or the web's.
pub(crate) fn client(authorities: Option<&Path>) -> Result<Agent, LedgerError> {
    let wrong = |why: String| LedgerError::Setting { setting: "s3.authorities", why };
    let mut tls = TlsConfig::builder();
    let named = match authorities {
        Some(path) => {
            let read =
                fs::read(path).map_err(|error| wrong(format!("{}: {error}", path.display())));
            Some(read?)
        }
        None => {
            let named = Environment::of_process().authorities();
            named.map_err(|error| wrong(error.to_string()))?.map(|named| named.pem().to_vec())
        }
    };
    if let Some(named) = named {
        let certificates = parse_pem(&named).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<_> = certificates.collect();
        if certificates.is_empty() {
            return Err(wrong("there is no certificate in that file".into()));
        }
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
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
        pause = (pause * 2).min(LONGEST_PAUSE);
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
    let region = parts.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
    let read = |most: usize| {
        let limit = most as u64 + 1;
        body.into_with_config().limit(limit).read_to_vec().map_err(|error| lost(method, &error))
    };
    match status {
        200..=299 => Ok(Answer { found: true, body: read(Limits::ALL.part)?.into(), date }),
        404 => {
            let text = read(1 << 20).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            match between(&text, "Code") {
                Some("NoSuchBucket") => Err(no_bucket()),
                Some("NoSuchKey") => Ok(Answer { found: false, body: Bytes::new(), date }),
                // (It has no text.)
                _ if matches!(method, Method::Head) => {
                    Ok(Answer { found: false, body: Bytes::new(), date })
                }
                // Something else at that address, such as a proxy whose storage is gone for the moment.
                _ => Err(LedgerError::Unreachable {
                    engine: ENGINE,
                    why: format!("status 404, {}", said(&text)),
                }),
            }
        }
        _ => {
            let text = read(1 << 20).unwrap_or_default();
            Err(refusal(status, &String::from_utf8_lossy(&text), region, date))
        }
    }
}

pub(crate) fn no_bucket() -> LedgerError {
    let why = "there is no such bucket: make it, or write its name right".into();
    LedgerError::Setting { setting: "s3.buckets", why }
}

fn between<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

/// Code and message of an error.
fn said(text: &str) -> String {
    let said = match (between(text, "Code"), between(text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => text.to_owned(),
    };
    said.chars().take(MOST_TEXT).collect()
}

/// What a status means that is no success. What can only be mended by hand is told apart.
fn refusal(status: u16, text: &str, region: Option<&str>, date: Option<SystemTime>) -> LedgerError {
    let said = said(text);
    let why = format!("status {status}, {said}");
    let is_region = [
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "TemporaryRedirect",
        "IllegalLocation",
    ];
    // (Signatures in a query are told to be wrong by this.)
    let names_region = said.contains("egion") && said.contains("AuthorizationQueryParametersError");
    if matches!(status, 301 | 307 | 308)
        || is_region.iter().any(|code| said.contains(code))
        || names_region
    {
        let region = between(text, "Region").or(region);
        let region = region.map(|region| format!("the bucket is in region {region:?}: "));
        let why = format!("{}give its region and endpoint ({why})", region.unwrap_or_default());
        return LedgerError::Setting { setting: "s3.region", why };
    }
    if matches!(status, 400 | 401 | 403) {
        let ours = SystemTime::now();
        let skew = date.map(|theirs| match theirs.duration_since(ours) {
            Ok(behind) => (behind, "behind"),
            Err(ahead) => (ahead.duration(), "ahead of"),
        });
        if let Some((by, how)) = skew.filter(|(by, _)| *by > MOST_SKEW) {
            let clock =
                format!("this machine's clock is {} minutes {how} its own", by.as_secs() / 60);
            return LedgerError::Clock { engine: ENGINE, why: format!("{clock} ({why})") };
        }
        if said.contains("RequestTimeTooSkewed") {
            return LedgerError::Clock { engine: ENGINE, why };
        }
    }
    match status {
        401 | 403 => LedgerError::Denied {
            engine: ENGINE,
            why,
            rights: "s3.access_key and s3.secret_access_key have to be right, and may get, put, list and delete in the \
                     bucket of parts, and get, put and list in that of global models",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, more: &str) -> String {
        format!("<Error><Code>{code}</Code><Message>no</Message>{more}</Error>")
    }

    #[test]
    fn a_wrong_region_is_named_with_the_right_one() {
        for (status, text, header) in [
            (400, error("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"), None),
            (301, error("PermanentRedirect", ""), Some("eu-west-1")),
        ] {
            let told = refusal(status, &text, header, None).to_string();
            assert!(told.starts_with("s3.region") && told.contains("\"eu-west-1\""), "{told}");
        }
    }

    #[test]
    fn a_wrong_clock_is_named() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60 + 5);
        let (early, late) = (SystemTime::now() - minutes(20), SystemTime::now() + minutes(90));
        for (status, date, how) in
            [(403, early, "20 minutes ahead of"), (400, late, "90 minutes behind")]
        {
            let error = refusal(status, &error("AccessDenied", ""), None, Some(date));
            assert!(
                matches!(&error, LedgerError::Clock { why, .. } if why.contains(how)),
                "{error}"
            );
        }
        let error = refusal(403, &error("RequestTimeTooSkewed", ""), None, None);
        assert!(error.to_string().contains("clock"), "{error}");
    }

    #[test]
    fn what_is_denied_with_a_right_clock_is_about_rights() {
        let denied = refusal(403, &error("AccessDenied", ""), None, Some(SystemTime::now()));
        assert!(matches!(&denied, LedgerError::Denied { .. }), "{denied}");
        assert!(
            denied.to_string().contains("get, put and list in that of global models"),
            "{denied}"
        );
        let long = refusal(403, &error(&"c".repeat(5000), ""), None, Some(SystemTime::now()));
        assert!(long.to_string().len() < 2 * MOST_TEXT + 300, "{}", long.to_string().len());
        for status in [429, 500, 503] {
            let error = refusal(status, "busy", None, None);
            assert!(error.is_passing(), "{error}");
        }
    }
}
