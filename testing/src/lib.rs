#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bounds;
#[cfg(test)]
mod bounds_tests;
pub mod by_hand;
pub mod contract;
pub mod sim;
pub mod strategies;
pub mod v2;
pub mod world;
