//! The coordinator of the PET protocol: HTTP, settings and storage around `pet-core`'s coordinator state machine.
//!
//! The binary `pet-coordinator` is a thin shell around this library.
#![forbid(unsafe_code)]

pub mod settings;
