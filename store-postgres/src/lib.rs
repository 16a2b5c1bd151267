#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod hints;
mod ledger;
mod parts;
mod safety;
mod schema;
mod server;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod vacuum;

pub use ledger::PostgresLedger;
pub use parts::PostgresParts;
pub use settings::PostgresSettings;

/// What errors call it.
pub(crate) const ENGINE: &str = "PostgreSQL";
