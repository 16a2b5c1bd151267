//! The rules for values, also those between several settings.

use std::collections::BTreeSet;

use pet_core::{
    coordinator::{self as protocol, Field},
    mask::{BoundType, DataType, GroupType},
    v2::coordinator as v2,
};
use tracing_subscriber::EnvFilter;

use super::{filter, is_below, origin, shorten, Layers, Origin, Problem, Settings, Warning};
use crate::key;
use crate::settings::{s3, storage, LogSettings};

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
    const LEAST: &str = key!(pet.update.count.min);
    let looks_at = [key!(mask.group_type), key!(mask.model_type), LEAST];
    if least > models && !looks_at.iter().any(|key| unreadable.contains(*key)) {
        problems.push(problem(
            LEAST,
            Some(least.to_string()),
            format!(
                "must be at most {models}: {} {} allows no more models",
                key!(mask.model_type),
                s.mask.model_type()
            ),
        ));
    }
    let certificate = (key!(api.tls_certificate), s.api.tls_certificate.is_some());
    let key = (key!(api.tls_key), s.api.tls_key.is_some());
    let client_auth = (key!(api.tls_client_auth), s.api.tls_client_auth.is_some());
    let proxies = (key!(api.trusted_proxies), !s.api.trusted_proxies.is_empty());
    let proxy_protocol = (key!(api.proxy_protocol), s.api.proxy_protocol);
    for ((given, is_given), (needed, is_there)) in [
        (certificate, key),
        (key, certificate),
        (client_auth, certificate),
        (proxy_protocol, proxies),
    ] {
        if is_given && !is_there && !unreadable.contains(needed) {
            problems.push(problem(given, None, format!("needs {needed} as well")));
        }
    }
    for (key, value, rule) in s.limits.check() {
        if !unreadable.contains(key) {
            problems.push(problem(key, Some(value), rule));
        }
    }
    problems.extend(check_v2(s, layers, unreadable));
    for (key, value, rule) in s.pet.optimizer.check() {
        if !unreadable.contains(key) && !unreadable.contains(key!(pet.optimizer.kind)) {
            problems.push(problem(key, value, rule));
        }
    }
    for (key, value, rule) in storage::check(s).into_iter().chain(s3::check(s, unreadable)) {
        if !unreadable.contains(key) && !unreadable.contains(key!(storage.engine)) {
            problems.push(problem(key, value, rule));
        }
    }
    if let Some(rule) = wrong_filter(&s.log) {
        let value = shorten(&format!("{:?}", s.log.filter));
        problems.push(problem(key!(log.filter), Some(value), rule));
    }
    for (key, value, rule) in s.admin.check() {
        if !unreadable.contains(key) {
            problems.push(problem(key, value, rule));
        }
    }
    problems
}

/// The rules for rounds of v2, also those that look at the mask.
fn check_v2(s: &Settings, layers: Option<&Layers>, unreadable: &BTreeSet<String>) -> Vec<Problem> {
    let of_v2 = &s.pet.v2;
    let mut broken = of_v2.check();
    let (group, bound, data) = (s.mask.group_type(), s.mask.bound_type(), s.mask.data_type());
    if let Some(kind) = s.pet.optimizer.kind.filter(|_| of_v2.is_on()) {
        let rule = format!(
            "must be nothing with {}: members vouch for sums of updates, and no step follows from those",
            key!(pet.v2.roster_file)
        );
        broken.push((key!(pet.optimizer.kind), Some(format!("{:?}", kind.name())), rule));
    }
    let unreadable_mask = unreadable.iter().any(|key| is_below(key, "mask"));
    if of_v2.is_on() && !unreadable_mask {
        let given = |name: &str| Some(format!("{name:?}"));
        if !matches!(group, GroupType::Word32 | GroupType::Word64) {
            let rule = format!(
                "must be Word32 or Word64 with {}: rounds of v2 have no other masks",
                key!(pet.v2.roster_file)
            );
            broken.push((key!(mask.group_type), given(group.name()), rule));
        }
        let with_noise = of_v2.noise.multiplier.is_some();
        if with_noise && bound != BoundType::B0 {
            let rule = format!(
                "must be B0 with {}: what is clipped is at most 1",
                key!(pet.v2.noise.multiplier)
            );
            broken.push((key!(mask.bound_type), given(bound.name()), rule));
        }
        if with_noise && !matches!(data, DataType::F32 | DataType::F64) {
            let rule = format!("must be F32 or F64 with {}", key!(pet.v2.noise.multiplier));
            broken.push((key!(mask.data_type), given(data.name()), rule));
        }
        let most = s.mask.max_nb_models();
        if of_v2.update.count.max > most {
            let rule = format!(
                "must be at most {most}: {} {} allows no more models",
                key!(mask.model_type),
                s.mask.model_type()
            );
            let value = Some(of_v2.update.count.max.to_string());
            broken.push((key!(pet.v2.update.count.max), value, rule));
        }
    }
    let is_known = |(key, ..): &(&str, _, _)| !unreadable.contains(*key);
    let problem = |(key, value, rule): (&str, Option<String>, String)| Problem {
        key: key.to_owned(),
        value,
        origin: origin(layers, key),
        rule,
    };
    broken.into_iter().filter(is_known).map(problem).collect()
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
        .filter(|violation| {
            let mut keys = violation.depends_on.iter().map(|field| key_of(*field));
            !keys.any(|key| unreadable.iter().any(|other| other == key || is_below(other, key)))
        })
        .map(|violation| Problem {
            key: key_of(violation.field).to_owned(),
            value: Some(violation.value),
            origin: origin(layers, key_of(violation.field)),
            rule: violation.rule.in_words(key_of),
        })
        .collect()
}

/// The same for the rules of rounds of v2, which need the roster: they are looked at when the coordinator starts.
pub(in crate::settings) fn from_core_v2(violations: Vec<v2::Violation>) -> Vec<Problem> {
    let problem = |violation: v2::Violation| Problem {
        key: key_of_v2(violation.field).to_owned(),
        value: Some(violation.value),
        origin: Origin::Nowhere,
        rule: violation.rule.in_words(key_of_v2),
    };
    violations.into_iter().map(problem).collect()
}

/// The setting, or the section, that a field of core's settings for rounds of v2 is made from.
pub(super) fn key_of_v2(field: v2::Field) -> &'static str {
    match field {
        v2::Field::Mask => "mask",
        v2::Field::ModelLength => key!(model.length),
        v2::Field::NMin => key!(pet.v2.n_min),
        v2::Field::FirstRound => key!(pet.v2.first_round),
        v2::Field::CountMin => key!(pet.v2.update.count.min),
        v2::Field::CountMax => key!(pet.v2.update.count.max),
        v2::Field::AnnounceTimeMin => key!(pet.v2.announce.time.min),
        v2::Field::AnnounceTimeMax => key!(pet.v2.announce.time.max),
        v2::Field::UpdateTimeMin => key!(pet.v2.update.time.min),
        v2::Field::UpdateTimeMax => key!(pet.v2.update.time.max),
        v2::Field::CheckTimeMin => key!(pet.v2.check.time.min),
        v2::Field::CheckTimeMax => key!(pet.v2.check.time.max),
        v2::Field::AgreeTimeMin => key!(pet.v2.agree.time.min),
        v2::Field::AgreeTimeMax => key!(pet.v2.agree.time.max),
        v2::Field::Sum2TimeMin => key!(pet.v2.sum2.time.min),
        v2::Field::Sum2TimeMax => key!(pet.v2.sum2.time.max),
        v2::Field::NoiseMultiplier => key!(pet.v2.noise.multiplier),
        v2::Field::NoiseClip => key!(pet.v2.noise.clip),
        // Limits, which this program sets itself, and a later core's.
        field => field.name(),
    }
}

/// The setting, or the section, that a field of core's settings is made from.
pub(super) fn key_of(field: Field) -> &'static str {
    match field {
        Field::SumProb => key!(pet.sum.prob),
        Field::SumCountMin => key!(pet.sum.count.min),
        Field::SumCountMax => key!(pet.sum.count.max),
        Field::SumTimeMin => key!(pet.sum.time.min),
        Field::SumTimeMax => key!(pet.sum.time.max),
        Field::UpdateProb => key!(pet.update.prob),
        Field::UpdateCountMin => key!(pet.update.count.min),
        Field::UpdateCountMax => key!(pet.update.count.max),
        Field::UpdateTimeMin => key!(pet.update.time.min),
        Field::UpdateTimeMax => key!(pet.update.time.max),
        Field::Sum2CountMin => key!(pet.sum2.count.min),
        Field::Sum2CountMax => key!(pet.sum2.count.max),
        Field::Sum2TimeMin => key!(pet.sum2.time.min),
        Field::Sum2TimeMax => key!(pet.sum2.time.max),
        Field::Sum2Quorum => key!(pet.sum2.quorum),
        Field::ModelLength => key!(model.length),
        Field::Mask => "mask",
        Field::OptimizerKind => key!(pet.optimizer.kind),
        Field::OptimizerMomentum => key!(pet.optimizer.momentum),
        Field::OptimizerBeta1 => key!(pet.optimizer.beta1),
        Field::OptimizerBeta2 => key!(pet.optimizer.beta2),
        Field::OptimizerTau => key!(pet.optimizer.tau),
        Field::OptimizerBesideModel => key!(pet.optimizer.beside_model),
        // A later core's.
        field => field.name(),
    }
}

/// What is wrong with a filter.
pub(super) fn wrong_filter(log: &LogSettings) -> Option<String> {
    let error = EnvFilter::builder().parse(log.directives()).err()?;
    Some(format!("must be levels and target=level pairs (info,pet_coordinator=debug): {error}"))
}

/// A filter that was meant for other programs hides what this one does.
pub(super) fn silent_log(settings: &Settings, layers: &Layers) -> Option<Warning> {
    (!filter::concerns_us(&settings.log.filter)).then(|| Warning {
        key: key!(log.filter).to_owned(),
        origin: origin(Some(layers), key!(log.filter)),
        message: format!(
            "{:?} says nothing about this program's own messages, which are not logged: write \
             pet_coordinator=info or just info as well",
            settings.log.filter
        ),
    })
}
