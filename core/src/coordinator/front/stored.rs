//! Fronts as bytes, for the process that answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Front;
use crate::coordinator::context::RoundContext;
use crate::coordinator::{GlobalModel, Phase};
use crate::crypto::{EncryptKeyPair, SecretEncryptKey, SnapshotKey};
use crate::round::{RoundParameters, SeedDict, SumDict};
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};

const FRONT: Envelope<Saved> =
    Envelope { magic: *b"PETa", sealed_magic: *b"PETb", readers: &[read_bincode], writes: 1 };

/// A front, as it is written. The order of the fields is the form: change it together with the version.
#[derive(Serialize, Deserialize)]
struct Saved {
    round: Option<Round>,
    model: Option<GlobalModel>,
}

#[derive(Serialize, Deserialize)]
struct Round {
    id: u64,
    phase: Phase,
    secret: SecretEncryptKey,
    parameters: Arc<RoundParameters>,
    sums: Option<Arc<SumDict>>,
    seeds: Option<Arc<SeedDict>>,
}

impl Front {
    /// Versioned bytes, from which another process can answer the same. **The round's secret key is in them**, in
    /// the clear; they are wiped from memory when dropped. Takes as long as dictionaries and model are large.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        FRONT.write(&self.saved())
    }

    /// Versioned bytes that only the key opens.
    pub fn seal(&self, key: &SnapshotKey) -> Vec<u8> {
        FRONT.seal(&self.saved(), key)
    }

    /// Reads what [`Front::to_bytes`] has written, in this version or an older one.
    ///
    /// # Errors
    /// If the bytes are something else, of a newer version, sealed or damaged, or do not fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::read(FRONT.read(bytes)?)
    }

    /// Reads what [`Front::seal`] has written, in this version or an older one.
    ///
    /// # Errors
    /// As [`Front::from_bytes`], and if the key is another one.
    pub fn unseal(bytes: &[u8], key: &SnapshotKey) -> Result<Self, EnvelopeError> {
        Self::read(FRONT.unseal(bytes, key)?)
    }

    fn saved(&self) -> Saved {
        let round = self.round.as_ref().map(|round| Round {
            id: round.round_id,
            phase: round.phase,
            secret: round.keys.secret().clone(),
            parameters: round.parameters.clone(),
            sums: round.sum_dict.clone(),
            seeds: round.seeds.clone(),
        });
        Saved { round, model: self.model.clone() }
    }

    fn read(Saved { round, model }: Saved) -> Result<Self, EnvelopeError> {
        let round = round.map(Round::context).transpose()?.map(Arc::new);
        Ok(Self { round, model })
    }
}

impl Round {
    /// All of it must be one round's: nothing is answered from what no coordinator can have written.
    fn context(self) -> Result<RoundContext, EnvelopeError> {
        let Self { id, phase, secret, parameters, sums, seeds } = self;
        let keys = EncryptKeyPair::from_secret(secret);
        let is = |sound: bool, what: &str| match sound {
            true => Ok(()),
            false => Err(EnvelopeError::Damaged(what.into())),
        };
        is(keys.public() == parameters.pk, "the key is another round's")?;
        is(!parameters.sum.is_nan() && !parameters.update.is_nan(), "a probability is NaN")?;
        let fits = match phase {
            Phase::Sum | Phase::Idle | Phase::Unmask | Phase::Failure => {
                sums.is_none() && seeds.is_none()
            }
            Phase::Update => sums.is_some() && seeds.is_none(),
            Phase::Sum2 => sums.is_some() && seeds.is_some(),
            // It was closed in any of them.
            Phase::Shutdown => sums.is_some() || seeds.is_none(),
        };
        is(fits, "the dictionaries are another phase's")?;
        if let (Some(sums), Some(seeds)) = (&sums, &seeds) {
            is(seeds.is_for(sums), "the seed dictionary is not for the round's sum participants")?;
        }
        Ok(RoundContext::new(id, phase, keys, parameters, sums, seeds))
    }
}

#[cfg(test)]
pub(in crate::coordinator) mod tests {
    use super::*;

    /// The bytes of a front of which something was changed.
    pub(in crate::coordinator) fn mixed(
        front: &Front,
        change: impl FnOnce(&mut Mixed),
    ) -> Zeroizing<Vec<u8>> {
        let mut mixed = Mixed(front.saved());
        change(&mut mixed);
        FRONT.write(&mixed.0)
    }

    pub(in crate::coordinator) struct Mixed(Saved);

    impl Mixed {
        fn round(&mut self) -> &mut Round {
            self.0.round.as_mut().expect("a front of a round")
        }

        pub(in crate::coordinator) fn take_key_of(&mut self, other: &Front) {
            self.round().secret = Mixed(other.saved()).round().secret.clone();
        }

        pub(in crate::coordinator) fn take_sums_of(&mut self, other: &Front) {
            self.round().sums = other.sums().cloned();
        }

        pub(in crate::coordinator) fn drop_seeds(&mut self) {
            self.round().seeds = None;
        }

        pub(in crate::coordinator) fn drop_a_summer(&mut self) {
            let sums = self.round().sums.take().expect("there is a dictionary");
            let rest = sums.iter().skip(1).map(|(key, ephemeral)| (*key, *ephemeral)).collect();
            self.round().sums = Some(Arc::new(rest));
        }

        pub(in crate::coordinator) fn forget_probability(&mut self) {
            let parameters = RoundParameters::clone(&self.round().parameters);
            self.round().parameters = Arc::new(RoundParameters { sum: f64::NAN, ..parameters });
        }
    }
}
