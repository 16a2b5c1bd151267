//! What each key of a member means.

use std::net::SocketAddr;

use pet_core::{
    request::CoordinatorUrl,
    v2::{RosterHash, LEAST_UPDATES},
};

use super::{
    names::names,
    origin,
    reader::{
        log_format, number, or_nothing, parsed, path, path_or_nothing, seconds, some_path, Reader,
        SECONDS, WHOLE,
    },
    rules::wrong_filter,
    variable, Layers, Origin, Problem, SettingsError,
};
use crate::settings::{
    member::{default_log, LoadedMember, MemberSettings},
    LogSettings,
};

/// Makes a member's settings of what was given.
pub(in crate::settings) fn interpret_member(
    layers: &Layers,
) -> Result<LoadedMember, SettingsError> {
    let mut reader = Reader::new(layers, true);
    let (settings, log) = reader.member();
    let mut effective = reader.effective;
    effective.sort_by(|a, b| a.key.cmp(&b.key));
    let (keys, mut problems) = (reader.keys, reader.problems);
    let warnings = names(layers, &keys, &[], &mut problems);
    if problems.is_empty() {
        return Ok(LoadedMember { settings, log, warnings, effective });
    }
    problems.sort_by(|a, b| a.key.cmp(&b.key));
    Err(SettingsError::Invalid(problems))
}

/// The keys of everything that can be set for a member.
pub(in crate::settings) fn member_keys() -> Vec<&'static str> {
    let layers = Layers::default();
    let mut reader = Reader::new(&layers, true);
    reader.member();
    reader.keys
}

const COORDINATOR: &str = "member.coordinator";
const ROSTER: &str = "member.roster";
const CERTIFICATE: &str = "member.tls_certificate";
const KEY: &str = "member.tls_key";

impl Reader<'_> {
    /// Reads a member's settings.
    fn member(&mut self) -> (MemberSettings, LogSettings) {
        let (mut s, mut log) = (MemberSettings::default(), default_log());
        let text = |text: &str| Some(text.to_owned());
        self.read(COORDINATOR, &mut s.coordinator, "must be a URL", text);
        self.read(ROSTER, &mut s.roster, "must be text", text);
        self.must_be_there(COORDINATOR, "the coordinator's URL with --coordinator");
        self.must_be_there(ROSTER, "the roster's hash with --roster");
        self.look(COORDINATOR, &s.coordinator, |url| {
            CoordinatorUrl::parse(url).err().map(|error| format!("is not one: {}", error.reason))
        });
        self.look(ROSTER, &s.roster, |hash| {
            let is_hash = hash.parse::<RosterHash>().is_ok();
            let rule = "must be the roster's hash in 64 hexadecimal digits, as `pet-coordinator roster hash` prints it";
            (!is_hash).then(|| rule.to_owned())
        });
        let rule = format!("must be a whole number, at least {LEAST_UPDATES}");
        self.read("member.n_min", &mut s.n_min, &rule, |text| {
            parsed(text).filter(|least| *least >= LEAST_UPDATES)
        });
        let above_0 = |text: &str| match text {
            "" => Some(None),
            text => number(text).filter(|number| *number > 0.0 && *number < 1e6).map(Some),
        };
        self.read(
            "member.epsilon",
            &mut s.epsilon,
            "must be a number above 0, or nothing",
            above_0,
        );
        self.read("member.delta", &mut s.delta, "must be a number above 0 and below 1", |text| {
            number(text).filter(|delta| *delta > 0.0 && *delta < 1.0)
        });
        let rule = "must be a number above 0, or nothing";
        self.read("member.least_noise", &mut s.least_noise, rule, above_0);
        self.read("member.data_dir", &mut s.data_dir, "must be a directory", path);
        self.read("member.key_file", &mut s.key_file, "must be a file", path_or_nothing);
        let rule = "must be an IP address and a port, such as 127.0.0.1:8083, or nothing";
        self.read("member.bind_address", &mut s.bind_address, rule, or_nothing::<SocketAddr>);
        self.read("member.clock_tolerance", &mut s.clock_tolerance, SECONDS, seconds);
        self.read("member.poll", &mut s.poll, SECONDS, seconds);
        self.read("member.max_model_length", &mut s.max_model_length, WHOLE, parsed);
        self.read("member.max_updates", &mut s.max_updates, WHOLE, parsed);
        self.read("member.threads", &mut s.threads, WHOLE, parsed);
        let rule = "must be the path of a file in PEM form";
        self.read("member.ca_file", &mut s.ca_file, rule, some_path);
        self.read(CERTIFICATE, &mut s.tls_certificate, rule, some_path);
        self.read(KEY, &mut s.tls_key, rule, some_path);
        if s.tls_certificate.is_some() != s.tls_key.is_some() && self.problems.is_empty() {
            let given = if s.tls_key.is_some() { KEY } else { CERTIFICATE };
            self.problem(given, format!("{CERTIFICATE} and {KEY} are given together"));
        }
        self.read("log.filter", &mut log.filter, "must be text", parsed);
        self.read("log.format", &mut log.format, "must be text or json", log_format);
        if let Some(rule) = wrong_filter(&log) {
            self.problem("log.filter", rule);
        }
        (s, log)
    }

    fn must_be_there(&mut self, key: &str, what: &str) {
        if self.layers.get(key).is_none() {
            let rule =
                format!("is missing: give {what}, in the settings file or as {}", variable(key));
            let (key, value, origin) = (key.to_owned(), None, Origin::Nowhere);
            self.problems.push(Problem { key, value, origin, rule });
        }
    }

    /// Looks at a value that was given.
    fn look(&mut self, key: &str, value: &str, judge: impl Fn(&str) -> Option<String>) {
        if self.layers.get(key).is_some() && !self.problems.iter().any(|problem| problem.key == key)
        {
            if let Some(rule) = judge(value) {
                self.problem(key, rule);
            }
        }
    }

    /// A URL may have a password in it: no value is shown.
    fn problem(&mut self, key: &str, rule: String) {
        let origin = origin(Some(self.layers), key);
        self.problems.push(Problem { key: key.to_owned(), value: None, origin, rule });
    }
}
