//! What follows from the reports: who is excluded, who is disregarded, and what is voted for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entries::{decide, Entries};
use super::phases::Reports;
use crate::crypto::PublicSigningKey;
use crate::v2::{Accusation, Context, Decision, MemberId, Report, Roster};

/// Why an updater is excluded: the first who accuses it, and of what.
pub(super) type Exclusions = BTreeMap<PublicSigningKey, (MemberId, Accusation)>;

/// What follows from the updates of a round and the members' reports about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What is voted for: all updates but the excluded ones.
    pub decision: Decision,
    /// The members that have accused more updaters than a member may, and how many: their reports do not count.
    pub disregarded: BTreeMap<MemberId, u64>,
    /// The updaters that are excluded: by whom, and what they are accused of.
    pub excluded: Arc<BTreeMap<PublicSigningKey, (MemberId, Accusation)>>,
}

impl Ruling {
    /// Takes as long as there are updates.
    pub(super) fn of(
        context: &Context,
        roster: &Roster,
        entries: &Entries,
        reports: &Reports,
    ) -> Self {
        let disregarded = disregarded(roster, entries.len(), reports);
        let excluded = exclusions(reports, &disregarded);
        let decision = decide(context, entries, |updater| excluded.contains_key(updater));
        Self { decision, disregarded, excluded: Arc::new(excluded) }
    }
}

/// The members that have accused too many. Of a group that would have no majority of reports without them those are listened
/// to after all that have accused the fewest: otherwise a few updaters that are bad for everyone could have every honest
/// member disregarded, and would block each round. One member alone that accuses everyone is disregarded all the same; one
/// that accuses as many as somebody who is listened to is not: it may be that one who lies.
pub(super) fn disregarded(
    roster: &Roster,
    updates: u64,
    reports: &Reports,
) -> BTreeMap<MemberId, u64> {
    let limit = Report::limit(updates);
    let mut disregarded = BTreeMap::new();
    let groups = u8::try_from(roster.groups().len()).unwrap_or(u8::MAX);
    for group in 0..groups {
        let of_group = reports.values().filter(|report| report.member.group == group);
        let mut by_count: Vec<_> =
            of_group.map(|report| (report.accused.len(), report.member)).collect();
        by_count.sort_unstable();
        let Some((heard, _)) = by_count.get(roster.majority() - 1) else { continue };
        let over = by_count.iter().filter(|(accused, _)| accused > heard && *accused > limit);
        disregarded.extend(over.map(|(accused, member)| (*member, *accused as u64)));
    }
    disregarded
}

/// The updaters that somebody accuses who is listened to. One accusation is enough.
pub(super) fn exclusions(reports: &Reports, disregarded: &BTreeMap<MemberId, u64>) -> Exclusions {
    let mut excluded = Exclusions::new();
    let listened_to = |report: &&Arc<Report>| !disregarded.contains_key(&report.member);
    for report in reports.values().filter(listened_to) {
        for (updater, accusation) in &report.accused {
            excluded.entry(*updater).or_insert((report.member, *accusation));
        }
    }
    excluded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Signature, SigningKeyPair};
    use crate::v2::{Admission, Group};

    fn roster() -> Roster {
        let key =
            |seed: u8| SigningKeyPair::from_seed(&crate::crypto::Seed::new([seed; 32])).public();
        let group = |name: &str, from: u8| Group::new(name, (from..from + 3).map(key).collect());
        let admission = Admission::Authority(key(99));
        Roster::new(vec![group("one", 1), group("two", 4)], admission).unwrap()
    }

    fn reports(accused: &[(u8, u8, u8)]) -> Reports {
        let report = |&(group, index, count): &(u8, u8, u8)| {
            let member = MemberId::new(group, index);
            let accused = (0..count).map(|at| (PublicSigningKey::new([at; 32]), Accusation::Box));
            let signature = Signature::new([0; 64]);
            (member, Arc::new(Report { member, accused: accused.collect(), signature }))
        };
        accused.iter().map(report).collect()
    }

    fn who(accused: &[(u8, u8, u8)]) -> Vec<(u8, u8)> {
        let disregarded = disregarded(&roster(), 10, &reports(accused));
        disregarded.keys().map(|member| (member.group, member.index)).collect()
    }

    #[test]
    fn one_who_accuses_everyone_is_disregarded() {
        let everyone = [(0, 0, 0), (0, 1, 10), (0, 2, 3), (1, 0, 0), (1, 1, 1), (1, 2, 4)];
        assert_eq!(who(&everyone), [(0, 1), (1, 2)]);
        let excluded =
            exclusions(&reports(&everyone), &disregarded(&roster(), 10, &reports(&everyone)));
        assert_eq!(excluded.len(), 3, "those that are accused within the limit");
    }

    /// Four cheats that are bad for everyone, so that each honest member accuses one more than it may.
    #[test]
    fn many_bad_updaters_do_not_have_all_members_disregarded() {
        let honest = [(0, 0, 4), (0, 1, 4), (0, 2, 10), (1, 0, 4), (1, 1, 4), (1, 2, 4)];
        assert_eq!(who(&honest), [(0, 2)]);
        let disregarded = disregarded(&roster(), 10, &reports(&honest));
        assert_eq!(exclusions(&reports(&honest), &disregarded).len(), 4);
    }

    /// The one that accuses nobody may be the one that lies.
    #[test]
    fn of_two_that_accuse_as_many_none_is_disregarded() {
        assert_eq!(who(&[(0, 0, 0), (0, 1, 4), (0, 2, 4)]), []);
        // The control.
        assert_eq!(who(&[(0, 0, 0), (0, 1, 4), (0, 2, 5)]), [(0, 2)]);
    }

    #[test]
    fn whoever_its_group_needs_is_listened_to() {
        assert_eq!(who(&[(0, 0, 0), (0, 2, 9)]), []);
        assert_eq!(who(&[(0, 0, 5), (0, 1, 4), (0, 2, 9)]), [(0, 2)]);
    }
}
