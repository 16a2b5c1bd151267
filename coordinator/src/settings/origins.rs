//! Sets of web pages' origins.

use std::{fmt, str::FromStr};

use axum::http::Uri;
use thiserror::Error;

/// Origins of web pages, written with commas between them: `https://example.org, http://127.0.0.1:3000`. Or all: `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// These.
    Some(Vec<String>),
    /// All that there are.
    All,
}

/// A text that is not a list of origins.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no origin such as https://example.org, without a path")]
pub struct InvalidOrigins(String);

/// None.
impl Default for Origins {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Origins {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Some(origins) if origins.is_empty())
    }
}

/// An origin as browsers write it.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    // As given, the whole rest is host and port: no path, no slash at the end, no user.
    let is_whole =
        authority.as_str() == rest && !rest.contains('@') && !authority.host().is_empty();
    // Browsers leave out a scheme's own port, and 0 is none.
    let port = match rest.strip_prefix(authority.host()) {
        Some("") => None,
        Some(port) => Some(port.strip_prefix(':')?.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => return None,
    };
    let port = match (scheme, port) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    // Of what a URL may have there, browsers leave only this in an address: no `*`, above all.
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[:]".contains(c);
    (is_whole && authority.host().chars().all(is_host) && matches!(scheme, "http" | "https"))
        .then(|| format!("{scheme}://{}{port}", authority.host()))
}

impl FromStr for Origins {
    type Err = InvalidOrigins;

    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let read = |part: &str| origin(part).ok_or_else(|| InvalidOrigins(part.to_owned()));
        parts.map(read).collect::<Result<_, _>>().map(Self::Some)
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Some(origins) => f.write_str(&origins.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let text = " https://Example.org:443,http://127.0.0.1:3000 , http://[::1]:80,";
        let origins: Origins = text.parse().unwrap();
        let expected = "https://example.org, http://127.0.0.1:3000, http://[::1]";
        assert_eq!(origins.to_string(), expected);
        assert_eq!(expected.parse(), Ok(origins));
        assert_eq!(" * ".parse(), Ok(Origins::All));
        assert_eq!(Origins::All.to_string(), "*");
        assert!(Origins::default().is_empty() && "".parse::<Origins>().unwrap().is_empty());
        assert!(!Origins::All.is_empty());
    }

    #[test]
    fn what_no_browser_says_is_refused() {
        for wrong in [
            "example.org",
            "https://example.org/",
            "https://example.org/app",
            "https://",
            "https://:80",
            "https://a@example.org",
            "https://example.org:",
            "https://example.org:0",
            "https://example.org:65536",
            "https://example.org?x",
            "https://exa mple.org",
            "ftp://example.org",
            "null",
            "https://a.org, *",
            "https://*.example.org",
        ] {
            let error = wrong.parse::<Origins>().expect_err(wrong).to_string();
            assert!(error.contains("such as https://example.org"), "{error}");
        }
    }
}
