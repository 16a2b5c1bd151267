#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod archive;
mod http;
mod objects;
mod parts;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;

pub use archive::S3Archive;
pub use parts::S3Parts;
pub use settings::S3Settings;

/// What errors call it.
pub(crate) const ENGINE: &str = "S3";
