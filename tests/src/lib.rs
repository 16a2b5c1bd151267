//! What the whole-system tests have in common.

#![forbid(unsafe_code)]

pub mod explore;
pub mod fake;
pub mod load;
pub mod process;
pub mod recording;
