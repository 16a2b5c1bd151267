//! Saved members.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{PublicSigningKey, RootSeed, SecretSigningKey, SnapshotKey};
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};
use crate::v2::{Context, DecisionHash, Pin};

/// What a member's snapshots begin with.
const ENVELOPE: Envelope<State> =
    Envelope { magic: *b"P2Mm", sealed_magic: *b"P2Ms", readers: &[read_bincode], writes: 1 };

/// All of a member that outlives it. Neither the boot seed nor the vote key is among it: what is restored, from
/// whatever moment, cannot vote in a round that it has announced itself in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) secret: SecretSigningKey,
    /// Of the round of the promise, or of the next one if that is over.
    pub(super) root: RootSeed,
    pub(super) pin: Pin,
    pub(super) promise: Option<Promise>,
}

/// What a member has promised by signing: it is stored before any of its signatures leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Promise {
    /// The number of the round that it has last announced itself in: none that is not above is announced again.
    pub(super) round: u64,
    /// The only context that it announces itself in for this number.
    pub(super) context: Context,
    /// The public half of the key that it votes with.
    pub(super) vote_key: PublicSigningKey,
    /// When that was, in milliseconds since the Unix epoch.
    pub(super) at: u64,
    /// The only decision that it votes for.
    pub(super) vote: Option<DecisionHash>,
    /// Whether the round is over: the root seed is another's.
    pub(super) is_over: bool,
}

/// A member's saved state. It holds the member's secret keys: keep it secret, or [`Snapshot::seal`] it.
///
/// **Never go back to an old one.** A member that is restored from an older state than its last promises less than it
/// has signed; it notices that where it can.
#[derive(Debug, Clone)]
pub struct Snapshot {
    state: State,
}

impl Snapshot {
    pub(super) fn new(state: State) -> Self {
        Self { state }
    }

    /// Versioned bytes, secrets in the clear; wiped from memory when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        ENVELOPE.write(&self.state)
    }

    /// Versioned bytes that only the key opens.
    pub fn seal(&self, key: &SnapshotKey) -> Vec<u8> {
        ENVELOPE.seal(&self.state, key)
    }
}

impl State {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        ENVELOPE.read(bytes)
    }

    pub(super) fn unseal(bytes: &[u8], key: &SnapshotKey) -> Result<Self, EnvelopeError> {
        ENVELOPE.unseal(bytes, key)
    }
}
