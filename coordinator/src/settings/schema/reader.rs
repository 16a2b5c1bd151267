//! What the values mean.

use std::{path::PathBuf, time::Duration};

use pet_core::{coordinator::Quorum, mask::MaskConfig};

use super::{
    origin, shown, Effective, Entry, Layers, LimitsSettings, LogFormat, MinMax, Origin, Problem,
    Raw, Settings, Value,
};

/// Reads the values of all keys, and goes on after a mistake.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    pub(super) problems: Vec<Problem>,
    pub(super) effective: Vec<Effective>,
    /// Whether what is not given has its default, one that depends on other settings included.
    from_defaults: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, from_defaults: bool) -> Self {
        Self { layers, problems: Vec::new(), effective: Vec::new(), from_defaults }
    }
}

impl Reader<'_> {
    pub(super) fn settings(&mut self) -> Settings {
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
    pub(super) fn read_all(&mut self, s: &mut Settings) {
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

        let rule =
            "must be IP addresses or networks with commas between them, such as 10.0.0.0/8, ::1";
        self.read("api.trusted_proxies", &mut s.api.trusted_proxies, rule, |text| {
            text.parse().ok()
        });
        self.read("api.proxy_protocol", &mut s.api.proxy_protocol, BOOLEAN, boolean);

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
        self.read("storage.ephemeral", &mut storage.ephemeral, BOOLEAN, boolean);
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
            ("limits.answer_bytes", &mut slot.answer_bytes),
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
            ("limits.body_start_time", &mut slot.body_start_time),
            ("limits.body_time", &mut slot.body_time),
            ("limits.handshake_time", &mut slot.handshake_time),
            ("limits.header_time", &mut slot.header_time),
            ("limits.multipart_time", &mut slot.multipart_time),
            ("limits.queue_time", &mut slot.queue_time),
            ("limits.write_time", &mut slot.write_time),
        ] {
            self.read(key, slot, SECONDS, seconds);
        }
        self.read("limits.half_per_address", &mut slot.half_per_address, BOOLEAN, boolean);
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

const WHOLE: &str = "must be a whole number, 0 or more";
const NUMBER: &str = "must be a number";
const SECONDS: &str = "must be a number of seconds, 0 or more, whole or with a fraction";

const BOOLEAN: &str = "must be true or false";

fn boolean(text: &str) -> Option<bool> {
    text.to_lowercase().parse().ok()
}

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
