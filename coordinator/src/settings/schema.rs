//! What each key means, and the rules its value must keep.
//!
//! Reading ([`interpret`]) and checking ([`check`]) are apart: settings may also be built in code,
//! and the same rules hold for them. Both go on after the first mistake. A rule over several keys
//! is not checked where one of them could not be read, so that one mistake is not reported twice.

mod member;
mod names;
mod reader;
mod rules;

use std::collections::BTreeSet;

use self::{
    names::{is_below, names},
    reader::Reader,
    rules::{check_except, silent_log},
};
use super::{
    effective::{Effective, Value},
    error::{Origin, Problem, SettingsError, Warning},
    filter,
    layers::{variable, Entry, Layers, Raw},
    EngineUrl, Loaded, LogFormat, OptimizerSettings, PartsIn, S3Region, S3Secret, Settings,
    StorageEngine,
};
use crate::key;

pub(super) use self::member::{interpret_member, member_keys};
pub(super) use self::rules::{check, from_core, from_core_v2};

/// Makes settings of what was given.
pub(super) fn interpret(layers: &Layers) -> Result<Loaded, SettingsError> {
    let mut reader = Reader::new(layers, true);
    let settings = reader.settings();
    let unused = reader.unused;
    let mut problems = reader.problems;
    let mut effective = reader.effective;
    effective.sort_by(|a, b| a.key.cmp(&b.key));
    let keys = keys();
    let unreadable: BTreeSet<String> = problems.iter().map(|p| p.key.clone()).collect();
    problems.extend(check_except(&settings, Some(layers), &unreadable));
    let mut warnings = names(layers, &keys, &unused, &mut problems);
    warnings.extend(silent_log(&settings, layers));
    if problems.is_empty() {
        Ok(Loaded { settings, warnings, effective })
    } else {
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        Err(SettingsError::Invalid(problems))
    }
}

/// Settings with other values for some keys of the phases.
pub(crate) fn change(
    settings: &Settings,
    changes: &[(String, String)],
) -> Result<Settings, SettingsError> {
    let mut layers = Layers::default();
    for (key, value) in changes {
        layers.add_option(key, key, value.clone());
    }
    let mut changed = settings.clone();
    let mut reader = Reader::new(&layers, false);
    reader.read_all(&mut changed);
    let unused = reader.unused;
    let mut problems = reader.problems;
    let unreadable: BTreeSet<String> = problems.iter().map(|p| p.key.clone()).collect();
    problems.extend(check_except(&changed, Some(&layers), &unreadable));
    let keys = keys();
    names(&layers, &keys, &unused, &mut problems);
    for (key, Entry { raw, origin }) in layers.iter() {
        let is_fixed = !is_below(key, "pet") || FIXED.contains(&key);
        if keys.contains(&key) && is_fixed {
            problems.push(Problem {
                key: key.to_owned(),
                value: Some(shown(raw)),
                origin: origin.clone(),
                rule: "cannot be changed while the coordinator runs".to_owned(),
            });
        }
    }
    match problems.is_empty() {
        true => Ok(changed),
        false => Err(SettingsError::Invalid(problems)),
    }
}

/// Settings of the phases that belong to the coordinator's store.
const FIXED: [&str; 3] =
    [key!(pet.v2.roster_file), key!(pet.v2.rounds_audited), key!(pet.v2.first_round)];

/// The keys of everything that can be set: what the reader asks for, in order.
pub(super) fn keys() -> Vec<&'static str> {
    let layers = Layers::default();
    let mut reader = Reader::new(&layers, true);
    reader.settings();
    let mut keys = reader.keys;
    keys.sort_unstable();
    keys
}

/// All settings but the model's length, one by one.
pub(crate) fn effective(settings: &Settings) -> Vec<Effective> {
    let layers = Layers::default();
    let mut reader = Reader::new(&layers, false);
    reader.read_all(&mut settings.clone());
    reader.effective
}

/// The most characters of a wrong value that are shown.
const SHOWN: usize = 60;

/// A wrong value, as it is shown.
fn shown(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) => shorten(&format!("{text:?}")),
        Raw::Other { text, .. } => shorten(text),
    }
}

/// A wrong value on one line, and no more of it than tells what it is.
fn shorten(value: &str) -> String {
    let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn origin(layers: Option<&Layers>, key: &str) -> Origin {
    match layers {
        Some(layers) => layers.get(key).map_or(Origin::Default, |entry| entry.origin.clone()),
        None => Origin::Nowhere,
    }
}

#[cfg(test)]
mod tests;
