//! A member's log lines.

use pet_core::v2::member::Event;
use tracing::{debug, error, info, warn};

/// Writes an event to the log: what somebody has to do something about is a warning, with who that is.
pub(super) fn tell(event: &Event) {
    match event {
        Event::Roster { member, group, groups, members } => {
            info!(%member, group, groups, members, "the pinned roster came: this member is in it");
        }
        Event::NewRound { round, context } => info!(round, %context, "round"),
        Event::Phase { round, phase } => debug!(round, %phase, "phase"),
        Event::Announced { round } => info!(round, "announced"),
        Event::Announcements { members, hash } => {
            info!(members, %hash, "the list of announcements is valid");
        }
        Event::Accused { updater, accusation } => {
            warn!(%updater, reason = accusation.label(), "an update is bad: {accusation}");
        }
        Event::Reported { updates, accused } => {
            info!(updates, accused, "all updates are checked and reported on");
        }
        Event::Voted { decision, updates } => info!(%decision, updates, "voted"),
        Event::Certified { decision } => {
            info!(%decision, "a majority of every group has voted for it");
        }
        Event::MaskSent { digest, updates } => {
            info!(%digest, updates, "the group's mask is signed")
        }
        Event::Progress { sent, total } => debug!(sent, total, "mask"),
        Event::RoundOver { round } => {
            info!(round, "the round is over: what was kept of it is wiped")
        }
        Event::RoundFailed { round, reason } => warn!(round, reason, "the round has failed"),
        Event::Refused { round, refusal } => {
            let (reason, blame) = (refusal.label(), event.blame().map(|blame| blame.to_string()));
            match blame {
                Some(blame) => warn!(round, reason, blame, "{refusal}"),
                None => info!(round, reason, "{refusal}"),
            }
        }
        Event::Rejected { post, problem } => {
            warn!(%post, reason = %problem.name, "the coordinator rejects it: {problem}");
        }
        Event::Trouble(trouble) => warn!(call = trouble.call, "{}", trouble.reason),
        event => debug!(?event, "an event that this program does not know"),
    }
}

/// A state could not be stored.
pub(super) fn tell_not_stored(why: &str) {
    error!("{why}; it is tried again every second");
}
