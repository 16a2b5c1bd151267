//! The binary `pet-coordinator`.
#![forbid(unsafe_code)]

mod cli;

fn main() {}
