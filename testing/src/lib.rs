//! A coordinator and participants of the PET protocol in virtual time, with everything that can go wrong.

#![forbid(unsafe_code)]

pub mod bounds;
#[cfg(test)]
mod bounds_tests;
pub mod by_hand;
pub mod contract;
pub mod sim;
pub mod world;
