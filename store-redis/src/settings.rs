//! What to connect to.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use pet_ledger::LedgerError;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

/// Which server, which federation, and how long to wait.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisSettings {
    /// `redis://user:password@host:port/database`, or `rediss://` with TLS.
    pub url: String,
    /// The federation's name: at most 40 of `a-z`, `0-9` and `_`.
    pub federation: String,
    /// Take a server that may lose what it has acknowledged.
    pub accept_loss: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a call may take. (What is large has a second more for each MiB.)
    pub timeout: Duration,
    /// How many connections there are at most, besides the one for hints; at least three.
    pub connections: usize,
    /// How often to look for what is new if nothing tells it.
    pub poll: Duration,
}

/// What the driver is to do.
#[derive(Clone)]
pub(crate) struct Target {
    pub info: ConnectionInfo,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The file with the authorities to trust.
    pub authorities: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub timeout: Duration,
}

impl RedisSettings {
    /// A server and a federation, with the usual times.
    pub fn new(url: impl Into<String>, federation: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            federation: federation.into(),
            accept_loss: false,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            connections: 8,
            poll: Duration::from_millis(50),
        }
    }

    /// What the names of the federation's keys begin with.
    ///
    /// # Errors
    /// If the federation's name cannot be part of one.
    pub(crate) fn prefix(&self) -> Result<String, LedgerError> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let name = &self.federation;
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
            return Err(LedgerError::Setting {
                setting: "federation",
                why: format!("{name:?} must be 1 to 40 of a-z, 0-9 and _"),
            });
        }
        Ok(format!("pet:{name}"))
    }

    pub(crate) fn target(&self) -> Result<Target, LedgerError> {
        let wrong = |why: &str| LedgerError::Setting {
            setting: "redis.url",
            why: format!(
                "{why}: write it as redis://user:password@host:6379/0, or rediss:// for TLS"
            ),
        };
        let (url, authorities) = split(&self.url);
        if url.contains('#') {
            return Err(wrong("leave out what is behind # (certificates are always checked)"));
        }
        // (The driver would not take it, for without its own TLS.)
        let (url, tls) = match url.split_once("://") {
            Some(("rediss" | "valkeys", rest)) => (format!("redis://{rest}"), true),
            _ => (url, false),
        };
        // (What the driver says of it may have the password in it.)
        let info = url.into_connection_info().map_err(|_| wrong("it is no address of a Redis"))?;
        // Replies are read as this version of the protocol has them.
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let redis = redis.set_lib_name("pet-coordinator", env!("CARGO_PKG_VERSION"));
        Ok(Target {
            info: info.set_redis_settings(redis),
            tls,
            authorities,
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
        })
    }
}

impl Target {
    /// Whether passwords and all else can be read on a network.
    pub fn is_in_the_clear(&self) -> bool {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) if !self.tls => {
                let here = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
                !here && host != "localhost"
            }
            _ => false,
        }
    }
}

/// Without the password.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("federation", &self.federation)
            .field("accept_loss", &self.accept_loss)
            .finish_non_exhaustive()
    }
}

/// Takes our parameter out of a URL: the file with authorities.
fn split(url: &str) -> (String, Option<PathBuf>) {
    let mut authorities = None;
    let Some((base, query)) = url.split_once('?') else { return (url.into(), None) };
    let mut rest = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslrootcert", value)) => {
                authorities = Some(value.replace("%2F", "/").replace("%2f", "/").into());
            }
            _ => rest.push(parameter),
        }
    }
    let rest = if rest.is_empty() { base.into() } else { format!("{base}?{}", rest.join("&")) };
    (rest, authorities)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, LedgerError> {
        RedisSettings::new(url, "hospitals").target()
    }

    #[test]
    fn addresses_are_those_of_old_deployments() {
        for (url, clear) in [
            ("redis://127.0.0.1", false),
            ("redis://localhost:6379/", false),
            ("redis://[::1]:6379/3", false),
            ("redis://redis", true),
            ("redis://:hush@redis.example:6380", true),
            ("rediss://pet:hush@redis.example:6380/1", false),
            ("unix:///run/redis.sock", false),
        ] {
            assert_eq!(target(url).unwrap().is_in_the_clear(), clear, "{url}");
        }
    }

    #[test]
    fn authorities_are_ours() {
        let target = target("rediss://a:b@c:1?sslrootcert=%2Fetc/ca.pem&protocol=resp3").unwrap();
        assert_eq!(target.authorities, Some("/etc/ca.pem".into()));
        assert!(target.tls);
        assert_eq!(target.info.addr().to_string(), "c:1");
    }

    #[test]
    fn errors_say_what_to_write_and_no_password() {
        for url in
            ["redis//a:secret@b", "http://a:secret@b/c", "rediss://a:secret@b:1/#insecure", ""]
        {
            let error = target(url).err().unwrap().to_string();
            assert!(error.starts_with("redis.url: ") && error.contains("write it as"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for federation in ["", "Hospitals", "a-b", "a:b", &"x".repeat(41)] {
            let error = RedisSettings::new("redis://b", federation).prefix().unwrap_err();
            assert!(error.to_string().starts_with("federation: "), "{error}");
        }
        let settings = RedisSettings::new("redis://a:secret@b/c", "hospitals");
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
