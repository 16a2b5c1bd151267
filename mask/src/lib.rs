//! Masking: mask configs, masks, masked models, their sums, and back (PET specification, section 5).
//!
//! A participant masks its model with [`Masker`], a sum participant adds masks with [`MaskSum`], the
//! coordinator adds masked models with [`Aggregation`] and gets the global model with [`Unmasker`]. All of
//! these work in steps with bounded time, keep numbers as fixed-width integers ([`num_bigint`] is for
//! set-up and for what does not fit), and read and write the bytes of messages directly.

#![deny(unsafe_code)]

pub mod accounting;
mod aggregation;
mod config;
mod draw;
mod element;
mod encode;
mod group;
mod group_mask;
mod keystream;
mod masker;
pub mod model;
pub mod noise;
mod object;
mod pack;
mod seed;
pub mod sha512;
mod simd;
mod sum;
pub mod tree;
mod unmask;
mod wire;
mod word;

pub use aggregation::{Aggregation, AggregationError, RangeSum, UnmaskError};
pub use config::{
    BoundType, DataType, GroupType, InvalidMaskConfig, MaskConfig, MaskConfigNameError,
    MaskConfigPair, ModelType, Precision, UnknownMaskConfigName,
};
pub use group_mask::{GroupMask, GroupMaskError, GroupMaskPart};
pub use keystream::KeyStream;
pub use masker::{mask_model, mask_ratios, MaskError, MaskPart, MaskReport, Masker};
pub use object::{MaskObject, MaskObjectError, MaskObjectPart, MaskObjectView};
pub use seed::{MaskSeed, WrongSeedLength};
pub use sum::{derive_mask, MaskSum, MaskSumPart, SumMismatch};
pub use unmask::{
    unmask_ratios, NoisyUnmaskError, NoisyUnmaskPart, NoisyUnmasker, UnmaskPart, Unmasked,
    Unmasker, WeightOutOfRange,
};
pub use word::UnusableMaskConfig;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
