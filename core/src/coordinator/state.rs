//! How far a coordinator is: what is saved and restored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::io::PersistId;
use super::settings::Settings;
use super::Phase;
use crate::crypto::{
    Digest, EncryptKeyPair, PublicSigningKey, Purpose, RootSeed, RoundSeed, Seed, SigningKeyPair,
};
use crate::mask::Aggregation;
use crate::message::SEED_ENTRY_LENGTH;
use crate::round::{RoundParameters, SeedDict, SumDict};

/// A round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) id: u64,
    pub(super) parameters: Arc<RoundParameters>,
}

impl Round {
    /// A new round with new keys, and a seed that follows from the one before (specification,
    /// section 2).
    pub(super) fn begin(settings: &Settings, root: &RootSeed, id: u64, before: &RoundSeed) -> Self {
        let keys = round_keys(root, id);
        let signer = SigningKeyPair::from_seed(&Seed::new(*keys.secret().as_bytes()));
        let (sum, update) = (settings.sum.prob, settings.update.prob);
        Self {
            id,
            parameters: Arc::new(RoundParameters {
                pk: keys.public(),
                sum,
                update,
                seed: before.next(&signer, sum, update),
                mask_config: settings.mask,
                model_length: settings.model_length,
            }),
        }
    }

    pub(super) fn keys(&self, root: &RootSeed) -> EncryptKeyPair {
        round_keys(root, self.id)
    }

    /// In range: the settings were validated.
    pub(super) fn model_length(&self) -> usize {
        usize::try_from(self.parameters.model_length).unwrap_or(usize::MAX)
    }
}

fn round_keys(root: &RootSeed, id: u64) -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&root.derive(Purpose::RoundKey, &[&id.to_le_bytes()]))
}

/// A phase and what was collected in it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Stage {
    Idle,
    Sum {
        dict: SumDict,
    },
    Update {
        sum_dict: Arc<SumDict>,
        seeds: SeedDict,
        /// Nothing before the first update.
        aggregation: Option<Arc<Aggregation>>,
    },
    Sum2 {
        sum_dict: Arc<SumDict>,
        seeds: Arc<SeedDict>,
        aggregation: Arc<Aggregation>,
        voters: BTreeSet<PublicSigningKey>,
        votes: BTreeMap<Digest, Vote>,
    },
    Unmask {
        aggregation: Arc<Aggregation>,
        mask: Bytes,
        votes: u64,
    },
    Failure {
        /// The next round begins when this is stored.
        record: PersistId,
    },
    Shutdown,
}

/// A mask, and how many sum participants have sent it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Vote {
    pub(super) mask: Bytes,
    pub(super) count: u64,
}

/// Shows no mask.
impl fmt::Debug for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vote({} times)", self.count)
    }
}

/// Shows how much was collected, and nothing of it.
impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({}, {} accepted)", self.phase(), self.accepted())
    }
}

impl Stage {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Sum { .. } => Phase::Sum,
            Self::Update { .. } => Phase::Update,
            Self::Sum2 { .. } => Phase::Sum2,
            Self::Unmask { .. } => Phase::Unmask,
            Self::Failure { .. } => Phase::Failure,
            Self::Shutdown => Phase::Shutdown,
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        match self {
            Self::Sum { dict } => dict.len() as u64,
            Self::Update { seeds, .. } => seeds.len() as u64,
            Self::Sum2 { voters, .. } => voters.len() as u64,
            Self::Idle | Self::Unmask { .. } | Self::Failure { .. } | Self::Shutdown => 0,
        }
    }

    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        // A few words for each number and each participant: only the order of magnitude counts.
        let aggregate = |sum: &Arc<Aggregation>| sum.len() * 8;
        match self {
            Self::Idle | Self::Failure { .. } | Self::Shutdown => 0,
            Self::Sum { dict } => dict.len() * SumDict::ENTRY_LENGTH,
            Self::Update { sum_dict, seeds, aggregation } => {
                seeds.len() * sum_dict.len() * SEED_ENTRY_LENGTH
                    + aggregation.as_ref().map_or(0, aggregate)
            }
            Self::Sum2 { sum_dict, seeds, aggregation, votes, .. } => {
                seeds.len() * sum_dict.len() * SEED_ENTRY_LENGTH
                    + aggregate(aggregation)
                    + votes.values().map(|vote| vote.mask.len()).sum::<usize>()
            }
            Self::Unmask { aggregation, mask, .. } => aggregate(aggregation) + mask.len(),
        }
    }

    /// The complete seed dictionary.
    pub(super) fn seeds(&self) -> Option<&Arc<SeedDict>> {
        match self {
            Self::Sum2 { seeds, .. } => Some(seeds),
            _ => None,
        }
    }

    /// The complete sum dictionary.
    pub(super) fn sum_dict(&self) -> Option<&Arc<SumDict>> {
        match self {
            Self::Update { sum_dict, .. } | Self::Sum2 { sum_dict, .. } => Some(sum_dict),
            _ => None,
        }
    }
}
