//! Reads the values of settings.

use std::{path::PathBuf, str::FromStr, time::Duration};

use pet_core::{coordinator::Quorum, mask::MaskConfig};

use super::{
    origin, shown, variable, Effective, Entry, Layers, LogFormat, Origin, PostgresUrl, Problem,
    Raw, Settings, StorageEngine, Value,
};
use crate::key;

/// Reads the values of all keys, and goes on after a mistake.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) problems: Vec<Problem>,
    pub(super) effective: Vec<Effective>,
    /// All that was looked for.
    pub(super) keys: Vec<&'static str>,
    /// Whether what is not given has its default, one that depends on other settings included.
    from_defaults: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, from_defaults: bool) -> Self {
        Self {
            layers,
            problems: Vec::new(),
            effective: Vec::new(),
            keys: Vec::new(),
            from_defaults,
        }
    }
}

/// Reads settings, each into its place: what is named here is what can be set.
macro_rules! read {
    ($reader:ident, $settings:ident, $rule:expr, $parse:expr; $($($key:ident).+),+ $(,)?) => {
        $($reader.read(key!($($key).+), &mut $settings.$($key).+, $rule, $parse);)+
    };
}

impl Reader<'_> {
    pub(super) fn settings(&mut self) -> Settings {
        const LENGTH: &str = key!(model.length);
        let mut length = None;
        self.read(LENGTH, &mut length, WHOLE, |text| text.parse().ok().map(Some));
        if self.layers.get(LENGTH).is_none() {
            self.problems.push(Problem {
                key: LENGTH.to_owned(),
                value: None,
                origin: Origin::Nowhere,
                rule: format!(
                    "is missing: give the number of the model's weights with --model-length, in \
                     the settings file or as {}",
                    variable(LENGTH)
                ),
            });
        }
        // Where there is no length there is a problem already, and these settings are thrown away.
        let mut s = Settings::for_model_length(length.unwrap_or(1));
        self.read_all(&mut s);
        s
    }

    /// Reads all but the model's length into settings that hold where nothing is given.
    pub(super) fn read_all(&mut self, s: &mut Settings) {
        let rule = "must be an IP address and a port, such as 127.0.0.1:8082, or nothing";
        read!(self, s, rule, or_nothing; admin.bind_address);
        read!(self, s, "must be a path", or_nothing; admin.socket, admin.token_file);

        let rule = "must be an IP address and a port, such as 127.0.0.1:8081";
        read!(self, s, rule, parsed; api.bind_address);
        let rule =
            "must be IP addresses or networks with commas between them, such as 10.0.0.0/8, ::1";
        read!(self, s, rule, parsed; api.trusted_proxies);
        read!(self, s, BOOLEAN, boolean; api.proxy_protocol);
        let rule = "must be the path of a file in PEM form";
        read!(self, s, rule, some_path; api.tls_certificate, api.tls_key, api.tls_client_auth);

        read!(self, s, NUMBER, number; pet.sum.prob, pet.update.prob);
        read!(self, s, WHOLE, parsed; pet.sum.count.min, pet.sum.count.max);
        read!(self, s, WHOLE, parsed; pet.update.count.min, pet.update.count.max);
        if self.from_defaults {
            s.pet.sum2.count.max = s.pet.sum.count.max;
        }
        read!(self, s, WHOLE, parsed; pet.sum2.count.min, pet.sum2.count.max);
        read!(
            self, s, SECONDS, seconds;
            pet.sum.time.min, pet.sum.time.max,
            pet.update.time.min, pet.update.time.max,
            pet.sum2.time.min, pet.sum2.time.max,
        );
        let rule = "must be majority, or a number: a share of the sum dictionary";
        read!(self, s, rule, quorum; pet.sum2.quorum);

        self.mask(&mut s.mask);
        self.v2(s);

        read!(
            self, s, WHOLE, parsed;
            limits.answer_bytes,
            limits.connections,
            limits.connections_per_address,
            limits.header_bytes,
            limits.message_bytes,
            limits.messages,
            limits.multipart_bytes,
            limits.multipart_messages,
            limits.multipart_unproven_bytes,
            limits.request_burst,
            limits.upload_rate,
        );
        read!(
            self, s, SECONDS, seconds;
            limits.body_start_time,
            limits.body_time,
            limits.handshake_time,
            limits.header_time,
            limits.multipart_time,
            limits.queue_time,
            limits.write_time,
        );
        read!(self, s, BOOLEAN, boolean; limits.half_per_address);
        read!(self, s, NUMBER, number; limits.requests_per_second);

        read!(self, s, "must be text", parsed; log.filter);
        read!(self, s, "must be text or json", log_format; log.format);

        read!(self, s, "must be the address of a database", some_url; postgres.url);

        read!(self, s, "must be a directory", path; storage.data_dir);
        read!(self, s, "must be directory or postgres", engine; storage.engine);
        read!(self, s, "must be a name", parsed; storage.federation);
        read!(self, s, SECONDS, seconds; storage.lease_time);
        read!(self, s, BOOLEAN, boolean; storage.ephemeral);
        read!(self, s, "must be a whole number, 1 or more", one_or_more; storage.models_kept);
        read!(self, s, "must be a file", some_path; storage.secret_file);
    }

    fn v2(&mut self, s: &mut Settings) {
        read!(self, s, "must be a file", path_or_nothing; pet.v2.roster_file);
        read!(self, s, WHOLE, parsed; pet.v2.n_min, pet.v2.first_round);
        if self.from_defaults {
            s.pet.v2.update.count.min = s.pet.v2.n_min;
        }
        if self.from_defaults && s.pet.v2.is_on() {
            let most = s.mask.max_nb_models();
            s.pet.v2.update.count.max = s.pet.v2.update.count.max.min(most);
        }
        read!(self, s, WHOLE, parsed; pet.v2.update.count.min, pet.v2.update.count.max);
        read!(
            self, s, SECONDS, seconds;
            pet.v2.announce.time.min, pet.v2.announce.time.max,
            pet.v2.update.time.min, pet.v2.update.time.max,
            pet.v2.check.time.min, pet.v2.check.time.max,
            pet.v2.agree.time.min, pet.v2.agree.time.max,
            pet.v2.sum2.time.min, pet.v2.sum2.time.max,
        );
        let rule = "must be a number, or nothing";
        read!(self, s, rule, or_nothing; pet.v2.noise.multiplier, pet.v2.noise.clip);
        read!(self, s, "must be a whole number, 1 or more", one_or_more; pet.v2.rounds_audited);
    }

    fn mask(&mut self, slot: &mut MaskConfig) {
        const GROUP: &str = key!(mask.group_type);
        let (mut group, mut data, mut bound, mut model) =
            (slot.group_type(), slot.data_type(), slot.bound_type(), slot.model_type());
        let problems = self.problems.len();
        let rule = "must be one of Integer, Prime, Power2, Word32, Word64";
        self.read(GROUP, &mut group, rule, parsed);
        let rule = "must be one of F32, F64, I32, I64";
        self.read(key!(mask.data_type), &mut data, rule, parsed);
        let rule = "must be one of B0, B2, B4, B6, Bmax";
        self.read(key!(mask.bound_type), &mut bound, rule, parsed);
        let rule = "must be one of M3, M6, M9, M12";
        self.read(key!(mask.model_type), &mut model, rule, parsed);
        match MaskConfig::new(group, data, bound, model) {
            Ok(config) => *slot = config,
            // Where one of them could not be read, the combination means nothing.
            Err(_) if self.problems.len() > problems => {}
            Err(error) => self.problems.push(Problem {
                key: GROUP.to_owned(),
                value: Some(format!("{:?}", group.name())),
                origin: origin(Some(self.layers), GROUP),
                rule: error.to_string(),
            }),
        }
    }

    /// Puts the value given for `key`, if any, into `slot`; one that `parse` does not take breaks
    /// `rule`.
    pub(super) fn read<T: Value>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        rule: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) {
        self.keys.push(key);
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

pub(super) const WHOLE: &str = "must be a whole number, 0 or more";
const NUMBER: &str = "must be a number";
pub(super) const SECONDS: &str = "must be a number of seconds, 0 or more, whole or with a fraction";
const BOOLEAN: &str = "must be true or false";

pub(super) fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// An empty text is nothing.
pub(super) fn or_nothing<T: FromStr>(text: &str) -> Option<Option<T>> {
    match text {
        "" => Some(None),
        text => parsed(text).map(Some),
    }
}

fn boolean(text: &str) -> Option<bool> {
    parsed(&text.to_lowercase())
}

pub(super) fn number(text: &str) -> Option<f64> {
    parsed(text)
}

fn one_or_more(text: &str) -> Option<usize> {
    parsed(text).filter(|number| *number > 0)
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

/// An empty text is nothing.
pub(super) fn path_or_nothing(text: &str) -> Option<Option<PathBuf>> {
    Some(path(text))
}

pub(super) fn some_path(text: &str) -> Option<Option<PathBuf>> {
    path(text).map(Some)
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    // Whole seconds take the exact way: old settings may hold any u64 to mean "for ever".
    match text.parse() {
        Ok(whole) => Some(Duration::from_secs(whole)),
        Err(_) => Duration::try_from_secs_f64(number(text)?).ok(),
    }
}

fn quorum(text: &str) -> Option<Quorum> {
    match text {
        "majority" => Some(Quorum::Majority),
        _ => number(text).map(Quorum::Share),
    }
}

/// An empty text is nothing.
fn some_url(text: &str) -> Option<Option<PostgresUrl>> {
    Some((!text.is_empty()).then(|| PostgresUrl::new(text)))
}

fn engine(text: &str) -> Option<StorageEngine> {
    let engines = [StorageEngine::Directory, StorageEngine::Postgres];
    engines.into_iter().find(|engine| engine.name() == text.to_lowercase())
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text.to_lowercase().as_str() {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}
