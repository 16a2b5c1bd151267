//! The configuration of a participant.

use std::num::NonZeroUsize;

use pet_core::crypto::RootSeed;
use pet_core::participant::Settings;
use pet_core::request::{CoordinatorUrl, RequestLimits};
use pet_network::Environment;

use crate::Error;

/// Where the coordinator is, and how the participant behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The coordinator.
    pub url: CoordinatorUrl,
    /// Scalar, message size and polling; and, for rounds of version 2, a [pin](Settings::pin) and a
    /// [credential](Settings::credential).
    pub settings: Settings,
    /// What a single request must not exceed.
    pub limits: RequestLimits,
    /// How many parts of a job may run at the same time, on rayon's threads.
    pub threads: NonZeroUsize,
    /// The HTTP client to use, for instance one with certificates of its own, or one that many
    /// participants share; `None` for a new one. It must not follow redirects: a message that is
    /// redirected is lost.
    pub client: Option<reqwest::Client>,
    /// The environment variables that name proxies, and the certificate authorities to trust instead of the
    /// web's: those of curl and requests. It does not matter if a client is given.
    pub environment: Environment,
}

impl Config {
    /// A configuration with default settings, all cores for jobs, and the environment of this
    /// process.
    ///
    /// # Errors
    /// [`Error::Url`] if it is not an http or https URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            url: CoordinatorUrl::parse(url)?,
            settings: Settings::default(),
            limits: RequestLimits::default(),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            client: None,
            environment: Environment::of_process(),
        })
    }
}

/// A seed that nobody else has.
pub(crate) fn random_seed() -> Result<RootSeed, Error> {
    RootSeed::try_fill(|seed| getrandom::fill(seed))
        .map_err(|error| Error::Randomness(error.to_string()))
}
