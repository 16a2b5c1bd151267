//! Looking at a coordinator beside the protocol.

use std::time::Duration;

use pet_core::participant::TransportFault;
use pet_core::request::Response;

use crate::http::Client;

/// How long a look may take.
const TIME: Duration = Duration::from_secs(5);

/// The most bytes of an answer. (A coordinator that does not know what may be left out sends 30 KB.)
const MOST: u64 = 1 << 20;

/// Asks a participant's coordinator for what is no call of the protocol, by the same way (proxy, TLS), from
/// any thread. Made by [`Participant::observer`](crate::Participant::observer). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer {
    client: Client,
}

impl Observer {
    /// The path of [`Observer::status`], to be appended to the coordinator's URL: the latest rounds, and no more
    /// than is needed.
    pub const STATUS: &'static str = "/status?rounds=8&samples=0";

    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// What the coordinator tells everyone about its rounds: `/status`, a JSON document. Coordinators of
    /// old have none, and answer with 404. It takes five seconds at most.
    ///
    /// # Errors
    /// If there is no answer, or one that is far too long.
    pub fn status(&self) -> Result<Response, TransportFault> {
        self.client.get(Self::STATUS, TIME, MOST)
    }
}
