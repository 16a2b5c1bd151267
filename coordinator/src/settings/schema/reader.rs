//! Reads the values of settings.

use std::{path::PathBuf, str::FromStr, time::Duration};

use pet_core::{coordinator::Quorum, mask::MaskConfig};

use super::{
    origin, shown, variable, Effective, EngineUrl, Entry, Layers, LogFormat, OptimizerSettings,
    Origin, PartsIn, Problem, Raw, S3Region, S3Secret, Settings, StorageEngine, Value,
};
use crate::key;

/// Reads the values of all keys, and goes on after a mistake.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) problems: Vec<Problem>,
    pub(super) effective: Vec<Effective>,
    /// All that was looked for.
    pub(super) keys: Vec<&'static str>,
    /// Sections that other settings leave without effect: nothing is read there.
    pub(super) unused: Vec<&'static str>,
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
            unused: Vec::new(),
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
        let rule = "must be origins of web pages with commas between them, such as https://example.org, or *";
        read!(self, s, rule, parsed; api.cors_origins);
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

        self.optimizer(s);

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
        read!(self, s, "must be directory, postgres or redis", engine; storage.engine);
        read!(self, s, "must be a name", parsed; storage.federation);
        read!(self, s, SECONDS, seconds; storage.lease_time);
        read!(self, s, "must be engine or s3", parts_in; storage.parts);
        read!(self, s, BOOLEAN, boolean; storage.ephemeral);
        read!(self, s, "must be a whole number, 1 or more", one_or_more; storage.models_kept);
        read!(self, s, "must be a file", some_path; storage.secret_file);
        self.redis(s);
        self.s3(s);
    }

    /// Old settings have this section, too: it is for the engine of that name only, and whatever it says says nothing to
    /// others.
    fn redis(&mut self, s: &mut Settings) {
        if s.storage.engine == StorageEngine::Redis {
            read!(self, s, "must be the address of a Redis", some_url; redis.url);
            read!(self, s, BOOLEAN, boolean; redis.accept_loss);
        } else {
            self.unused.push("redis");
            self.list(&[key!(redis.url), key!(redis.accept_loss)]);
        }
    }

    /// Old settings have the section also where it has no effect: whatever is in it then, it is not looked at.
    fn s3(&mut self, s: &mut Settings) {
        if s.storage.parts != PartsIn::S3 {
            self.unused.push("s3");
            self.list(&[
                key!(s3.access_key),
                key!(s3.authorities),
                key!(s3.buckets.global_models),
                key!(s3.buckets.parts),
                key!(s3.endpoint),
                key!(s3.region),
                key!(s3.secret_access_key),
            ]);
            return;
        }
        read!(self, s, "must be the name of a key", some_text; s3.access_key);
        read!(self, s, "must be a key", some_secret; s3.secret_access_key);
        read!(self, s, "must be a file in PEM form", some_path; s3.authorities);
        let rule = "must be the name of a bucket";
        read!(self, s, rule, some_text; s3.buckets.global_models, s3.buckets.parts);
        read!(self, s, "must be an address, such as http://localhost:9000", some_text; s3.endpoint);
        let rule = "must be a region, or an array of a name and an address, such as [\"minio\", \"http://localhost:9000\"]";
        read!(self, s, rule, |text| S3Region::parse(text).map(Some); s3.region);
    }

    /// Whatever is not given is the named optimiser's default, but for what is beside the model: that is how participants pack
    /// their models, which no optimiser changes.
    fn optimizer(&mut self, s: &mut Settings) {
        const KIND: &str = key!(pet.optimizer.kind);
        let rule = "must be FedAvg, FedAvgM, FedAdagrad, FedAdam or FedYogi, or nothing";
        let problems = self.problems.len();
        read!(self, s, rule, or_nothing; pet.optimizer.kind);
        if self.layers.get(KIND).is_some() && self.problems.len() == problems {
            let kind = s.pet.optimizer.kind;
            let default = kind.map_or_else(Default::default, OptimizerSettings::of);
            let beside_model = s.pet.optimizer.beside_model;
            s.pet.optimizer = OptimizerSettings { beside_model, ..default };
        }
        let rule = "must be a number, 0 or more, or numbers with commas between them, one for each step, with *steps behind \
                    one that holds for several: 0.05, 0.1*100, 0.01";
        read!(self, s, rule, or_nothing; pet.optimizer.learning_rate);
        let rule = "must be a number, or nothing";
        read!(
            self, s, rule, or_nothing;
            pet.optimizer.momentum, pet.optimizer.beta1, pet.optimizer.beta2, pet.optimizer.tau,
        );
        read!(self, s, WHOLE, parsed; pet.optimizer.beside_model);
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

    /// Tells of keys that are not read.
    fn list(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.keys.push(key);
            let (key, value, origin) = ((*key).to_owned(), None, Origin::Default);
            self.effective.push(Effective { key, value, origin });
        }
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
            // The one setting that may be an array.
            Raw::Text(text) | Raw::Other { kind: "an array", text }
                if key == key!(s3.region) || matches!(raw, Raw::Text(_)) =>
            {
                match parse(text.trim()) {
                    Some(value) => {
                        *slot = value;
                        return;
                    }
                    None => rule.to_owned(),
                }
            }
            Raw::Text(_) => rule.to_owned(),
            Raw::Other { kind, .. } => format!("{rule}, not {kind}"),
        };
        self.problems.push(Problem {
            key: key.to_owned(),
            value: (!is_secret(key, raw)).then(|| shown(raw)),
            origin: origin.clone(),
            rule,
        });
    }
}

/// Whether there may be a secret in what is given, also if it is of a kind that the setting does not have.
fn is_secret(key: &str, raw: &Raw) -> bool {
    let (Raw::Text(text) | Raw::Other { text, .. }) = raw;
    [key!(s3.secret_access_key), key!(postgres.url), key!(redis.url)].contains(&key)
        || (key.starts_with("s3.") && text.contains('@'))
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
fn some_url(text: &str) -> Option<Option<EngineUrl>> {
    Some((!text.is_empty()).then(|| EngineUrl::new(text)))
}

fn some_text(text: &str) -> Option<Option<String>> {
    (!text.is_empty()).then(|| Some(text.to_owned()))
}

fn some_secret(text: &str) -> Option<Option<S3Secret>> {
    (!text.is_empty()).then(|| Some(S3Secret::new(text)))
}

fn parts_in(text: &str) -> Option<PartsIn> {
    let places = [PartsIn::Engine, PartsIn::S3];
    places.into_iter().find(|place| place.name() == text.to_lowercase())
}

fn engine(text: &str) -> Option<StorageEngine> {
    let engines = [StorageEngine::Directory, StorageEngine::Postgres, StorageEngine::Redis];
    engines.into_iter().find(|engine| engine.name() == text.to_lowercase())
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text.to_lowercase().as_str() {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}
