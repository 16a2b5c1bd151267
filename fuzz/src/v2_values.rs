//! The values of version 2, whoever sends them.

use pet_core::v2::merkle::InclusionProof;
use pet_core::v2::{
    Announcement, Announcements, Certificate, Credential, Decision, EntriesPage, Entry,
    GroupMaskHeader, MaskDigest, MaskDigests, Report, Roster, RoundView, SetView, Statement,
    StatementsPage, Terms, UpdateHeader, Vote, Votes,
};

/// Reads bytes as each kind of value: each has one form only.
pub fn v2_values(data: &[u8]) {
    macro_rules! one_form {
        ($($name:ident),* $(,)?) => {$(
            if let Ok(value) = $name::from_bytes(data) {
                assert_eq!(value.to_bytes(), data, stringify!($name));
            }
        )*};
    }
    one_form!(
        Roster,
        Credential,
        Terms,
        Announcement,
        Announcements,
        UpdateHeader,
        Entry,
        EntriesPage,
        Statement,
        StatementsPage,
        Report,
        Decision,
        InclusionProof,
        Vote,
        Votes,
        MaskDigest,
        MaskDigests,
        GroupMaskHeader,
        Certificate,
        RoundView,
        SetView,
    );
}
