//! What a round of version 2 takes from those who have no keys: nothing but what honest parties have made for it.

use std::sync::OnceLock;

use pet_core::crypto::{EncryptKeyPair, Seed};
use pet_core::v2::{
    Announcement, Announcements, Certificate, Decision, EntriesPage, GroupMaskHeader, Pin, Report,
    Roster, Terms, UpdateHeader,
};

use crate::v2_round;

/// A round whose secrets the fuzzer does not have.
struct Round {
    roster: Roster,
    terms: Terms,
    announcements: Announcements,
    decision: Decision,
    header: UpdateHeader,
    report: Report,
    mask: GroupMaskHeader,
    entries: EntriesPage,
}

macro_rules! made {
    ($kind:ident) => {
        $kind::from_bytes(&v2_round::value(stringify!($kind))).expect(stringify!($kind))
    };
}

fn round() -> &'static Round {
    static ROUND: OnceLock<Round> = OnceLock::new();
    ROUND.get_or_init(|| Round {
        roster: made!(Roster),
        terms: made!(Terms),
        announcements: made!(Announcements),
        decision: made!(Decision),
        header: made!(UpdateHeader),
        report: made!(Report),
        mask: made!(GroupMaskHeader),
        entries: made!(EntriesPage),
    })
}

/// The group of the member that the entries are for.
const GROUP: u8 = 1;

fn encrypt_keys() -> EncryptKeyPair {
    let seed = Seed::from_slice(&v2_round::encrypt_seed()).expect("a seed");
    EncryptKeyPair::from_seed(&seed)
}

/// Bytes of any value that is checked: whatever passes says what honest parties have said.
pub fn v2_checks(data: &[u8]) {
    let Round { roster, terms, announcements, decision, header, report, mask, entries } = round();
    let (context, l, d) = (terms.context(), announcements.digest(), decision.digest());
    if let Ok(found) = Announcement::from_bytes(data) {
        if found.verify(roster, &context).is_ok() {
            assert_eq!(announcements.get(found.member), Some(&found));
        }
    }
    if let Ok(found) = Announcements::from_bytes(data) {
        if found.check(roster, &context).is_ok() {
            assert!(found.list().iter().all(|one| announcements.get(one.member) == Some(one)));
            assert_eq!(roster.lacking(found.list().iter().map(|one| one.member)), None);
        }
    }
    if let Ok(found) = UpdateHeader::from_bytes(data) {
        if found.verify(roster, terms, announcements).is_ok() && found.updater == header.updater {
            // Boxes are not signed: members check them.
            assert_eq!(found.statement_digest(&context, &l), header.statement_digest(&context, &l));
        }
    }
    if let Ok(found) = EntriesPage::from_bytes(data) {
        let keys = encrypt_keys();
        for entry in &found.entries {
            if entry.check(roster, terms, &context, &l, GROUP, &keys).is_ok() {
                assert!(entries.entries.contains(entry));
            }
        }
    }
    if let Ok(found) = Report::from_bytes(data) {
        if found.verify(roster, &context, &l).is_ok() {
            assert_eq!(&found, report);
        }
    }
    if let Ok(found) = GroupMaskHeader::from_bytes(data) {
        if found.verify(roster, terms, &d).is_ok() && found.member == mask.member {
            assert_eq!(&found, mask);
        }
    }
    if let Ok(found) = Certificate::from_bytes(data) {
        if found.verify(roster, &Pin::new(roster.hash(), 3)).is_ok() {
            assert_eq!((&found.terms, &found.decision), (terms, decision));
        }
    }
}
