//! The seeds of updaters, as members who are in league with each other open them.
//!
//! A member's data directory is for its owner alone, and here the owner is in it: its state has the root seed of the round,
//! and from that follows what the member opens its boxes with. Once the round is over the root has gone on, and opens none of
//! its boxes any more: so this is done while the round is under way.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use pet_core::crypto::{EncryptKeyPair, PublicSigningKey, Purpose, RootSeed};
use pet_core::v2::{Announcements, Call, Context, EntriesPage, Entry, GroupSeed, MemberId};

use crate::http::Client;
use crate::Failure;

/// A member in league, and the file with its state.
pub struct Ally {
    pub member: MemberId,
    pub state: PathBuf,
}

impl Ally {
    /// What it opens boxes with in this round.
    fn keys(&self, context: &Context, list: &Announcements) -> Result<EncryptKeyPair, Failure> {
        let root = root_of(&fs::read(&self.state)?).ok_or("this is no member's state")?;
        let MemberId { group, index } = self.member;
        let seed = root.derive(Purpose::MemberKey, &[context.as_bytes(), &[group, index]]);
        let keys = EncryptKeyPair::from_seed(&seed);
        match list.get(self.member) {
            Some(announced) if announced.encrypt_key == keys.public() => Ok(keys),
            Some(_) => Err("its state is of another round".into()),
            None => Err("it has not announced itself".into()),
        }
    }

    /// Opens all its boxes; the seed of each updater.
    fn open(
        &self,
        client: &Client,
        context: &Context,
        list: &Announcements,
    ) -> Result<Vec<(PublicSigningKey, GroupSeed)>, Failure> {
        let keys = self.keys(context, list)?;
        let open = |entry: &Entry| Ok((entry.updater, entry.sealed.open(&keys)?));
        entries(client, self.member)?.iter().map(open).collect()
    }
}

/// The root seed in the bytes of a member's state, which begin with what they are, a version, and the member's key; each value
/// has its length before it.
fn root_of(state: &[u8]) -> Option<RootSeed> {
    fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = bytes.split_first_chunk()?;
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
    }
    let (_key, rest) = value(state.strip_prefix(b"P2Mm\x01\x00")?)?;
    RootSeed::from_slice(value(rest)?.0).ok()
}

/// The entries of all updaters for a member: anybody may ask for them.
pub fn entries(client: &Client, member: MemberId) -> Result<Vec<Entry>, Failure> {
    let mut all = Vec::new();
    loop {
        let call = Call::Entries { member, from: all.len() as u64 };
        let page = EntriesPage::from_bytes(&client.done(&call)?)?;
        let is_last = page.entries.is_empty();
        all.extend(page.entries);
        if is_last || all.len() as u64 >= page.total {
            return Ok(all);
        }
    }
}

/// Opens the boxes of all allies, and adds what was in them to the file: a line for each, of the round, the member, the updater
/// and the seed. Gives how many members' and how many boxes they were. An ally whose boxes do not open is told of on
/// standard error.
pub fn note(
    client: &Client,
    allies: &[Ally],
    (round, context, list): (u64, &Context, &Announcements),
    file: &Path,
) -> Result<(usize, usize), Failure> {
    let (mut members, mut text) = (0, String::new());
    for ally in allies {
        match ally.open(client, context, list) {
            Ok(opened) => {
                members += 1;
                for (updater, seed) in opened {
                    let seed = hex(seed.as_bytes());
                    text += &format!("{round} {} {updater} {seed}\n", ally.member);
                }
            }
            Err(failure) => eprintln!("round {round}: the boxes of {}: {failure}", ally.member),
        }
    }
    File::options().create(true).append(true).open(file)?.write_all(text.as_bytes())?;
    Ok((members, text.lines().count()))
}

/// The seed that an updater has given to a group in a round, and how many of its members have opened it. All of them must
/// have found the same.
pub fn find(
    file: &Path,
    round: u64,
    group: u8,
    updater: &PublicSigningKey,
) -> Result<(GroupSeed, usize), Failure> {
    let mut found: Vec<String> = Vec::new();
    for line in BufReader::new(File::open(file)?).lines() {
        let line = line?;
        let [of_round, member, of_updater, seed] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err("the file of seeds is damaged".into());
        };
        let is_wanted = of_round.parse() == Ok(round) && of_updater.parse() == Ok(*updater);
        if is_wanted && crate::place(member)?.group == group {
            found.push(seed.to_owned());
        }
    }
    let first =
        found.first().ok_or(format!("no member of group {group} has a seed of {updater}"))?;
    if found.iter().any(|seed| seed != first) {
        return Err(format!("members of group {group} have found different seeds").into());
    }
    // A context is 32 bytes in hexadecimal digits as well: that reads them.
    let bytes = first.parse::<Context>()?;
    Ok((GroupSeed::new(*bytes.as_bytes()), found.len()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
