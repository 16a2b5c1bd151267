//! How a member stands, for programs.

use pet_core::v2::member::Status;
use serde::Serialize;

/// The document of `/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StatusPage {
    /// Its place in the roster, `group.index`, once that is known.
    pub member: Option<String>,
    /// The name of its group.
    pub group: Option<String>,
    /// The number of the coordinator's round.
    pub round: Option<u64>,
    /// Its phase.
    pub phase: Option<&'static str>,
    /// Whether the member takes part in it.
    pub takes_part: bool,
    /// Whether it may vote in it.
    pub may_vote: bool,
    /// Why it sits the round out.
    pub sits_out: Option<String>,
    /// How many updates there are to be checked.
    pub updates: u64,
    /// How many are checked.
    pub checked: u64,
    /// How many are bad.
    pub accused: u64,
    /// Whether the set is certified.
    pub certified: bool,
    /// What the member waits for, a short name.
    pub waits_for: &'static str,
    /// Why the last try has failed.
    pub failure: Option<String>,
}

impl From<Status> for StatusPage {
    fn from(status: Status) -> Self {
        Self {
            member: status.member.map(|member| member.to_string()),
            group: status.group,
            round: status.round,
            phase: status.phase.map(|phase| phase.label()),
            takes_part: status.takes_part,
            may_vote: status.may_vote,
            sits_out: status.sits_out.map(|refusal| refusal.to_string()),
            updates: status.updates,
            checked: status.checked,
            accused: status.accused,
            certified: status.is_certified,
            waits_for: status.waits_for.label(),
            failure: status.failure,
        }
    }
}

impl StatusPage {
    /// The JSON document.
    pub fn to_json(&self) -> String {
        // Numbers and strings can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}
