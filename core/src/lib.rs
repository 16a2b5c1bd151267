//! The PET protocol.
#![forbid(unsafe_code)]
pub mod crypto;
pub mod mask;
pub mod model;
