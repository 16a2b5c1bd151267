//! What the whole-system tests have in common.

#![forbid(unsafe_code)]

pub mod fake;
pub mod world;
