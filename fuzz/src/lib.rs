//! What is fuzzed: each target takes any bytes and must neither panic nor take much memory.
//!
//! The programs in `fuzz_targets` call them under libFuzzer (`make fuzz`); `cargo test` calls them with the
//! committed corpora and with mutations of them. Inputs that have once failed are in the corpora too, under
//! the name of what was wrong.
//!
//! (What the published `xaynet-core` does differently is fuzzed in `tests/oracle`.)

#![forbid(unsafe_code)]

mod backends;
#[path = "../../testing/src/bounds.rs"]
mod bounds;
pub mod federation;
mod http;
mod multipart;
mod opened_message;
mod published;
mod rounds;
mod sealed_message;
mod settings;
mod snapshots;
mod v2_calls;
mod v2_checks;
pub mod v2_round;
mod v2_snapshots;
mod v2_values;

pub use backends::{backends, examples as backend_examples};
pub use http::{examples as http_examples, http};
pub use multipart::multipart;
pub use opened_message::opened_message;
pub use published::published;
pub use rounds::{play, rounds};
pub use sealed_message::{examples as sealed_examples, sealed_message};
pub use settings::{examples as settings_examples, settings};
pub use snapshots::{examples as snapshot_examples, snapshots};
pub use v2_calls::v2_calls;
pub use v2_checks::v2_checks;
pub use v2_snapshots::{examples as v2_snapshot_examples, v2_snapshots};
pub use v2_values::v2_values;

/// A target's name, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 13] = [
    ("backends", backends),
    ("http", http),
    ("opened_message", opened_message),
    ("multipart", multipart),
    ("published", published),
    ("rounds", rounds),
    ("sealed_message", sealed_message),
    ("settings", settings),
    ("snapshots", snapshots),
    ("v2_calls", v2_calls),
    ("v2_checks", v2_checks),
    ("v2_snapshots", v2_snapshots),
    ("v2_values", v2_values),
];
