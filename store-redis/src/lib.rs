#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod error;
mod hints;
mod ledger;
mod parts;
mod reply;
mod safety;
mod schema;
mod scripts;
mod server;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

pub use ledger::RedisLedger;
pub use parts::{RedisParts, MOST_PART};
pub use settings::RedisSettings;

/// What errors call it.
pub(crate) const ENGINE: &str = "Redis";
