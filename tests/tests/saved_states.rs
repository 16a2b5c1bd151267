//! What earlier programs have saved is read by this one; what a later one has saved is refused, by name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pet_core::coordinator::{
    Coordinator, CountRange, Front, Settings, Sum2Settings, SumSettings, TimeRange, UpdateSettings,
};
use pet_core::mask::MaskConfig;
use pet_core::participant::{self, Participant};
use pet_core::time::Timestamp;

/// With which the coordinators were saved.
fn settings() -> Settings {
    let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
    let count = CountRange { min: 1, max: 100 };
    let mask: MaskConfig = "Prime/F32/B0/M3".parse().expect("a known config");
    let update = UpdateSettings::new(0.9, CountRange { min: 3, max: 100 }, time);
    let sum2 = Sum2Settings::new(count, time);
    Settings::new(SumSettings::new(0.4, count, time), update, sum2, mask, 4)
}

/// Reads a saved state of this kind and writes it again.
fn again(kind: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    match kind {
        "participant" => Participant::restore(bytes, participant::Settings::default())
            .map(|machine| machine.snapshot().to_bytes().to_vec())
            .map_err(|error| error.to_string()),
        "coordinator" => Coordinator::restore(bytes, settings(), Timestamp::ZERO)
            .map(|machine| machine.snapshot().to_bytes().to_vec())
            .map_err(|error| error.to_string()),
        "front" => Front::from_bytes(bytes)
            .map(|front| front.to_bytes().to_vec())
            .map_err(|error| error.to_string()),
        other => panic!("nothing is called {other}"),
    }
}

/// The kind, the phase or task, the bytes.
fn all() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("saved");
    let files = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("a file"));
    let states = files.filter(|file| file.file_name() != "README.md").map(|file| {
        let name = file.file_name().into_string().expect("a name");
        (name, fs::read(file.path()).expect("a saved state"))
    });
    states.collect()
}

#[test]
fn what_earlier_versions_have_saved_is_read() {
    let all = all();
    assert_eq!(all.len(), 9);
    for (name, bytes) in all {
        let kind = name.split('-').next().expect("a kind");
        let written = again(kind, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(again(kind, &written).is_ok(), "{name}");
        // It is what was saved, and not a new one: the secrets are there again.
        if kind == "participant" {
            assert_eq!(written[..80], bytes[..80], "{name}");
        }
    }
}

#[test]
fn what_a_later_version_has_saved_is_refused_by_name() {
    for (name, mut bytes) in all() {
        let kind = name.split('-').next().expect("a kind");
        bytes[4..6].copy_from_slice(&u16::MAX.to_le_bytes());
        let error = again(kind, &bytes).unwrap_err();
        assert!(error.contains("version 65535") && error.contains("newer"), "{name}: {error}");
    }
}
