//! Values that both implementations can be asked about, free of the types of either.

use std::collections::BTreeMap;

use num_rational::BigRational;

/// A mask config as its four wire bytes: group, data, bound and model type (spec, section 4).
pub type ConfigBytes = [u8; 4];

/// The configs of the vector and the unit part of a mask object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairBytes {
    /// The config of the weights.
    pub vect: ConfigBytes,
    /// The config of the scalar.
    pub unit: ConfigBytes,
}

impl From<ConfigBytes> for PairBytes {
    fn from(config: ConfigBytes) -> Self {
        Self { vect: config, unit: config }
    }
}

/// A model's weights, in one of the types that models come in.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Single precision floats.
    F32(Vec<f32>),
    /// Double precision floats.
    F64(Vec<f64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Exact fractions.
    Ratio(Vec<BigRational>),
}

impl Weights {
    /// The number of weights.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(weights) => weights.len(),
            Self::F64(weights) => weights.len(),
            Self::I32(weights) => weights.len(),
            Self::I64(weights) => weights.len(),
            Self::Ratio(weights) => weights.len(),
        }
    }

    /// Whether there are no weights at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The task that a message belongs to: the tag of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Announces a sum participant.
    Sum,
    /// Carries a masked model.
    Update,
    /// Carries an aggregated mask.
    Sum2,
}

/// A message without its signature and its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// The sender's Ed25519 public key.
    pub participant_pk: [u8; 32],
    /// The round's X25519 public key.
    pub coordinator_pk: [u8; 32],
    /// What it says.
    pub body: Body,
}

/// The payload of a message (spec, section 4). Mask objects are in their wire form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A sum participant announces its ephemeral key.
    Sum {
        /// The signature that makes it a sum participant.
        sum_signature: [u8; 64],
        /// The X25519 key that mask seeds are sealed to.
        ephm_pk: [u8; 32],
    },
    /// An update participant's masked model.
    Update {
        /// The signature that must not make it a sum participant.
        sum_signature: [u8; 64],
        /// The signature that makes it an update participant.
        update_signature: [u8; 64],
        /// The masked model.
        masked_model: Vec<u8>,
        /// The sealed mask seed by sum participant.
        seed_dict: BTreeMap<[u8; 32], [u8; 80]>,
    },
    /// A sum participant's vote for the aggregated mask.
    Sum2 {
        /// The signature that makes it a sum participant.
        sum_signature: [u8; 64],
        /// The aggregated mask.
        mask: Vec<u8>,
    },
    /// A part of the payload of one of the others.
    Chunk {
        /// What the parts add up to.
        task: Task,
        /// The part's position, from 0.
        id: u16,
        /// Which message it is a part of.
        message_id: u16,
        /// Whether it is the last part.
        last: bool,
        /// The bytes of the payload.
        data: Vec<u8>,
    },
}

/// Round parameters (spec, section 3).
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The round's X25519 public key.
    pub pk: [u8; 32],
    /// The probability of the sum task.
    pub sum: f64,
    /// The probability of the update task.
    pub update: f64,
    /// The round's seed.
    pub seed: [u8; 32],
    /// The mask configs.
    pub mask_config: PairBytes,
    /// The number of weights.
    pub model_length: u64,
}
