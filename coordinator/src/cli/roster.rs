//! The command line of `keys` and `roster`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Subcommand};
use pet_core::{
    crypto::PublicSigningKey,
    v2::{Group, RosterHash},
};

/// Make and show signing keys: of members, updaters, and the admission authority of a federation (PET v2).
///
/// A key file holds a secret. It is made for its owner alone (mode 0600), and one that is open to others is refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator keys generate -o member.key
  pet-coordinator keys show member.key")]
pub struct Keys {
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Make a new key, and print its public half, which may go to everyone.
    Generate {
        /// The new key file; one that is there is never written over.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the public half of a key.
    Show {
        /// The key file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Set up a federation whose groups of members are under different organisations (PET v2).
///
/// A roster file (TOML or JSON) names the groups with their members' keys and says who admits updaters. Participants pin
/// its hash. docs/v2-operation.md tells step by step how three organisations go about it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pet-coordinator roster create -o roster.toml --authority KEY \\
      --group 'North clinic=KEY,KEY,KEY' --group 'South clinic=KEY,KEY,KEY' --group 'Auditor=KEY,KEY,KEY'
  pet-coordinator roster sign roster.toml --key member.key --expect HASH
  pet-coordinator roster show roster.toml
  pet-coordinator roster admit --key authority.key --updater KEY --days 365 -o updater.credential")]
pub struct Roster {
    #[command(subcommand)]
    pub action: RosterAction,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum RosterAction {
    /// Make a roster file of groups and an admission, and print its hash.
    Create(Create),
    /// Agree to a roster as one of its members: add a signature that proves that you hold the member's key.
    Sign(Sign),
    /// Add the signatures in other copies of the same roster file.
    Collect(Collect),
    /// Print the hash of a roster: what participants pin.
    Hash {
        /// The roster file.
        #[arg(value_name = "ROSTER")]
        file: PathBuf,
    },
    /// Show the groups, and who has signed. With status 1 a signature is not valid.
    Show(Show),
    /// Admit an updater, as the admission authority: issue a credential for its key, with an expiry.
    #[command(visible_alias = "credential")]
    Admit(Admit),
}

/// Options of `roster create`.
#[derive(Debug, Args)]
pub struct Create {
    /// A group: its name, an equals sign, and its members' keys with commas between them. An odd number of members, the same
    /// for all groups.
    #[arg(long = "group", value_name = "NAME=KEY,...", value_parser = group, required = true)]
    pub groups: Vec<Group>,

    /// The key of the admission authority, who issues credentials to updaters.
    #[arg(long, value_name = "KEY", value_parser = PublicSigningKey::from_str, conflicts_with = "updaters", required_unless_present = "updaters")]
    pub authority: Option<PublicSigningKey>,

    /// The key of an updater, instead of an authority; may be repeated. Others are not admitted.
    #[arg(long = "updater", value_name = "KEY", value_parser = PublicSigningKey::from_str)]
    pub updaters: Vec<PublicSigningKey>,

    /// The file to write; one that is there is never written over.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Options of `roster sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The roster file, which the signature is added to.
    #[arg(value_name = "ROSTER")]
    pub file: PathBuf,

    /// The member's key file.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,

    /// The hash that you have agreed on with the others: nothing else is signed.
    #[arg(long, value_name = "HASH", value_parser = RosterHash::from_str)]
    pub expect: RosterHash,
}

/// Options of `roster collect`.
#[derive(Debug, Args)]
pub struct Collect {
    /// The roster file that they are added to.
    #[arg(value_name = "ROSTER")]
    pub file: PathBuf,

    /// Copies that others have signed.
    #[arg(value_name = "COPY", required = true)]
    pub copies: Vec<PathBuf>,
}

/// Options of `roster show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The roster file.
    #[arg(value_name = "ROSTER")]
    pub file: PathBuf,

    /// End with status 1 as long as a member has not signed.
    #[arg(long)]
    pub complete: bool,

    /// Print the roster file as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `roster admit`.
#[derive(Debug, Args)]
pub struct Admit {
    /// The authority's key file.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,

    /// The updater's public key.
    #[arg(long, value_name = "KEY", value_parser = PublicSigningKey::from_str)]
    pub updater: PublicSigningKey,

    /// For how many days from now it is admitted.
    #[arg(long, value_name = "N", value_parser = days, conflicts_with = "until", required_unless_present = "until")]
    pub days: Option<Duration>,

    /// Until when it is admitted: a date or a date and time in UTC, such as 2027-01-31.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub until: Option<u64>,

    /// The roster, to see that the key is that of its authority.
    #[arg(long, value_name = "ROSTER")]
    pub roster: Option<PathBuf>,

    /// The file to write the credential to; - is standard output. It is no secret.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

fn group(text: &str) -> Result<Group, String> {
    let form = "this must be a name, an equals sign, and keys with commas between them";
    // A key has no equals sign, but a name may.
    let (name, keys) = text.rsplit_once('=').ok_or(form)?;
    let keys = keys.split(',').map(|key| key.trim().parse::<PublicSigningKey>());
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok(Group::new(name.trim(), keys))
}

fn days(text: &str) -> Result<Duration, String> {
    // A hundred years: more is a mistake.
    match text.parse::<u64>() {
        Ok(days @ 1..=36_525) => Ok(Duration::from_secs(days * 86_400)),
        _ => Err("this must be a whole number of days, from 1 to 36525".to_owned()),
    }
}

/// A date in seconds since the Unix epoch: the end of the day where there is no time.
fn date(text: &str) -> Result<u64, String> {
    let wrong = || "this must be a date such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned();
    let is_day = text.len() == 10;
    let whole = if is_day { format!("{text}T23:59:59Z") } else { text.to_owned() };
    let time = humantime::parse_rfc3339_weak(&whole).map_err(|_| wrong())?;
    Ok(time.duration_since(std::time::UNIX_EPOCH).map_err(|_| wrong())?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_names_and_keys() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let read = group(&format!("R&D = north={a}, {b}")).unwrap();
        assert_eq!((read.name.as_str(), read.members.len()), ("R&D = north", 2));
        for wrong in ["", "name", "name=", "name=ab", &format!("name={a};{b}")] {
            assert!(group(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_lasts_until_its_end() {
        assert_eq!(date("1970-01-02"), Ok(2 * 86_400 - 1));
        assert_eq!(date("1970-01-02T00:00:00Z"), Ok(86_400));
        for wrong in ["", "tomorrow", "2027-13-01", "1969-12-31", "2027-1-1"] {
            assert!(date(wrong).is_err(), "{wrong}");
        }
        assert_eq!(days("2"), Ok(Duration::from_secs(172_800)));
        for wrong in ["0", "-1", "1.5", "40000"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }
}
