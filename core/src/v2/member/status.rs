//! How a member stands, for those who look at it.

use super::io::Why;
use super::machine::Member;
use super::Refusal;
use crate::v2::{MemberId, Phase};

/// How a member stands: for health checks, metrics and people.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Its place in the roster, once that is known.
    pub member: Option<MemberId>,
    /// The name of its group.
    pub group: Option<String>,
    /// The number of the coordinator's round, as it was last seen.
    pub round: Option<u64>,
    /// Its phase.
    pub phase: Option<Phase>,
    /// Whether the member takes part in it.
    pub takes_part: bool,
    /// Whether it may vote: not after it was started anew in the middle of the round.
    pub may_vote: bool,
    /// Why it sits the round out.
    pub sits_out: Option<Refusal>,
    /// How many updates it has checked.
    pub checked: u64,
    /// How many there are; 0 if that is not known yet.
    pub updates: u64,
    /// How many of them are bad.
    pub accused: u64,
    /// Whether the decision that it has checked is certified.
    pub is_certified: bool,
    /// What it waits for.
    pub waits_for: Why,
    /// Why the last try has failed, if it has.
    pub failure: Option<String>,
    /// How many looks at the coordinator in a row brought no progress.
    pub misses: u32,
}

impl Member {
    /// How it stands.
    pub fn status(&self) -> Status {
        let terms = self.view.as_ref().and_then(|view| view.terms.as_ref());
        let round = self.round.as_deref();
        let entries = round.map(|round| &round.entries);
        Status {
            member: self.roster.as_ref().map(|(_, member)| *member),
            group: self
                .roster
                .as_ref()
                .map(|(roster, member)| roster.group_name(member.group).to_owned()),
            round: terms.map(|terms| terms.round),
            phase: self.view.as_ref().map(|view| view.phase),
            takes_part: round.is_some_and(|round| round.out.is_none()),
            may_vote: round.is_some_and(|round| round.vote_keys.is_some() && round.out.is_none()),
            sits_out: round.and_then(|round| round.out.clone()),
            checked: entries.map_or(0, |entries| entries.checked),
            updates: entries.and_then(|entries| entries.total).unwrap_or(0),
            accused: entries.map_or(0, |entries| entries.bad),
            is_certified: round.is_some_and(|round| round.certified.is_some()),
            waits_for: self.why(),
            failure: self.failure.as_ref().map(|failure| failure.to_string()),
            misses: self.misses,
        }
    }
}
