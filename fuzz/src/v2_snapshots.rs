//! What machines of version 2 have stored.

use std::sync::Arc;

use pet_core::crypto::{RootSeed, Seed, SigningKeyPair};
use pet_core::participant::{self, TransportFault};
use pet_core::time::Timestamp;
use pet_core::v2::coordinator::{Completed, Record};
use pet_core::v2::member::{self, Member};
use pet_core::v2::updater::Updater;
use pet_core::v2::{Announcement, GroupMaskHeader, Pin, Report, Roster, Vote};

use crate::v2_round;

/// The most outputs of a restored machine that are looked at: a few steps on.
const MOST_OUTPUTS: usize = 64;

/// Saved members and updaters: whatever is restored goes on in some way and can be saved again. Records of a coordinator: what
/// is read is written again so that it is read.
pub fn v2_snapshots(data: &[u8]) {
    if let Ok(machine) = Member::restore(data, boot(), member::Settings::default()) {
        go_on_with_groups(machine);
    }
    if let Ok(machine) = Updater::restore(data, pin(), participant::Settings::default()) {
        go_on(machine);
    }
    if let Ok(record) = Record::from_bytes(data, None) {
        assert!(Record::from_bytes(&record.to_bytes(), None).is_ok());
    }
    if let Ok(completed) = Completed::from_bytes(data) {
        assert!(Completed::from_bytes(&completed.to_bytes()).is_ok());
    }
}

/// Nobody answers.
fn go_on(mut machine: Updater) {
    use participant::{Input, Output};
    let mut now = Timestamp::ZERO;
    for _ in 0..MOST_OUTPUTS {
        let input = match machine.poll_output() {
            Output::Request { id, .. } => Input::Fault { id, fault: TransportFault::TimedOut },
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Idle(idle) => {
                now = idle.wake_at.expect("somebody is to be asked, or it is too early");
                Input::Tick
            }
            _ => continue,
        };
        machine.handle_input(now, input).expect("it is due");
    }
    let saved = machine.snapshot().to_bytes();
    assert!(Updater::restore(&saved, pin(), participant::Settings::default()).is_ok());
}

/// Everything is stored at once, and nobody answers.
fn go_on_with_groups(mut machine: Member) {
    use member::{Input, Output};
    let mut now = Timestamp::ZERO;
    for _ in 0..MOST_OUTPUTS {
        let input = match machine.poll_output() {
            Output::Request { id, .. } => Input::Fault { id, fault: TransportFault::TimedOut },
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Persist { id, .. } => Input::Persisted(id),
            Output::Idle(idle) => {
                now = idle.wake_at.expect("somebody is to be asked, or it is too early");
                Input::Tick
            }
            _ => continue,
        };
        machine.handle_input(now, input).expect("it is due");
    }
    let saved = machine.snapshot().to_bytes();
    assert!(Member::restore(&saved, boot(), member::Settings::default()).is_ok());
}

fn boot() -> RootSeed {
    RootSeed::new([3; 32])
}

fn pin() -> Pin {
    let roster = Roster::from_bytes(&v2_round::value("Roster")).expect("a roster");
    Pin::new(roster.hash(), 3)
}

/// First inputs: machines at their beginning, and records of a round.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let keys = || SigningKeyPair::from_seed(&Seed::new([1; 32]));
    let root = || RootSeed::new([2; 32]);
    let member = Member::new(keys(), root(), boot(), pin(), member::Settings::default());
    let updater = Updater::new(keys(), root(), pin(), participant::Settings::default());
    let announcement = Announcement::from_bytes(&v2_round::value("Announcement"));
    let report = Report::from_bytes(&v2_round::value("Report")).expect("a report");
    let vote = Vote::from_bytes(&v2_round::value("Vote")).expect("a vote");
    let mask = GroupMaskHeader::from_bytes(&v2_round::value("GroupMaskHeader")).expect("a header");
    let failed = Record::RoundFailed { round: 7, reason: "too few updates: 2 of 3".into() };
    vec![
        ("member", member.snapshot().to_bytes().to_vec()),
        ("updater", updater.snapshot().to_bytes().to_vec()),
        ("announcement", Record::Announcement(announcement.expect("one")).to_bytes()),
        ("report", Record::Report(Arc::new(report)).to_bytes()),
        ("vote", Record::Vote(vote).to_bytes()),
        ("mask", Record::Mask(Arc::new(mask)).to_bytes()),
        ("update-ended", Record::UpdateEnded.to_bytes()),
        ("failed", failed.to_bytes()),
    ]
}
