//! Roster files as text.

use std::{fmt::Write, path::Path, str::FromStr};

use pet_core::{
    crypto::{PublicSigningKey, Signature},
    v2::{hex, Admission, Group, InvalidRoster, Roster},
};
use serde::Deserialize;

use super::{RosterFile, RosterFileError};

/// The version of the protocol, and of this form.
const VERSION: u64 = 2;

/// What is wrong with a text.
#[derive(Debug)]
pub(super) enum Wrong {
    Syntax(String),
    Roster(InvalidRoster),
}

impl Wrong {
    pub fn of(self, path: &Path) -> RosterFileError {
        let path = path.to_owned();
        match self {
            Self::Syntax(problem) => RosterFileError::Syntax { path, problem },
            Self::Roster(source) => RosterFileError::Invalid { path, source },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u64,
    admission: AdmissionText,
    groups: Vec<GroupText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdmissionText {
    authority: Option<String>,
    updaters: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupText {
    name: String,
    members: Vec<MemberText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberText {
    key: String,
    signature: Option<String>,
}

/// Reads TOML or JSON.
pub(super) fn parse(text: &str) -> Result<RosterFile, Wrong> {
    let read: Result<Text, String> = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| error.to_string()),
        false => {
            toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', "\n  "))
        }
    };
    let Text { version, admission, groups } = read.map_err(Wrong::Syntax)?;
    if version != VERSION {
        return Err(Wrong::Syntax(format!(
            "its version is {version}, and this program knows version {VERSION}: update the older of the two"
        )));
    }
    let mut signatures = Vec::new();
    let mut roster_groups = Vec::new();
    for GroupText { name, members } in groups {
        let mut keys = Vec::new();
        for (index, MemberText { key, signature }) in members.into_iter().enumerate() {
            let what = |part| format!("the {part} of member {index} of group {name:?}");
            keys.push(key_of(&key, &what("key"))?);
            let signature = signature.map(|text| hex::parse(&text).map(Signature::new));
            let signature = signature.transpose();
            signatures.push(signature.map_err(|error| wrong(&what("signature"), &error))?);
        }
        roster_groups.push(Group::new(name, keys));
    }
    let admission = match admission {
        AdmissionText { authority: Some(key), updaters: None } => {
            Admission::Authority(key_of(&key, "the authority's key")?)
        }
        AdmissionText { authority: None, updaters: Some(keys) } => {
            let keys = keys.iter().enumerate();
            let keys = keys.map(|(at, key)| key_of(key, &format!("the key of updater {at}")));
            let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
            // Their order means nothing to people.
            keys.sort_unstable();
            Admission::List(keys)
        }
        _ => {
            let problem =
                "admission must have either authority, a key, or updaters, a list of keys";
            return Err(Wrong::Syntax(problem.to_owned()));
        }
    };
    let roster = Roster::new(roster_groups, admission).map_err(Wrong::Roster)?;
    Ok(RosterFile { roster, signatures })
}

fn key_of(text: &str, what: &str) -> Result<PublicSigningKey, Wrong> {
    PublicSigningKey::from_str(text).map_err(|error| wrong(what, &error))
}

fn wrong(what: &str, error: &dyn std::fmt::Display) -> Wrong {
    Wrong::Syntax(format!("{what}: {error}"))
}

impl RosterFile {
    /// The file as TOML.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# The roster of a federation (PET v2). Participants pin its hash:\n#   {}\n\
             # Names, keys and admission are hashed; signatures are not. `pet-coordinator roster show` says who has signed.\n\
             version = {VERSION}\n\n[admission]\n",
            self.hash()
        );
        // Writing to a string does not fail.
        let _ = match self.roster.admission() {
            Admission::Authority(key) => writeln!(text, "authority = \"{key}\""),
            Admission::List(keys) => {
                let keys: String = keys.iter().map(|key| format!("    \"{key}\",\n")).collect();
                writeln!(text, "updaters = [\n{keys}]")
            }
            _ => Ok(()),
        };
        let mut signatures = self.signatures.iter();
        for Group { name, members } in self.roster.groups() {
            // A string of JSON is one of TOML as well.
            let _ =
                writeln!(text, "\n[[groups]]\nname = {}", serde_json::Value::from(name.as_str()));
            for key in members {
                let _ = writeln!(text, "\n[[groups.members]]\nkey = \"{key}\"");
                if let Some(Some(signature)) = signatures.next() {
                    let _ = writeln!(text, "signature = \"{signature}\"");
                }
            }
        }
        text
    }

    /// The file as JSON.
    pub fn to_json(&self) -> String {
        use serde_json::json;
        let admission = match self.roster.admission() {
            Admission::Authority(key) => json!({ "authority": key.to_string() }),
            Admission::List(keys) => {
                json!({ "updaters": keys.iter().map(ToString::to_string).collect::<Vec<_>>() })
            }
            _ => json!({}),
        };
        let mut signatures = self.signatures.iter();
        let mut member = |key: &PublicSigningKey| match signatures.next() {
            Some(Some(signature)) => {
                json!({ "key": key.to_string(), "signature": signature.to_string() })
            }
            _ => json!({ "key": key.to_string() }),
        };
        let groups = self.roster.groups().iter().map(|Group { name, members }| {
            json!({ "name": name, "members": members.iter().map(&mut member).collect::<Vec<_>>() })
        });
        let groups: Vec<_> = groups.collect();
        format!("{:#}\n", json!({ "version": VERSION, "admission": admission, "groups": groups }))
    }
}
