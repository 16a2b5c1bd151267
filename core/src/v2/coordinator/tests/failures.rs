//! Every way in which a round fails has a name, and the next one begins.

use super::fixture::{settings, Fixture, MAX, MIN};
use super::people::{members, Member, Updater};
use crate::job::{JobKind, MAX_LOSSES};
use crate::v2::coordinator::*;
use crate::v2::{Blame, MemberId};

#[track_caller]
fn failed(fixture: &Fixture, failure: &RoundFailure) {
    assert_eq!(fixture.failures(), std::slice::from_ref(failure));
    assert!(RoundFailure::LABELS.contains(&failure.label()), "{failure}");
    let view = fixture.view();
    assert_eq!((fixture.machine.round(), view.phase), (2, Phase::Announce));
    assert_eq!(view.failure, Some(failure.to_string()), "those who poll are told");
    assert_eq!(fixture.machine.incomplete(), (0, 0));
}

fn too_few(phase: Phase, group: u8, have: usize) -> RoundFailure {
    let name = format!("group {group}");
    RoundFailure::TooFewMembers { phase, group, name, have, need: 2 }
}

/// All of group 0, and one of group 1.
fn too_few_members() -> impl Iterator<Item = MemberId> {
    members().filter(|member| member.group == 0 || member.index == 0)
}

#[test]
fn a_group_without_a_majority_of_announcements() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    for member in too_few_members() {
        fixture.accepts(Member(member).announce(&seen));
    }
    fixture.wait(MAX);
    let failure = too_few(Phase::Announce, 1, 1);
    assert_eq!(failure.label(), "too_few_announce");
    failed(&fixture, &failure);
}

#[test]
fn too_few_updates() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    fixture.upload(Updater(1));
    fixture.upload(Updater(2));
    fixture.wait(MAX);
    failed(&fixture, &RoundFailure::TooFewUpdates { accepted: 2, needed: 3 });
}

#[test]
fn a_group_without_a_majority_of_reports() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    fixture.update(3);
    let seen = fixture.seen();
    for member in too_few_members() {
        fixture.accepts(Member(member).report(&seen, &[]));
    }
    fixture.wait(MAX);
    failed(&fixture, &too_few(Phase::Check, 1, 1));
}

#[test]
fn exclusions_below_the_least_number_of_updates() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(3);
    let seen = fixture.seen();
    for member in members() {
        let accused = [updaters[0].key()];
        let accused = if member.index == 0 { &accused[..] } else { &[] };
        fixture.accepts(Member(member).report(&seen, accused));
    }
    failed(&fixture, &RoundFailure::TooFewAfterExclusions { left: 2, excluded: 1, n_min: 3 });
    let named = |event: &Event| matches!(event, Event::UpdatersExcluded { count: 1, .. });
    assert!(fixture.events.iter().any(named), "the operator sees who was accused");
}

#[test]
fn a_group_without_a_majority_of_votes() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    fixture.update(3);
    fixture.check();
    fixture.agree_with(&too_few_members().collect::<Vec<_>>());
    fixture.wait(MAX);
    failed(&fixture, &too_few(Phase::Agree, 1, 1));
}

#[test]
fn a_group_without_a_majority_of_masks() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(3);
    fixture.check();
    fixture.agree();
    fixture.sum2(too_few_members(), &updaters);
    fixture.wait(MAX);
    failed(&fixture, &too_few(Phase::Sum2, 1, 1));
}

#[test]
fn a_group_that_does_not_agree_on_its_mask() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(5);
    fixture.check();
    fixture.agree();
    let seen = fixture.seen();
    for member in members() {
        let over = if member.group == 1 { 2 + usize::from(member.index) } else { 5 };
        let mask = Member(member).mask(&seen, &updaters[..over]);
        fixture.accepts(Member(member).mask_header(&seen, &mask));
        fixture.accepts(Member(member).mask_chunk(&seen, &mask, 0));
    }
    fixture.wait(MAX);
    let name = "group 1".into();
    let failure = RoundFailure::NoMaskMajority { group: 1, name, masks: 3, most: 1, need: 2 };
    failed(&fixture, &failure);
}

#[test]
fn a_mask_that_nobody_sends() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(3);
    fixture.check();
    fixture.agree();
    let seen = fixture.seen();
    for member in members() {
        let mask = Member(member).mask(&seen, &updaters);
        fixture.accepts(Member(member).mask_header(&seen, &mask));
    }
    fixture.wait(MAX);
    let [RoundFailure::MaskNotSent { group: 0, .. }] = &fixture.failures()[..] else {
        panic!("{:?}", fixture.failures());
    };
}

#[test]
fn a_round_that_is_skipped() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    fixture.upload(Updater(1));
    fixture.input(Input::Skip).unwrap();
    failed(&fixture, &RoundFailure::Skipped);
}

/// The sum2 phase, in which the store has lost something.
#[test]
fn a_masked_model_that_the_store_has_lost() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(3);
    fixture.check();
    let object = Object { round: 1, kind: ObjectKind::Update(updaters[1].key()) };
    fixture.store.objects.remove(&object);
    let seen = fixture.seen();
    for member in members() {
        // It fails with the vote that ends the phase.
        if fixture.failures().is_empty() {
            fixture.accepts(Member(member).vote(&seen));
        }
    }
    let failure = RoundFailure::ObjectLost { object };
    assert_eq!(failure.blame(), Some(Blame::Coordinator));
    failed(&fixture, &failure);
}

/// What was damaged on the disk is not added up: it is not of the right form, or not what was hashed.
#[test]
fn a_masked_model_that_the_store_has_damaged() {
    for at in [3, 20] {
        let mut fixture = Fixture::new(settings());
        fixture.announce();
        let updaters = fixture.update(3);
        fixture.check();
        let object = Object { round: 1, kind: ObjectKind::Update(updaters[1].key()) };
        fixture.store.objects.get_mut(&object).unwrap()[at] ^= 1;
        let seen = fixture.seen();
        for member in members() {
            if fixture.failures().is_empty() {
                fixture.accepts(Member(member).vote(&seen));
            }
        }
        failed(&fixture, &RoundFailure::ObjectLost { object });
    }
}

fn lose(fixture: &mut Fixture, kind: JobKind, times: u32) {
    for _ in 0..times {
        fixture.jobs.retain(|job| job.kind() != JobKind::FreeMemory);
        assert_eq!(fixture.jobs.len(), 1, "{kind}");
        assert_eq!(fixture.jobs[0].kind(), kind);
        fixture.jobs.clear();
        fixture.drain();
    }
}

fn finish(fixture: &mut Fixture) {
    fixture.working = true;
    for job in std::mem::take(&mut fixture.jobs) {
        fixture.input(Input::JobDone(job.finish())).unwrap();
    }
}

/// In the middle of the job of this kind.
fn working_on(kind: JobKind) -> (Fixture, Vec<Updater>) {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(3);
    fixture.working = kind != JobKind::Decide;
    fixture.check();
    if kind == JobKind::Decide {
        return (fixture, updaters);
    }
    fixture.working = kind != JobKind::Aggregate;
    fixture.agree();
    if kind == JobKind::Aggregate {
        return (fixture, updaters);
    }
    fixture.working = false;
    fixture.sum2(members(), &updaters);
    (fixture, updaters)
}

#[test]
fn jobs_that_are_lost_are_given_out_again_and_at_last_the_round_fails() {
    for kind in [JobKind::Decide, JobKind::Aggregate, JobKind::Unmask] {
        let (mut fixture, updaters) = working_on(kind);
        assert!(fixture.idle.unwrap().wake_at.is_some(), "it looks whether the job was lost");
        lose(&mut fixture, kind, MAX_LOSSES - 1);
        finish(&mut fixture);
        match kind {
            JobKind::Decide => {
                assert_eq!(fixture.machine.phase(), Phase::Agree);
                fixture.agree();
                fixture.sum2(members(), &updaters);
            }
            JobKind::Aggregate => fixture.sum2(members(), &updaters),
            _ => {}
        }
        fixture.check_model(&updaters);

        let (mut fixture, _) = working_on(kind);
        lose(&mut fixture, kind, MAX_LOSSES);
        failed(&fixture, &RoundFailure::JobLost { job: kind, times: MAX_LOSSES });
    }
}

#[test]
fn labels_are_sorted_and_told_apart() {
    let mut labels = RoundFailure::LABELS.to_vec();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels, RoundFailure::LABELS);
}

#[test]
fn a_paused_coordinator_waits_between_rounds_and_a_stopped_one_for_ever() {
    let mut fixture = Fixture::new(settings());
    fixture.input(Input::Pause).unwrap();
    fixture.input(Input::Skip).unwrap();
    assert_eq!(fixture.idle.unwrap().why, Why::Resume);
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (1, Phase::Idle));
    assert_eq!(fixture.input(Input::Skip), Err(Reject::NoRound));
    let seen = fixture.seen();
    let wrong = Rejection::WrongPhase { message: MessageKind::Announcement, phase: Phase::Idle };
    fixture.rejects(Member(MemberId::new(0, 0)).announce(&seen), wrong);
    fixture.input(Input::Resume).unwrap();
    assert_eq!((fixture.machine.round(), fixture.machine.phase()), (2, Phase::Announce));
    let seen = fixture.seen();
    fixture.input(Input::Stop).unwrap();
    fixture.rejects(Member(MemberId::new(0, 0)).announce(&seen), Rejection::Stopped);
    assert_eq!(fixture.idle.unwrap().why, Why::Stopped);
    assert_eq!(fixture.input(Input::Tick), Err(Reject::Stopped));
    let _ = MIN;
}

#[test]
fn settings_change_with_the_next_round() {
    let mut fixture = Fixture::new(settings());
    let changed = Settings { model_length: 7, ..settings() }.with_first_round(50);
    fixture.input(Input::ChangeSettings(Box::new(changed))).unwrap();
    assert_eq!(fixture.machine.terms().parameters.model_length, 4);
    fixture.input(Input::Skip).unwrap();
    let terms = fixture.machine.terms();
    assert_eq!((terms.round, terms.parameters.model_length), (50, 7));
    let broken = Settings { n_min: 2, ..settings() };
    let refused = fixture.input(Input::ChangeSettings(Box::new(broken)));
    assert_eq!(refused, Err(Reject::InvalidSettings));
}
