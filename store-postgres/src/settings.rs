//! What to connect to.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use pet_ledger::LedgerError;
use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};

/// What the driver takes unless the address says otherwise.
const DEFAULT_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Which server, which federation, and how long to wait.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port,other-host:port/database?sslmode=...`: of several hosts the one is taken that takes
    /// writes.
    pub url: String,
    /// The federation's name: at most 40 of `a-z`, `0-9` and `_`.
    pub federation: String,
    /// How long connecting may take, for each host.
    pub connect_timeout: Duration,
    /// How long a call may take. (Parts have a second more for each MiB.)
    pub timeout: Duration,
    /// How many connections there are at most, besides the one for hints; at least two.
    pub connections: usize,
    /// How often to look for what is new if nothing tells it.
    pub poll: Duration,
}

impl PostgresSettings {
    /// A server and a federation, with the usual times.
    pub fn new(url: impl Into<String>, federation: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            federation: federation.into(),
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            connections: 8,
            poll: Duration::from_millis(50),
        }
    }

    /// The schema in which the federation's tables are.
    ///
    /// # Errors
    /// If the federation's name cannot be part of one.
    pub(crate) fn schema(&self) -> Result<String, LedgerError> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let name = &self.federation;
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
            return Err(LedgerError::Setting {
                setting: "federation",
                why: format!("{name:?} must be 1 to 40 of a-z, 0-9 and _"),
            });
        }
        Ok(format!("pet_{name}"))
    }

    /// What the driver is to do, and the file with the authorities to trust.
    pub(crate) fn config(&self) -> Result<(Config, Option<PathBuf>), LedgerError> {
        let wrong = |why: String| LedgerError::Setting { setting: "postgres.url", why };
        let (url, ours) = split(&self.url);
        let mut config: Config = url.parse().map_err(|error| {
            let why = with_sources(&error);
            wrong(format!("{why}: write it as postgres://user:password@host:5432/database"))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("it names no host".into()));
        }
        match ours.sslmode.as_deref() {
            Some("disable") => config.ssl_mode(SslMode::Disable),
            Some("require" | "verify-ca" | "verify-full") => config.ssl_mode(SslMode::Require),
            None if config.get_hosts().iter().all(is_here) => config.ssl_mode(SslMode::Disable),
            None => config.ssl_mode(SslMode::Require),
            Some(other) => {
                let why = format!("sslmode={other}: take disable, require or verify-full");
                return Err(wrong(why));
            }
        };
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.connect_timeout);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(self.timeout * 2);
        }
        if config.get_keepalives_idle() >= DEFAULT_IDLE {
            // Whoever waits for a server whose machine has died has nothing unsent, and would wait for hours.
            config.keepalives_idle(Duration::from_secs(10));
            config.keepalives_interval(Duration::from_secs(3));
            config.keepalives_retries(3);
        }
        if config.get_application_name().is_none() {
            config.application_name("pet-coordinator");
        }
        Ok((config, ours.sslrootcert))
    }
}

/// Without the password.
impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("federation", &self.federation)
            .finish_non_exhaustive()
    }
}

/// An error, and what is behind it.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// Whether a host is this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// Parameters of the URL that the driver does not know as libpq does.
#[derive(Debug, Default, PartialEq)]
struct Ours {
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
}

/// Takes our parameters out of a URL.
fn split(url: &str) -> (String, Ours) {
    let mut ours = Ours::default();
    let Some((base, query)) = url.split_once('?') else { return (url.into(), ours) };
    let mut rest = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => ours.sslmode = Some(value.into()),
            Some(("sslrootcert", value)) => {
                ours.sslrootcert = Some(value.replace("%2F", "/").replace("%2f", "/").into());
            }
            _ => rest.push(parameter),
        }
    }
    let rest = if rest.is_empty() { base.into() } else { format!("{base}?{}", rest.join("&")) };
    (rest, ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<(Config, Option<PathBuf>), LedgerError> {
        PostgresSettings::new(url, "hospitals").config()
    }

    #[test]
    fn only_this_machine_is_trusted_without_tls() {
        for (url, mode) in [
            ("postgres://a:b@127.0.0.1/db", SslMode::Disable),
            ("postgres://a:b@localhost,[::1]:5433/db", SslMode::Disable),
            ("postgres:///db?host=/run/postgresql", SslMode::Disable),
            ("postgres://a:b@db.example/db", SslMode::Require),
            ("postgres://a:b@localhost,db.example/db", SslMode::Require),
            ("postgres://a:b@db.example/db?sslmode=disable", SslMode::Disable),
            ("postgres://a:b@localhost/db?sslmode=verify-full", SslMode::Require),
        ] {
            assert_eq!(config(url).unwrap().0.get_ssl_mode(), mode, "{url}");
        }
        let error = config("postgres://a@b/c?sslmode=prefer").unwrap_err().to_string();
        assert!(error.contains("sslmode=prefer: take"), "{error}");
    }

    #[test]
    fn parameters_are_the_drivers_or_ours() {
        let url = "postgres://a@b,c/db?sslrootcert=%2Fetc/ca.pem&connect_timeout=7&sslmode=require";
        let (config, file) = config(url).unwrap();
        assert_eq!(file, Some("/etc/ca.pem".into()));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_hosts().len(), 2);
    }

    #[test]
    fn errors_say_what_to_write_and_no_password() {
        for url in [
            "postgres//a:secret@b",
            "mysql://a:secret@b/c",
            "postgres://a:secret@b/c?colour=red",
            "",
        ] {
            let error = config(url).unwrap_err().to_string();
            assert!(error.starts_with("postgres.url: "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for federation in ["", "Hospitals", "a-b", "a;b", &"x".repeat(41)] {
            let error = PostgresSettings::new("postgres://a@b/c", federation).schema().unwrap_err();
            assert!(error.to_string().starts_with("federation: "), "{error}");
        }
        let settings = PostgresSettings::new("postgres://a:secret@b/c", "hospitals");
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
