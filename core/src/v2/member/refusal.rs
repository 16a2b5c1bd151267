//! What a member refuses, who is to blame, and what to do.

use thiserror::Error;

use super::settings::LONGEST_LEAP;
use crate::crypto::PublicSigningKey;
use crate::job::JobKind;
use crate::v2::{
    AnnouncementsError, AnnouncementsHash, Blame, DecisionHash, DecodeError, InvalidTerms,
    MemberId, PinError, RosterHash, VotesError,
};

/// Why a member does not do something, by name. [`Refusal::blame`] says whose affair it is.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The pin forbids it: another roster, too few updates, no noise, or terms that make no sense.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The pinned roster does not have this member's key.
    #[error(
        "the key {key} of this member is in no group of the pinned roster {roster}: start the member with the key that \
         is in the roster, or have the roster made anew with this one"
    )]
    NotInRoster {
        /// This member's key.
        key: PublicSigningKey,
        /// The roster.
        roster: RosterHash,
    },
    /// The number of the round is one that this member has signed for already, in another round.
    #[error(
        "round {offered} is not after round {last}, for which this member has signed: the coordinator has gone back (was \
         it restored from an old copy?); it must begin a round with a number above {last}"
    )]
    RoundNotAbove {
        /// The last number signed for.
        last: u64,
        /// The round's.
        offered: u64,
    },
    /// The number of the round is far beyond the last.
    #[error(
        "round {offered} is more than {LONGEST_LEAP} after round {last}, the last that this member has signed for: such \
         a coordinator would use up all numbers for ever; it must begin a round with a number closer to {last}"
    )]
    RoundTooFarAhead {
        /// The last number signed for; 0 if none.
        last: u64,
        /// The round's.
        offered: u64,
    },
    /// The round was not opened lately.
    #[error(transparent)]
    Terms(#[from] InvalidTerms),
    /// The models are longer than the settings allow.
    #[error("the round's models have {found} weights, and this member's max_model_length is {most}: raise it if there is memory for that")]
    Length {
        /// How many weights.
        found: u64,
        /// How many are allowed.
        most: u64,
    },
    /// The coordinator's key belongs to nobody.
    #[error("the coordinator's key of the round is a point of low order: nothing that is sealed for it would be secret")]
    WeakKey,
    /// The round has less noise than the settings ask for.
    #[error(
        "the round's noise multiplier is {found} thousandths, and this member's least_noise is {least}: have the \
         coordinator's noise raised"
    )]
    Noise {
        /// The least, in thousandths.
        least: u32,
        /// The round's, in thousandths; 0 without noise.
        found: u32,
    },
    /// One round would spend more than the whole budget.
    #[error(
        "one round with the round's noise multiplier spends an epsilon of {found:.3}, and the budget here is {budget:.3}: have \
         the coordinator's noise raised"
    )]
    Budget {
        /// The pinned epsilon.
        budget: f64,
        /// That of one round.
        found: f64,
    },
    /// The noise cannot be made, or leaves no room for the sum.
    #[error("the round's noise cannot be used: {0}")]
    NoiseTerms(String),
    /// The round was opened before this member was started.
    #[error(
        "the round was opened before this member was started: it may have announced itself in it before, which it \
         cannot know from a restored state; it takes part in the next one"
    )]
    OpenedBefore,
    /// This member was not there when the round was announced.
    #[error(
        "this member was not there when the round was announced: it takes part in the next one"
    )]
    Late,
    /// The round goes on for too long.
    #[error(
        "the round has been on for more than 7 days since this member announced itself: its keys are wiped, and it takes \
         part in the next one; have the coordinator's phases made shorter"
    )]
    Outlived,
    /// The list of announcements is wrong.
    #[error(transparent)]
    Announcements(#[from] AnnouncementsError),
    /// The coordinator shows another list of announcements than the one that it says it does.
    #[error("the coordinator shows a list of announcements with the hash {found}, but the round's is {expected}: it is asked again")]
    OtherAnnouncements {
        /// What the round says.
        expected: AnnouncementsHash,
        /// What was shown.
        found: AnnouncementsHash,
    },
    /// The coordinator has left this member out.
    #[error("this member's announcement is not in the list: it came too late, or the coordinator leaves it out")]
    LeftOut,
    /// There is a signature of this member's that it does not remember.
    #[error(
        "the {what} {member} has this member's valid signature, which it does not remember: its state was rolled back \
         to an old copy, or the same key is used by a second process; find out which, and never restore a member's \
         state from a backup; it sits this round out"
    )]
    RolledBack {
        /// Where: `announcement of`, `vote of`.
        what: &'static str,
        /// This member.
        member: MemberId,
    },
    /// This member was started anew in the middle of the round.
    #[error(
        "this member was started anew after it had announced itself in this round: the key that it votes with is gone, \
         so it does not vote, but it still opens its boxes and sends its mask"
    )]
    Restarted,
    /// There are more updates than the settings allow.
    #[error("the round has {found} updates, and this member's max_updates is {most}: raise it if there is memory for that")]
    Updates {
        /// How many there are.
        found: u64,
        /// How many are allowed.
        most: u64,
    },
    /// The coordinator's list of updates cannot be.
    #[error("the coordinator's list of updates {0}: it is asked again")]
    Entries(&'static str),
    /// More updates are bad than this member may accuse.
    #[error(
        "{bad} of the updates are bad, and a member may accuse only {most}: the coordinator shows this member other \
         boxes than the updaters have sent, or so many updaters lie; its report may be disregarded"
    )]
    Accusations {
        /// How many are bad.
        bad: u64,
        /// How many may be accused.
        most: u64,
    },
    /// The set has too few updates.
    #[error(
        "the set has {found} updates, but at least {least} must be added up: so few would say too much of each; nothing \
         is unmasked this time"
    )]
    TooFew {
        /// `n_min`.
        least: u64,
        /// How many there are.
        found: u64,
    },
    /// Somebody is in the set whose box was bad.
    #[error("the set has updater {updater}, whose update is bad ({accusation}): this member does not vote for it")]
    BadUpdate {
        /// Whose update.
        updater: PublicSigningKey,
        /// What is wrong with it.
        accusation: crate::v2::Accusation,
    },
    /// The set excludes somebody who is not there.
    #[error("the set excludes {0}, who has sent no update, or is named twice")]
    Excluded(PublicSigningKey),
    /// The decision is not the one that follows from the set.
    #[error("the coordinator shows the decision {found}, but {expected} follows from what it has shown this member: it shows members different things, or this is a mistake of its own")]
    OtherDecision {
        /// What follows.
        expected: DecisionHash,
        /// What is shown.
        found: DecisionHash,
    },
    /// The coordinator wants a second decision.
    #[error("the coordinator shows the decision {found}, but this member has voted for {voted} in this round: nobody votes twice")]
    SecondDecision {
        /// What was voted for.
        voted: DecisionHash,
        /// What is shown.
        found: DecisionHash,
    },
    /// The coordinator shows another decision than the certified one.
    #[error("the coordinator shows the decision {found}, but {certified} was certified in this round: two masks of one group would differ by what one updater has sent; nothing is added up for another decision")]
    OtherThanCertified {
        /// What was certified.
        certified: DecisionHash,
        /// What is shown.
        found: DecisionHash,
    },
    /// The votes do not certify the decision.
    #[error(transparent)]
    Votes(#[from] VotesError),
    /// A job was lost each time: it panics, or whoever runs it drops it.
    #[error("the job to {job} was lost {times} times: see what the log says of panics, and please report it")]
    JobLost {
        /// What it does.
        job: JobKind,
        /// How often it was given out.
        times: u32,
    },
    /// The sum of the masks cannot be made or written.
    #[error("the sum of the masks cannot be made: {0}")]
    Mask(String),
    /// What the coordinator says cannot be read.
    #[error("the coordinator's {what} cannot be read: {source}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl Refusal {
    /// Who has to do something about it; nobody where it ends by itself.
    pub fn blame(&self) -> Option<Blame> {
        match self {
            Self::RoundNotAbove { .. }
            | Self::RoundTooFarAhead { .. }
            | Self::WeakKey
            | Self::Noise { .. }
            | Self::Budget { .. }
            | Self::NoiseTerms(_)
            | Self::OtherAnnouncements { .. }
            | Self::LeftOut
            | Self::Outlived
            | Self::Entries(_)
            | Self::Excluded(_)
            | Self::OtherDecision { .. }
            | Self::SecondDecision { .. }
            | Self::OtherThanCertified { .. }
            | Self::TooFew { .. }
            | Self::Accusations { .. }
            | Self::Malformed { .. } => Some(Blame::Coordinator),
            Self::NotInRoster { .. }
            | Self::Length { .. }
            | Self::Updates { .. }
            | Self::JobLost { .. }
            | Self::Mask(_) => Some(Blame::Settings),
            Self::RolledBack { member, .. } => Some(Blame::Member(*member)),
            Self::BadUpdate { updater, .. } => Some(Blame::Updater(*updater)),
            Self::Pin(error) => Some(error.blame()),
            Self::Terms(error) => Some(error.blame()),
            Self::Announcements(error) => Some(error.blame()),
            Self::Votes(error) => Some(error.blame()),
            Self::OpenedBefore | Self::Late | Self::Restarted => None,
        }
    }

    /// All [labels](Refusal::label).
    pub const LABELS: [&'static str; 31] = [
        "not_in_roster",
        "round_not_above",
        "round_too_far_ahead",
        "pin",
        "not_lately",
        "model_length",
        "weak_key",
        "noise",
        "budget",
        "noise_terms",
        "opened_before",
        "late",
        "outlived",
        "announcements",
        "other_announcements",
        "left_out",
        "rolled_back",
        "restarted",
        "updates",
        "entries",
        "accusations",
        "too_few",
        "bad_update",
        "excluded",
        "other_decision",
        "second_decision",
        "other_than_certified",
        "votes",
        "job_lost",
        "mask",
        "malformed",
    ];

    /// A short, stable name, for metrics and other languages.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotInRoster { .. } => "not_in_roster",
            Self::RoundNotAbove { .. } => "round_not_above",
            Self::RoundTooFarAhead { .. } => "round_too_far_ahead",
            Self::Pin(_) => "pin",
            Self::Terms(_) => "not_lately",
            Self::Length { .. } => "model_length",
            Self::WeakKey => "weak_key",
            Self::Noise { .. } => "noise",
            Self::Budget { .. } => "budget",
            Self::NoiseTerms(_) => "noise_terms",
            Self::OpenedBefore => "opened_before",
            Self::Late => "late",
            Self::Outlived => "outlived",
            Self::Announcements(_) => "announcements",
            Self::OtherAnnouncements { .. } => "other_announcements",
            Self::LeftOut => "left_out",
            Self::RolledBack { .. } => "rolled_back",
            Self::Restarted => "restarted",
            Self::Updates { .. } => "updates",
            Self::Entries(_) => "entries",
            Self::Accusations { .. } => "accusations",
            Self::TooFew { .. } => "too_few",
            Self::BadUpdate { .. } => "bad_update",
            Self::Excluded(_) => "excluded",
            Self::OtherDecision { .. } => "other_decision",
            Self::SecondDecision { .. } => "second_decision",
            Self::OtherThanCertified { .. } => "other_than_certified",
            Self::Votes(_) => "votes",
            Self::JobLost { .. } => "job_lost",
            Self::Mask(_) => "mask",
            Self::Malformed { .. } => "malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_labels_has_them_all() {
        let source = include_str!("refusal.rs");
        let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Self::"));
        let label = |arm: &'static str| arm.split_once(" => \"")?.1.strip_suffix("\",");
        let labels: Vec<_> = arms.filter_map(label).collect();
        assert_eq!(labels, Refusal::LABELS);
        let unique: std::collections::BTreeSet<_> = labels.iter().collect();
        assert_eq!(unique.len(), labels.len());
    }
}
