//! How properties are run; above all, for each of the 240 mask configs.

use pet_oracle::{strategies::all_configs, ConfigBytes};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner},
};

/// Of the cases that `PROPTEST_CASES` asks for (256 if it is not set), one in so many is tried
/// with each config.
const SHARE: u32 = 4;

/// The settings of properties whose failures are stored in a file beside their source.
pub fn persistent() -> Config {
    let file = FileFailurePersistence::WithSource("regressions");
    Config { failure_persistence: Some(Box::new(file)), ..Config::default() }
}

/// Checks `property` for inputs from `strategy(config)`, for every mask config.
///
/// # Panics
/// If it does not hold, with the smallest input found for which it does not.
pub fn for_every_config<S: Strategy>(
    strategy: impl Fn(ConfigBytes) -> S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let cases = (Config::default().cases / SHARE).max(1);
    for config in all_configs() {
        let mut runner = TestRunner::new(Config { cases, ..Config::with_source_file(file!()) });
        if let Err(failure) = runner.run(&strategy(config), &property) {
            panic!("mask config {config:?}: {failure}\n{runner}");
        }
    }
}
