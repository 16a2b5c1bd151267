//! `pet-core`, behind the same functions as [`crate::old`].

mod mask;
mod message;

pub use mask::{
    config_parameters, derive_mask, mask, mask_in_steps, model, read_published, sum_masks,
    sum_masks_in_parts, write_published, Aggregation, ConfigParameters,
};
pub use message::{
    encrypt_key_pair, is_eligible, open, open_mask_seed, read, read_parameters, read_seeds,
    read_sum_dict, reassemble, rewrite_seeds, seal, seal_mask_seed, sign, signing_key_pair, split,
    task_signatures, verify, write, write_parameters, write_sealed, write_sum_dict,
};
