//! What a member refuses: each by its name, with who is to blame, once.

use std::time::Duration;

use super::super::{Event, Input, Refusal, Why};
use super::fixture::*;
use crate::crypto::{EncryptKeyPair, Seed};
use crate::mask::MaskConfig;
use crate::participant::TransportFault;
use crate::request::Response;
use crate::v2::{
    self, Accusation, Announcement, Announcements, Blame, Budget, MemberId, NoiseTerms, Phase, Pin,
    RosterHash, Terms, Votes,
};

/// What is refused of the terms, by whom it is blamed.
fn refused(change: impl FnOnce(&mut Terms)) -> (Vec<&'static str>, Option<Blame>, String) {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    let mut terms = terms(1);
    change(&mut terms);
    coordinator.open(terms);
    scene.run_on(&mut coordinator);
    assert!(coordinator.posted.is_empty());
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::Round);
    let refusal = scene.events.iter().find_map(|event| match event {
        Event::Refused { refusal, .. } => Some((event.blame(), refusal.to_string())),
        _ => None,
    });
    let (blame, text) = refusal.unwrap();
    (scene.labels(), blame, text)
}

#[test]
fn terms_that_the_pin_forbids() {
    let coordinator = Some(Blame::Coordinator);
    let (labels, blame, text) = refused(|terms| terms.roster = RosterHash::new([1; 32]));
    assert!(text.contains("pinned"), "{text}");
    assert_eq!((labels, blame), (vec!["pin"], coordinator));
    let changes: [fn(&mut Terms); 5] = [
        |terms| terms.n_min = 2,
        |terms| terms.parameters.sum = 0.5,
        |terms| terms.parameters.model_length = 0,
        |terms| {
            terms.parameters.mask_config = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into();
        },
        |terms| terms.noise = Some(NoiseTerms { multiplier_thousandths: 0, clip: 1.0 }),
    ];
    for change in changes {
        let (labels, blame, _) = refused(change);
        assert_eq!((labels, blame), (vec!["pin"], coordinator));
    }
}

#[test]
fn terms_that_are_not_acceptable_now() {
    let (labels, ..) = refused(|terms| terms.opened_at += 7200);
    assert_eq!(labels, ["not_lately"]);
    let (labels, ..) = refused(|terms| terms.opened_at -= 8 * 24 * 3600);
    assert_eq!(labels, ["not_lately"]);
    let (labels, ..) = refused(|terms| terms.round = 0);
    assert_eq!(labels, ["round_not_above"]);
    let (labels, ..) = refused(|terms| terms.round = u64::MAX);
    assert_eq!(labels, ["round_too_far_ahead"]);
    let (labels, blame, text) = refused(|terms| terms.parameters.model_length = 1 << 29);
    assert_eq!((labels, blame), (vec!["model_length"], Some(Blame::Settings)));
    assert!(text.contains("max_model_length"), "{text}");
    let weak = crate::crypto::PublicEncryptKey::new([0; 32]);
    let (labels, ..) = refused(|terms| terms.parameters.pk = weak);
    assert_eq!(labels, ["weak_key"]);
}

/// A coordinator that was wrong once must not use up all numbers.
#[test]
fn a_number_far_above_the_last_is_refused_and_a_near_one_is_not() {
    let (mut scene, mut coordinator) = until(Phase::Announce);
    coordinator.open(Terms { round: 2 + (1 << 20), ..terms(2) });
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["round_too_far_ahead"]);
    coordinator.open(Terms { round: 1 + (1 << 20), ..terms(2) });
    scene.run_on(&mut coordinator);
    assert!(scene.machine.status().takes_part);
}

#[test]
fn rounds_without_noise_are_refused_where_noise_is_asked_for() {
    let noise = |thousandths| Some(NoiseTerms { multiplier_thousandths: thousandths, clip: 1.0 });
    let labels = |least: Option<u32>, budget: Option<Budget>, noise| {
        let mut coordinator = Coordinator::new();
        coordinator.open(Terms { noise, ..terms(1) });
        let member = MemberId::new(0, 0);
        let pin = Pin { budget, ..pin() };
        let machine = super::super::Member::new(
            member_keys(member),
            crate::crypto::RootSeed::new([1; 32]),
            crate::crypto::RootSeed::new([2; 32]),
            pin,
            settings().with_least_noise(least),
        );
        let mut scene = Scene::of(machine, member);
        scene.run_on(&mut coordinator);
        scene.labels()
    };
    assert_eq!(labels(Some(4000), None, None), ["noise"]);
    assert_eq!(labels(Some(4000), None, noise(3999)), ["noise"]);
    assert_eq!(labels(Some(4000), None, noise(4000)), [""; 0]);
    let budget = Budget::new(4.0, 1e-5);
    assert_eq!(labels(None, Some(budget), None), ["pin"]);
    assert_eq!(labels(None, Some(budget), noise(4000)), [""; 0]);
    // One round alone spends more.
    assert_eq!(labels(None, Some(budget), noise(500)), ["budget"]);
    // No room in 32 bits.
    assert_eq!(labels(None, None, noise(4_000_000_000)), ["noise_terms"]);
}

#[test]
fn a_roster_that_is_not_the_pinned_one() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    let mut groups = coordinator.roster.groups().to_vec();
    groups[0].name = "another".to_owned();
    coordinator.roster = v2::Roster::new(groups, coordinator.roster.admission().clone()).unwrap();
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["pin"]);
    let failure = scene.idle.as_ref().unwrap().failure.clone().unwrap();
    assert_eq!(failure.call, "roster");
    // It asks again: the right one may come.
    coordinator.roster = roster();
    scene.run_on(&mut coordinator);
    assert!(scene.machine.status().takes_part);
    assert_eq!(scene.machine.status().group.as_deref(), Some("group 0"));
}

#[test]
fn a_key_that_is_in_no_group() {
    let stranger = MemberId::new(5, 0);
    let (mut scene, mut coordinator) = (Scene::new(stranger), Coordinator::new());
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["not_in_roster"]);
    assert!(coordinator.posted.is_empty());
}

/// What is refused of the list of announcements; honest again afterwards.
fn list_refused(change: impl FnOnce(&mut Coordinator)) -> (Scene, Coordinator) {
    let (mut scene, mut coordinator) = until(Phase::Announce);
    coordinator.begin_updates();
    change(&mut coordinator);
    scene.run_on(&mut coordinator);
    assert!(!scene.has(|event| matches!(event, Event::Announcements { .. })));
    (scene, coordinator)
}

#[test]
fn forged_and_missing_announcements() {
    let only = |list: &mut Coordinator, keep: &dyn Fn(MemberId) -> bool| {
        let kept = list.announced.values().filter(|a| keep(a.member)).copied().collect();
        list.list = Some(Announcements::new(kept).unwrap());
    };
    let (scene, _) = list_refused(|coordinator| {
        only(coordinator, &|member| member.group == 0 || member.index == 0);
    });
    assert_eq!(scene.labels(), ["announcements"]);
    // A minority may be missing.
    let (mut scene, mut coordinator) = until(Phase::Announce);
    coordinator.begin_updates();
    only(&mut coordinator, &|member| member.index < 2);
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), [""; 0]);

    let (scene, _) =
        list_refused(|coordinator| only(coordinator, &|member| member != MemberId::new(0, 0)));
    assert_eq!(scene.labels(), ["left_out"]);
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::SitsOut);

    let (mut scene, mut coordinator) = list_refused(|coordinator| {
        let forger = MemberId::new(1, 1);
        let context = coordinator.context();
        let (e, v) = (other_keys(forger).public(), other_vote_keys(forger).public());
        let forged = Announcement::sign(&updater_keys(0), &context, forger, e, v);
        coordinator.announced.insert(forger, forged);
        only(coordinator, &|_| true);
    });
    assert_eq!(scene.labels(), ["announcements"]);
    // It asks again: the coordinator may have got it right.
    coordinator.announced.remove(&MemberId::new(1, 1));
    coordinator.begin_updates();
    scene.run_on(&mut coordinator);
    assert!(scene.has(|event| matches!(event, Event::Announcements { .. })));
}

#[test]
fn another_list_than_the_round_says() {
    let (mut scene, mut coordinator) = until(Phase::Announce);
    coordinator.begin_updates();
    let right = coordinator.list.clone().unwrap();
    let fewer = right.list()[..5].to_vec();
    let fewer = Announcements::new(fewer).unwrap();
    coordinator.forged.push_back(("/v2/announcements", Response::ok(fewer.to_bytes())));
    scene.look(&mut coordinator);
    assert_eq!(scene.labels(), ["other_announcements"]);
    scene.run_on(&mut coordinator);
    assert!(scene.has(|event| matches!(event, Event::Announcements { members: 6, .. })));
}

#[test]
fn bad_boxes_are_reported_and_who_is_in_the_set_nonetheless_is_not_voted_for() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    (0..4).for_each(|nth| coordinator.update(nth));
    let bad = updater_keys(1).public();
    coordinator.updates.get_mut(&bad).unwrap().boxes[0] = v2::SealedGroupSeed::new([5; 80]);
    coordinator.phase = Phase::Check;
    scene.run_on(&mut coordinator);
    assert_eq!(coordinator.reports[&scene.member].accused, [(bad, Accusation::Box)]);
    assert!(scene.has(|event| matches!(event, Event::Accused { accusation: Accusation::Box, .. })));
    // Left in.
    let (mut kept, mut honest) = (scene.machine.fork().unwrap(), coordinator.excluded.clone());
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    assert_eq!(scene.labels(), ["bad_update"]);
    assert!(!coordinator.votes.contains_key(&scene.member));
    // Nor is the rest added up, though all others have voted: the difference of two masks of a group is a mask.
    assert!(coordinator.masks.is_empty());
    // Excluded.
    honest.push(bad);
    coordinator.excluded = honest;
    coordinator.phase = Phase::Agree;
    coordinator.votes.clear();
    kept.handle_input(coordinator.now, Input::Tick).unwrap();
    let mut scene = Scene::of(kept, scene.member);
    scene.run_on(&mut coordinator);
    assert!(coordinator.votes.contains_key(&scene.member));
}

#[test]
fn each_kind_of_bad_update_is_accused_of_what_it_is() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    (0..5).for_each(|nth| coordinator.update(nth));
    let key = |nth: u8| updater_keys(nth).public();
    let copied = coordinator.updates[&key(1)].boxes.clone();
    // A box that is copied from another updater.
    coordinator.updates.get_mut(&key(0)).unwrap().boxes = copied;
    coordinator.updates.get_mut(&key(2)).unwrap().statement =
        crate::crypto::Signature::new([1; 64]);
    // One that nobody has admitted.
    let stranger = updater_keys(20);
    let mut header = coordinator.header(3);
    header.updater = stranger.public();
    header.sign(&stranger, &coordinator.context(), &coordinator.list.as_ref().unwrap().digest());
    coordinator.updates.insert(header.updater, header);
    coordinator.phase = Phase::Check;
    scene.run_on(&mut coordinator);
    let mut expected = vec![
        (key(0), Accusation::Commitment),
        (key(2), Accusation::Statement),
        (stranger.public(), Accusation::Credential),
    ];
    expected.sort_unstable();
    assert_eq!(coordinator.reports[&scene.member].accused, expected);
}

/// All are reported, so that the coordinator can exclude them where it must; and the operator learns that it is odd.
#[test]
fn more_bad_updates_than_may_be_accused() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    (0..6).for_each(|nth| coordinator.update(nth));
    for update in coordinator.updates.values_mut() {
        update.boxes[0] = v2::SealedGroupSeed::new([5; 80]);
    }
    coordinator.phase = Phase::Check;
    coordinator.forged.push_back(("/v2/report", Response::ok("")));
    scene.look(&mut coordinator);
    assert_eq!(scene.labels(), ["accusations"]);
    let posted = coordinator.posted.iter().find_map(|call| match call {
        v2::Call::Report(post) => Some(v2::Report::from_bytes(&post.body).unwrap()),
        _ => None,
    });
    assert_eq!(posted.unwrap().accused.len(), 6);
}

#[test]
fn lists_of_updates_that_cannot_be() {
    let page = |coordinator: &Coordinator, change: &dyn Fn(&mut v2::EntriesPage)| {
        let entries = coordinator.updates.values().map(|h| v2::Entry::of(h, 0).unwrap());
        let context = coordinator.context();
        let mut page =
            v2::EntriesPage { context, total: 4, from: 0, entries: entries.take(3).collect() };
        change(&mut page);
        Response::ok(page.to_bytes())
    };
    let changes: [&dyn Fn(&mut v2::EntriesPage); 4] = [
        &|page| page.entries.clear(),
        &|page| page.from = 1,
        &|page| page.context = v2::Context::new([0; 32]),
        &|page| page.total = 3,
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        let (mut scene, mut coordinator) = until(Phase::Update);
        (0..4).for_each(|nth| coordinator.update(nth));
        coordinator.phase = Phase::Check;
        let forged = page(&coordinator, change);
        coordinator.forged.push_back(("/v2/entries", forged));
        scene.run_on(&mut coordinator);
        // All that there is in the short one is there; the decision is another one.
        if nth < 3 {
            assert_eq!(scene.labels(), ["entries"], "{nth}");
            assert!(coordinator.reports.contains_key(&scene.member), "it has asked again");
        } else {
            coordinator.phase = Phase::Agree;
            scene.run_on(&mut coordinator);
            assert_eq!(scene.labels(), ["other_decision"]);
            assert!(!coordinator.votes.contains_key(&scene.member));
        }
    }
    // One updater twice: on two pages.
    let (mut scene, mut coordinator) = until(Phase::Update);
    (0..4).for_each(|nth| coordinator.update(nth));
    coordinator.phase = Phase::Check;
    let twice = page(&coordinator, &|page| {
        page.entries.remove(0);
        page.entries.truncate(1);
        page.from = 3;
    });
    let first = page(&coordinator, &|_| {});
    coordinator.forged.push_back(("/v2/entries", first));
    coordinator.forged.push_back(("/v2/entries", twice));
    scene.look(&mut coordinator);
    assert_eq!(scene.labels(), ["entries"]);
}

#[test]
fn too_many_updates() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    let mut machine = scene.machine.fork().unwrap();
    machine.settings.max_updates = 3;
    scene = Scene::of(machine, scene.member);
    (0..4).for_each(|nth| coordinator.update(nth));
    coordinator.phase = Phase::Check;
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["updates"]);
    assert_eq!(scene.machine.status().sits_out.unwrap().blame(), Some(Blame::Settings));
}

#[test]
fn a_set_with_too_few_updates_is_not_voted_for() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    coordinator.excluded = {
        let mut excluded = vec![updater_keys(0).public(), updater_keys(1).public()];
        excluded.sort_unstable();
        excluded
    };
    coordinator.phase = Phase::Agree;
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["too_few"]);
    assert!(coordinator.votes.is_empty());
    // Nor added up, if all others are corrupt.
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    assert!(coordinator.masks.is_empty());
}

#[test]
fn a_decision_that_does_not_follow_and_an_exclusion_of_nobody() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    coordinator.phase = Phase::Agree;
    coordinator.decision = Some(v2::DecisionHash::new([1; 32]));
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["other_decision"]);
    assert!(coordinator.votes.is_empty());
    let (mut scene, mut coordinator) = until(Phase::Check);
    coordinator.phase = Phase::Agree;
    coordinator.excluded = vec![updater_keys(7).public()];
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["excluded"]);
    assert!(coordinator.votes.is_empty());
}

#[test]
fn nothing_is_added_up_without_the_votes_of_a_majority_of_every_group() {
    let change: [&dyn Fn(&mut Coordinator); 3] = [
        // A minority of one group.
        &|coordinator| {
            coordinator.votes.remove(&MemberId::new(1, 0));
            coordinator.votes.remove(&MemberId::new(1, 2));
        },
        // A vote for something else.
        &|coordinator| {
            let (member, other) = (MemberId::new(1, 0), v2::DecisionHash::new([1; 32]));
            let vote = v2::Vote::sign(&other_vote_keys(member), member, &other);
            coordinator.votes.insert(member, vote);
        },
        // A roster key is no vote key.
        &|coordinator| {
            let (member, decision) = (MemberId::new(1, 0), coordinator.decide().digest());
            let vote = v2::Vote::sign(&member_keys(member), member, &decision);
            coordinator.votes.insert(member, vote);
        },
    ];
    for change in change {
        let (mut scene, mut coordinator) = until(Phase::Agree);
        coordinator.others_vote();
        change(&mut coordinator);
        coordinator.phase = Phase::Sum2;
        scene.run_on(&mut coordinator);
        assert_eq!(scene.labels(), ["votes"]);
        assert!(coordinator.masks.is_empty());
        // The control.
        coordinator.others_vote();
        scene.run_on(&mut coordinator);
        assert!(coordinator.masks.contains_key(&scene.member));
    }
    // Votes of another round, as they are.
    let (mut scene, mut coordinator) = until(Phase::Agree);
    coordinator.others_vote();
    let old = Votes::new(coordinator.votes.values().copied().collect()).unwrap();
    coordinator.wait(Duration::from_secs(100));
    coordinator.open(terms(2));
    scene.run_on(&mut coordinator);
    advance(&mut scene, &mut coordinator, Phase::Agree);
    coordinator.phase = Phase::Sum2;
    for _ in 0..4 {
        coordinator.forged.push_back(("/v2/votes", Response::ok(old.to_bytes())));
    }
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["votes"]);
    assert!(coordinator.masks.is_empty());
}

#[test]
fn what_cannot_be_read_is_asked_for_again_with_a_growing_pause() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    let mut pauses = Vec::new();
    for _ in 0..5 {
        coordinator.forged.push_back(("/v2/round", Response::ok(vec![3, 1])));
        scene.run(&mut coordinator);
        let idle = scene.idle.clone().unwrap();
        assert_eq!(idle.why, Why::Coordinator);
        assert!(idle.failure.unwrap().to_string().contains("version"));
        let pause = idle.wake_at.unwrap().saturating_since(coordinator.now);
        pauses.push(pause);
        coordinator.wait(pause);
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[4], "{pauses:?}");
    scene.run_on(&mut coordinator);
    assert!(scene.machine.status().takes_part && scene.machine.status().failure.is_none());
}

#[test]
fn an_overloaded_coordinator_is_left_alone_as_long_as_it_says() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    let busy = Response::new(503, "").retry_after(Some(Duration::from_secs(30)));
    coordinator.forged.push_back(("/v2/round", busy));
    scene.run(&mut coordinator);
    let idle = scene.idle.unwrap();
    assert_eq!(idle.wake_at, Some(coordinator.now + Duration::from_secs(30)));
}

#[test]
fn what_is_rejected_for_good_is_told_and_not_sent_again_and_a_duplicate_is_there() {
    for (name, is_there) in [("wrong_round", false), ("duplicate_vote", true)] {
        let (mut scene, mut coordinator) = until(Phase::Check);
        coordinator.phase = Phase::Agree;
        coordinator.forged.push_back(("/v2/vote", rejected(name)));
        scene.look(&mut coordinator);
        let votes = |coordinator: &Coordinator| {
            coordinator.posted.iter().filter(|call| matches!(call, v2::Call::Vote(_))).count()
        };
        assert_eq!(votes(&coordinator), 1);
        assert_eq!(scene.has(|event| matches!(event, Event::Voted { .. })), is_there);
        assert_eq!(scene.has(|event| matches!(event, Event::Rejected { .. })), !is_there);
    }
}

#[test]
fn faults_are_told_and_the_same_is_sent_again() {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    scene.machine.handle_input(coordinator.now, Input::Tick).unwrap();
    let super::super::Output::Request { id, .. } = scene.machine.poll_output() else { panic!() };
    let fault = TransportFault::Unreachable("nobody is there".to_owned());
    scene.machine.handle_input(coordinator.now, Input::Fault { id, fault }).unwrap();
    // A second answer to the same request means nothing.
    let late = Input::Response { id, response: Response::ok("") };
    assert!(scene.machine.handle_input(coordinator.now, late).is_err());
    scene.run_on(&mut coordinator);
    assert!(scene.has(|event| matches!(event, Event::Trouble(_))));
    assert!(scene.machine.status().takes_part);
}

#[test]
fn a_member_that_comes_late_waits_for_the_next_round() {
    let (_, mut coordinator) = until(Phase::Update);
    let mut scene = Scene::new(MemberId::new(1, 1));
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["late"]);
    assert_eq!(scene.idle.unwrap().why, Why::Round);
}

#[test]
fn after_a_stop_nothing_more_happens() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    scene.machine.handle_input(coordinator.now, Input::Stop).unwrap();
    scene.run(&mut coordinator);
    assert_eq!(scene.idle.unwrap().why, Why::Stopped);
    assert!(scene.machine.handle_input(coordinator.now, Input::Tick).is_err());
}

/// Of a round that never ends the key goes on all the same: who seizes the member later opens nothing of it.
#[test]
fn a_round_that_does_not_end_for_a_week_is_over() {
    let (mut scene, mut coordinator) = until(Phase::Check);
    let stored = scene.stored.len();
    coordinator.wait(Duration::from_secs(7 * 24 * 3600 + 100));
    scene.run_on(&mut coordinator);
    assert!(scene.has(|event| matches!(event, Event::RoundOver { round: 1 })));
    assert_eq!(scene.stored.len(), stored + 1);
    assert!(!scene.machine.status().takes_part);
}

#[test]
fn refusals_say_what_to_do_and_have_names_of_their_own() {
    let key = updater_keys(0).public();
    let refusals = [
        Refusal::NotInRoster { key, roster: pin().roster },
        Refusal::RoundNotAbove { last: 2, offered: 1 },
        Refusal::RoundTooFarAhead { last: 2, offered: 1 << 40 },
        Refusal::WeakKey,
        Refusal::LeftOut,
        Refusal::Restarted,
        Refusal::OpenedBefore,
        Refusal::Late,
        Refusal::TooFew { least: 3, found: 2 },
        Refusal::Excluded(key),
    ];
    let labels: std::collections::BTreeSet<_> = refusals.iter().map(Refusal::label).collect();
    assert_eq!(labels.len(), refusals.len());
    for refusal in refusals {
        assert!(refusal.to_string().len() > 40, "{refusal}");
    }
    let _ = EncryptKeyPair::from_seed(&Seed::new([0; 32]));
}
