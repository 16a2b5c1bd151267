//! Proxies and certificate authorities that the environment names, and network errors explained in words.
//!
//! The variables are those of curl and of Python's requests, and mean the same: `http_proxy`, `https_proxy`,
//! `all_proxy`, `no_proxy` (each also in upper case), `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE`,
//! `CURL_CA_BUNDLE`. All transports ask this crate, so that they cannot differ.
//!
//! ```
//! use pet_core::request::CoordinatorUrl;
//! use pet_network::Environment;
//!
//! let environment = Environment::of([
//!     ("HTTPS_PROXY", "http://proxy.example:3128"),
//!     ("NO_PROXY", "localhost, .internal.example, 10.0.0.0/8"),
//! ]);
//! let proxy = |url: &str| {
//!     let url = CoordinatorUrl::parse(url).unwrap();
//!     environment.proxy_for(&url).unwrap().map(|proxy| proxy.url().to_owned())
//! };
//! assert_eq!(proxy("https://pet.example"), Some("http://proxy.example:3128".into()));
//! assert_eq!(proxy("https://pet.internal.example"), None);
//! assert_eq!(proxy("https://10.1.2.3:8081"), None);
//! assert_eq!(proxy("http://pet.example"), None);
//! ```

#![forbid(unsafe_code)]

mod advice;
#[cfg(feature = "ureq")]
mod agent;
mod authorities;
mod environment;
mod no_proxy;
mod proxy;

pub use advice::{explain, redirected};
#[cfg(feature = "ureq")]
pub use agent::agent;
pub use authorities::Authorities;
pub use environment::{Environment, Error};
pub use no_proxy::NoProxy;
pub use proxy::Proxy;

/// Has the README's snippets compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
