//! Settings on the command line.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use pet_coordinator::{key, settings::Loader};

/// Where settings come from beside the environment.
#[derive(Debug, Args)]
pub struct SettingsArgs {
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

    /// Where rounds and global models are kept (storage.data_dir) [default: ./pet-data]. After a crash
    /// or an interrupt, the coordinator goes on from there in the middle of the round.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// Keep everything in memory (storage.ephemeral): it is lost when the coordinator stops.
    #[arg(long)]
    pub ephemeral: bool,

    /// Any other setting, such as --set pet.sum.prob=0.4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,

    /// What to log (log.filter), such as info,pet_coordinator=debug [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// The form of log lines (log.format): text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl SettingsArgs {
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
            (key!(model.length), "--model-length", &self.model_length),
            (key!(api.bind_address), "--bind", &self.bind),
            (key!(log.filter), "--log", &self.log),
            (key!(log.format), "--log-format", &self.log_format),
            (key!(storage.data_dir), "--data-dir", &self.data_dir),
        ] {
            if let Some(value) = value {
                loader = loader.option(key, option, value);
            }
        }
        if self.ephemeral {
            loader = loader.option(key!(storage.ephemeral), "--ephemeral", "true");
        }
        loader
    }
}

/// What `--set` takes.
pub fn key_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("this must be a key, an equals sign and a value, such as pet.sum.prob=0.4"),
    }
}
