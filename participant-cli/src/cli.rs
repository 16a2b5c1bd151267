//! What the command accepts.

use std::{ffi::OsString, path::PathBuf};

use clap::Parser;

/// Takes part in federated learning with any program as its trainer.
///
/// Whenever the coordinator wants a model, the program is run. It finds the global model in the file that PET_GLOBAL_MODEL names
/// (there is none if that is empty), trains, and writes its local model into the file that PET_LOCAL_MODEL names: the weights one
/// after another, little-endian, PET_MODEL_LENGTH of them of type PET_DATA_TYPE (f32, f64, i32 or i64). This command masks it and
/// sends it: nobody else sees it. PET_ROUND counts the rounds since it was started.
///
/// A program that writes no file, and ends with status 0, does not take part in this round. One whose round is over is killed.
///
/// Runs until it is interrupted (Ctrl-C or SIGTERM). Exit status: 0 then, 1 if it could not go on, 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(
    name = "pet-participant",
    version,
    after_help = "\
Examples:
  pet-participant https://coordinator.example.org --state-file site.state -- python3 train.py
  pet-participant http://127.0.0.1:8081 -- Rscript train.R

A trainer in Python:
  model = numpy.fromfile(os.environ[\"PET_GLOBAL_MODEL\"], \"<f4\") if os.environ[\"PET_GLOBAL_MODEL\"] else initial
  ...
  model.astype(\"<f4\").tofile(os.environ[\"PET_LOCAL_MODEL\"])"
)]
pub struct Cli {
    /// The coordinator's URL.
    #[arg(value_name = "URL")]
    pub url: String,

    /// The program that trains, and its arguments.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub trainer: Vec<OsString>,

    /// Keep the participant's state in this file when it is stopped, secret keys included, and go on from it: as the same
    /// participant, in the same round. (In rounds of version 1 one that is killed outright leaves nothing new there, and begins
    /// with the next round; in version 2 what it has promised is there before it counts.)
    #[arg(long, value_name = "FILE")]
    pub state_file: Option<PathBuf>,

    /// How much this participant's models count, such as its share of the samples.
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    pub scalar: f64,

    /// Where the files with models are, for the time of a training [default: a folder of its own among temporary files].
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// Kill a training that takes longer, in seconds [default: it may take as long as the round].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,

    /// Trust only the authorities whose certificates are in this file (PEM), instead of the web's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Present the certificate in this file (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,

    /// Say more: also what happens in every round.
    #[arg(short, long)]
    pub verbose: bool,
}
