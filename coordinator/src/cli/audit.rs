//! The command line of `audit`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pet_core::v2::RosterHash;

use super::Remote;

/// Check a round of version 2: recompute its global model from what is published about it.
///
/// Fetches the certificate, all statements and masked models, and the groups' masks, checks every signature and hash, adds
/// up, takes the masks off, and compares with the published model bit by bit. It needs no key, and trusts nobody but the
/// roster that it is given. It ends with a sentence: that the model is right, or who has lied.
///
/// What it cannot check is a group's mask itself, which takes the group's seeds: the model is the true sum if every group has
/// an honest majority.
///
/// Exit status: 0 the model is right, 1 somebody has lied, 3 the coordinator does not answer, 4 the round is not kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator audit http://coordinator.example:8081 --roster roster.toml
  pet-coordinator audit http://coordinator.example:8081 --roster HASH --round 12")]
pub struct Audit {
    #[command(flatten)]
    pub coordinator: Remote,

    /// The coordinator's URL, instead of --url.
    #[arg(value_name = "URL", conflicts_with = "url")]
    pub address: Option<String>,

    /// The round [default: the latest that was completed].
    #[arg(long, value_name = "N")]
    pub round: Option<u64>,

    /// The roster that was agreed on: a roster file, or its hash. Without it the coordinator's own is believed.
    #[arg(long, value_name = "FILE or HASH")]
    pub roster: Option<Pinned>,

    /// The fewest updates that the model must be made of [default: what the round's terms say].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub n_min: u64,
}

/// A roster that is known from elsewhere.
#[derive(Clone, Debug)]
pub enum Pinned {
    Hash(RosterHash),
    File(PathBuf),
}

impl FromStr for Pinned {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Hash))
    }
}
