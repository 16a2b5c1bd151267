//! Version 2 of the protocol: sealed groups.
//!
//! In version 1 one sum participant and the coordinator together unmask everybody. In version 2 the masks are split between
//! groups of members, each for one domain of trust, and all groups must agree on the very set of updates before anything
//! is unmasked: whoever has one honest group on its side is hidden in the sum. What is promised, and why, is in
//! `docs/protocol-v2.md`.
//!
//! This module has the protocol's values, each with its one form in bytes, and what there is to check about each:
//!
//! | value | what it is |
//! |---|---|
//! | [`Roster`], [`Pin`] | who takes part, and what one insists on |
//! | [`Terms`] | what a round is about; its hash is the [`Context`] that everything else names |
//! | [`Announcements`] | the members' keys for the round |
//! | [`UpdateHeader`], [`Entry`], [`Statement`] | an update, as the coordinator, a member and an auditor see it |
//! | [`Report`] | what a member has against updates |
//! | [`Decision`], [`Votes`] | which updates are added up, and that every group agrees |
//! | [`GroupMaskHeader`], [`MaskDigests`] | what members say about the masks of their groups |
//! | [`Certificate`] | all of that, as it is published with a global model |
//! | [`Audit`] | a round, recomputed from what is published |
//! | [`Call`], [`RoundView`] | what is asked of a coordinator, and how the round stands |
//!
//! Errors say who is to blame: see [`Blame`].

mod announcement;
mod audit;
mod call;
mod certificate;
pub mod coordinator;
mod credential;
mod decision;
mod entry;
mod error;
mod hash;
pub mod hex;
mod mask_digest;
pub mod member;
pub mod merkle;
mod model;
mod pin;
mod publication;
mod report;
mod roster;
mod seeds;
mod statement;
mod terms;
pub mod updater;
mod upload;
mod view;
mod vote;
pub mod wire;

#[cfg(test)]
mod tests;

pub use announcement::{Announcement, AnnouncementError, Announcements, AnnouncementsError};
pub use audit::{Audit, AuditError, Audited, Needs};
pub use call::{Call, InvalidCall, Post, PREFIX};
pub use certificate::{Certificate, CertificateError};
pub use credential::{AdmissionError, Credential};
pub use decision::{decision_leaf, Decision, DecisionHasher, NotSorted};
pub use entry::{Accusation, EntriesPage, Entry, MOST_ENTRIES};
pub use error::{Blame, DecodeError};
pub use hash::{
    hash, AnnouncementsHash, Commitment, Context, DecisionHash, Label, ModelHash, PartsHash,
    RosterHash, RoundTag,
};
pub use mask_digest::{group_mask_root, GroupMaskHeader, MaskDigest, MaskDigestError, MaskDigests};
pub use model::{model_hash, model_hash_of, model_leaf, model_leaves, weights_of_a_leaf};
pub use pin::{Budget, Pin, PinError};
pub use publication::{Statement, StatementsPage};
pub use report::{Report, ReportError};
pub use roster::{
    consent, Admission, Group, InvalidRoster, Lacking, MemberId, Roster, MOST_GROUPS, MOST_LISTED,
    MOST_MEMBERS,
};
pub use seeds::{commitment, stream_seed, GroupSeed, SealedGroupSeed};
pub use statement::{
    leaf_count, model_root, statement_digest, UpdateHeader, UpdateRefusal, TREE_LEAF,
};
pub use terms::{InvalidTerms, NoiseTerms, Terms, LEAST_UPDATES, MOST_AGE};
pub use updater::{Refusal, Updater};
pub use upload::UploadKey;
pub use view::{Phase, RoundView, SetView};
pub use vote::{Vote, Votes, VotesError};

/// The version of the protocol, which every value begins with that travels on its own.
pub const VERSION: u8 = 2;
