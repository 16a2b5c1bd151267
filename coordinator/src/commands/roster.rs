//! `roster`: setting a federation up.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use comfy_table::{presets::NOTHING, Table};
use pet_coordinator::{
    keys::read_signing_key,
    roster::{Consent, RosterFile, RosterFileError},
};
use pet_core::v2::{Admission, Credential, Roster};

use super::{
    exit::{output_failed, print, Exit, Failed},
    keys,
};
use crate::cli::{self, Admit, Collect, Create, RosterAction, Show, Sign};

pub fn roster(args: &cli::Roster) -> Result<(), Failed> {
    match &args.action {
        RosterAction::Create(create) => self::create(create),
        RosterAction::Sign(sign) => self::sign(sign),
        RosterAction::Collect(collect) => self::collect(collect),
        RosterAction::Hash { file } => print(format!("{}\n", read(file)?.hash())),
        RosterAction::Show(show) => self::show(show),
        RosterAction::Admit(admit) => self::admit(admit),
    }
}

fn read(path: &Path) -> Result<RosterFile, Failed> {
    RosterFile::read(path).map_err(failed)
}

fn failed(error: RosterFileError) -> Failed {
    let exit = match error {
        RosterFileError::Io { .. } => Exit::Failure,
        _ => Exit::Usage,
    };
    Failed::new(exit, error)
}

fn create(args: &Create) -> Result<(), Failed> {
    let admission = match args.authority {
        Some(authority) => Admission::Authority(authority),
        // Whoever names one twice does not mean anything by it.
        None => {
            let updaters: BTreeSet<_> = args.updaters.iter().copied().collect();
            Admission::List(updaters.into_iter().collect())
        }
    };
    let roster = Roster::new(args.groups.clone(), admission);
    let roster =
        roster.map_err(|error| Failed::new(Exit::Usage, format!("this is no roster: {error}")))?;
    if args.output.exists() {
        let path = args.output.display();
        let why =
            format!("{path} is there already: it may have been signed, and is not written over");
        return Err(Failed::new(Exit::Failure, why));
    }
    let file = RosterFile::new(roster);
    file.write(&args.output).map_err(failed)?;
    print(format!("{}\n", file.hash()))
}

fn sign(args: &Sign) -> Result<(), Failed> {
    let mut file = read(&args.file)?;
    if file.hash() != args.expect {
        let path = args.file.display();
        return Err(Failed::new(
            Exit::Failure,
            format!(
                "the hash of {path} is {}, not {}: it is not the roster that you have agreed on; compare the keys and names \
                 with whoever made it (pet-coordinator roster show {path})",
                file.hash(),
                args.expect
            ),
        ));
    }
    let pair = read_signing_key(&args.key).map_err(keys::failed)?;
    let member = file.sign(&pair).map_err(|error| Failed::new(Exit::Failure, error))?;
    file.write(&args.file).map_err(failed)?;
    let name = file.roster().group_name(member.group).to_owned();
    print(format!("member {member} ({name}) has signed {}\n", file.hash()))
}

fn collect(args: &Collect) -> Result<(), Failed> {
    let mut file = read(&args.file)?;
    let mut new = 0;
    for path in &args.copies {
        let copy = read(path)?;
        let collected = file.collect(&copy).ok_or_else(|| {
            let why = format!(
                "{} is of another roster: its hash is {}, not {}",
                path.display(),
                copy.hash(),
                file.hash()
            );
            Failed::new(Exit::Failure, why)
        });
        new += collected?;
    }
    file.write(&args.file).map_err(failed)?;
    let missing = file.members().filter(|(.., consent)| *consent != Consent::Signed).count();
    print(format!("{new} new signatures, {missing} members have not signed\n"))
}

fn show(args: &Show) -> Result<(), Failed> {
    let file = read(&args.file)?;
    print(if args.json { file.to_json() } else { describe(&file) })?;
    let of = |wanted| file.members().filter(move |(.., consent)| *consent == wanted).count();
    let (invalid, missing) = (of(Consent::Invalid), of(Consent::Missing));
    if invalid > 0 {
        let why = format!(
            "{invalid} signatures are not valid: the roster was changed after they were made, or they are forged; these members \
             must sign it again"
        );
        return Err(Failed::new(Exit::Failure, why));
    }
    match missing > 0 && args.complete {
        true => Err(Failed::new(Exit::Failure, format!("{missing} members have not signed"))),
        false => Ok(()),
    }
}

/// The roster for people.
fn describe(file: &RosterFile) -> String {
    let roster = file.roster();
    let admission = match roster.admission() {
        Admission::Authority(key) => format!("by the authority {key}"),
        Admission::List(keys) => format!("of {} updaters that are listed", keys.len()),
        _ => "in a way that this version does not know".to_owned(),
    };
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["member", "group", "key", "signed"]);
    for (member, key, consent) in file.members() {
        let signed = match consent {
            Consent::Signed => "yes",
            Consent::Missing => "no",
            Consent::Invalid => "NOT VALID",
        };
        let group = roster.group_name(member.group);
        table.add_row([&member.to_string(), group, &key.to_string(), signed]);
    }
    format!(
        "hash       {}\nadmission  {admission}\ngroups     {} of {} members, {} are a majority\n\n{}\n",
        file.hash(),
        roster.groups().len(),
        roster.group_size(),
        roster.majority(),
        table.trim_fmt()
    )
}

fn admit(args: &Admit) -> Result<(), Failed> {
    let authority = read_signing_key(&args.key).map_err(keys::failed)?;
    if let Some(path) = &args.roster {
        let file = read(path)?;
        let why = match file.roster().admission() {
            Admission::Authority(key) if *key == authority.public() => None,
            Admission::Authority(key) => Some(format!(
                "the authority of this roster is {key}, and this key is {}",
                authority.public()
            )),
            _ => Some("this roster lists its updaters: nobody needs a credential".to_owned()),
        };
        if let Some(why) = why {
            return Err(Failed::new(Exit::Failure, format!("{}: {why}", path.display())));
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires_at = match (args.until, args.days) {
        (Some(until), _) => until,
        (None, days) => now + days.unwrap_or_default().as_secs(),
    };
    if expires_at <= now {
        return Err(Failed::new(
            Exit::Usage,
            "the credential would have expired already (--until)",
        ));
    }
    let credential = Credential::issue(&authority, &args.updater, expires_at);
    let text: String = credential.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{text}\n");
    if args.output == Path::new("-") {
        return print(text);
    }
    fs::write(&args.output, text).map_err(output_failed)
}
