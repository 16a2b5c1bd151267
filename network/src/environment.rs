//! The environment variables that say how to reach others.

use std::collections::BTreeMap;
use std::fmt;

use pet_core::request::CoordinatorUrl;
use thiserror::Error;

use crate::{Authorities, NoProxy, Proxy};

/// All variables that are looked at. Those in lower case count before those in upper case.
const VARIABLES: [&str; 13] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "REQUEST_METHOD",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// An environment variable has a value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The variable does not name a proxy.
    #[error("the environment variable {variable} names a proxy that cannot be used: {reason}; give one such as http://proxy.example:3128, or except the coordinator with NO_PROXY")]
    Proxy {
        /// The variable's name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The variable does not name certificates.
    #[error(
        "the environment variable {variable} names certificates that cannot be read: {reason}"
    )]
    Authorities {
        /// The variable's name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A client cannot be made with this proxy.
    #[error("the proxy {0} cannot be used: {1}")]
    Unusable(String, String),
}

/// What the environment says about proxies and authorities.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<&'static str, String>,
}

/// Shows which variables are set: their values may have passwords.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Environment").field(&self.variables.keys()).finish()
    }
}

impl Environment {
    /// The environment of this process, as it is now.
    pub fn of_process() -> Self {
        // What is no Unicode is neither a host nor a network.
        Self::of(VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))))
    }

    /// An environment with these variables; unknown ones are ignored.
    pub fn of<N: AsRef<str>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let known = |(name, value): (N, V)| {
            let name = VARIABLES.iter().find(|known| **known == name.as_ref())?;
            Some((*name, value.into()))
        };
        Self { variables: variables.into_iter().filter_map(known).collect() }
    }

    /// The proxy to use for a coordinator; `None` to connect directly.
    ///
    /// # Errors
    /// [`Error::Proxy`] if the variable that counts names none that can be used.
    pub fn proxy_for(&self, url: &CoordinatorUrl) -> Result<Option<Proxy>, Error> {
        let names: &[&'static str] = match url.is_https() {
            true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            // In a CGI program HTTP_PROXY is a header of the request's: whoever asks could say what it is.
            false if self.get("REQUEST_METHOD").is_some() => {
                &["http_proxy", "all_proxy", "ALL_PROXY"]
            }
            false => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        let Some((variable, value)) = self.first(names) else { return Ok(None) };
        let excepted = self.first(&["no_proxy", "NO_PROXY"]).map_or("", |(_, list)| list);
        if NoProxy::parse(excepted).contains(url.host(), url.port()) {
            return Ok(None);
        }
        Proxy::parse(variable, value).map(Some)
    }

    /// The certificate authorities to trust instead of the web's; `None` if no variable names any.
    ///
    /// # Errors
    /// [`Error::Authorities`] if the named file or folder cannot be read.
    pub fn authorities(&self) -> Result<Option<Authorities>, Error> {
        let file = self.first(&["SSL_CERT_FILE"]);
        let folders = self.first(&["SSL_CERT_DIR"]);
        if file.is_some() || folders.is_some() {
            return Authorities::read(file, folders).map(Some);
        }
        match self.first(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]) {
            Some(bundle) => Authorities::read_bundle(bundle).map(Some),
            None => Ok(None),
        }
    }

    /// What is empty is not set.
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }
}
