//! The names of all settings, and what becomes of unknown names.

use super::{shown, Entry, Layers, Origin, Problem, Warning};

/// Sections in which nothing is secret: whatever is wrong there is shown.
const PUBLIC_SECTIONS: &[&str] = &["limits", "log", "mask", "model", "pet", "storage"];

/// Sections (with whatever is in them) that old settings have and this version has no use for, and
/// what that means for the user.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("metrics", "this version sends metrics nowhere: Prometheus fetches them from /metrics"),
    (
        "redis",
        "this version keeps its state in a directory (storage.data_dir), or in Redis if storage.engine says so",
    ),
    (
        "restore",
        "this version goes on from its directory (storage.data_dir) unless it is --ephemeral",
    ),
    (
        "s3",
        "global models are kept in a directory (storage.data_dir), or where coordinators share them (storage.parts = \"s3\" \
         has that be S3)",
    ),
];

/// Looks at the names of all given keys, where those in `keys` are read but for those in `unused` sections: unknown ones are
/// problems or warnings, those without effect warnings.
pub(super) fn names(
    layers: &Layers,
    keys: &[&'static str],
    unused: &[&'static str],
    problems: &mut Vec<Problem>,
) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    let is_used = |name| !unused.contains(&name) && sections(keys).any(|known| known == name);
    for (key, Entry { raw, origin }) in layers.iter() {
        if keys.contains(&key) && !unused.iter().any(|name| is_below(key, name)) {
            continue;
        }
        let mut problem = |value, rule| {
            problems.push(Problem { key: key.to_owned(), value, origin: origin.clone(), rule });
        };
        if let Some((name, message)) = WITHOUT_EFFECT
            .iter()
            .find(|(name, _)| key == *name || is_below(key, name))
            .filter(|(name, _)| !is_used(*name))
        {
            // One warning for a section, however many keys it has.
            if warnings.last().is_none_or(|last| last.key != *name) {
                warnings.push(Warning {
                    key: (*name).to_owned(),
                    origin: origin.clone(),
                    message: format!("has no effect: {message}"),
                });
            }
            continue;
        }
        let section = key.split('.').next().unwrap_or(key);
        if all_sections(keys).any(|known| known == section) {
            let is_public = PUBLIC_SECTIONS.contains(&section);
            problem(is_public.then(|| shown(raw)), unknown_key(key, keys));
            continue;
        }
        let unknown = match nearest(section, all_sections(keys)) {
            Some(near) => format!("there is no section {section}; did you mean {near}?"),
            None => format!("there is no section {section}"),
        };
        // A file or an environment may be meant for another version as well; whoever types an option
        // means this one.
        if matches!(origin, Origin::Option { .. }) {
            problem(None, unknown);
        } else if warnings.last().is_none_or(|last| last.key != section) {
            warnings.push(Warning {
                key: section.to_owned(),
                origin: origin.clone(),
                message: format!("is ignored: {unknown}"),
            });
        }
    }
    warnings
}

fn unknown_key(key: &str, keys: &[&'static str]) -> String {
    if keys.iter().any(|known| is_below(known, key)) {
        return "is a section with keys of its own, not a value".to_owned();
    }
    if let Some(value) = keys.iter().find(|known| is_below(key, known)) {
        return format!("is not a setting: {value} is a value and has no keys");
    }
    match nearest(key, keys.iter().copied()) {
        Some(near) => format!("is not a setting; did you mean {near}?"),
        None => "is not a setting".to_owned(),
    }
}

pub(super) fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn sections<'a>(keys: &'a [&'static str]) -> impl Iterator<Item = &'static str> + 'a {
    keys.iter().filter_map(|key| key.split('.').next())
}

/// All sections that there are, also those that have no effect.
fn all_sections<'a>(keys: &'a [&'static str]) -> impl Iterator<Item = &'static str> + 'a {
    sections(keys).chain(WITHOUT_EFFECT.iter().map(|(name, _)| *name))
}

/// The known name that `name` is most likely a misspelling of, if any is near enough.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}
