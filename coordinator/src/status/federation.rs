//! What is made of a federation's records and events, to be shown.

use std::collections::BTreeMap;

use pet_core::{
    mask::accounting::Ledger,
    v2::{
        coordinator::{Completed, Event, Record, Ruling, Settings},
        MemberId, NoiseTerms, Roster, Terms,
    },
};

use super::v2::{
    CertificateStatus, Excluded, GroupStatus, MemberStatus, NoiseStatus, Note, V2Status,
};
use crate::store::rounds::Spent;

/// So many excluded updaters and notes are shown.
const SHOWN: usize = 32;

/// So many are named in one line.
const NAMED: usize = 4;

/// The delta that epsilons are shown for.
const DELTA: f64 = 1e-5;

/// What is known of a federation: what is shown, and what that is made of.
#[derive(Debug)]
pub(crate) struct Federation {
    pub(super) shown: V2Status,
    /// Of rounds whose end was not heard of yet.
    certificates: BTreeMap<u64, CertificateStatus>,
    /// What updaters have spent in completed rounds with noise.
    spent: Spent,
    /// The noise of the current round.
    terms: Option<NoiseTerms>,
}

impl Federation {
    /// What was stored before: the records of the round so far, and what updaters have spent, these records included.
    pub fn restored(settings: &Settings, records: &[Record], spent: Spent) -> Self {
        let mut federation = Self::new(settings);
        records.iter().for_each(|record| federation.record(record));
        federation.spent = spent;
        let terms = federation.terms.or(settings.noise);
        federation.shown.noise = terms.map(|terms| federation.noise(terms));
        federation
    }

    /// Before the first round.
    fn new(settings: &Settings) -> Self {
        let shown = V2Status {
            roster: settings.roster.hash().to_string(),
            context: None,
            n_min: settings.n_min,
            noise: None,
            groups: groups(&settings.roster),
            excluded: Vec::new(),
            excluded_count: 0,
            strange: BTreeMap::new(),
            notes: Vec::new(),
        };
        Self { shown, certificates: BTreeMap::new(), spent: Spent::new(), terms: None }
    }

    /// Sees a record.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::RoundBegan { terms, roster } => self.begin(terms, roster),
            Record::Announcement(announcement) => {
                self.member(announcement.member, |member| member.announced = true);
            }
            Record::Report(report) => self.member(report.member, |member| member.reported = true),
            Record::CheckEnded { ruling } => self.rule(ruling),
            Record::Vote(vote) => self.member(vote.member, |member| member.voted = true),
            Record::Mask(header) => self.member(header.member, |member| member.mask = true),
            Record::Completed(completed) => self.complete(completed),
            _ => {}
        }
    }

    /// Hears of something strange.
    pub fn note(&mut self, note: &Note) {
        *self.shown.strange.entry(note.name.clone()).or_default() += 1;
        if self.shown.notes.len() == SHOWN {
            self.shown.notes.remove(0);
        }
        self.shown.notes.push(note.clone());
    }

    fn rule(&mut self, ruling: &Ruling) {
        for member in ruling.disregarded.keys() {
            self.member(*member, |member| member.disregarded = true);
        }
        self.shown.excluded_count = ruling.excluded.len() as u64;
        let excluded = ruling.excluded.iter().take(SHOWN);
        let excluded = excluded.map(|(updater, (by, accusation))| Excluded {
            updater: updater.to_string(),
            by: by.to_string(),
            accusation: accusation.to_string(),
        });
        self.shown.excluded = excluded.collect();
    }

    /// Takes the certificate of a round that has just ended.
    pub fn take_certificate(&mut self, round: u64) -> Option<CertificateStatus> {
        let certificate = self.certificates.remove(&round);
        // Those of rounds whose end was lost.
        self.certificates.retain(|other, _| *other > round);
        certificate
    }

    fn begin(&mut self, terms: &Terms, roster: &Roster) {
        self.shown.roster = roster.hash().to_string();
        self.shown.context = Some(terms.context().to_string());
        self.shown.n_min = terms.n_min;
        self.shown.groups = groups(roster);
        self.shown.excluded.clear();
        self.shown.excluded_count = 0;
        self.terms = terms.noise;
        self.shown.noise = terms.noise.map(|terms| self.noise(terms));
    }

    fn member(&mut self, member: MemberId, act: impl FnOnce(&mut MemberStatus)) {
        let group = self.shown.groups.get_mut(usize::from(member.group));
        if let Some(member) =
            group.and_then(|group| group.members.get_mut(usize::from(member.index)))
        {
            act(member);
        }
    }

    fn complete(&mut self, completed: &Completed) {
        let certificate = &completed.certificate;
        let signer = |member: MemberId| {
            let group = self.shown.groups.get(usize::from(member.group));
            let name = group.map_or("?", |group| &group.name);
            format!("{member} {name}")
        };
        let status = CertificateStatus {
            decision: certificate.decision.digest().to_string(),
            context: completed.context().to_string(),
            count: completed.models(),
            excluded: completed.excluded(),
            signers: certificate.votes.list().iter().map(|vote| signer(vote.member)).collect(),
        };
        self.certificates.insert(completed.round(), status);
        if let Some(terms) = certificate.terms.noise {
            for header in completed.headers() {
                self.spent.entry(header.updater).or_default().charge(terms.multiplier_thousandths);
            }
            self.shown.noise = Some(self.noise(terms));
        }
    }

    fn noise(&self, terms: NoiseTerms) -> NoiseStatus {
        let most = self.spent.values().max_by(|a, b| a.rho().total_cmp(&b.rho()));
        NoiseStatus {
            multiplier: terms.multiplier(),
            clip: terms.clip,
            updaters: self.spent.len() as u64,
            most_rounds: most.map_or(0, Ledger::rounds),
            most_epsilon: most.map_or(0.0, |ledger| ledger.epsilon(DELTA)),
        }
    }
}

fn groups(roster: &Roster) -> Vec<GroupStatus> {
    let mut members = roster.members();
    let mut group = |group: &pet_core::v2::Group| GroupStatus {
        name: group.name.clone(),
        majority: roster.majority() as u64,
        members: members
            .by_ref()
            .take(group.members.len())
            .map(|(id, key)| MemberStatus {
                id: id.to_string(),
                key: key.to_string(),
                ..MemberStatus::default()
            })
            .collect(),
    };
    roster.groups().iter().map(&mut group).collect()
}

/// The names of all that may be strange.
pub(crate) const STRANGE: [&str; 13] = [
    "conflict",
    "lying_mask",
    "mask_source_changed",
    "member_disregarded",
    "members_missing",
    "second_announcement",
    "second_mask",
    "second_report",
    "second_statement",
    "starts_from_nothing",
    "updaters_excluded",
    "upload_stalled",
    "uploads_dropped",
];

/// What there is to say about an event that is strange: with the member or updater who is to blame.
pub(crate) fn note(event: &Event, roster: &Roster) -> Option<Note> {
    let named =
        |member: MemberId| format!("member {member} of {:?}", roster.group_name(member.group));
    let note = |round: u64, name: &str, message: String| {
        Some(Note { round, name: name.to_owned(), message })
    };
    match event {
        Event::MembersMissing { round, phase, members } => {
            let members: Vec<_> = members.iter().map(|member| named(*member)).collect();
            let message = format!(
                "{} not heard of in the {phase} phase: see that they run and reach the coordinator",
                members.join(", ")
            );
            note(*round, "members_missing", message)
        }
        Event::UploadsDropped { round, count, updaters } => {
            let first = updaters.first().map_or(String::new(), |key| format!(", among them {key}"));
            let message = format!(
                "{count} uploads were not complete at the end of the update phase{first}: they are not in the round"
            );
            note(*round, "uploads_dropped", message)
        }
        Event::StartsFromNothing { round, last, is_other_roster } => {
            let why = match is_other_roster {
                true => "another roster stands for it, and nobody who has pinned this one accepts its certificate",
                false => "it has another length or type than the settings say",
            };
            let message = format!(
                "the round starts from nothing, and not from the global model of round {last}: {why}"
            );
            note(*round, "starts_from_nothing", message)
        }
        Event::UploadStalled { round, updater } => {
            let message =
                format!("the upload of updater {updater} has stalled, and has given way to others");
            note(*round, "upload_stalled", message)
        }
        Event::UpdatersExcluded { round, excluded, count } => {
            let few: Vec<_> = excluded
                .iter()
                .take(NAMED)
                .map(|(updater, by, accusation)| {
                    format!("{updater} ({} reports {accusation})", named(*by))
                })
                .collect();
            let others = count.saturating_sub(few.len() as u64);
            let others = if others > 0 { format!(", and {others} others") } else { String::new() };
            let message =
                format!("updaters are excluded from the round: {}{others}", few.join(", "));
            note(*round, "updaters_excluded", message)
        }
        Event::MemberDisregarded { round, member, accused, most } => {
            let message = format!(
                "{} accuses {accused} updaters, and may accuse {most}: its report does not count",
                named(*member)
            );
            note(*round, "member_disregarded", message)
        }
        Event::Conflict { round, conflict } => {
            let (name, message) = conflict_in_words(conflict, &named);
            note(*round, name, message)
        }
        Event::LyingMask { round, member } => {
            let message = format!("{} has sent another mask than the majority of its group: it lies, or computes wrongly", named(*member));
            note(*round, "lying_mask", message)
        }
        Event::MaskSourceChanged { round, from, to } => {
            let message =
                format!("{} has not sent its mask: {} is asked instead", named(*from), named(*to));
            note(*round, "mask_source_changed", message)
        }
        _ => None,
    }
}

fn conflict_in_words(
    conflict: &pet_core::v2::coordinator::Conflict,
    named: &impl Fn(MemberId) -> String,
) -> (&'static str, String) {
    use pet_core::v2::coordinator::Conflict;
    match conflict {
        Conflict::Announcement(member) => (
            "second_announcement",
            format!("{} has announced itself twice in the round: was it started anew, or does it run twice?", named(*member)),
        ),
        Conflict::Statement(updater) => (
            "second_statement",
            format!("updater {updater} has signed two statements in the round: does it run twice?"),
        ),
        Conflict::Report(member) => {
            ("second_report", format!("{} has sent two different reports", named(*member)))
        }
        Conflict::Mask(member) => {
            ("second_mask", format!("{} has signed two different masks", named(*member)))
        }
        // Of a later core.
        other => ("conflict", format!("{other:?}")),
    }
}
