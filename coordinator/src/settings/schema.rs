//! What each key means, and the rules its value must keep.
//!
//! Reading ([`interpret`]) and checking ([`check`]) are apart: settings may also be built in code,
//! and the same rules hold for them. Both go on after the first mistake. A rule over several keys
//! is not checked where one of them could not be read, so that one mistake is not reported twice.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use pet_core::{
    coordinator::{self as protocol, Quorum},
    mask::MaskConfig,
};
use tracing_subscriber::EnvFilter;

use super::{
    effective::{Effective, Value},
    error::{Origin, Problem, SettingsError, Warning},
    filter,
    layers::{Entry, Layers, Raw},
    LimitsSettings, Loaded, LogFormat, MinMax, Settings,
};

/// The keys that are read.
const KEYS: &[&str] = &[
    "admin.bind_address",
    "admin.socket",
    "admin.token_file",
    "api.bind_address",
    "limits.body_time",
    "limits.connections",
    "limits.connections_per_address",
    "limits.handshake_time",
    "limits.header_bytes",
    "limits.header_time",
    "limits.message_bytes",
    "limits.messages",
    "limits.multipart_bytes",
    "limits.multipart_messages",
    "limits.multipart_time",
    "limits.multipart_unproven_bytes",
    "limits.queue_time",
    "limits.request_burst",
    "limits.requests_per_second",
    "limits.upload_rate",
    "limits.write_time",
    "log.filter",
    "log.format",
    "mask.bound_type",
    "mask.data_type",
    "mask.group_type",
    "mask.model_type",
    "model.length",
    "pet.sum.count.max",
    "pet.sum.count.min",
    "pet.sum.prob",
    "pet.sum.time.max",
    "pet.sum.time.min",
    "pet.sum2.count.max",
    "pet.sum2.count.min",
    "pet.sum2.quorum",
    "pet.sum2.time.max",
    "pet.sum2.time.min",
    "pet.update.count.max",
    "pet.update.count.min",
    "pet.update.prob",
    "pet.update.time.max",
    "pet.update.time.min",
    "storage.data_dir",
    "storage.ephemeral",
    "storage.models_kept",
];

/// Sections in which nothing is secret: whatever is wrong there is shown.
const PUBLIC_SECTIONS: &[&str] = &["limits", "log", "mask", "model", "pet", "storage"];

/// Keys that are read and have no default.
const OPTIONAL_KEYS: &[&str] =
    &["api.tls_certificate", "api.tls_client_auth", "api.tls_key", "storage.secret_file"];

/// Sections (with whatever is in them) that old settings have and this version has no use for, and
/// what that means for the user.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("metrics", "this version sends metrics nowhere: Prometheus fetches them from /metrics"),
    ("redis", "this version keeps its state in a directory (storage.data_dir)"),
    (
        "restore",
        "this version goes on from its directory (storage.data_dir) unless it is --ephemeral",
    ),
    ("s3", "this version keeps global models in a directory (storage.data_dir)"),
];

/// Makes settings of what was given.
pub(super) fn interpret(layers: &Layers) -> Result<Loaded, SettingsError> {
    let mut reader = Reader::new(layers, true);
    let settings = reader.settings();
    let mut problems = reader.problems;
    let mut effective = reader.effective;
    effective.sort_by(|a, b| a.key.cmp(&b.key));
    let unreadable: BTreeSet<String> = problems.iter().map(|p| p.key.clone()).collect();
    problems.extend(check_except(&settings, Some(layers), &unreadable));
    let mut warnings = names(layers, &mut problems);
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
    let mut problems = reader.problems;
    let unreadable: BTreeSet<String> = problems.iter().map(|p| p.key.clone()).collect();
    problems.extend(check_except(&changed, Some(&layers), &unreadable));
    names(&layers, &mut problems);
    for (key, Entry { raw, origin }) in layers.iter() {
        if KEYS.contains(&key) && !is_below(key, "pet") {
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

/// All settings but the model's length, one by one.
pub(crate) fn effective(settings: &Settings) -> Vec<Effective> {
    let layers = Layers::default();
    let mut reader = Reader::new(&layers, false);
    reader.read_all(&mut settings.clone());
    reader.effective
}

/// The rules of section 7 of the protocol description, over settings built in code.
pub(super) fn check(settings: &Settings) -> Vec<Problem> {
    check_except(settings, None, &BTreeSet::new())
}

struct Reader<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
    /// Whether what is not given has its default, one that depends on other settings included.
    from_defaults: bool,
}

impl<'a> Reader<'a> {
    fn new(layers: &'a Layers, from_defaults: bool) -> Self {
        Self { layers, problems: Vec::new(), effective: Vec::new(), from_defaults }
    }
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let mut length = None;
        self.read("model.length", &mut length, WHOLE, |text| text.parse().ok().map(Some));
        if self.layers.get("model.length").is_none() {
            self.problems.push(Problem {
                key: "model.length".to_owned(),
                value: None,
                origin: Origin::Nowhere,
                rule: "is missing: give the number of the model's weights with --model-length, in \
                       the settings file or as XAYNET__MODEL__LENGTH"
                    .to_owned(),
            });
        }
        // Where there is no length there is a problem already, and these settings are thrown away.
        let mut s = Settings::for_model_length(length.unwrap_or(1));
        self.read_all(&mut s);
        s
    }

    /// Reads all but the model's length into settings that hold where nothing is given.
    fn read_all(&mut self, s: &mut Settings) {
        self.read(
            "admin.bind_address",
            &mut s.admin.bind_address,
            "must be an IP address and a port, such as 127.0.0.1:8082, or nothing",
            |text| match text {
                "" => Some(None),
                text => text.parse().ok().map(Some),
            },
        );
        let path = |text: &str| Some((!text.is_empty()).then(|| PathBuf::from(text)));
        self.read("admin.socket", &mut s.admin.socket, "must be a path", path);
        self.read("admin.token_file", &mut s.admin.token_file, "must be a path", path);

        self.read(
            "api.bind_address",
            &mut s.api.bind_address,
            "must be an IP address and a port, such as 127.0.0.1:8081",
            |text| text.parse().ok(),
        );

        for (key, slot) in [
            ("api.tls_certificate", &mut s.api.tls_certificate),
            ("api.tls_key", &mut s.api.tls_key),
            ("api.tls_client_auth", &mut s.api.tls_client_auth),
        ] {
            let path = |text: &str| (!text.is_empty()).then(|| Some(text.into()));
            self.read(key, slot, "must be the path of a file in PEM form", path);
        }

        self.read("pet.sum.prob", &mut s.pet.sum.prob, NUMBER, number);
        self.count("pet.sum", &mut s.pet.sum.count);
        self.time("pet.sum", &mut s.pet.sum.time);
        self.read("pet.update.prob", &mut s.pet.update.prob, NUMBER, number);
        self.count("pet.update", &mut s.pet.update.count);
        self.time("pet.update", &mut s.pet.update.time);
        if self.from_defaults {
            s.pet.sum2.count.max = s.pet.sum.count.max;
        }
        self.count("pet.sum2", &mut s.pet.sum2.count);
        self.time("pet.sum2", &mut s.pet.sum2.time);
        let rule = "must be majority, or a number: a share of the sum dictionary";
        self.read("pet.sum2.quorum", &mut s.pet.sum2.quorum, rule, |text| match text {
            "majority" => Some(Quorum::Majority),
            _ => number(text).map(Quorum::Share),
        });

        self.mask(&mut s.mask);
        self.limits(&mut s.limits);

        self.read("log.filter", &mut s.log.filter, "must be text", |text| Some(text.to_owned()));
        self.read("log.format", &mut s.log.format, "must be text or json", |text| {
            match text.to_lowercase().as_str() {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            }
        });

        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let storage = &mut s.storage;
        self.read("storage.data_dir", &mut storage.data_dir, "must be a directory", path);
        self.read("storage.ephemeral", &mut storage.ephemeral, "must be true or false", |text| {
            text.to_lowercase().parse().ok()
        });
        let rule = "must be a whole number, 1 or more";
        self.read("storage.models_kept", &mut storage.models_kept, rule, |text| {
            text.parse().ok().filter(|kept| *kept > 0)
        });
        self.read("storage.secret_file", &mut storage.secret_file, "must be a file", |text| {
            path(text).map(Some)
        });
    }

    fn limits(&mut self, slot: &mut LimitsSettings) {
        for (key, slot) in [
            ("limits.connections", &mut slot.connections),
            ("limits.connections_per_address", &mut slot.connections_per_address),
            ("limits.header_bytes", &mut slot.header_bytes),
            ("limits.message_bytes", &mut slot.message_bytes),
            ("limits.messages", &mut slot.messages),
            ("limits.multipart_bytes", &mut slot.multipart_bytes),
            ("limits.multipart_messages", &mut slot.multipart_messages),
            ("limits.multipart_unproven_bytes", &mut slot.multipart_unproven_bytes),
            ("limits.request_burst", &mut slot.request_burst),
            ("limits.upload_rate", &mut slot.upload_rate),
        ] {
            self.read(key, slot, WHOLE, |text| text.parse().ok());
        }
        for (key, slot) in [
            ("limits.body_time", &mut slot.body_time),
            ("limits.handshake_time", &mut slot.handshake_time),
            ("limits.header_time", &mut slot.header_time),
            ("limits.multipart_time", &mut slot.multipart_time),
            ("limits.queue_time", &mut slot.queue_time),
            ("limits.write_time", &mut slot.write_time),
        ] {
            self.read(key, slot, SECONDS, seconds);
        }
        let rate = &mut slot.requests_per_second;
        self.read("limits.requests_per_second", rate, NUMBER, number);
    }

    fn count(&mut self, phase: &str, slot: &mut MinMax<u64>) {
        let parse = |text: &str| text.parse().ok();
        self.read(&format!("{phase}.count.min"), &mut slot.min, WHOLE, parse);
        self.read(&format!("{phase}.count.max"), &mut slot.max, WHOLE, parse);
    }

    fn mask(&mut self, slot: &mut MaskConfig) {
        let (mut group, mut data, mut bound, mut model) =
            (slot.group_type(), slot.data_type(), slot.bound_type(), slot.model_type());
        let problems = self.problems.len();
        self.read(
            "mask.group_type",
            &mut group,
            "must be one of Integer, Prime, Power2, Word32, Word64",
            |text| text.parse().ok(),
        );
        self.read("mask.data_type", &mut data, "must be one of F32, F64, I32, I64", |text| {
            text.parse().ok()
        });
        self.read("mask.bound_type", &mut bound, "must be one of B0, B2, B4, B6, Bmax", |text| {
            text.parse().ok()
        });
        self.read("mask.model_type", &mut model, "must be one of M3, M6, M9, M12", |text| {
            text.parse().ok()
        });
        match MaskConfig::new(group, data, bound, model) {
            Ok(config) => *slot = config,
            // Where one of them could not be read, the combination means nothing.
            Err(_) if self.problems.len() > problems => {}
            Err(error) => self.problems.push(Problem {
                key: "mask.group_type".to_owned(),
                value: Some(format!("{:?}", group.name())),
                origin: origin(Some(self.layers), "mask.group_type"),
                rule: error.to_string(),
            }),
        }
    }

    fn time(&mut self, phase: &str, slot: &mut MinMax<Duration>) {
        self.read(&format!("{phase}.time.min"), &mut slot.min, SECONDS, seconds);
        self.read(&format!("{phase}.time.max"), &mut slot.max, SECONDS, seconds);
    }

    /// Puts the value given for `key`, if any, into `slot`; one that `parse` does not take breaks
    /// `rule`.
    fn read<T: Value>(
        &mut self,
        key: &str,
        slot: &mut T,
        rule: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) {
        self.read_given(key, slot, rule, parse);
        let origin = origin(Some(self.layers), key);
        self.effective.push(Effective { key: key.to_owned(), value: slot.written(), origin });
    }

    fn read_given<T>(
        &mut self,
        key: &str,
        slot: &mut T,
        rule: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) {
        let Some(Entry { raw, origin }) = self.layers.get(key) else {
            return;
        };
        let rule = match raw {
            Raw::Text(text) => match parse(text.trim()) {
                Some(value) => {
                    *slot = value;
                    return;
                }
                None => rule.to_owned(),
            },
            Raw::Other { kind, .. } => format!("{rule}, not {kind}"),
        };
        self.problems.push(Problem {
            key: key.to_owned(),
            value: Some(shown(raw)),
            origin: origin.clone(),
            rule,
        });
    }
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

const WHOLE: &str = "must be a whole number, 0 or more";
const NUMBER: &str = "must be a number";
const SECONDS: &str = "must be a number of seconds, 0 or more, whole or with a fraction";

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn seconds(text: &str) -> Option<Duration> {
    // Whole seconds take the exact way: old settings may hold any u64 to mean "for ever".
    match text.parse() {
        Ok(whole) => Some(Duration::from_secs(whole)),
        Err(_) => Duration::try_from_secs_f64(text.parse().ok()?).ok(),
    }
}

fn check_except(
    s: &Settings,
    layers: Option<&Layers>,
    unreadable: &BTreeSet<String>,
) -> Vec<Problem> {
    let problem = |key: &str, value, rule| Problem {
        key: key.to_owned(),
        value,
        origin: origin(layers, key),
        rule,
    };
    let mut problems = Vec::new();

    if let Err(protocol::InvalidSettings(violations)) = s.protocol().validate() {
        problems.extend(from_core(violations, layers, unreadable));
    }

    let (least, models) = (s.pet.update.count.min, s.mask.max_nb_models());
    let readable = ["mask.group_type", "mask.model_type", "pet.update.count.min"]
        .iter()
        .all(|key| !unreadable.contains(*key));
    if least > models && readable {
        problems.push(problem(
            "pet.update.count.min",
            Some(least.to_string()),
            format!(
                "must be at most {models}: mask.model_type {} allows no more models",
                s.mask.model_type()
            ),
        ));
    }
    let api = &s.api;
    for (key, given, needs, there) in [
        (
            "api.tls_certificate",
            api.tls_certificate.is_some(),
            "api.tls_key",
            api.tls_key.is_some(),
        ),
        (
            "api.tls_key",
            api.tls_key.is_some(),
            "api.tls_certificate",
            api.tls_certificate.is_some(),
        ),
        (
            "api.tls_client_auth",
            api.tls_client_auth.is_some(),
            "api.tls_certificate",
            api.tls_certificate.is_some(),
        ),
    ] {
        if given && !there && !unreadable.contains(needs) {
            problems.push(problem(key, None, format!("needs {needs} as well")));
        }
    }
    for (key, value, rule) in s.limits.check() {
        if !unreadable.contains(key) {
            problems.push(problem(key, Some(value), rule));
        }
    }
    if let Err(error) = EnvFilter::builder().parse(s.log.directives()) {
        problems.push(problem(
            "log.filter",
            Some(shorten(&format!("{:?}", s.log.filter))),
            format!("must be levels and target=level pairs (info,pet_coordinator=debug): {error}"),
        ));
    }
    for (key, value, rule) in s.admin.check() {
        if !unreadable.contains(key) {
            problems.push(problem(key, value, rule.to_owned()));
        }
    }
    problems
}

/// The rules of the protocol are core's. What they say where a value could not be read means
/// nothing.
pub(super) fn from_core(
    violations: Vec<protocol::Violation>,
    layers: Option<&Layers>,
    unreadable: &BTreeSet<String>,
) -> Vec<Problem> {
    violations
        .into_iter()
        .filter(|violation| !violation.depends_on.iter().any(|key| unreadable.contains(*key)))
        .map(|violation| Problem {
            key: violation.key.to_owned(),
            value: Some(violation.value),
            origin: origin(layers, violation.key),
            rule: violation.rule,
        })
        .collect()
}

fn origin(layers: Option<&Layers>, key: &str) -> Origin {
    match layers {
        Some(layers) => layers.get(key).map_or(Origin::Default, |entry| entry.origin.clone()),
        None => Origin::Nowhere,
    }
}

/// A filter that was meant for other programs hides what this one does.
fn silent_log(settings: &Settings, layers: &Layers) -> Option<Warning> {
    (!filter::concerns_us(&settings.log.filter)).then(|| Warning {
        key: "log.filter".to_owned(),
        origin: origin(Some(layers), "log.filter"),
        message: format!(
            "{:?} says nothing about this program's own messages, which are not logged: write \
             pet_coordinator=info or just info as well",
            settings.log.filter
        ),
    })
}

/// Looks at the names of all given keys: unknown ones are problems or warnings, those without effect
/// warnings.
fn names(layers: &Layers, problems: &mut Vec<Problem>) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    for (key, Entry { raw, origin }) in layers.iter() {
        if KEYS.contains(&key) || OPTIONAL_KEYS.contains(&key) {
            continue;
        }
        let mut problem = |value, rule| {
            problems.push(Problem { key: key.to_owned(), value, origin: origin.clone(), rule });
        };
        if let Some((name, message)) =
            WITHOUT_EFFECT.iter().find(|(name, _)| key == *name || is_below(key, name))
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
        if sections().any(|known| known == section) {
            let is_public = PUBLIC_SECTIONS.contains(&section);
            problem(is_public.then(|| shown(raw)), unknown_key(key));
            continue;
        }
        let unknown = match nearest(section, sections()) {
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

fn unknown_key(key: &str) -> String {
    if KEYS.iter().any(|known| is_below(known, key)) {
        return "is a section with keys of its own, not a value".to_owned();
    }
    if let Some(value) = KEYS.iter().find(|known| is_below(key, known)) {
        return format!("is not a setting: {value} is a value and has no keys");
    }
    match nearest(key, KEYS.iter().chain(OPTIONAL_KEYS).copied()) {
        Some(near) => format!("is not a setting; did you mean {near}?"),
        None => "is not a setting".to_owned(),
    }
}

fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn sections() -> impl Iterator<Item = &'static str> {
    let without_effect = WITHOUT_EFFECT.iter().map(|(name, _)| name);
    KEYS.iter().chain(without_effect).filter_map(|key| key.split('.').next())
}

/// The known name that `name` is most likely a misspelling of, if any is near enough.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
