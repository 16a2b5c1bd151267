//! The command line of the binary: what it accepts, and how it becomes settings.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use pet_coordinator::settings::Loader;

/// The coordinator of the PET protocol: federated learning in which it only sees masked models and
/// their sum.
#[derive(Debug, Parser)]
#[command(name = "pet-coordinator", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
}

/// Run the coordinator until it is interrupted (Ctrl-C or SIGTERM).
///
/// A setting that the command line does not give comes from the environment (XAYNET__SECTION__KEY,
/// such as XAYNET__PET__SUM__PROB), then from the settings file, then it has its default. Only the
/// model's length has none. Logs go to standard error.
///
/// Exit status: 0 after an interrupt, 1 when serving failed, 2 for a wrong command line or wrong
/// settings.
#[derive(Debug, Args)]
pub struct Serve {
    /// Read settings from this TOML file.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The number of the model's weights (model.length).
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub model_length: Option<String>,

    /// The address to listen on (api.bind_address) [default: 127.0.0.1:8081]; port 0 takes a free
    /// one.
    #[arg(long, value_name = "IP:PORT")]
    pub bind: Option<String>,

    /// Any other setting, such as --set pet.sum.prob=0.4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,

    /// Once listening, write the address as IP:PORT into this file.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,

    /// What to log (log.filter), such as info,pet_coordinator=debug [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// The form of log lines (log.format): text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Derive everything random from the 32 bytes of this file instead of the operating system: for
    /// tests only.
    #[arg(long, value_name = "FILE", hide = true)]
    pub seed_file: Option<PathBuf>,

    /// Record all that the state machine is told into this new file, the keys of all rounds included,
    /// so that it can be replayed: for tests only.
    #[arg(long, value_name = "FILE", hide = true)]
    pub record: Option<PathBuf>,
}

impl Serve {
    /// All the places that settings come from.
    pub fn loader(&self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Loader {
        let mut loader = Loader::new().env(env);
        if let Some(path) = &self.config {
            loader = loader.file(path);
        }
        // The options for one setting come last: they are more explicit than --set.
        for (key, value) in &self.set {
            loader = loader.option(key, format!("--set {key}"), value);
        }
        for (key, option, value) in [
            ("model.length", "--model-length", &self.model_length),
            ("api.bind_address", "--bind", &self.bind),
            ("log.filter", "--log", &self.log),
            ("log.format", "--log-format", &self.log_format),
        ] {
            if let Some(value) = value {
                loader = loader.option(key, option, value);
            }
        }
        loader
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("this must be a key, an equals sign and a value, such as pet.sum.prob=0.4"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use pet_coordinator::settings::{LogFormat, Settings};

    use super::*;

    fn load(args: &[&str], env: &[(&str, &str)]) -> Settings {
        let args = ["pet-coordinator", "serve"].iter().chain(args);
        let Command::Serve(serve) = Cli::try_parse_from(args).unwrap().command;
        let env = env.iter().map(|(name, value)| (name.into(), value.into()));
        serve.loader(env).load().unwrap().settings
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_model_length_is_enough() {
        let settings = load(&["--model-length", "25"], &[]);
        assert_eq!(settings, Settings::for_model_length(25));
    }

    #[test]
    fn options_win_over_the_environment() {
        let settings = load(
            &["--model-length=25", "--set", "pet.sum.prob=0.125", "--log-format", "json"],
            &[
                ("XAYNET__MODEL__LENGTH", "7"),
                ("XAYNET__PET__SUM__PROB", "0.75"),
                ("XAYNET__PET__UPDATE__PROB", "0.75"),
            ],
        );
        assert_eq!(settings.model.length, 25);
        assert_eq!(settings.pet.sum.prob, 0.125);
        assert_eq!(settings.pet.update.prob, 0.75);
        assert_eq!(settings.log.format, LogFormat::Json);
    }

    #[test]
    fn set_needs_a_key_and_a_value() {
        for arg in ["pet.sum.prob", "=1", ""] {
            let args = ["pet-coordinator", "serve", "--set", arg];
            assert!(Cli::try_parse_from(args).is_err(), "{arg}");
        }
    }
}
