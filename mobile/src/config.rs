//! Where the coordinator is, and how a participant behaves.

use std::num::NonZeroUsize;

use pet_participant::transport::core::message::MessageSize;
use pet_participant::transport::core::model::Scalar;
use pet_participant::transport::{self, core::participant as core};

use crate::error::ParticipantError;

/// Where the coordinator is, and whom to trust.
#[derive(Debug, Clone, uniffi::Record)]
pub struct Config {
    /// The coordinator's URL, such as `https://pet.example.org`.
    pub url: String,
    /// Authorities' certificates in PEM form: these are trusted, and no others. The web's, if nothing is given.
    #[uniffi(default = None)]
    pub authorities: Option<Vec<u8>>,
    /// How many threads masking may use; all cores, if nothing is given.
    #[uniffi(default = None)]
    pub threads: Option<u32>,
    /// How the participant behaves; as the old package's, if nothing is given.
    #[uniffi(default = None)]
    pub settings: Option<Settings>,
    /// The file that the state is kept in: a participant goes on with what is there, and writes it when it is stopped.
    /// Nobody else may read it; give each participant one of its own. The state does not leave this library then.
    #[uniffi(default = None)]
    pub state_file: Option<String>,
}

/// How a participant behaves.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Settings {
    /// How much this participant's models count: the global model is the mean of all, weighted with these. Not negative.
    #[uniffi(default = 1.0)]
    pub scalar: f64,
    /// The most weights that models may have; in rounds of longer ones this participant takes no part.
    #[uniffi(default = 268435456)]
    pub max_model_length: u64,
    /// The most bytes that a message may have before it is sent in parts; of any size, if nothing is given.
    #[uniffi(default = None)]
    pub max_message_bytes: Option<u64>,
}

fn unusable(reason: impl ToString) -> ParticipantError {
    ParticipantError::Config(reason.to_string())
}

impl Settings {
    fn apply(&self, settings: &mut core::Settings) -> Result<(), ParticipantError> {
        settings.scalar = Scalar::from_f64(self.scalar)
            .map_err(|error| unusable(format!("the scalar {}: {error}", self.scalar)))?;
        settings.max_model_length = self.max_model_length;
        if let Some(bytes) = self.max_message_bytes {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            settings.max_message_size = MessageSize::at_most(bytes).map_err(unusable)?;
        }
        Ok(())
    }
}

impl TryFrom<Config> for transport::Config {
    type Error = ParticipantError;

    fn try_from(config: Config) -> Result<Self, ParticipantError> {
        let mut made = Self::new(&config.url).map_err(unusable)?;
        if let Some(pem) = &config.authorities {
            made.tls = made.tls.clone().trusting(pem).map_err(unusable)?;
        }
        if let Some(threads) = config.threads {
            let threads = usize::try_from(threads).unwrap_or(usize::MAX);
            made.threads = NonZeroUsize::new(threads)
                .ok_or_else(|| unusable("threads is 0: masking needs one at least"))?;
        }
        if let Some(settings) = &config.settings {
            settings.apply(&mut made.settings)?;
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config {
            url: url.into(),
            authorities: None,
            threads: None,
            settings: None,
            state_file: None,
        }
    }

    fn settings() -> Settings {
        Settings { scalar: 1.0, max_model_length: 1 << 28, max_message_bytes: None }
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let plain = transport::Config::try_from(config("http://127.0.0.1:8081")).unwrap();
        let told = Config { settings: Some(settings()), ..config("http://127.0.0.1:8081") };
        let told = transport::Config::try_from(told).unwrap();
        assert_eq!(format!("{:?}", plain.settings), format!("{:?}", told.settings));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        let good = "http://127.0.0.1:8081";
        let with = |settings: Settings| Config { settings: Some(settings), ..config(good) };
        for wrong in [
            config("no URL"),
            Config { authorities: Some(b"no PEM".to_vec()), ..config(good) },
            Config { threads: Some(0), ..config(good) },
            with(Settings { scalar: -1.0, ..settings() }),
            with(Settings { scalar: f64::NAN, ..settings() }),
            with(Settings { max_message_bytes: Some(1), ..settings() }),
        ] {
            let Err(ParticipantError::Config(reason)) = transport::Config::try_from(wrong.clone())
            else {
                panic!("taken: {wrong:?}");
            };
            assert!(!reason.is_empty());
        }
    }
}
