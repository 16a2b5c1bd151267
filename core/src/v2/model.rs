//! The hash of a global model, which the next round's terms name.

use super::hash::{Label, ModelHash, PartsHash};
use super::statement::TREE_LEAF;
use crate::crypto::Digest;
use crate::mask::tree;
use crate::model::{array, DataType, Model};

/// How many weights a leaf of a model's hash covers.
pub fn weights_of_a_leaf(data_type: DataType) -> usize {
    TREE_LEAF / array::weight_len(data_type)
}

/// The hash of the leaf at this place: of its weights, little-endian, as in the short form of a model. About 0.1 ms.
pub fn model_leaf(model: &Model, at: usize) -> Digest {
    let most = weights_of_a_leaf(model.data_type());
    let start = at.saturating_mul(most).min(model.len());
    let range = start..model.len().min(start + most);
    Digest::new(tree::leaf(&model.range(range).bytes()))
}

/// How many leaves a model has.
pub fn model_leaves(model: &Model) -> usize {
    model.len().div_ceil(weights_of_a_leaf(model.data_type()))
}

/// The hash of a model with these leaves, in order.
pub fn model_hash_of(data_type: DataType, length: u64, leaves: &[Digest]) -> ModelHash {
    let mut hash = PartsHash::new(Label::Model);
    hash.part(&[data_type.to_byte()]);
    hash.part(&length.to_le_bytes());
    hash.begin(leaves.len() as u64 * Digest::LENGTH as u64);
    leaves.iter().for_each(|leaf| hash.more(leaf.as_bytes()));
    ModelHash::new(*hash.finish().as_bytes())
}

/// The hash of a model, in the type of weights that the round's mask config has. It grows with the model: whoever may not
/// stall takes [leaf](model_leaf) by leaf.
pub fn model_hash(model: &Model) -> ModelHash {
    let leaves: Vec<Digest> = (0..model_leaves(model)).map(|at| model_leaf(model, at)).collect();
    model_hash_of(model.data_type(), model.len() as u64, &leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_differ_by_weights_type_and_length() {
        let model = |weights: &[f32]| Model::F32(weights.to_vec());
        let hash = model_hash(&model(&[1.0, 2.0]));
        assert_eq!(hash, model_hash(&model(&[1.0, 2.0])));
        assert_ne!(hash, model_hash(&model(&[2.0, 1.0])));
        assert_ne!(hash, model_hash(&model(&[1.0, 2.0, 0.0])));
        assert_ne!(model_hash(&model(&[0.0])), model_hash(&Model::I32(vec![0])));
        assert_ne!(model_hash(&model(&[0.0])), model_hash(&model(&[-0.0])), "bytes count");
    }

    #[test]
    fn leaves_cover_all_weights() {
        let length = weights_of_a_leaf(DataType::I64) + 1;
        let weights: Vec<i64> = (0..length as i64).collect();
        let model = Model::I64(weights);
        assert_eq!(model_leaves(&model), 2);
        assert_eq!(
            model_leaf(&model, 1).as_bytes(),
            &tree::leaf(&(length as i64 - 1).to_le_bytes())
        );
        assert_eq!(model_leaves(&Model::I64(Vec::new())), 0);
        assert_eq!(model_leaf(&model, usize::MAX).as_bytes(), &tree::leaf(&[]));
    }
}
