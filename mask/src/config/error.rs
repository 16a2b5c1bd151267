//! Errors of mask configs.

use super::super::word::UnusableMaskConfig;

/// Four bytes that are not a mask config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMaskConfig {
    /// One of the bytes has no meaning.
    #[error(
        "byte {position} of the mask config is {value}, which names no {what} (allowed: {allowed})"
    )]
    UnknownByte {
        /// Which of the four bytes is wrong (0 to 3).
        position: usize,
        /// What the byte names: "group type", "data type", "bound type" or "model type".
        what: &'static str,
        /// The byte.
        value: u8,
        /// The values that it may have.
        allowed: &'static str,
    },
    /// Each has one, but the combination is of no use.
    #[error("mask config {0}")]
    Unusable(#[from] UnusableMaskConfig),
}

/// An unknown name for a part of a mask config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" is no {what}; use one of {allowed}")]
#[non_exhaustive]
pub struct UnknownMaskConfigName {
    /// What was looked for: "group type", "data type", "bound type" or "model type".
    pub what: &'static str,
    /// The name given.
    pub value: String,
    /// The names that there are.
    pub allowed: &'static str,
}

/// Text that is not a mask config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskConfigNameError {
    /// It is not made of four known names.
    #[error(transparent)]
    Unknown(#[from] UnknownMaskConfigName),
    /// It is, but the combination is of no use.
    #[error("mask config {0}")]
    Unusable(#[from] UnusableMaskConfig),
}
