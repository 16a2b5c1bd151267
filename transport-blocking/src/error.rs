//! What can go wrong for a participant's user.

use pet_core::participant::{FetchError, Reject, RestoreError};
use pet_core::request::InvalidUrl;
use thiserror::Error;

/// Why a participant cannot do what was asked. An unreachable coordinator is not an error but an
/// [event](pet_core::participant::Event::Trouble): it is asked again for ever.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The coordinator's URL is not valid.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// Messages are to be handed over in this process, and the coordinator is elsewhere.
    #[error("Settings::hand_over is for a coordinator in the same process, and this one is asked over a network: leave it out")]
    HandOver,
    /// The saved state cannot be read.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The operating system gives no random bytes for a new identity.
    #[error("the operating system gave no random bytes for a new identity: {0}")]
    Randomness(String),
    /// The environment names a proxy or authorities that cannot be used.
    #[error(transparent)]
    Network(#[from] pet_network::Error),
    /// Certificates or keys for TLS cannot be read.
    #[error("no certificate or key in PEM form: {0}")]
    Certificates(String),
    /// The local model does not fit the round, or the participant was stopped.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// The global model could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The global model did not come in time: nothing drives the participant.
    #[error(
        "the global model did not come in time: call next_event on some thread, or wait longer"
    )]
    NotDriven,
    /// A member's state cannot be stored: it waits with everything that depends on it.
    #[error("the member's state cannot be stored, and it signs nothing before it is: {0}")]
    Store(String),
    /// The member was stopped.
    #[error("the member was stopped: restore it from its stored state to go on")]
    MemberStopped,
}
