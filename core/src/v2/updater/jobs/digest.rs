//! The hash of what is masked, on which its seeds depend: the same as that of a global model.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{done, Done, Outcome};
use crate::crypto::Digest;
use crate::job::{JobKind, Progress, Work};
use crate::mask::tree;
use crate::model::{CastError, DataType, Model, Weights};
use crate::v2::{model_leaf, weights_of_a_leaf};

/// How many leaves a model has.
pub(super) fn leaf_count(model: &Model, wanted: DataType) -> usize {
    model.len().div_ceil(weights_of_a_leaf(wanted))
}

/// The hash of a leaf of a model, as the round's type has it. About 0.1 ms, and some more if it has to be converted.
pub(super) fn hash_leaf(model: &Model, wanted: DataType, at: usize) -> Result<Digest, CastError> {
    if model.data_type() == wanted {
        return Ok(model_leaf(model, at));
    }
    let most = weights_of_a_leaf(wanted);
    let range = at * most..model.len().min((at + 1) * most);
    let width = tree::TREE_LEAF / most;
    let mut bytes = Zeroizing::new(vec![0; range.len() * width]);
    let mut rest = &mut bytes[..];
    model.blocks::<CastError>(wanted, range, |weights| {
        macro_rules! write {
            ($weights:expr, $width:expr) => {{
                let (block, tail) = std::mem::take(&mut rest).split_at_mut($weights.len() * $width);
                for (to, weight) in block.chunks_exact_mut($width).zip($weights) {
                    to.copy_from_slice(&weight.to_le_bytes());
                }
                rest = tail;
            }};
        }
        match weights {
            Weights::F32(weights) => write!(weights, 4),
            Weights::F64(weights) => write!(weights, 8),
            Weights::I32(weights) => write!(weights, 4),
            Weights::I64(weights) => write!(weights, 8),
        }
        Ok(())
    })?;
    Ok(Digest::new(tree::leaf(&bytes)))
}

/// Hashes some leaves.
pub(super) struct HashLeaves {
    model: Arc<Model>,
    wanted: DataType,
    left: Range<usize>,
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
        let all = leaf_count(model, wanted);
        let share = (all - first.min(all)).div_ceil(parts.max(1)).max(1);
        (first..all).step_by(share).map(move |first| Self {
            model: model.clone(),
            wanted,
            left: first..all.min(first + share),
            leaves: Ok(Vec::new()),
        })
    }
}

impl Work<Outcome> for HashLeaves {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        if let (Ok(leaves), Some(at)) = (&mut self.leaves, self.left.next()) {
            match hash_leaf(&self.model, self.wanted, at) {
                Ok(leaf) => leaves.push(leaf),
                Err(error) => self.leaves = Err(error),
            }
        }
        // After an error nothing else matters.
        self.leaves.is_err() || self.left.is_empty()
    }

    fn progress(&self) -> Progress {
        let done = self.leaves.as_ref().map_or(0, Vec::len) as u64;
        Progress { done, total: done + self.left.len() as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        done(Done::Digests(self.leaves))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2::{model_hash, model_hash_of};

    #[test]
    fn it_is_the_hash_of_the_converted_model() {
        let length = weights_of_a_leaf(DataType::F32) + 77;
        let floats: Vec<f64> = (0..length).map(|i| i as f64 / 7.0).collect();
        let converted = Model::F32(floats.iter().map(|&weight| weight as f32).collect());
        let models = [Model::F64(floats), converted.clone()];
        for model in models {
            let all = leaf_count(&model, DataType::F32);
            let leaves: Vec<_> =
                (0..all).map(|at| hash_leaf(&model, DataType::F32, at).unwrap()).collect();
            let hash = model_hash_of(DataType::F32, length as u64, &leaves);
            assert_eq!(hash, model_hash(&converted));
        }
        assert!(hash_leaf(&Model::F64(vec![f64::NAN]), DataType::F32, 0).is_err());
    }
}
