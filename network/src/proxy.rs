//! The address of a proxy.

use std::fmt;

use base64::Engine;
use percent_encoding::percent_decode_str;
use pet_core::request::CoordinatorUrl;

use crate::Error;

/// A proxy that the environment names.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    variable: &'static str,
    url: String,
    /// As it stands in the URL, percent-encoded.
    user_info: Option<String>,
}

/// Shows no user name and password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Shows the address and the variable that names it, but no user name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.url, self.variable)
    }
}

impl Proxy {
    /// Reads a variable's value: `http://user:password@proxy:3128`, also without the scheme, which is http then. The
    /// port is 80 if none is given (curl takes 1080), or 443 for https.
    ///
    /// # Errors
    /// [`Error::Proxy`] if it is none.
    pub fn parse(variable: &'static str, value: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::Proxy { variable, reason: reason.into() };
        let value = value.trim();
        let whole = match value.split_once("://") {
            Some((scheme, _)) if scheme.to_ascii_lowercase().starts_with("socks") => {
                return Err(invalid("it is a SOCKS proxy, and only HTTP proxies are supported"))
            }
            Some(_) => value.to_owned(),
            None => format!("http://{value}"),
        };
        let url = CoordinatorUrl::parse(&whole).map_err(|error| invalid(error.reason))?;
        let scheme = if url.is_https() { "https" } else { "http" };
        Ok(Self {
            variable,
            url: format!("{scheme}://{}:{}", url.host(), url.port()),
            user_info: url.user_info().map(str::to_owned),
        })
    }

    /// The proxy's URL: scheme, host and port only.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The proxy's URL with user name and password, if it has them: a secret.
    pub fn url_with_user(&self) -> String {
        match (&self.user_info, self.url.split_once("://")) {
            (Some(user), Some((scheme, rest))) => format!("{scheme}://{user}@{rest}"),
            _ => self.url.clone(),
        }
    }

    /// The name of the environment variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// User name and password, if it has them.
    pub fn user(&self) -> Option<(String, String)> {
        let info = self.user_info.as_deref()?;
        let (user, password) = info.split_once(':').unwrap_or((info, ""));
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((decode(user), decode(password)))
    }

    /// The value of the header `Proxy-Authorization`, if it wants a user name and a password.
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = self.user()?;
        let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {both}"))
    }
}
