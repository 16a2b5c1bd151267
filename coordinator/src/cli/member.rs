//! The command line of `member`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand};
use pet_coordinator::settings::MemberLoader;

use super::settings::key_value;

/// Run a member of a group until it is interrupted (PET v2): it keeps keys, checks what the coordinator shows, and adds up
/// masks.
///
/// A setting that the command line does not give comes from the environment (XAYNET__MEMBER__KEY, such as
/// XAYNET__MEMBER__COORDINATOR), then from the settings file, then it has its default. Only coordinator and roster have none.
/// Logs go to standard error. One process uses a data directory; never put an old copy of it in its place.
///
/// Exit status: 0 after an interrupt, 1 when it failed, 2 for a wrong command line or wrong settings.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  pet-coordinator member init --data-dir /var/lib/pet-member         make the key, and print its public half
  pet-coordinator member --coordinator https://coordinator.example --roster HASH --data-dir /var/lib/pet-member
  pet-coordinator member --config /etc/pet-member/config.toml
  pet-coordinator member check-config --config /etc/pet-member/config.toml
  curl http://127.0.0.1:8083/healthz"
)]
pub struct Member {
    #[command(subcommand)]
    pub action: Option<MemberAction>,

    #[command(flatten)]
    pub run: MemberRun,
}

/// What else can be done.
#[derive(Debug, Subcommand)]
pub enum MemberAction {
    /// Make the data directory and the member's key in it, and print the key's public half, which belongs into the roster.
    Init {
        /// Where the key and the state are kept (member.data_dir).
        #[arg(long, value_name = "DIR", default_value = "pet-member")]
        data_dir: PathBuf,

        /// Make the key file here instead of in the data directory (member.key_file).
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Check the settings that the member would run with, and print them with where each comes from.
    CheckConfig(MemberArgs),
}

/// Options of a member that runs.
#[derive(Debug, Args)]
pub struct MemberRun {
    #[command(flatten)]
    pub settings: MemberArgs,

    /// Once listening, write the address of /healthz as IP:PORT into this file.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

/// Where a member's settings come from beside the environment.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// Read settings from this TOML file.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The coordinator's URL (member.coordinator).
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,

    /// The hash of the roster (member.roster).
    #[arg(long, value_name = "HASH")]
    pub roster: Option<String>,

    /// The least number of updates that are ever unmasked together (member.n_min) [default: 3].
    #[arg(long, value_name = "N")]
    pub n_min: Option<String>,

    /// Where the key and the state are kept (member.data_dir) [default: ./pet-member].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// The file with the key (member.key_file) [default: member.key in the data directory].
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,

    /// The address of /healthz, /status and /metrics (member.bind_address) [default: 127.0.0.1:8083]; port 0 takes a free
    /// one, nothing means none.
    #[arg(long, value_name = "IP:PORT")]
    pub bind: Option<String>,

    /// Any other setting, such as --set member.max_updates=1000; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,

    /// What to log (log.filter), such as info,pet_coordinator=debug [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// The form of log lines (log.format): text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl MemberArgs {
    /// All the places that settings come from.
    pub fn loader(&self, env: impl IntoIterator<Item = (OsString, OsString)>) -> MemberLoader {
        let mut loader = MemberLoader::new().env(env);
        if let Some(path) = &self.config {
            loader = loader.file(path);
        }
        // The options for one setting come last: they are more explicit than --set.
        for (key, value) in &self.set {
            loader = loader.option(key, format!("--set {key}"), value);
        }
        for (key, option, value) in [
            ("member.coordinator", "--coordinator", &self.coordinator),
            ("member.roster", "--roster", &self.roster),
            ("member.n_min", "--n-min", &self.n_min),
            ("member.data_dir", "--data-dir", &self.data_dir),
            ("member.key_file", "--key", &self.key),
            ("member.bind_address", "--bind", &self.bind),
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
