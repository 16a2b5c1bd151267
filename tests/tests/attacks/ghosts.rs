//! Attack 5: ghosts, copied boxes, statements of another round, expired credentials, one key twice. The coordinator shows them
//! to real members.

use pet_core::crypto::SigningKeyPair;
use pet_core::v2::member::Refusal;
use pet_core::v2::{
    commitment, stream_seed, Accusation, AdmissionError, Credential, Entry, GroupSeed,
    SealedGroupSeed, SetView,
};
use pet_testing::v2::by_hand::{list, seed, Committee, HandUpdate, Round, OPENED_AT};
use pet_testing::v2::stage::{Said, Shown};

use super::scene::{has_refused, Scene};

/// What the honest members have against these updates; all agree.
fn accused(scene: &mut Scene, updates: &[HandUpdate]) -> Vec<(usize, Accusation)> {
    let mut reports = (0..3).map(|member| scene.check_one(member, updates).accused);
    let first = reports.next().unwrap();
    assert!(reports.all(|report| report == first));
    let place = |key| updates.iter().position(|update| update.key() == key).unwrap();
    first.into_iter().map(|(key, accusation)| (place(key), accusation)).collect()
}

/// Updates of keys that nobody has admitted: with a credential of one's own making, with somebody else's, with none.
#[test]
fn ghosts_are_not_voted_for() {
    let mut scene = Scene::new(5);
    let mut updates = scene.all();
    let ghost = SigningKeyPair::from_seed(&seed(99, 1));
    updates[0].header.credential =
        Some(Credential::issue(&ghost, &updates[0].key(), OPENED_AT + 86_400));
    updates[2].header.credential = scene.updates[1].header.credential;
    updates[3].header.credential = None;
    let found = accused(&mut scene, &updates);
    let expected = [0, 2, 3].map(|place| (place, Accusation::Credential));
    assert_eq!(found, expected);
    // A set that has them gets no vote.
    let shown = scene.agree(0, &updates, &[]);
    assert_eq!(scene.players[0].show(&shown), []);
    assert!(scene.has_refused(0, |refusal| matches!(refusal, Refusal::BadUpdate { .. })));
}

/// The control: two of three updates are the coordinator's own, and its members do not look at credentials. What is left of the
/// "sum" of three is one hospital's model.
#[test]
fn among_ghosts_a_sum_is_a_model() {
    use pet_core::mask::{Aggregation, MaskObjectView};
    use pet_testing::v2::words;
    let scene = Scene::new(3);
    let round = scene.round();
    let all: Vec<&HandUpdate> = scene.updates.iter().collect();
    let mut sum = Aggregation::new(scene.terms.parameters.mask_config, scene.length());
    for update in &all {
        sum.aggregate(&MaskObjectView::parse_exact(&update.object).unwrap()).unwrap();
    }
    let mut left = words::of(sum.object());
    for group in 0..2 {
        left = words::sub(&left, &words::of(&round.mask(group, &all)));
    }
    for ghost in [1, 2] {
        left = words::sub(&left, &words::encode(&scene.models[ghost]));
    }
    assert_eq!(left, words::encode(&scene.models[0]));
}

/// A sealed box says not who has made it: updater 0 sends updater 1's boxes as its own, with its commitments, or with what it
/// can make itself.
#[test]
fn copied_boxes_are_accused() {
    let mut scene = Scene::new(4);
    let mut updates = scene.all();
    updates[0].header.boxes = updates[1].header.boxes.clone();
    updates[0].sign();
    assert_eq!(accused(&mut scene, &updates), [(0, Accusation::Commitment)]);
    let mut scene = Scene::new(4);
    updates[0].header.commitments = updates[1].header.commitments.clone();
    updates[0].sign();
    assert_eq!(accused(&mut scene, &updates), [(0, Accusation::Commitment)]);
}

/// The control: with commitments to the seed alone, and streams of it alone, the copy opens, matches, and has the very stream
/// of the hospital that it was copied from: the sum of two of them is one stream twice, and what a "difference" with a known
/// model gives is the hospital's.
#[test]
fn without_names_in_commitments_a_copy_passes() {
    let scene = Scene::new(4);
    let (context, announcements) = (scene.terms.context(), scene.list.digest());
    let (victim, thief) = (&scene.updates[1], &scene.updates[0]);
    let seed: &GroupSeed = &victim.seeds[0];
    // As it is: the names make them different.
    let ours = |update: &HandUpdate| commitment(&context, &announcements, &update.key(), 0, seed);
    assert_ne!(ours(victim), ours(thief));
    let streams =
        |update: &HandUpdate| stream_seed(&context, &announcements, &update.key(), 0, seed);
    assert_ne!(streams(victim).as_bytes(), streams(thief).as_bytes());
    // Without: a function of the seed alone cannot tell who has sent it.
    let nameless = |seed: &GroupSeed| pet_core::crypto::sha256(seed.as_bytes());
    let hand = &pet_testing::v2::by_hand::HandMember::new(&scene.committee, scene.friends[0].id, 0);
    let copied: SealedGroupSeed = victim.header.boxes[3];
    assert_eq!(nameless(&copied.open(&hand.encrypt).unwrap()), nameless(&victim.seeds[1]));
}

/// The same updater's statement of the round before, and one for another list of announcements.
#[test]
fn statements_of_another_round_are_accused() {
    let mut scene = Scene::new(4);
    let old_terms = scene.committee.terms(2, 8);
    let old_list = {
        let friends = scene.committee.hands();
        list(friends.iter().map(|hand| hand.announce(&old_terms.context())).collect())
    };
    let old = Round { committee: &scene.committee, terms: &old_terms, list: &old_list };
    let other_list = {
        let announced = scene.list.list();
        list(announced.iter().copied().filter(|own| own.member.index != 2).collect())
    };
    let other = Round { committee: &scene.committee, terms: &scene.terms, list: &other_list };
    let mut updates = scene.all();
    let replay = |to: &mut HandUpdate, from: HandUpdate| {
        // All that the old header says, with as many boxes as there are members now.
        let boxes = to.header.boxes.clone();
        to.header = from.header;
        to.header.boxes = boxes;
    };
    replay(&mut updates[0], old.update(0, &scene.models[0]));
    replay(&mut updates[2], other.update(2, &scene.models[2]));
    let expected = [(0, Accusation::Statement), (2, Accusation::Statement)];
    assert_eq!(accused(&mut scene, &updates), expected);
}

/// The control: who checks the signature against the context that the statement itself was made for takes it.
#[test]
fn a_replayed_statement_is_genuine() {
    let scene = Scene::new(4);
    let (old, _) = (scene.round().update(0, &scene.models[0]), ());
    let entry = Entry::of(&old.header, 0).unwrap();
    let digest = entry.statement_digest(&scene.terms.context(), &scene.list.digest());
    assert!(old.key().verify(&entry.statement, digest.as_bytes()));
    let other = scene.committee.terms(2, 8).context();
    let digest = entry.statement_digest(&other, &scene.list.digest());
    assert!(!old.key().verify(&entry.statement, digest.as_bytes()), "only the context tells");
}

#[test]
fn expired_credentials_are_accused() {
    let mut scene = Scene::new(4);
    let mut updates = scene.all();
    let authority = scene.committee.authority.clone();
    let issue = |update: &HandUpdate, until| Credential::issue(&authority, &update.key(), until);
    updates[1].header.credential = Some(issue(&updates[1], OPENED_AT - 1));
    // Good to the last second.
    updates[2].header.credential = Some(issue(&updates[2], OPENED_AT));
    assert_eq!(accused(&mut scene, &updates), [(1, Accusation::Credential)]);
    // By name, with the times.
    let key = updates[1].key();
    let credential = updates[1].header.credential;
    let error = scene.committee.roster.admission().check(&key, credential.as_ref(), OPENED_AT);
    let (expired_at, at) = (OPENED_AT - 1, OPENED_AT);
    assert_eq!(error, Err(AdmissionError::Expired { updater: key, expired_at, at }));
    // The control: when it was made, it was good.
    let before = scene.committee.roster.admission();
    assert_eq!(before.check(&key, credential.as_ref(), OPENED_AT - 1), Ok(()));
}

/// The coordinator's own updater comes twice in the set, once for each group that it has a friend in.
#[test]
fn one_key_twice_is_not_voted_for() {
    let mut scene = Scene::new(4);
    let mut updates = scene.all();
    let again = scene.round().update_with(1, &pet_core::model::Model::F32(vec![0.0; 8]), 1);
    updates.insert(2, again);
    let twice: Vec<&HandUpdate> = updates.iter().collect();
    assert!(scene.round().decision(&twice).is_err(), "not even a decision is made of it");
    let shown = Shown::check(&scene.round(), scene.players[0].id, &twice);
    // The list itself is refused: no report, no vote.
    assert_eq!(scene.players[0].show(&shown), []);
    let is_named =
        |refusal: &Refusal| matches!(refusal, Refusal::Malformed { .. } | Refusal::Entries(_));
    assert!(scene.has_refused(0, is_named));
}

/// The control: nothing is wrong with either of the two entries by itself.
#[test]
fn each_of_two_entries_of_one_key_is_good() {
    let mut scene = Scene::new(4);
    let again = scene.round().update_with(1, &pet_core::model::Model::F32(vec![0.0; 8]), 1);
    let mut updates = scene.all();
    updates[1] = again;
    assert_eq!(accused(&mut scene, &updates), []);
}

/// A set that excludes whom it likes is voted for, as long as there are enough: being left out is not hindered, but seen. A
/// set that names strangers is not.
#[test]
fn who_is_excluded_must_have_been_there() {
    let mut scene = Scene::new(4);
    scene.check(&[]);
    let all = scene.all();
    let mut shown = scene.agree(1, &all, &[]);
    let stranger = SigningKeyPair::from_seed(&seed(99, 2)).public();
    let decision = scene.decision(&all);
    shown.set = Some(SetView { decision, excluded: vec![stranger], reports: Vec::new() });
    let mut player = scene.players[1].fork();
    assert_eq!(player.show(&shown), []);
    assert!(has_refused(&player, |refusal| *refusal == Refusal::Excluded(stranger)));
    let shown = scene.agree(1, &all, &[all[0].key()]);
    assert!(matches!(scene.players[1].show(&shown)[..], [Said::Vote(_)]));
}

/// Committees differ in their keys: a credential of another authority is no good here.
#[test]
fn another_authoritys_credential_is_no_good() {
    let scene = Scene::new(3);
    let other = Committee::new(1, 1, 3);
    let key = scene.updates[0].key();
    let foreign = Credential::issue(&other.members[0][0], &key, OPENED_AT + 1);
    let error = scene.committee.roster.admission().check(&key, Some(&foreign), OPENED_AT);
    assert_eq!(error, Err(AdmissionError::Forged { updater: key }));
}
