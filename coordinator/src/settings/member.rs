//! The settings of a member of version 2: `pet-coordinator member`.
//!
//! They come from the same places as the coordinator's own, with keys `member.*` and `log.*`.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pet_core::v2::{Budget, Pin, RosterHash, LEAST_UPDATES};

use super::{layers::Layers, schema, Effective, LogFormat, LogSettings, SettingsError, Warning};

/// Everything that can be set for a member. The field names are the keys of the TOML file, in a section `[member]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberSettings {
    /// The coordinator's URL. No default.
    pub coordinator: String,
    /// The hash of the roster, in 64 hexadecimal digits: whom this member works with. No default.
    pub roster: String,
    /// The least number of updates that this member ever helps to unmask together. Default: 3.
    pub n_min: u64,
    /// Epsilon of the privacy budget: rounds without noise, or with too little for one round, are refused. Default: none.
    pub epsilon: Option<f64>,
    /// Delta of the privacy budget. Default: 0.00001.
    pub delta: f64,
    /// The least noise multiplier of a round. Default: none is asked for.
    pub least_noise: Option<f64>,
    /// Where the key and the state are. Default: `./pet-member`.
    pub data_dir: PathBuf,
    /// The file with the key. Default: `member.key` in the data directory.
    pub key_file: Option<PathBuf>,
    /// The address of `/healthz`, `/status` and `/metrics`; none if empty. Default: `127.0.0.1:8083`.
    pub bind_address: Option<SocketAddr>,
    /// How far ahead of this machine's clock a round may have been opened. Default: 3600 seconds.
    pub clock_tolerance: Duration,
    /// The longest pause between two looks at the coordinator. Default: 10 seconds.
    pub poll: Duration,
    /// The most weights of a model. Default: 268435456.
    pub max_model_length: u64,
    /// The most updates of a round. Default: 1000000.
    pub max_updates: u64,
    /// How many threads a job may use; 0 means all cores. Default: 0.
    pub threads: usize,
    /// The file with the certificates of the authorities to trust, instead of the web's (PEM). Default: none.
    pub ca_file: Option<PathBuf>,
    /// The file with the certificate to present (PEM). Default: none.
    pub tls_certificate: Option<PathBuf>,
    /// The file with its private key (PEM). Default: none.
    pub tls_key: Option<PathBuf>,
}

impl Default for MemberSettings {
    fn default() -> Self {
        let defaults = pet_core::v2::member::Settings::default();
        Self {
            coordinator: String::new(),
            roster: String::new(),
            n_min: LEAST_UPDATES,
            epsilon: None,
            delta: 1e-5,
            least_noise: None,
            data_dir: "pet-member".into(),
            key_file: None,
            bind_address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8083))),
            clock_tolerance: defaults.clock_tolerance,
            poll: defaults.polling.max,
            max_model_length: defaults.max_model_length,
            max_updates: defaults.max_updates,
            threads: 0,
            ca_file: None,
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl MemberSettings {
    /// What the member insists on. Settings that were loaded have a roster.
    pub fn pin(&self) -> Option<Pin> {
        let roster: RosterHash = self.roster.parse().ok()?;
        let pin = Pin::new(roster, self.n_min);
        Some(match self.epsilon {
            Some(epsilon) => pin.with_budget(Budget::new(epsilon, self.delta)),
            None => pin,
        })
    }

    /// What the member accepts, and how often it asks.
    pub fn protocol(&self) -> pet_core::v2::member::Settings {
        let mut settings = pet_core::v2::member::Settings::default()
            .with_clock_tolerance(self.clock_tolerance)
            .with_max_model_length(self.max_model_length)
            .with_max_updates(self.max_updates)
            .with_least_noise(self.least_noise.map(thousandths));
        settings.polling.max = self.poll;
        settings
    }
}

/// A multiplier in thousandths, rounded up: no less noise than is asked for will do.
fn thousandths(multiplier: f64) -> u32 {
    // Checked to be within these when it was read.
    (multiplier * 1000.0).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// Valid settings of a member, and warnings about the way they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedMember {
    /// The settings; every rule holds.
    pub settings: MemberSettings,
    /// What is logged and how.
    pub log: LogSettings,
    /// Warnings about what was given without effect.
    pub warnings: Vec<Warning>,
    /// Every setting in effect, by key, and where it came from.
    pub effective: Vec<Effective>,
}

/// Loads a member's settings from file, environment and command line; the later ones win.
#[derive(Clone, Debug, Default)]
pub struct MemberLoader {
    file: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    options: Vec<(String, String, String)>,
}

impl MemberLoader {
    /// A loader without file, environment and options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the TOML file at `path`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes the settings among these environment variables, such as `XAYNET__MEMBER__COORDINATOR`.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.env.extend(variables);
        self
    }

    /// Sets `key` (dotted) to the value of the command-line option `option`.
    #[must_use]
    pub fn option(
        mut self,
        key: impl Into<String>,
        option: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.options.push((key.into(), option.into(), value.into()));
        self
    }

    /// Reads all sources, merges them, and checks the result.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; otherwise [`SettingsError::Invalid`] with everything that is wrong.
    pub fn load(self) -> Result<LoadedMember, SettingsError> {
        let mut layers = Layers::default();
        if let Some(path) = &self.file {
            let text = fs::read_to_string(path)
                .map_err(|source| SettingsError::Read { path: path.clone(), source })?;
            layers.add_toml(path, &text)?;
        }
        layers.add_env(self.env);
        for (key, option, value) in self.options {
            layers.add_option(&key, &option, value);
        }
        schema::interpret_member(&layers)
    }
}

/// The keys of all settings of a member, in alphabetical order.
pub fn member_keys() -> Vec<&'static str> {
    let keys: BTreeSet<_> = schema::member_keys().into_iter().collect();
    keys.into_iter().collect()
}

/// What is logged where nothing is said.
pub(super) fn default_log() -> LogSettings {
    LogSettings { filter: "info".to_owned(), format: LogFormat::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn loader() -> MemberLoader {
        MemberLoader::new()
            .option("member.coordinator", "--coordinator", "http://127.0.0.1:8081")
            .option("member.roster", "--roster", HASH)
    }

    fn problems(loader: MemberLoader) -> Vec<String> {
        match loader.load() {
            Err(SettingsError::Invalid(problems)) => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_coordinator_and_a_roster_are_enough() {
        let loaded = loader().load().unwrap();
        let expected = MemberSettings {
            coordinator: "http://127.0.0.1:8081".into(),
            roster: HASH.into(),
            ..MemberSettings::default()
        };
        assert_eq!(loaded.settings, expected);
        let pin = loaded.settings.pin().unwrap();
        assert_eq!((pin.roster.to_string(), pin.n_min, pin.budget), (HASH.into(), 3, None));
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn what_is_missing_is_told_at_once_with_what_to_do() {
        let problems = problems(MemberLoader::new());
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].starts_with("member.coordinator") && problems[0].contains("--coordinator")
        );
        assert!(problems[1].starts_with("member.roster") && problems[1].contains("MEMBER__ROSTER"));
    }

    #[test]
    fn wrong_values_are_told_with_their_rule() {
        for (key, value, rule) in [
            ("member.roster", "12", "64 hexadecimal digits"),
            ("member.coordinator", "ftp://here", "neither http:// nor https://"),
            ("member.n_min", "2", "at least 3"),
            ("member.epsilon", "0", "above 0"),
            ("member.delta", "1", "below 1"),
            ("member.least_noise", "-1", "above 0"),
            ("member.bind_address", "here", "IP address and a port"),
            ("member.max_updates", "many", "whole number"),
            ("member.tls_key", "", "path"),
        ] {
            let problems = problems(loader().option(key, "--set", value));
            assert!(problems[0].contains(rule), "{key} = {value}: {problems:?}");
        }
        let half = problems(loader().option("member.tls_key", "--set", "key.pem"));
        assert!(half[0].contains("together"), "{half:?}");
        let typo = problems(loader().option("member.coordinater", "--set", "x"));
        assert!(typo[0].contains("did you mean member.coordinator?"), "{typo:?}");
    }

    #[test]
    fn file_environment_and_options_are_laid_over_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member.toml");
        let text = format!(
            "[member]\ncoordinator = \"https://coordinator.example\"\nroster = \"{HASH}\"\nn_min = 5\nepsilon = 4.5\n\
             bind_address = \"\"\nleast_noise = 4.0001\npoll = 2.5\n[log]\nformat = \"json\"\n[pet.sum]\nprob = 0.1\n"
        );
        fs::write(&path, text).unwrap();
        let env = [("XAYNET__MEMBER__N_MIN".into(), "7".into())];
        let loaded = MemberLoader::new().file(&path).env(env).load().unwrap();
        let settings = &loaded.settings;
        assert_eq!((settings.n_min, settings.bind_address), (7, None));
        assert_eq!(settings.pin().unwrap().budget, Some(Budget::new(4.5, 1e-5)));
        assert_eq!(settings.protocol().least_noise, Some(4001));
        assert_eq!(settings.protocol().polling.max, Duration::from_millis(2500));
        assert_eq!(loaded.log.format, LogFormat::Json);
        // One file may serve a coordinator, too.
        assert_eq!(loaded.warnings.len(), 1);
        let origin = loaded.effective.iter().find(|setting| setting.key == "member.n_min").unwrap();
        assert!(origin.origin.to_string().contains("XAYNET__MEMBER__N_MIN"));
    }

    #[test]
    fn each_field_has_a_key() {
        let keys = member_keys();
        assert_eq!(keys.iter().filter(|key| key.starts_with("member.")).count(), 17);
        assert!(keys.contains(&"log.filter") && keys.contains(&"log.format"));
    }
}
