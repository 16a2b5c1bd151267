//! The configuration of a participant.

use std::num::NonZeroUsize;

use pet_core::crypto::RootSeed;
use pet_core::participant::Settings;
use pet_core::request::{CoordinatorUrl, RequestLimits};
use pet_network::Environment;

use crate::{Error, Tls};

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
    /// How many threads a job may use.
    pub threads: NonZeroUsize,
    /// Whom to trust if the coordinator's URL is https.
    pub tls: Tls,
    /// The environment variables that name proxies and certificate authorities: those of curl and
    /// requests.
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
            tls: Tls::default(),
            environment: Environment::of_process(),
        })
    }
}

/// A seed that nobody else has.
pub(crate) fn random_seed() -> Result<RootSeed, Error> {
    RootSeed::try_fill(|seed| getrandom::fill(seed))
        .map_err(|error| Error::Randomness(error.to_string()))
}
