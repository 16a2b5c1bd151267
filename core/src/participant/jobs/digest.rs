//! The hash of a local model, on which its mask seed depends.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{ComposeError, Outcome};
use crate::crypto::{Blake2b, Digest};
use crate::job::{JobKind, Progress, Work};
use crate::model::{CastError, DataType, Model, Weights};

/// How many weights are hashed in a step, and make a leaf of the model's hash.
const LEAF: usize = 1 << 17;

/// Hashes some leaves of a model.
pub(super) struct HashLeaves {
    model: Arc<Model>,
    wanted: DataType,
    next: usize,
    end: usize,
    leaves: Result<Vec<Digest>, CastError>,
}

impl HashLeaves {
    /// All leaves from `first` on, in up to so many parts.
    pub(super) fn share_out(
        model: &Arc<Model>,
        wanted: DataType,
        first: usize,
        parts: usize,
    ) -> impl Iterator<Item = Self> + '_ {
        let all = leaf_count(model);
        let share = (all - first.min(all)).div_ceil(parts.max(1)).max(1);
        (first..all).step_by(share).map(move |first| Self {
            model: model.clone(),
            wanted,
            next: first,
            end: all.min(first + share),
            leaves: Ok(Vec::new()),
        })
    }
}

impl Work<Outcome> for HashLeaves {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        if self.next < self.end {
            match (&mut self.leaves, hash_leaf(&self.model, self.wanted, self.next)) {
                (Ok(leaves), Ok(leaf)) => leaves.push(leaf),
                (leaves, Err(error)) => *leaves = Err(error),
                (Err(_), Ok(_)) => {}
            }
            self.next += 1;
        }
        // After an error nothing else matters.
        self.leaves.is_err() || self.next == self.end
    }

    fn progress(&self) -> Progress {
        let done = self.leaves.as_ref().map_or(0, Vec::len) as u64;
        Progress { done, total: done + (self.end - self.next) as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Leaves(self.leaves.map_err(ComposeError::from))
    }
}

pub(super) fn leaf_count(model: &Model) -> usize {
    model.len().div_ceil(LEAF)
}

/// The root of the hash tree of a model: all leaves but the last are as long, so that type, length and leaves
/// tell the model. Leaves and root cannot be mistaken for each other, as they begin differently.
///
/// It is the model as it is masked, in the round's type, whatever the type that it was set in.
pub(super) fn hash_model(length: usize, data_type: DataType, leaves: &[Digest]) -> Digest {
    let mut hash = Blake2b::default();
    hash.update(&[1, data_type as u8]);
    hash.update(&(length as u64).to_le_bytes());
    for leaf in leaves {
        hash.update(leaf.as_bytes());
    }
    hash.finish()
}

pub(super) fn hash_leaf(
    model: &Model,
    wanted: DataType,
    index: usize,
) -> Result<Digest, CastError> {
    let range = index * LEAF..model.len().min((index + 1) * LEAF);
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * Model::BLOCK));
    let mut hash = Blake2b::default();
    hash.update(&[0]);
    macro_rules! write_all {
        ($weights:expr) => {
            $weights.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()))
        };
    }
    model.blocks(wanted, range, |weights| {
        bytes.clear();
        match weights {
            Weights::F32(weights) => write_all!(weights),
            Weights::F64(weights) => write_all!(weights),
            Weights::I32(weights) => write_all!(weights),
            Weights::I64(weights) => write_all!(weights),
        }
        hash.update(&bytes);
        Ok::<_, CastError>(())
    })?;
    Ok(hash.finish())
}
