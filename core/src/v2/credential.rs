//! That an updater is admitted.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::{Blame, DecodeError};
use super::hash::{hash, Label};
use super::roster::Admission;
use super::wire::{Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey, Signature, SigningKeyPair};

/// What the admission authority gives to an updater: its signature over the updater's key and the time until which
/// it may update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The last second at which it counts, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// The authority's signature.
    pub signature: Signature,
}

/// Why an updater is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// The roster has an authority, and there is no credential.
    #[error("updater {updater} has no credential: it must get one from the admission authority")]
    Missing {
        /// The updater.
        updater: PublicSigningKey,
    },
    /// The time of the credential has passed.
    #[error(
        "the credential of updater {updater} expired at {expired_at} (Unix time), and the round was opened at {at}: \
         it must be renewed by the admission authority"
    )]
    Expired {
        /// The updater.
        updater: PublicSigningKey,
        /// When, in seconds since the Unix epoch.
        expired_at: u64,
        /// When the round was opened.
        at: u64,
    },
    /// Not the authority's signature over this key and time.
    #[error(
        "the credential of updater {updater} is not signed by the roster's admission authority: it was made for another \
         key or roster, or it is forged"
    )]
    Forged {
        /// The updater.
        updater: PublicSigningKey,
    },
    /// The roster lists the updaters.
    #[error("updater {updater} is not in the roster's list of updaters")]
    NotListed {
        /// The updater.
        updater: PublicSigningKey,
    },
}

impl AdmissionError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Expired { .. } | Self::Missing { .. } => Blame::Authority,
            Self::Forged { updater } | Self::NotListed { updater } => Blame::Updater(*updater),
        }
    }
}

impl Credential {
    /// How many bytes it has inside other values.
    pub(super) const LENGTH: usize = 8 + Signature::LENGTH;

    /// Admits an updater until `expires_at` (the last second at which it may, since the Unix epoch).
    pub fn issue(authority: &SigningKeyPair, updater: &PublicSigningKey, expires_at: u64) -> Self {
        Self { expires_at, signature: authority.sign(digest(updater, expires_at).as_bytes()) }
    }

    /// Whether it admits the updater at a time: that at which the round was opened, so that all decide alike. Where
    /// the roster lists the updaters, only the list counts.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(
        &self,
        admission: &Admission,
        updater: &PublicSigningKey,
        at: u64,
    ) -> Result<(), AdmissionError> {
        admission.check(updater, Some(self), at)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u64(self.expires_at);
        writer.raw(self.signature.as_bytes());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let expires_at = reader.u64("credential")?;
        Ok(Self { expires_at, signature: Signature::new(reader.array("credential")?) })
    }

    /// The bytes of a credential on its own, as an authority hands it out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(Self::LENGTH);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a credential.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("credential", bytes)?;
        let credential = Self::read(&mut reader)?;
        reader.end()?;
        Ok(credential)
    }
}

impl Admission {
    /// Whether an updater may update in a round that was opened at `at` (seconds since the Unix epoch), with what
    /// it shows.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(
        &self,
        updater: &PublicSigningKey,
        credential: Option<&Credential>,
        at: u64,
    ) -> Result<(), AdmissionError> {
        let updater = *updater;
        match self {
            Self::List(updaters) => match updaters.binary_search(&updater) {
                Ok(_) => Ok(()),
                Err(_) => Err(AdmissionError::NotListed { updater }),
            },
            Self::Authority(authority) => {
                let credential = credential.ok_or(AdmissionError::Missing { updater })?;
                let expired_at = credential.expires_at;
                if expired_at < at {
                    return Err(AdmissionError::Expired { updater, expired_at, at });
                }
                let digest = digest(&updater, expired_at);
                match authority.verify(&credential.signature, digest.as_bytes()) {
                    true => Ok(()),
                    false => Err(AdmissionError::Forged { updater }),
                }
            }
        }
    }
}

fn digest(updater: &PublicSigningKey, expires_at: u64) -> Digest {
    hash(Label::Credential, &[updater.as_bytes(), &expires_at.to_le_bytes()])
}
