//! The rules that values must keep, also those that hold between several of them.

use std::collections::BTreeSet;

use pet_core::coordinator as protocol;
use tracing_subscriber::EnvFilter;

use super::{filter, origin, shorten, Layers, Problem, Settings, Warning};

/// The rules of section 7 of the protocol description, over settings built in code.
pub(in crate::settings) fn check(settings: &Settings) -> Vec<Problem> {
    check_except(settings, None, &BTreeSet::new())
}

pub(super) fn check_except(
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
        (
            "api.proxy_protocol",
            api.proxy_protocol,
            "api.trusted_proxies",
            !api.trusted_proxies.is_empty(),
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
pub(in crate::settings) fn from_core(
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

/// A filter that was meant for other programs hides what this one does.
pub(super) fn silent_log(settings: &Settings, layers: &Layers) -> Option<Warning> {
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
