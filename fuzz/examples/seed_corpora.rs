//! Writes first inputs for the targets whose inputs nobody would write by hand:
//! `cargo run --example seed_corpora -- corpus`. A fuzzer takes it from there.

use std::path::{Path, PathBuf};

use pet_fuzz::{
    backend_examples, http_examples, sealed_examples, settings_examples, snapshot_examples,
};

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).expect("usage: seed_corpora FOLDER"));
    for (name, bytes) in backend_examples() {
        write(&folder.join("backends"), &name, &bytes)?;
    }
    for (name, bytes) in sealed_examples() {
        write(&folder.join("sealed_message"), &name, &bytes)?;
    }
    for (name, text) in http_examples() {
        write(&folder.join("http"), name, text.as_bytes())?;
    }
    for (name, text) in settings_examples() {
        write(&folder.join("settings"), name, text.as_bytes())?;
    }
    for (name, bytes) in snapshot_examples() {
        write(&folder.join("snapshots"), &name, &bytes)?;
    }
    for (name, bytes) in pet_fuzz::v2_round::values() {
        write(&folder.join("v2_values"), name, &bytes)?;
        if CHECKED.contains(&name) {
            write(&folder.join("v2_checks"), name, &bytes)?;
        }
    }
    for (name, bytes) in pet_fuzz::v2_snapshot_examples() {
        write(&folder.join("v2_snapshots"), name, &bytes)?;
    }
    for (name, text) in V2_CALLS {
        write(&folder.join("v2_calls"), name, text.as_bytes())?;
    }
    write(&folder.join("rounds"), "calm", &[0; 80])?;
    write(&folder.join("rounds"), "step-by-step", &step_by_step())?;
    for seed in 0..12 {
        write(&folder.join("rounds"), &format!("mixed-{seed}"), &mixed(seed))?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), bytes)
}

/// Every participant's requests and jobs one by one, then time passes.
fn step_by_step() -> Vec<u8> {
    let mut actions = Vec::new();
    for _ in 0..6 {
        for index in 0..5 {
            actions.extend([3, index, 4, index, 9, index, 11, index, 4, index, 2, 0]);
        }
        actions.extend([15, 0, 16, 0, 19, 0]);
    }
    actions
}

/// Mostly calm, with an accident now and then.
fn mixed(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut actions = Vec::new();
    for _ in 0..100 {
        let action = if random() % 3 == 0 { random() % 20 } else { 0 };
        actions.extend([action, random()]);
    }
    actions
}

/// The kinds of values that are checked against a round.
const CHECKED: [&str; 7] = [
    "Announcement",
    "Announcements",
    "UpdateHeader",
    "EntriesPage",
    "Report",
    "GroupMaskHeader",
    "Certificate",
];

const V2_CALLS: [(&str, &str); 9] = [
    ("round", "GET\n/v2/round"),
    ("entries", "GET\n/v2/entries?group=1&member=2&from=1024"),
    ("model", "GET\n/v2/model?round=7"),
    ("latest", "HEAD\n/v2/certificate"),
    ("proof", "GET\n/v2/proof?round=7&pk=0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"),
    ("mask", "GET\n/v2/audit/mask?group=0&round=18446744073709551615"),
    ("vote", "POST\n/v2/vote?round=0123456789abcdef\nbody"),
    ("chunk", "POST\n/v2/update/chunk?index=3&pk=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nbody"),
    ("wrong", "POST\n/v2/mask/chunk?group=+1&member=256&index=-1&index=1&&=&x"),
];
