//! What a coordinator tells everyone who asks.

use super::decision::Decision;
use super::error::DecodeError;
use super::hash::{AnnouncementsHash, Context, DecisionHash};
use super::report::Report;
use super::roster::{read_keys, write_keys, MemberId, MOST_GROUPS, MOST_MEMBERS};
use super::terms::Terms;
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Blake2b, Digest, PublicSigningKey};

/// The phases of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// No round is under way.
    Idle,
    /// Members announce their keys.
    Announce,
    /// Updaters send their masked models.
    Update,
    /// Members check their boxes, and report.
    Check,
    /// Members vote for the set of updates.
    Agree,
    /// Members send the masks of their groups.
    Sum2,
    /// The coordinator takes the masks off.
    Unmask,
    /// The round has failed.
    Failed,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Announce,
        Self::Update,
        Self::Check,
        Self::Agree,
        Self::Sum2,
        Self::Unmask,
        Self::Failed,
    ];

    /// A short, stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Announce => "announce",
            Self::Update => "update",
            Self::Check => "check",
            Self::Agree => "agree",
            Self::Sum2 => "sum2",
            Self::Unmask => "unmask",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// The most bytes of a failure's text.
pub const MOST_FAILURE: usize = 1000;

/// How a round stands: what everybody polls.
///
/// It is the coordinator's word only. What matters is checked against what others have signed.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundView {
    /// Where the round is.
    pub phase: Phase,
    /// The terms of the round; `None` only before the first one.
    pub terms: Option<Terms>,
    /// How many members have announced themselves so far.
    pub announced: u32,
    /// The list of announcements, once it is fixed (from the update phase on).
    pub announcements: Option<AnnouncementsHash>,
    /// How many updates there are so far; fixed from the check phase on.
    pub entries: u64,
    /// Whose report is there.
    pub reported: Vec<MemberId>,
    /// How many updates are excluded; fixed from the agree phase on.
    pub excluded: u64,
    /// What is voted for, once it is fixed.
    pub decision: Option<DecisionHash>,
    /// Who has voted for it.
    pub voted: Vec<MemberId>,
    /// Whether a majority of every group has.
    pub certified: bool,
    /// Whose digest of its group's mask is there.
    pub masked: Vec<MemberId>,
    /// Who is asked for the bytes of its mask.
    pub wanted: Vec<MemberId>,
    /// The latest round that has a certificate, and so a global model.
    pub completed: Option<u64>,
    /// Why the round has failed, or the one before it if none is under way.
    pub failure: Option<String>,
}

const WHAT: &str = "state of the round";

impl RoundView {
    /// A view before the first round.
    pub fn idle() -> Self {
        Self {
            phase: Phase::Idle,
            terms: None,
            announced: 0,
            announcements: None,
            entries: 0,
            reported: Vec::new(),
            excluded: 0,
            decision: None,
            voted: Vec::new(),
            certified: false,
            masked: Vec::new(),
            wanted: Vec::new(),
            completed: None,
            failure: None,
        }
    }

    /// Names all of it that an updater waits for: the round, its phase, what was decided, and which round is completed; not
    /// who was heard of so far, which changes with each message. It is given as an entity tag with a look that may be
    /// answered later.
    pub fn stage_tag(&self) -> Digest {
        let (reported, voted, masked, wanted) = Default::default();
        let (announced, entries, certified) = (0, 0, false);
        let terms = self.terms.clone();
        let failure = self.failure.clone();
        let stage = Self {
            terms,
            failure,
            announced,
            entries,
            reported,
            voted,
            certified,
            masked,
            wanted,
            excluded: 0,
            ..*self
        };
        Blake2b::hash(&[b"stage", &stage.to_bytes()])
    }

    /// The bytes. A failure's text is cut after 1000 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(0);
        let phase = Phase::ALL.iter().position(|phase| *phase == self.phase);
        writer.u8(phase.unwrap_or_default() as u8);
        writer.option(self.terms.as_ref(), |writer, terms| writer.bytes(&terms.to_bytes()));
        writer.u32(self.announced);
        let announcements = self.announcements.as_ref();
        writer.option(announcements, |writer, hash| writer.raw(hash.as_bytes()));
        writer.u64(self.entries);
        write_members(&mut writer, &self.reported);
        writer.u64(self.excluded);
        writer.option(self.decision.as_ref(), |writer, hash| writer.raw(hash.as_bytes()));
        write_members(&mut writer, &self.voted);
        writer.u8(self.certified.into());
        write_members(&mut writer, &self.masked);
        write_members(&mut writer, &self.wanted);
        writer.option(self.completed.as_ref(), |writer, round| writer.u64(*round));
        writer.option(self.failure.as_ref(), |writer, text| {
            let cut =
                (0..=text.len().min(MOST_FAILURE)).rev().find(|&at| text.is_char_boundary(at));
            writer.bytes(&text.as_bytes()[..cut.unwrap_or_default()]);
        });
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a round's state.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(WHAT, bytes)?;
        let phase = Phase::ALL.get(usize::from(reader.u8("phase")?));
        let view = Self {
            phase: *phase.ok_or(reader.malformed("phase", "is unknown"))?,
            terms: reader
                .option("terms", |reader| Terms::from_bytes(reader.bytes(512, "terms")?))?,
            announced: reader.u32("number of announcements")?,
            announcements: reader.option("announcements", |reader| {
                reader.array("announcements").map(AnnouncementsHash::new)
            })?,
            entries: reader.u64("number of updates")?,
            reported: read_members(&mut reader, "reports")?,
            excluded: reader.u64("number of exclusions")?,
            decision: reader
                .option("decision", |reader| reader.array("decision").map(DecisionHash::new))?,
            voted: read_members(&mut reader, "votes")?,
            certified: reader.flag("certificate")?,
            masked: read_members(&mut reader, "masks")?,
            wanted: read_members(&mut reader, "wanted masks")?,
            completed: reader.option("last round", |reader| reader.u64("last round"))?,
            failure: reader.option("failure", |reader| {
                reader.text(MOST_FAILURE, "failure").map(str::to_owned)
            })?,
        };
        reader.end()?;
        Ok(view)
    }
}

fn write_members(writer: &mut Writer, members: &[MemberId]) {
    writer.count(members.len());
    members.iter().for_each(|member| member.write(writer));
}

fn read_members(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Vec<MemberId>, DecodeError> {
    let members = reader.list(2, MOST_GROUPS * MOST_MEMBERS, field, MemberId::read)?;
    match is_rising(&members) {
        true => Ok(members),
        false => Err(reader.malformed(field, "are not sorted, or have a member twice")),
    }
}

/// The set of updates that members are asked to vote for: all entries but the excluded ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetView {
    /// What is voted for.
    pub decision: Decision,
    /// The excluded updaters, sorted, each once.
    pub excluded: Vec<PublicSigningKey>,
    /// The members' reports, sorted by member: why each is excluded.
    pub reports: Vec<Report>,
}

/// The most updaters that are ever excluded: as many as all members may accuse of 10 million updates.
const MOST_EXCLUDED: usize = 1 << 20;

/// The most bytes of a report in a set.
const MOST_REPORT: usize = 1 << 26;

impl SetView {
    /// The excluded updaters that none of these reports accuses: whoever excludes them does it on its own account. Signatures
    /// are not looked at.
    pub fn unaccused(&self) -> impl Iterator<Item = PublicSigningKey> + '_ {
        let accused = |key: &PublicSigningKey| {
            self.reports.iter().any(|report| report.accusation(key).is_some())
        };
        self.excluded.iter().copied().filter(move |key| !accused(key))
    }

    /// The context of the round.
    pub fn context(&self) -> Context {
        self.decision.context
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(0);
        writer.raw(&self.decision.to_bytes());
        write_keys(&mut writer, &self.excluded);
        writer.count(self.reports.len());
        self.reports.iter().for_each(|report| writer.bytes(&report.to_bytes()));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a set, or something in it is not sorted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("set of updates", bytes)?;
        let set = Self {
            decision: Decision::from_bytes(reader.raw(Decision::LENGTH, "decision")?)?,
            excluded: read_keys(&mut reader, MOST_EXCLUDED, "exclusions")?,
            reports: reader.list(75, MOST_GROUPS * MOST_MEMBERS, "reports", |reader| {
                Report::from_bytes(reader.bytes(MOST_REPORT, "reports")?)
            })?,
        };
        if !is_rising(&set.excluded) {
            return Err(reader.malformed("exclusions", "are not sorted, or have an updater twice"));
        }
        if !is_rising(set.reports.iter().map(|report| report.member)) {
            return Err(reader.malformed("reports", "are not sorted, or have a member twice"));
        }
        reader.end()?;
        Ok(set)
    }
}

serde_as_bytes!(RoundView, SetView);
