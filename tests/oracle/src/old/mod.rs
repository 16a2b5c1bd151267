//! The published crate, called through its public API only.

mod crypto;
mod mask;
mod message;

pub use crypto::{
    encrypt_key_pair, is_eligible, open, public_encrypt_key, seal, sha256, sign, signing_key_pair,
    verify,
};
pub use mask::{
    config_parameters, derive_mask, mask, ratio_model_from_bincode, ratio_model_to_bincode, to_f32,
    to_f64, to_i32, to_i64, Aggregation, ConfigParameters,
};
pub use message::{
    open_mask_seed, read, read_parameters, read_payload, read_seeds, read_sum_dict, seal_mask_seed,
    write, write_parameters, write_seeds, write_sum_dict,
};
