//! What there is to see of rounds of v2: the groups, who has done what, what was excluded, and the certificates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A federation of v2: its groups and the round so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct V2Status {
    /// The roster's hash, which participants pin.
    pub roster: String,
    /// The context of the current round: everything signed in it names it. Null before the first round.
    pub context: Option<String>,
    /// The fewest updates of a global model.
    pub n_min: u64,
    /// Differential privacy; null if there is none.
    pub noise: Option<NoiseStatus>,
    /// The groups with their members.
    pub groups: Vec<GroupStatus>,
    /// Updaters that members have excluded from the current round, at most 32.
    pub excluded: Vec<Excluded>,
    /// How many there are.
    pub excluded_count: u64,
    /// How often something was strange since the start, by its name.
    pub strange: BTreeMap<String, u64>,
    /// What was strange in the latest rounds, with the member or updater who is to blame; oldest first, at most 32.
    pub notes: Vec<Note>,
}

/// The noise of rounds, and what it has cost so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NoiseStatus {
    /// The standard deviation of each group's noise, as a multiple of what one updater can change.
    pub multiplier: f64,
    /// The L2 norm to which updaters clip.
    pub clip: f64,
    /// How many updaters have been in a round so far.
    pub updaters: u64,
    /// In how many rounds the one was that was in most of them.
    pub most_rounds: u64,
    /// What that one has spent: epsilon at delta 1e-5.
    pub most_epsilon: f64,
}

/// A group of the roster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// How many of its members are a majority.
    pub majority: u64,
    /// Its members, in the roster's order.
    pub members: Vec<MemberStatus>,
}

/// What a member has done in the current round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its place in the roster: group and member, from 0.
    pub id: String,
    /// Its key.
    pub key: String,
    /// It has announced its keys.
    pub announced: bool,
    /// It has checked the updates.
    pub reported: bool,
    /// It has voted for the set of updates.
    pub voted: bool,
    /// It has signed its group's mask.
    pub mask: bool,
    /// It has accused too many: nothing of it counts in this round.
    pub disregarded: bool,
}

/// An updater that is not in the round's set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Excluded {
    /// Its key.
    pub updater: String,
    /// The member that has reported it.
    pub by: String,
    /// Of what: `box`, `commitment`, `statement` or `credential`.
    pub accusation: String,
}

/// Something strange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Note {
    /// In which round.
    pub round: u64,
    /// A short, stable name.
    pub name: String,
    /// The same for people, with who is to blame.
    pub message: String,
}

/// What proves that a round's global model is what the members have agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CertificateStatus {
    /// The hash of the decision that was voted for.
    pub decision: String,
    /// The round's context.
    pub context: String,
    /// How many updates are in it.
    pub count: u64,
    /// How many updaters were excluded.
    pub excluded: u64,
    /// The members that have voted for it, by group.
    pub signers: Vec<String>,
}
