//! Settings that are named in documentation, help texts, Python and tests of it exist: a key is written once, in
//! `pet_coordinator::settings::Settings`, and whoever names it is held to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pet_coordinator::settings::{keys, member_keys};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Ends of names of files and hosts, which look like keys: `pet.toml`, `model.npy`.
const FILES: [&str; 18] = [
    "h", "conf", "example", "json", "key", "md", "npy", "npz", "old", "part", "pem", "png", "py",
    "raw", "rs", "service", "sock", "toml",
];
/// Models of Python's, and a field of `/status`.
const OTHERS: [&str; 5] =
    ["model.fit", "model.mask", "model.partial_fit", "model.predict", "model.tolist"];
/// Old settings that are read and have no effect.
const OLD: [&str; 4] = ["metrics", "redis", "restore", "s3"];
const VARIABLE: &str = "XAYNET__";

/// What is read: where settings are named for people.
fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut read = |path: &Path| {
        let name = path.strip_prefix(ROOT).unwrap().display().to_string();
        texts.push((name, fs::read_to_string(path).unwrap()));
    };
    let root = Path::new(ROOT);
    for file in [
        "README.md",
        "coordinator/README.md",
        "coordinator/config.example.toml",
        "coordinator/src/cli.rs",
    ] {
        read(&root.join(file));
    }
    for folder in ["docs", "demo", "python", "deploy/systemd"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "md" || kind == "service") {
                read(&path);
            }
        }
    }
    texts
}

/// Sources of what participants are told about their coordinator's settings, of the phases only: other words with
/// points in them are code.
fn sources() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for folder in ["participant/src", "python/src", "python/python/xaynet_sdk"] {
        let Ok(entries) = fs::read_dir(Path::new(ROOT).join(folder)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|kind| kind == "rs" || kind == "py") {
                texts.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    texts
}

/// Words that may be keys: names with points between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    text.split(move |c| !is_part(c)).map(|word| word.trim_matches('.'))
}

fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether this is the name of a setting or of a section of settings.
fn exists(name: &str, keys: &[&str]) -> bool {
    keys.iter().any(|key| *key == name || is_below(key, name))
}

#[test]
fn settings_that_are_named_exist() {
    let keys = [keys(), member_keys()].concat();
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    let (mut wrong, mut found) = (Vec::new(), BTreeSet::new());
    for (file, text) in texts() {
        for word in words(&text) {
            let parts: Vec<&str> = word.split('.').collect();
            let is_file = FILES.contains(parts.last().unwrap());
            let is_lower = !word.contains(|c: char| c.is_ascii_uppercase());
            let is_other = OTHERS.contains(&word);
            if parts.len() < 2 || is_file || is_other || !is_lower || !sections.contains(parts[0]) {
                continue;
            }
            match exists(word, &keys) {
                true => _ = found.insert(word.to_owned()),
                false => wrong.push(format!("{file}: {word}")),
            }
        }
        for word in words(&text).filter_map(|word| word.strip_prefix(VARIABLE)) {
            let name = word.to_lowercase().replace("__", ".");
            let is_old = OLD.contains(&name.split('.').next().unwrap());
            // XAYNET__SECTION__KEY shows the form; XAYNET__CLIENT is the old participants' log filter.
            if !exists(&name, &keys) && !is_old && !["", "client", "section.key"].contains(&&*name)
            {
                wrong.push(format!("{file}: {VARIABLE}{word}"));
            }
        }
    }
    for (file, text) in sources() {
        for word in words(&text).filter(|word| is_below(word, "pet")) {
            match exists(word, &keys) {
                true => _ = found.insert(word.to_owned()),
                false => wrong.push(format!("{file}: {word}")),
            }
        }
    }
    assert!(wrong.is_empty(), "there are no such settings:\n{}", wrong.join("\n"));
    assert!(found.len() > 30, "it does not see what is there: {found:?}");
}

#[test]
fn what_is_no_setting_is_found() {
    let keys = keys();
    for (name, expected) in [
        ("pet.sum.prob", true),
        ("pet.sum", true),
        ("pet.sum.probability", false),
        ("pet.su", false),
        ("mask.group_type", true),
        ("storage.secret_file", true),
    ] {
        assert_eq!(exists(name, &keys), expected, "{name}");
    }
}
