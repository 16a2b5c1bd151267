//! What the whole-system tests have in common.

#![forbid(unsafe_code)]

pub mod by_hand;
pub mod explore;
pub mod fake;
pub mod log;
#[cfg(test)]
mod log_tests;
pub mod process;
pub mod recording;
pub mod sim;
pub mod world;
