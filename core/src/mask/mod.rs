//! Masking: mask configs, masks, masked models, their sums, and back (spec section 5).
//!
//! A participant masks its model with [`Masker`], a sum participant adds masks with [`MaskSum`], the
//! coordinator adds masked models with [`Aggregation`] and gets the global model with [`Unmasker`]. All of
//! these work in steps with bounded time, keep numbers as fixed-width integers ([`num_bigint`] is for
//! set-up and for what does not fit), and read and write the bytes of messages directly.

mod aggregation;
mod config;
mod draw;
mod element;
mod encode;
mod group;
mod keystream;
mod masker;
mod object;
mod pack;
mod seed;
mod sum;
mod unmask;
mod wire;
mod word;

pub(crate) use aggregation::RangeSum;
pub use aggregation::{Aggregation, AggregationError, UnmaskError};
pub use config::{
    BoundType, DataType, GroupType, InvalidMaskConfig, MaskConfig, MaskConfigNameError,
    MaskConfigPair, ModelType, Precision, UnknownMaskConfigName,
};
pub(crate) use masker::MaskPart;
pub use masker::{mask_model, mask_ratios, MaskError, MaskReport, Masker};
pub use object::{MaskObject, MaskObjectError, MaskObjectPart, MaskObjectView};
pub use seed::MaskSeed;
pub use sum::{derive_mask, MaskSum, MaskSumPart, SumMismatch};
pub use unmask::{unmask_ratios, UnmaskPart, Unmasked, Unmasker, WeightOutOfRange};
pub use word::UnusableMaskConfig;
