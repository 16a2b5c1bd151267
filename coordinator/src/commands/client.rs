//! Asking a running coordinator over HTTP.

use std::{
    fmt, fs,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    time::Duration,
};

use pet_coordinator::status::Status;
use pet_core::request::CoordinatorUrl;
use pet_network::{explain, Environment, Proxy};
use ureq::{
    http::Response,
    tls::{parse_pem, Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig},
    Agent, Body,
};
use zeroize::Zeroizing;

use super::exit::{Exit, Failed};
use crate::cli::Remote;

/// How long to wait for a connection, and for the head of an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// More than any status has, in bytes.
const LARGEST_STATUS: u64 = 16 << 20;

/// Talks to one coordinator.
pub struct Client {
    agent: Agent,
    url: CoordinatorUrl,
    proxy: Option<Proxy>,
}

impl Client {
    /// For the coordinator that the command line names.
    pub fn new(remote: &Remote) -> Result<Self, Failed> {
        let usage = |error: &dyn fmt::Display| Failed::new(Exit::Usage, error.to_string());
        let url = CoordinatorUrl::parse(&remote.url).map_err(|error| usage(&error))?;
        let environment = Environment::of_process();
        let proxy = environment.proxy_for(&url).map_err(|error| usage(&error))?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .tls_config(tls(remote, &url, &environment)?)
            .user_agent(concat!("pet-coordinator/", env!("CARGO_PKG_VERSION")));
        let agent = pet_network::agent(config, &url, proxy.as_ref());
        Ok(Self { agent: agent.map_err(|error| usage(&error))?, url, proxy })
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Sends a GET; whatever the answer's status.
    pub fn get(&self, path: &str, accept: &str) -> Result<Response<Body>, Failed> {
        let request = self.agent.get(format!("{}{path}", self.url())).header("accept", accept);
        request.call().map_err(|error| self.unreachable(&error))
    }

    /// The state of the coordinator, as it came and as it is understood.
    pub fn status(&self) -> Result<(String, Status), Failed> {
        let response = self.get("/status", "application/json")?;
        self.expect_ok(&response, "/status")?;
        let mut body = String::new();
        let mut reader = response.into_body().into_reader().take(LARGEST_STATUS);
        reader.read_to_string(&mut body).map_err(|error| self.unreachable(&error))?;
        let status = serde_json::from_str(&body).map_err(|error| {
            self.failed(format!("its status is not as this version knows it: {error}"))
        })?;
        Ok((body, status))
    }

    /// The feed of server-sent events: the data of each.
    pub fn events(&self) -> Result<impl Iterator<Item = io::Result<String>>, Failed> {
        let response = self.get("/events", "text/event-stream")?;
        self.expect_ok(&response, "/events")?;
        // It does not end: no limit but that of a line.
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut lines = BufReader::new(reader);
        Ok(std::iter::from_fn(move || loop {
            let mut line = String::new();
            match lines.by_ref().take(LARGEST_STATUS).read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => match line.strip_prefix("data:") {
                    Some(data) => return Some(Ok(data.trim().to_owned())),
                    None => continue,
                },
                Err(error) => return Some(Err(error)),
            }
        }))
    }

    /// Anything but a 200 is not the answer of a coordinator of this version.
    fn expect_ok(&self, response: &Response<Body>, path: &str) -> Result<(), Failed> {
        match response.status().as_u16() {
            200 => Ok(()),
            status => Err(self.failed(format!("it answers {path} with HTTP status {status}"))),
        }
    }

    pub fn unreachable(&self, error: &dyn std::error::Error) -> Failed {
        let words = explain(&self.url, self.proxy.as_ref(), &error.to_string());
        self.failed(format!("{words}; is this where it listens (--url)?"))
    }

    fn failed(&self, why: String) -> Failed {
        Failed::new(Exit::Unreachable, format!("the coordinator at {}: {why}", self.url.shown()))
    }
}

/// Whom to trust, and what to show.
fn tls(
    remote: &Remote,
    url: &CoordinatorUrl,
    environment: &Environment,
) -> Result<TlsConfig, Failed> {
    let mut config = TlsConfig::builder();
    if let Some(path) = &remote.ca {
        config = config.root_certs(RootCerts::new_with_certs(&certificates(path)?));
    } else if url.is_https() {
        let named = environment.authorities();
        let named = named.map_err(|error| Failed::new(Exit::Usage, error.to_string()))?;
        if let Some(named) = named {
            let name = Path::new(named.variable());
            config = config.root_certs(RootCerts::new_with_certs(&parsed(name, named.pem())?));
        }
    }
    if let (Some(certificate), Some(key)) = (&remote.certificate, &remote.key) {
        let pem = read(key)?;
        let key = PrivateKey::from_pem(&pem).map_err(|error| unusable(key, error))?;
        let identity = ClientCert::new_with_certs(&certificates(certificate)?, key);
        config = config.client_cert(Some(identity));
    }
    Ok(config.build())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failed> {
    parsed(path, &read(path)?)
}

fn parsed(path: &Path, pem: &[u8]) -> Result<Vec<Certificate<'static>>, Failed> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| unusable(path, error))? {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(unusable(path, "there is no BEGIN CERTIFICATE in it")),
        false => Ok(certificates),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failed> {
    fs::read(path).map(Zeroizing::new).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, why: impl fmt::Display) -> Failed {
    Failed::new(Exit::Usage, format!("{}: {why}", path.display()))
}
