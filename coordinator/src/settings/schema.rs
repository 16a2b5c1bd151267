//! What each key means, and the rules its value must keep.
//!
//! Reading ([`interpret`]) and checking ([`check`]) are apart: settings may also be built in code, and the same rules
//! hold for them. Both go on after the first mistake. A rule over several keys is not checked where one of them
//! could not be read, so that one mistake is not reported twice.

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use tracing_subscriber::EnvFilter;

use super::{
    error::{Origin, Problem, SettingsError, Warning},
    layers::{Entry, Layers, Raw},
    Loaded, LogFormat, MinMax, Settings,
};

/// The keys that are read.
const KEYS: &[&str] = &[
    "api.bind_address",
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
    "pet.sum2.time.max",
    "pet.sum2.time.min",
    "pet.update.count.max",
    "pet.update.count.min",
    "pet.update.prob",
    "pet.update.time.max",
    "pet.update.time.min",
];

/// Keys and whole sections (with whatever is in them) that old settings have and this version has no use for, and
/// what that means for the user.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "api.tls_certificate",
        "this version speaks plain HTTP: put a proxy that does TLS in front of it",
    ),
    (
        "api.tls_client_auth",
        "client certificates are not asked for: put a proxy that checks them in front of the coordinator",
    ),
    (
        "api.tls_key",
        "this version speaks plain HTTP: put a proxy that does TLS in front of it",
    ),
    ("metrics", "this version sends no metrics anywhere"),
    (
        "redis",
        "this version keeps its state in memory: it is lost when the coordinator stops",
    ),
    (
        "restore",
        "this version keeps its state in memory: every start is a fresh one",
    ),
    (
        "s3",
        "this version keeps global models in memory: they are lost when the coordinator stops",
    ),
];

/// Makes settings of what was given.
pub(super) fn interpret(layers: &Layers) -> Result<Loaded, SettingsError> {
    let mut reader = Reader {
        layers,
        problems: Vec::new(),
    };
    let settings = reader.settings();
    let mut problems = reader.problems;
    let unreadable: BTreeSet<String> = problems.iter().map(|p| p.key.clone()).collect();
    problems.extend(check_except(&settings, layers, &unreadable));
    let warnings = names(layers, &mut problems);
    if problems.is_empty() {
        Ok(Loaded { settings, warnings })
    } else {
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        Err(SettingsError::Invalid(problems))
    }
}

/// The rules of section 7 of the protocol description, over settings of any provenance.
pub(super) fn check(settings: &Settings, layers: &Layers) -> Vec<Problem> {
    check_except(settings, layers, &BTreeSet::new())
}

struct Reader<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let mut length = None;
        self.read("model.length", &mut length, WHOLE, |text| {
            text.parse().ok().map(Some)
        });
        if self.layers.get("model.length").is_none() {
            self.problems.push(Problem {
                key: "model.length".to_owned(),
                value: None,
                origin: Origin::Nowhere,
                rule: "is missing: give the number of the model's weights with --model-length, in the settings \
                       file or as XAYNET__MODEL__LENGTH"
                    .to_owned(),
            });
        }
        // Where there is no length there is a problem already, and these settings are thrown away.
        let mut s = Settings::for_model_length(length.unwrap_or(1));

        self.read(
            "api.bind_address",
            &mut s.api.bind_address,
            "must be an IP address and a port, such as 127.0.0.1:8081",
            |text| text.parse().ok(),
        );

        self.read("pet.sum.prob", &mut s.pet.sum.prob, NUMBER, number);
        self.count("pet.sum", &mut s.pet.sum.count);
        self.time("pet.sum", &mut s.pet.sum.time);
        self.read("pet.update.prob", &mut s.pet.update.prob, NUMBER, number);
        self.count("pet.update", &mut s.pet.update.count);
        self.time("pet.update", &mut s.pet.update.time);
        s.pet.sum2.count.max = s.pet.sum.count.max;
        self.count("pet.sum2", &mut s.pet.sum2.count);
        self.time("pet.sum2", &mut s.pet.sum2.time);

        self.read(
            "mask.group_type",
            &mut s.mask.group_type,
            "must be one of Integer, Prime, Power2",
            |text| text.parse().ok(),
        );
        self.read(
            "mask.data_type",
            &mut s.mask.data_type,
            "must be one of F32, F64, I32, I64",
            |text| text.parse().ok(),
        );
        self.read(
            "mask.bound_type",
            &mut s.mask.bound_type,
            "must be one of B0, B2, B4, B6, Bmax",
            |text| text.parse().ok(),
        );
        self.read(
            "mask.model_type",
            &mut s.mask.model_type,
            "must be one of M3, M6, M9, M12",
            |text| text.parse().ok(),
        );

        self.read("log.filter", &mut s.log.filter, "must be text", |text| {
            Some(text.to_owned())
        });
        self.read(
            "log.format",
            &mut s.log.format,
            "must be text or json",
            |text| match text.to_lowercase().as_str() {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            },
        );
        s
    }

    fn count(&mut self, phase: &str, slot: &mut MinMax<u64>) {
        let parse = |text: &str| text.parse().ok();
        self.read(&format!("{phase}.count.min"), &mut slot.min, WHOLE, parse);
        self.read(&format!("{phase}.count.max"), &mut slot.max, WHOLE, parse);
    }

    fn time(&mut self, phase: &str, slot: &mut MinMax<Duration>) {
        let rule = "must be a number of seconds, 0 or more, whole or with a fraction";
        self.read(&format!("{phase}.time.min"), &mut slot.min, rule, seconds);
        self.read(&format!("{phase}.time.max"), &mut slot.max, rule, seconds);
    }

    /// Puts the value given for `key`, if any, into `slot`; one that `parse` does not take breaks `rule`.
    fn read<T>(&mut self, key: &str, slot: &mut T, rule: &str, parse: impl Fn(&str) -> Option<T>) {
        let Some(Entry { raw, origin }) = self.layers.get(key) else {
            return;
        };
        let (value, rule) = match raw {
            Raw::Text(text) => match parse(text.trim()) {
                Some(value) => {
                    *slot = value;
                    return;
                }
                None => (Some(format!("{text:?}")), rule.to_owned()),
            },
            Raw::Other(kind) => (None, format!("{rule}, not {kind}")),
            Raw::NotUnicode => (None, format!("{rule}; this is not even Unicode text")),
        };
        self.problems.push(Problem {
            key: key.to_owned(),
            value,
            origin: origin.clone(),
            rule,
        });
    }
}

const WHOLE: &str = "must be a whole number, 0 or more";
const NUMBER: &str = "must be a number";

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

/// Collects broken rules.
struct Rules<'a> {
    layers: &'a Layers,
    /// Keys whose value is not known.
    except: &'a BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    /// Reports `key` unless `holds` or one of the keys that the rule is about could not be read.
    fn rule(&mut self, holds: bool, key: &str, value: impl Display, rule: impl Into<String>) {
        if !holds && !self.except.contains(key) {
            self.problems.push(Problem {
                key: key.to_owned(),
                value: Some(value.to_string()),
                origin: self.origin(key),
                rule: rule.into(),
            });
        }
    }

    /// `key` (with `value`) must not be above `limit_key` (with `limit`).
    fn at_most<T: PartialOrd>(
        &mut self,
        (key, value): (&str, T),
        (limit_key, limit): (&str, T),
        show: impl Fn(&T) -> String,
    ) {
        if self.except.contains(limit_key) {
            return;
        }
        let rule = format!(
            "must not be more than {limit_key}, which is {} ({})",
            show(&limit),
            self.origin(limit_key),
        );
        self.rule(value <= limit, key, show(&value), rule);
    }

    fn origin(&self, key: &str) -> Origin {
        self.layers
            .get(key)
            .map_or(Origin::Default, |entry| entry.origin.clone())
    }
}

fn check_except(s: &Settings, layers: &Layers, except: &BTreeSet<String>) -> Vec<Problem> {
    let mut rules = Rules {
        layers,
        except,
        problems: Vec::new(),
    };
    let pet = &s.pet;

    // That 0 < sum + update - sum * update <= 1 follows from these two.
    rules.rule(
        pet.sum.prob > 0.0 && pet.sum.prob < 1.0,
        "pet.sum.prob",
        pet.sum.prob,
        "must be more than 0 and less than 1",
    );
    rules.rule(
        pet.update.prob > 0.0 && pet.update.prob <= 1.0,
        "pet.update.prob",
        pet.update.prob,
        "must be more than 0 and at most 1",
    );

    for (phase, count, time, least) in [
        ("pet.sum", pet.sum.count, pet.sum.time, 1),
        ("pet.update", pet.update.count, pet.update.time, 3),
        ("pet.sum2", pet.sum2.count, pet.sum2.time, 1),
    ] {
        let [count_min, count_max, time_min, time_max] =
            ["count.min", "count.max", "time.min", "time.max"].map(|end| format!("{phase}.{end}"));
        rules.rule(
            count.min >= least,
            &count_min,
            count.min,
            format!("must be at least {least}"),
        );
        rules.at_most(
            (&count_min, count.min),
            (&count_max, count.max),
            u64::to_string,
        );
        rules.at_most((&time_min, time.min), (&time_max, time.max), show_seconds);
    }
    let sum_max = ("pet.sum.count.max", pet.sum.count.max);
    rules.at_most(
        ("pet.sum2.count.min", pet.sum2.count.min),
        sum_max,
        u64::to_string,
    );
    rules.at_most(
        ("pet.sum2.count.max", pet.sum2.count.max),
        sum_max,
        u64::to_string,
    );

    let models = s.mask.max_nb_models();
    if !except.contains("mask.model_type") {
        rules.rule(
            pet.update.count.min <= models,
            "pet.update.count.min",
            pet.update.count.min,
            format!("must not be more than {models}, which is what mask.model_type allows"),
        );
    }
    rules.rule(
        (1..=u64::from(u32::MAX)).contains(&s.model.length),
        "model.length",
        s.model.length,
        format!("must be at least 1 and at most {}", u32::MAX),
    );
    if let Err(error) = EnvFilter::builder().parse(&s.log.filter) {
        rules.rule(
            false,
            "log.filter",
            format!("{:?}", s.log.filter),
            format!("must be levels and target=level pairs, such as info,pet_coordinator=debug: {error}"),
        );
    }
    for (one, other) in [
        ("api.tls_certificate", "api.tls_key"),
        ("api.tls_key", "api.tls_certificate"),
    ] {
        if let (Some(entry), None) = (layers.get(one), layers.get(other)) {
            rules.problems.push(Problem {
                key: one.to_owned(),
                value: None,
                origin: entry.origin.clone(),
                rule: format!("needs {other} as well"),
            });
        }
    }
    rules.problems
}

fn show_seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Looks at the names of all given keys: unknown ones are problems or warnings, those without effect warnings.
fn names(layers: &Layers, problems: &mut Vec<Problem>) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    for (key, Entry { origin, .. }) in layers.iter() {
        if KEYS.contains(&key) {
            continue;
        }
        if let Some((name, message)) = WITHOUT_EFFECT
            .iter()
            .find(|(name, _)| key == *name || is_below(key, name))
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
            problems.push(Problem {
                key: key.to_owned(),
                value: None,
                origin: origin.clone(),
                rule: unknown_key(key),
            });
        } else if warnings.last().is_none_or(|last| last.key != section) {
            warnings.push(Warning {
                key: section.to_owned(),
                origin: origin.clone(),
                message: match nearest(section, sections()) {
                    Some(near) => {
                        format!("there is no such section, it is ignored; did you mean {near}?")
                    }
                    None => "there is no such section, it is ignored".to_owned(),
                },
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
    match nearest(key, KEYS.iter().copied()) {
        Some(near) => format!("is not a setting; did you mean {near}?"),
        None => "is not a setting".to_owned(),
    }
}

fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section)
        .is_some_and(|rest| rest.starts_with('.'))
}

fn sections() -> impl Iterator<Item = &'static str> {
    let without_effect = WITHOUT_EFFECT.iter().map(|(name, _)| name);
    KEYS.iter()
        .chain(without_effect)
        .filter_map(|key| key.split('.').next())
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
