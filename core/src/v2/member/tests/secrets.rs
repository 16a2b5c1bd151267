//! What a member keeps to itself.

use std::time::Duration;

use super::super::Member;
use super::fixture::*;
use crate::crypto::{EncryptKeyPair, Purpose, RootSeed, SigningKeyPair, SnapshotKey};
use crate::v2::{Budget, Context, DecisionHash, MemberId, Phase, Pin, RosterHash, MOST_AGE};

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

#[test]
fn no_state_has_the_boot_seed_a_vote_key_or_a_seed_of_an_updater() {
    let (scene, coordinator) = until(Phase::Sum2);
    let boot = RootSeed::new([2; 32]);
    let context = coordinator.context();
    let vote = boot.derive(Purpose::VoteKey, &[context.as_bytes(), &[0, 0]]);
    let vote_keys = SigningKeyPair::from_seed(&vote);
    let list = coordinator.list.as_ref().unwrap();
    assert_eq!(list.get(scene.member).unwrap().vote_key, vote_keys.public(), "it is the one");
    let mut states: Vec<_> = scene.stored.iter().map(|state| state.to_bytes()).collect();
    states.push(scene.machine.snapshot().to_bytes());
    assert!(states.len() >= 3);
    for state in states {
        assert!(!contains(&state, boot.as_bytes()));
        assert!(!contains(&state, vote.as_bytes()));
        assert!(!contains(&state, &vote_keys.secret().as_bytes()[..32]));
        for nth in 0..4 {
            assert!(!contains(&state, seed(nth, 0).as_bytes()));
        }
        // The control: its identity is there.
        assert!(contains(&state, &member_keys(scene.member).secret().as_bytes()[..32]));
    }
}

#[test]
fn the_root_goes_on_when_the_round_is_over_and_opens_no_earlier_box() {
    let (mut scene, mut coordinator) = until(Phase::Sum2);
    let (context, list) = (coordinator.context(), coordinator.list.clone().unwrap());
    let announced = list.get(scene.member).unwrap().encrypt_key;
    let key = |machine: &Member| {
        let seed = machine.root.derive(Purpose::MemberKey, &[context.as_bytes(), &[0, 0]]);
        EncryptKeyPair::from_seed(&seed).public()
    };
    assert_eq!(key(&scene.machine), announced, "the control");
    coordinator.phase = Phase::Idle;
    scene.run_on(&mut coordinator);
    assert_ne!(key(&scene.machine), announced);
    // And that is stored.
    let state = scene.stored.last().unwrap().to_bytes();
    let restored = Scene::restored(&state, 9, scene.member);
    assert_eq!(restored.machine.root, scene.machine.root);
}

/// Whatever the coordinator says: and it is told, as otherwise nobody would know why the member stays away.
#[test]
fn a_round_of_more_than_seven_days_is_over_and_that_is_told() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    let root = scene.machine.root.clone();
    coordinator.wait(MOST_AGE - Duration::from_secs(60 * 60));
    scene.run_on(&mut coordinator);
    assert_eq!((scene.machine.root.clone(), scene.labels()), (root.clone(), vec![]), "the control");
    coordinator.wait(Duration::from_secs(60 * 60));
    scene.run_on(&mut coordinator);
    assert_ne!(scene.machine.root, root);
    assert_eq!(scene.labels(), ["outlived"]);
    // Once.
    scene.run_on(&mut coordinator);
    assert_eq!(scene.labels(), ["outlived"]);
}

#[test]
fn a_sealed_state_opens_with_its_key_and_goes_on() {
    let (scene, _) = until(Phase::Announce);
    let key = SnapshotKey::new([5; 32]);
    let sealed = scene.machine.snapshot().seal(&key);
    let secret = member_keys(scene.member);
    assert!(!contains(&sealed, &secret.secret().as_bytes()[..32]));
    let boot = || RootSeed::new([3; 32]);
    let machine = Member::restore_sealed(&sealed, &key, boot(), settings()).unwrap();
    assert_eq!(machine.keys().public(), secret.public());
    assert_eq!(*machine.pin(), pin());
    let other = SnapshotKey::new([6; 32]);
    assert!(Member::restore_sealed(&sealed, &other, boot(), settings()).is_err());
    assert!(Member::restore(&sealed, boot(), settings()).is_err());
    assert!(Member::restore(&scene.machine.snapshot().to_bytes(), boot(), settings()).is_ok());
}

/// A version is for ever: these bytes were written by hand, from what it says of itself.
#[test]
fn a_state_of_version_1_is_read() {
    let state = include_bytes!("state-v1");
    let boot = || RootSeed::new([3; 32]);
    let machine = Member::restore(state, boot(), settings()).unwrap();
    assert_eq!(machine.keys(), &member_keys(MemberId::new(0, 0)));
    assert_eq!(machine.root, RootSeed::new([1; 32]));
    let pin = Pin::new(RosterHash::new([0xaa; 32]), 3);
    assert_eq!(*machine.pin(), pin.with_budget(Budget::new(4.0, 1e-5)));
    let promise = machine.promise.as_ref().unwrap();
    assert_eq!((promise.round, promise.at, promise.is_over), (7, 1_000_000_000_000, false));
    assert_eq!(promise.context, Context::new([7; 32]));
    assert_eq!(promise.vote, Some(DecisionHash::new([9; 32])));
    // What is written is the same, with the public half of the key, which is not believed.
    let written = machine.snapshot().to_bytes();
    assert_eq!((written.len(), &written[..46]), (state.len(), &state[..46]));
    assert_eq!(written[78..], state[78..]);
    let mut later = state.to_vec();
    later[4..6].copy_from_slice(&2u16.to_le_bytes());
    let refused = Member::restore(&later, boot(), settings()).unwrap_err().to_string();
    assert!(refused.contains("version 2") && refused.contains("newer"), "{refused}");
}

#[test]
fn nothing_secret_is_shown() {
    let (scene, _) = until(Phase::Sum2);
    let shown = format!("{:?} {:?}", scene.machine, scene.stored);
    let as_list = |bytes: &[u8]| format!("{:?}", &bytes[..8]).trim_matches(['[', ']']).to_owned();
    for secret in [
        &member_keys(MemberId::new(0, 0)).secret().as_bytes()[..32],
        scene.machine.root.as_bytes(),
        scene.machine.boot.as_bytes(),
        seed(1, 0).as_bytes(),
    ] {
        assert!(!shown.contains(&as_list(secret)));
    }
}
