//! The command line of the binary: what it accepts.

mod audit;
mod member;
mod roster;
mod settings;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::audit::{Audit, Pinned};
pub use self::member::{Member, MemberAction, MemberArgs, MemberRun};
pub use self::roster::{
    Admit, Collect, Create, Keys, KeysAction, Roster, RosterAction, Show, Sign,
};
use self::settings::key_value;
pub use self::settings::SettingsArgs;

/// The coordinator of the PET protocol, for federated learning: it sees only masked models and
/// their sum.
#[derive(Debug, Parser)]
#[command(name = "pet-coordinator", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  pet-coordinator serve --model-length 1000          run one on 127.0.0.1:8081
  pet-coordinator check-config --config pet.toml     what would hold, and where it comes from
  pet-coordinator status --watch                     follow it with progress bars
  pet-coordinator export-model -o model.npy          the latest global model, for numpy.load

Exit status of all commands:
  0  it was done, or whoever reads the output has had enough of it (... | head)
  1  it could not be done
  2  wrong command line, or wrong settings
  3  the coordinator does not answer, or not as a coordinator does
  4  what was asked for is not there (no model yet, an unknown round)";

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Serve),
    CheckConfig(CheckConfig),
    Status(Status),
    Rounds(Rounds),
    ExportModel(ExportModel),
    ImportModel(ImportModel),
    Backup(Backup),
    #[cfg(feature = "replicas")]
    Restore(Restore),
    #[cfg(feature = "replicas")]
    Migrate(Migrate),
    Admin(Admin),
    Audit(Audit),
    Keys(Keys),
    Member(Box<Member>),
    Roster(Roster),
    #[cfg(feature = "replicas")]
    Store(Store),
    Completions(Completions),
    ManPages(ManPages),
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
#[command(after_help = "\
Examples:
  pet-coordinator serve --model-length 1000
  pet-coordinator serve --config pet.toml --bind 0.0.0.0:8081
  pet-coordinator serve --model-length 1000 --initial-model pretrained.npy
  XAYNET__PET__SUM__PROB=0.1 pet-coordinator serve --config pet.toml --set pet.update.count.min=20")]
pub struct Serve {
    #[command(flatten)]
    pub settings: SettingsArgs,

    /// Begin the first round with the model in this NumPy file (.npy), to train it further. Without effect once there is a
    /// global model, so that it can be given at every start.
    #[arg(long, value_name = "FILE")]
    pub initial_model: Option<PathBuf>,

    /// Once listening, write the address as IP:PORT into this file.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,

    /// Derive everything random from the 32 bytes of this file instead of the operating system: for
    /// tests only.
    #[arg(long, value_name = "FILE", hide = true)]
    pub seed_file: Option<PathBuf>,

    /// Record all that the state machine is told into this new file, the keys of all rounds included,
    /// so that it can be replayed: for tests only.
    #[arg(long, value_name = "FILE", hide = true)]
    pub record: Option<PathBuf>,
}

/// Check the settings that `serve` would run with, without running it.
///
/// Takes the same options, environment and file as `serve`. Prints every setting with its value and where
/// that comes from; the output is itself a settings file. All mistakes are told at once, with status 2.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator check-config --config pet.toml
  pet-coordinator check-config --config pet.toml | grep -v default     only what was given
  pet-coordinator check-config --config pet.toml > /dev/null && systemctl restart pet-coordinator")]
pub struct CheckConfig {
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Which coordinator to ask.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    /// The coordinator's URL.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        env = "PET_COORDINATOR_URL"
    )]
    pub url: String,

    /// Trust only the authorities whose certificates are in this file (PEM), instead of the web's.
    #[arg(long, value_name = "FILE", env = "PET_COORDINATOR_CA")]
    pub ca: Option<PathBuf>,

    /// Present the certificate in this file (PEM), for api.tls_client_auth.
    #[arg(long, value_name = "FILE", env = "PET_COORDINATOR_CERTIFICATE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", env = "PET_COORDINATOR_KEY", requires = "certificate")]
    pub key: Option<PathBuf>,
}

/// Show what a running coordinator is doing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator status
  pet-coordinator status --watch --url http://coordinator.example:8081
  pet-coordinator status --json | jq .phase")]
pub struct Status {
    #[command(flatten)]
    pub coordinator: Remote,

    /// Keep showing it until interrupted: progress bars in a terminal, else a line for every
    /// change.
    #[arg(short, long)]
    pub watch: bool,

    /// Print JSON, as from /status; with --watch an object a line, as from /events.
    #[arg(long)]
    pub json: bool,
}

/// List the latest finished rounds, with their outcomes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator rounds --last 10
  pet-coordinator rounds --json | jq '.[] | select(.outcome == \"failed\") | .failure.reason'")]
pub struct Rounds {
    #[command(flatten)]
    pub coordinator: Remote,

    /// Show only the N latest rounds.
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,

    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Save a global model to a file, from a running coordinator or from the data directory of one that does not run.
///
/// The file is there at once and as a whole, or not at all. With status 4 there is no such model.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator export-model -o model.npy
  pet-coordinator export-model --round 12 -o round-12.npy
  pet-coordinator export-model --data-dir /var/lib/pet-coordinator/pet-data -o model.npy
  pet-coordinator export-model --format raw -o - | sha256sum")]
pub struct ExportModel {
    #[command(flatten)]
    pub coordinator: Remote,

    /// Read from this data directory instead of asking a coordinator; none may run on it.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub data_dir: Option<PathBuf>,

    /// The file with the secret that the data directory is sealed with (storage.secret_file), unless it is in the
    /// environment variable PET_STORAGE_SECRET.
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    pub secret_file: Option<PathBuf>,

    /// The model of this round, if it is kept [default: the latest].
    #[arg(long, value_name = "N")]
    pub round: Option<u64>,

    /// The format of the weights.
    #[arg(long, value_enum, default_value_t)]
    pub format: ModelFormat,

    /// The file to write; - is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Give a new federation the model that its first round begins with, to train it further.
///
/// Where the settings say: in the data directory of a coordinator that does not run, or in a federation that several share (after
/// `store init`). Participants get it as the global model of round 0. For one coordinator `serve --initial-model` does the same.
///
/// The file has as many weights as models have, as numpy.save writes them: 32-bit or 64-bit floats or integers, of any shape,
/// read row by row.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator import-model pretrained.npy --config pet.toml
  pet-coordinator export-model --url https://old.example.org -o model.npy
  pet-coordinator import-model model.npy --config shared.toml")]
pub struct ImportModel {
    /// The NumPy file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Save what it takes to begin anew after a disaster: of a running coordinator, or the data directory of one that does not run.
///
/// Of a running coordinator, any of several: its global models and the number of its round, in a file without keys, for
/// `pet-coordinator restore`. It is sealed with the secret, if there is one; without one whoever can write the file can
/// change the models in it.
///
/// Of a data directory (--data-dir): a copy of all of it. Both the directory and the copy are opened and checked. Never
/// run two coordinators from copies of one directory, and never go back to a copy of which a later round was seen: the
/// same keys would be used twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator backup --url http://localhost:8081 --secret-file /etc/pet/storage-secret --to /backup/pet-1
  systemctl stop pet-coordinator
  pet-coordinator backup --data-dir /var/lib/pet-coordinator/pet-data --to /backup/pet-data-1")]
pub struct Backup {
    #[command(flatten)]
    pub coordinator: Remote,

    /// Copy this data directory (storage.data_dir) instead of asking a coordinator; none may run on it.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub data_dir: Option<PathBuf>,

    /// The backup, which must not exist yet.
    #[arg(long, value_name = "PATH")]
    pub to: PathBuf,

    /// The file with the secret that the backup is sealed with, or that the data directory is (storage.secret_file), unless
    /// it is in the environment variable PET_STORAGE_SECRET.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// Begin a coordinator with the backup of one that ran (pet-coordinator backup).
///
/// Where the settings say: in a new data directory, or in a new federation that several share (after `store init`). It has
/// the backup's global models; its rounds go on behind the backup's round, with new keys, since later rounds may have
/// been seen.
#[cfg(feature = "replicas")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator restore --from /backup/pet-1 --check
  pet-coordinator restore --from /backup/pet-1 --config pet.toml --last-round 1207")]
pub struct Restore {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,

    /// The file with the secret that the backup is sealed with [default: the secret of the settings].
    #[arg(long, value_name = "FILE")]
    pub from_secret_file: Option<PathBuf>,

    /// The backup is not sealed: whoever can write it can have changed the models in it.
    #[arg(long, conflicts_with = "from_secret_file")]
    pub unsealed: bool,

    /// The last round that anybody has seen, if it is later than the backup: the next one has the number after it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    pub last_round: Option<u64>,

    /// Read all of the backup, say what is in it, and change nothing.
    #[arg(long)]
    pub check: bool,

    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Move the coordinator of a data directory, which does not run, to a database that several coordinators share.
///
/// The federation must be new (`store init`). Keys, round numbers and global models go along; afterwards no coordinator begins
/// in the directory any more. A round in which messages were accepted has to end first, or is dropped. If it is broken off
/// run it again.
#[cfg(feature = "replicas")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator admin pause --socket /run/pet/admin    (and wait until the round has ended)
  systemctl stop pet-coordinator
  pet-coordinator store init --config shared.toml
  pet-coordinator migrate --from /var/lib/pet-coordinator/pet-data --config shared.toml")]
pub struct Migrate {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,

    /// The file with the secret that the data directory is sealed with [default: none, it is not sealed].
    #[arg(long, value_name = "FILE")]
    pub from_secret_file: Option<PathBuf>,

    /// Drop the round that the coordinator is in: its participants begin anew with the next one.
    #[arg(long)]
    pub drop_round: bool,

    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// How a model's weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ModelFormat {
    /// A NumPy file.
    #[default]
    Npy,
    /// The weights one after another, little-endian, in the rounds' data type.
    Raw,
    /// The exact form of old participants.
    Rationals,
}

/// Act on a running coordinator: pause, resume, skip a round, change settings of the phases.
///
/// It has to be started with admin.bind_address or admin.socket, and admin.token_file. Prints the state that the
/// action leads to. What is changed holds until the coordinator stops.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator admin --socket /run/pet-coordinator/admin.sock --token-file token pause
  pet-coordinator admin --token-file token skip
  pet-coordinator admin --token-file token set pet.update.count.min=20 pet.update.time.max=600")]
pub struct Admin {
    /// The address that the coordinator listens on for this (admin.bind_address).
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8082")]
    pub address: SocketAddr,

    /// The Unix socket to use instead of an address (admin.socket).
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// The file with the token (admin.token_file).
    #[arg(long, value_name = "FILE", env = "PET_ADMIN_TOKEN_FILE")]
    pub token_file: PathBuf,

    #[command(subcommand)]
    pub action: AdminAction,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum AdminAction {
    /// Let the round finish, but begin no other. A restart ends the pause.
    Pause,
    /// Begin rounds again.
    Resume,
    /// End the round without a model; the next one begins, unless paused.
    Skip,
    /// Show the settings of the phases that hold from the next round on.
    Settings,
    /// Change settings of the phases from the next round on: pet.*.
    Set {
        /// A setting and its value, such as pet.sum.prob=0.4.
        #[arg(value_name = "KEY=VALUE", value_parser = key_value, required = true)]
        settings: Vec<(String, String)>,
    },
}

/// Set up what several coordinators share (storage.engine = "postgres" or "redis").
#[cfg(feature = "replicas")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator store init --config pet.toml")]
pub struct Store {
    #[command(subcommand)]
    pub action: StoreAction,
}

/// What to do with it.
#[cfg(feature = "replicas")]
#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// Make what the federation needs in the database, unless it is there, and try the secret on it.
    Init {
        /// The database was put back from a backup of its own: drop the round that is in it, and go on with new keys, since later
        /// rounds may have been seen. No coordinator may run.
        #[arg(long)]
        restored: bool,

        /// The last round that anybody has seen: the next one has the number after it.
        #[arg(long, value_name = "N", requires = "restored", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
        last_round: Option<u64>,

        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// Print a script that completes this command line in a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator completions bash > /etc/bash_completion.d/pet-coordinator
  pet-coordinator completions zsh > ~/.zfunc/_pet-coordinator
  pet-coordinator completions fish > ~/.config/fish/completions/pet-coordinator.fish")]
pub struct Completions {
    /// The shell to complete for.
    pub shell: Shell,
}

/// Write manual pages, one for each command: for packages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator man-pages /usr/local/share/man/man1")]
pub struct ManPages {
    /// The folder to write them into; it must be there.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use pet_coordinator::settings::{LogFormat, Settings};

    use super::*;

    fn load(args: &[&str], env: &[(&str, &str)]) -> Settings {
        let args = ["pet-coordinator", "serve"].iter().chain(args);
        let Command::Serve(serve) = Cli::try_parse_from(args).unwrap().command else {
            panic!("another command");
        };
        let env = env.iter().map(|(name, value)| (name.into(), value.into()));
        serve.settings.loader(env).load().unwrap().settings
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
