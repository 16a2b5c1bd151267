//! What an updater promises, whatever moment it is restored from: one statement in a round, no seed for two models, and no
//! ephemeral key for two texts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::*;
use crate::crypto::RootSeed;
use crate::model::Model;
use crate::participant::{Event, Input, Output, Settings, Trouble, TroubleReason};
use crate::v2::updater::Updater;
use crate::v2::*;

/// What happens to an updater.
#[derive(Debug, Clone)]
enum Deed {
    /// It does so many things, one output each.
    Work(u8),
    /// A local model, of a few.
    Train(u8),
    /// Its state is saved.
    Save,
    /// It goes on from its latest state.
    Restart,
    /// It goes on from any state that was ever saved, with any of two credentials.
    SetBack(prop::sample::Index, bool),
    /// The coordinator loses a member, or finds it again: another list of announcements in the same round.
    OtherList(u8),
    /// The next round.
    Next,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..12u8).prop_map(Deed::Work),
        3 => (0..3u8).prop_map(Deed::Train),
        2 => Just(Deed::Save),
        2 => Just(Deed::Restart),
        2 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, other)| Deed::SetBack(at, other)),
        1 => (0..3u8).prop_map(Deed::OtherList),
        1 => Just(Deed::Next),
    ]
}

fn with_credential(other: bool) -> Settings {
    let credential =
        Credential::issue(&authority(), &keys(1).public(), START + 100_000 + u64::from(other));
    Settings::default().with_credential(credential)
}

/// Plays it, and gives all that was sent. `may_set_back` says whether states of old come back.
fn play(deeds: &[Deed], may_set_back: bool, noise: bool) -> World {
    play_with(deeds, may_set_back, noise, false).0
}

/// The same with a driver that stores what it is told to store, or does not; with the state at the end, of one that is killed
/// then.
fn play_with(deeds: &[Deed], may_set_back: bool, noise: bool, stores: bool) -> (World, Updater) {
    let noise = noise.then_some(NoiseTerms { multiplier_thousandths: 8000, clip: 0.5 });
    let mut world = World::with("Word32/F32/B0/M3", noise);
    world.is_strict = false;
    let pin = world.pin();
    let new = || Updater::new(keys(1), RootSeed::new([1; 32]), pin, with_credential(false));
    let mut client = Client::of(new());
    client.fetches = false;
    if stores {
        client.machine.store_promises();
    }
    let mut stored = client.machine.snapshot().to_bytes().to_vec();
    let mut saved = vec![client.machine.snapshot().to_bytes()];
    for deed in deeds {
        match deed {
            Deed::Work(steps) => {
                for _ in 0..*steps {
                    match client.machine.poll_output() {
                        Output::Request { id, call } => {
                            let response = world.answer(&call);
                            client.input(Input::Response { id, response });
                        }
                        Output::Job(job) => client.input(Input::JobDone(job.finish())),
                        Output::Event(_) => {}
                        Output::Cancel(_) => unreachable!("nothing is held back here"),
                        Output::HandOver { .. } => unreachable!("version 2 hands nothing over"),
                        Output::Persist { id, snapshot } => {
                            stored = snapshot.to_bytes().to_vec();
                            client.input(Input::Persisted(id));
                        }
                        Output::Idle(idle) => {
                            client.now = client.now.max(idle.wake_at.unwrap_or_default());
                            client.input(Input::Tick);
                        }
                    }
                }
            }
            Deed::Train(kind) => {
                client.input(Input::SetModel(Model::F32(vec![f32::from(*kind) / 64.0; LENGTH])));
            }
            Deed::Save => saved.push(client.machine.snapshot().to_bytes()),
            // Killed: all that there is is what was stored.
            Deed::Restart | Deed::SetBack(..) if stores => {
                client.machine = Updater::restore(&stored, pin, with_credential(false)).unwrap();
                client.machine.store_promises();
            }
            Deed::Restart => client.restart(),
            Deed::SetBack(at, other) if may_set_back => {
                let bytes = at.get(&saved);
                client.machine = Updater::restore(bytes, pin, with_credential(*other)).unwrap();
            }
            Deed::SetBack(..) => client.restart(),
            Deed::OtherList(index) => {
                let member = MemberId::new(0, *index);
                let was_away = world.away.contains(&member);
                world.away.clear();
                if !was_away {
                    world.away.insert(member);
                }
            }
            Deed::Next => {
                world.away.clear();
                world.open();
            }
        }
    }
    let stored = Updater::restore(&stored, pin, with_credential(false)).unwrap();
    (world, stored)
}

/// Boxes begin with their ephemeral key: with the recipient it decides key and nonce.
fn check_boxes(world: &World) {
    let mut texts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut see = |sealed: &[u8]| {
        let text = texts.entry(sealed[..32].to_vec()).or_insert_with(|| sealed.to_vec());
        assert_eq!(text, sealed, "an ephemeral key for two texts");
    };
    for sent in &world.sent {
        see(&sent.sealed);
        sent.header.boxes.iter().for_each(|sealed| see(sealed.as_bytes()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_statement_in_a_round_whenever_it_is_restarted(
        deeds in prop::collection::vec(deed(), 1..60), noise: bool,
    ) {
        let world = play(&deeds, false, noise);
        let mut statements: BTreeMap<Context, _> = BTreeMap::new();
        for sent in &world.sent {
            let first = statements.entry(sent.context).or_insert_with(|| sent.sealed.clone());
            prop_assert_eq!(&*first, &sent.sealed, "two statements in a round");
        }
        check_boxes(&world);
    }

    /// Killed at any moment, with nothing but what it has had stored.
    #[test]
    fn one_statement_in_a_round_and_every_charge_kept_whenever_it_is_killed(
        deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let (world, stored) = play_with(&deeds, false, true, true);
        let mut statements: BTreeMap<Context, _> = BTreeMap::new();
        for sent in &world.sent {
            let first = statements.entry(sent.context).or_insert_with(|| sent.sealed.clone());
            prop_assert_eq!(&*first, &sent.sealed, "two statements in a round");
        }
        prop_assert!(stored.ledger().rounds() >= statements.len() as u64);
    }

    /// Also if states of old come back: then there may be two statements, but no seed is used twice.
    #[test]
    fn no_seed_is_ever_used_for_two_models(
        deeds in prop::collection::vec(deed(), 1..60), noise: bool,
    ) {
        let world = play(&deeds, true, noise);
        let mut models: BTreeMap<Commitment, _> = BTreeMap::new();
        for sent in &world.sent {
            for commitment in &sent.header.commitments {
                let root = models.entry(*commitment).or_insert_with(|| sent.header.model_root());
                prop_assert_eq!(*root, sent.header.model_root(), "a seed for two models");
            }
        }
        check_boxes(&world);
    }
}

/// That the plays above get as far as to send something, and that states of old do lead to second statements.
#[test]
fn the_plays_are_not_idle() {
    use Deed::*;
    let sends = [Work(40), Train(1), Save, Work(60)];
    assert_eq!(play(&sends, true, false).sent.len(), 1);
    let mut world = World::new();
    let mut client = Client::new(1, world.pin());
    client.run(&mut world, 3);
    let early = client.machine.snapshot().to_bytes();
    for kind in [1.0f32, 2.0] {
        client.machine = Updater::restore(&early, world.pin(), settings(1)).unwrap();
        client.input(Input::SetModel(Model::F32(vec![kind / 64.0; LENGTH])));
        client.run(&mut world, 6);
    }
    assert_eq!(world.sent.len(), 2, "set back, it forgets: this is what seeds are made for");
    assert_ne!(world.sent[0].header.commitments, world.sent[1].header.commitments);
    // The same model once more is the same update, to the byte.
    client.machine = Updater::restore(&early, world.pin(), settings(1)).unwrap();
    client.input(Input::SetModel(Model::F32(vec![1.0 / 64.0; LENGTH])));
    client.run(&mut world, 6);
    assert_eq!(world.sent[2].sealed, world.sent[0].sealed);
}

/// Under another list of announcements there is no second statement either (it names the list).
#[test]
fn another_list_in_the_same_round_gets_no_second_statement() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    client.run(&mut world, 6);
    assert_eq!(world.sent.len(), 1);
    world.away = [MemberId::new(0, 1)].into();
    world.forget();
    client.input(Input::SetModel(Model::F32(vec![0.25; LENGTH])));
    client.run(&mut world, 6);
    client.restart();
    client.run(&mut world, 6);
    assert_eq!(world.sent.len(), 1);
    // Control: in the next round it goes on.
    world.open();
    client.run(&mut world, 6);
    assert_eq!(world.sent.len(), 2);
}

/// Nothing leaves before it is stored, a store that fails is told of, and what is stored is small.
#[test]
fn an_update_waits_until_its_promise_is_stored() {
    let mut world = World::new();
    let mut client = Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]));
    client.machine.store_promises();
    client.disk_is_full = true;
    client.run(&mut world, 8);
    assert!(world.sent.is_empty());
    assert!(client.events.iter().any(|event| matches!(
        event,
        Event::Trouble(Trouble { call: "state", reason: TroubleReason::NotStored(_) })
    )));
    client.disk_is_full = false;
    client.run(&mut world, 8);
    assert_eq!(world.sent.len(), 1);
    let stored = client.stored.take().unwrap();
    // Killed now: the promise is kept, and the round is sat out.
    client.machine = Updater::restore(&stored, world.pin(), settings(1)).unwrap();
    client.machine.store_promises();
    client.input(Input::SetModel(Model::F32(vec![0.25; LENGTH])));
    client.run(&mut world, 8);
    assert_eq!(world.sent.len(), 1);
    // Control: in the next round it goes on.
    world.open();
    client.run(&mut world, 8);
    assert_eq!(world.sent.len(), 2);
}

/// Control: without a store, who is killed has forgotten.
#[test]
fn without_a_store_a_killed_updater_forgets_what_it_has_spent() {
    use Deed::*;
    let deeds = [Work(40), Train(1), Work(60)];
    let (world, stored) = play_with(&deeds, false, true, false);
    assert_eq!((world.sent.len(), stored.ledger().rounds()), (1, 0));
    let (world, stored) = play_with(&deeds, false, true, true);
    assert_eq!((world.sent.len(), stored.ledger().rounds()), (1, 1));
}
