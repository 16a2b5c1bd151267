//! What is refused, by name: who is to blame, and what to do. Each with its control.

use super::world::*;
use crate::crypto::{RootSeed, Signature};
use crate::mask::MaskConfig;
use crate::model::{Model, Scalar};
use crate::participant::{Event, Machine, RestoreError, Settings};
use crate::record::{replay, Recorded};
use crate::request::Response;
use crate::time::Timestamp;
use crate::v2::updater::Updater;
use crate::v2::*;

fn client(world: &World) -> Client {
    Client::new(1, world.pin()).trains(Model::F32(vec![0.5; LENGTH]))
}

/// That it refuses, once, that nothing is sent, and who is to blame; and that it goes on once that is put right.
fn refuses(
    world: &mut World,
    client: &mut Client,
    name: &str,
    blame: Blame,
    mend: impl FnOnce(&mut World),
) -> Refusal {
    client.run(world, 8);
    let refusals = client.refusals();
    assert_eq!(refusals.len(), 1, "told once: {refusals:?}");
    let refusal = refusals[0].clone();
    assert_eq!((refusal.name(), refusal.blame()), (name, blame), "{refusal}");
    assert!(world.sent.is_empty() && !client.is_sent());
    mend(world);
    client.now = client.now + std::time::Duration::from_secs(11);
    client.run(world, 8);
    assert!(client.is_sent(), "put right, and still: {:?}", client.refusals());
    refusal
}

fn lie(
    world: &mut World,
    path: &'static str,
    lie: impl FnMut(Response) -> Response + Send + 'static,
) {
    world.lie.insert(path, Box::new(lie));
}

#[test]
fn a_coordinator_without_version_2_gets_nothing_and_never_version_1() {
    let mut world = World::new();
    let mut client = client(&world);
    lie(&mut world, "/v2/round", |_| Response::new(404, ""));
    let refusal =
        refuses(&mut world, &mut client, "no_v2", Blame::Coordinator, |world| world.lie.clear());
    assert_eq!(refusal, Refusal::NoV2);
    assert!(refusal.to_string().contains("takes no part in rounds of version 1"), "{refusal}");
    assert!(world.calls.iter().all(|call| call.starts_with("/v2/")));
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    for path in ["/v2/round", "/v2/roster", "/v2/announcements"] {
        let mut world = World::new();
        let mut client = client(&world);
        lie(&mut world, path, |response| {
            let mut body = response.body.to_vec();
            body[0] = 3;
            Response::ok(body)
        });
        let mend = |world: &mut World| world.lie.clear();
        let refusal = refuses(&mut world, &mut client, "unknown_version", Blame::Coordinator, mend);
        assert_eq!(refusal, Refusal::UnknownVersion { found: 3, known: 2 });
    }
}

#[test]
fn another_roster_is_refused_in_the_terms_and_as_it_comes() {
    let other = {
        let mut world = World::new();
        world.members.swap(0, 1);
        let groups = world
            .roster
            .groups()
            .iter()
            .map(|group| Group::new(format!("{} again", group.name), group.members.clone()));
        Roster::new(groups.collect(), world.roster.admission().clone()).unwrap()
    };
    let mut world = World::new();
    let mut client1 = client(&world);
    let bytes = other.to_bytes();
    lie(&mut world, "/v2/roster", move |_| Response::ok(bytes.clone()));
    refuses(&mut world, &mut client1, "roster", Blame::Coordinator, |world| world.lie.clear());
    let mut world = World::new();
    let mut client2 = client(&world);
    let hash = world.terms.roster;
    world.terms.roster = other.hash();
    let mend = move |world: &mut World| world.terms.roster = hash;
    refuses(&mut world, &mut client2, "roster", Blame::Coordinator, mend);
}

#[test]
fn fewer_updates_than_are_pinned_are_refused() {
    let mut world = World::new();
    let mut client = client(&world);
    client.machine = Updater::new(
        keys(1),
        RootSeed::new([1; 32]),
        Pin::new(world.roster.hash(), 4),
        settings(1),
    );
    let mend = |world: &mut World| world.terms.n_min = 4;
    let refusal = refuses(&mut world, &mut client, "too_few_updates", Blame::Coordinator, mend);
    assert!(refusal.to_string().contains("pet.v2.n_min"), "{refusal}");
}

#[test]
fn a_mask_config_without_a_word_group_is_refused() {
    let mut world = World::new();
    let mut client = client(&world);
    let right = world.terms.parameters.mask_config;
    world.terms.parameters.mask_config = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into();
    let mend = move |world: &mut World| world.terms.parameters.mask_config = right;
    let refusal = refuses(&mut world, &mut client, "mask_config", Blame::Coordinator, mend);
    assert!(refusal.to_string().contains("Word32 or Word64"), "{refusal}");
}

#[test]
fn terms_from_the_future_and_from_long_ago_are_refused() {
    for (opened_at, refused) in [
        (START + 3600, false),
        (START + 3700, true),
        (START - 6 * 86_400, false),
        (START - 8 * 86_400, true),
    ] {
        let mut world = World::new();
        let mut client = client(&world);
        world.terms.opened_at = opened_at;
        if refused {
            let mend = |world: &mut World| world.terms.opened_at = START;
            refuses(&mut world, &mut client, "time", Blame::Coordinator, mend);
        } else {
            client.run(&mut world, 8);
            assert!(client.is_sent());
        }
    }
}

#[test]
fn round_numbers_rise_and_are_not_used_up_by_one_lie() {
    let mut world = World::new();
    let mut client = client(&world);
    world.set_round(u64::MAX);
    let mend = |world: &mut World| world.set_round(7);
    refuses(&mut world, &mut client, "round_too_far_ahead", Blame::Coordinator, mend);
    // It has made a statement in round 7.
    for (round, name) in
        [(6, "round_not_above"), (7 + (1 << 20) + 1, "round_too_far_ahead"), (7, "other_terms")]
    {
        client.events.clear();
        world.sent.clear();
        world.set_round(round);
        world.terms.opened_at += 1;
        client.now = client.now + std::time::Duration::from_secs(11);
        client.run(&mut world, 3);
        let refusals = client.refusals();
        assert_eq!(refusals.len(), 1, "{round}: {refusals:?}");
        assert_eq!((refusals[0].name(), refusals[0].blame()), (name, Blame::Coordinator));
        let text = refusals[0].to_string();
        assert!(text.contains('7') && text.contains(&round.to_string()), "{text}");
        assert!(world.sent.is_empty());
        // Also after a restart.
        client.restart();
        client.events.clear();
        client.run(&mut world, 3);
        assert_eq!(client.refusals().len(), 1);
    }
    client.events.clear();
    world.set_round(8);
    client.run(&mut world, 8);
    assert!(client.is_sent());
}

#[test]
fn credentials_that_are_missing_expired_or_another_ones_are_refused() {
    let at = |expires_at| Credential::issue(&authority(), &keys(1).public(), expires_at);
    let me = keys(1).public();
    let of_another = Credential::issue(&authority(), &keys(2).public(), START + 9);
    let of_a_stranger = Credential::issue(&keys(3), &me, START + 9);
    for (credential, name, blame, told) in [
        (None, "no_credential", Blame::Authority, "has no credential"),
        (Some(at(START - 1)), "credential_expired", Blame::Authority, "must be renewed"),
        (Some(of_another), "not_admitted", Blame::Updater(me), "made for another key or roster"),
        (Some(of_a_stranger), "not_admitted", Blame::Updater(me), "not signed"),
    ] {
        let mut world = World::new();
        let settings = Settings { credential, ..Settings::default() };
        let mut client =
            Client::with(1, world.pin(), settings).trains(Model::F32(vec![0.5; LENGTH]));
        client.run(&mut world, 8);
        let refusals = client.refusals();
        assert_eq!(refusals.len(), 1);
        assert_eq!((refusals[0].name(), refusals[0].blame()), (name, blame));
        assert!(refusals[0].to_string().contains(told), "{}", refusals[0]);
        assert!(world.sent.is_empty());
    }
    // The last second counts.
    let mut world = World::new();
    let settings = Settings::default().with_credential(at(START));
    let mut client = Client::with(1, world.pin(), settings).trains(Model::F32(vec![0.5; LENGTH]));
    client.run(&mut world, 8);
    assert!(client.is_sent());
}

#[test]
fn forged_announcements_are_refused() {
    let mut world = World::new();
    let mut client = client(&world);
    let mut list = world.announcements().list().to_vec();
    list[4].signature = Signature::new([7; 64]);
    let forged = Announcements::new(list).unwrap();
    let bytes = forged.to_bytes();
    lie(&mut world, "/v2/announcements", move |_| Response::ok(bytes.clone()));
    refuses(&mut world, &mut client, "announcements", Blame::Coordinator, |world| {
        world.lie.clear()
    });
}

/// The coordinator shows the members other parameters than the updater: their signatures are over another context.
#[test]
fn split_terms_are_refused() {
    let mut world = World::new();
    let mut client = client(&world);
    let mut others = world.terms.clone();
    others.parameters.seed = crate::crypto::RoundSeed::new([9; 32]);
    let bytes = world.announced_for(&others.context()).to_bytes();
    lie(&mut world, "/v2/announcements", move |_| Response::ok(bytes.clone()));
    let mend = |world: &mut World| world.lie.clear();
    let refusal = refuses(&mut world, &mut client, "announcements", Blame::Coordinator, mend);
    assert!(refusal.to_string().contains("from another round"), "{refusal}");
}

#[test]
fn a_group_without_a_majority_is_refused() {
    let mut world = World::new();
    let mut client = client(&world);
    world.away = [MemberId::new(1, 0), MemberId::new(1, 2)].into();
    // One of each group may be away.
    let mend = |world: &mut World| {
        world.away = [MemberId::new(0, 0), MemberId::new(1, 1), MemberId::new(2, 2)].into();
    };
    let refusal = refuses(&mut world, &mut client, "no_majority", Blame::Coordinator, mend);
    assert!(refusal.to_string().contains("group 1 has 1 of the 2"), "{refusal}");
}

#[test]
fn a_scalar_of_its_own_is_refused_where_there_is_noise() {
    let noise = NoiseTerms { multiplier_thousandths: 4000, clip: 1.0 };
    let mut world = World::with("Word32/F32/B0/M3", Some(noise));
    let settings = settings(1).with_scalar(Scalar::from_f64(0.5).unwrap());
    let mut client = Client::with(1, world.pin(), settings).trains(Model::F32(vec![0.5; LENGTH]));
    client.run(&mut world, 8);
    let refusals = client.refusals();
    assert_eq!(
        (refusals.len(), refusals[0].name(), refusals[0].blame()),
        (1, "scalar", Blame::Settings)
    );
}

/// A round that is said to be over and on at the same time: the updater would mask its model, and not the difference from the
/// global model, which it was not given.
#[test]
fn a_round_that_is_said_to_be_over_and_on_gets_no_update() {
    let noise = NoiseTerms { multiplier_thousandths: 8000, clip: 0.5 };
    let mut world = World::with("Word32/F32/B0/M3", Some(noise));
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    world.complete(&[]);
    world.open();
    world.phase = Phase::Announce;
    let client = &mut clients[0];
    client.run(&mut world, 6);
    assert!(client.machine.has_model(), "trained on the global model, and waiting");
    // The global model is not in what is saved.
    client.restart();
    world.phase = Phase::Update;
    client.events.clear();
    let over_and_on = |response: Response| {
        let view = RoundView::from_bytes(&response.body).unwrap();
        Response::ok(RoundView { completed: Some(2), ..view }.to_bytes())
    };
    world.lie.insert("/v2/round", Box::new(over_and_on));
    client.run(&mut world, 8);
    let is_masked = |event: &Event| matches!(event, Event::ModelMasked(_));
    assert!(!client.events.iter().any(is_masked), "{:?}", client.events);
    assert_eq!(client.machine.ledger().rounds(), 1);
    // Control: it is the lie that stops it.
    world.lie.clear();
    client.run(&mut world, 8);
    assert!(client.is_sent(), "{:?}", client.events);
    assert_eq!(client.machine.ledger().rounds(), 2);
}

#[test]
fn the_pin_makes_the_difference_and_states_are_refused_by_the_other_version() {
    let world = World::new();
    let root = || RootSeed::new([1; 32]);
    let (v1, v2) = (Settings::default(), Settings::default().with_pin(world.pin()));
    let first = Machine::from_seed(root(), v1.clone());
    let second = Machine::from_seed(root(), v2.clone());
    assert!(matches!((&first, &second), (Machine::V1(_), Machine::V2(_))));
    assert_eq!(first.keys().public(), second.keys().public());
    assert!(!first.needs_time_of_day() && second.needs_time_of_day());
    assert!(first.ledger().is_none() && second.ledger().is_some());
    let key = crate::crypto::SnapshotKey::new([5; 32]);
    for (machine, right, wrong, found, wanted) in
        [(first, v1.clone(), v2.clone(), 1, 2), (second, v2, v1, 2, 1)]
    {
        let (plain, sealed) = (machine.snapshot().to_bytes(), machine.snapshot().seal(&key));
        assert!(Machine::restore(&plain, right.clone()).is_ok());
        assert!(Machine::restore_sealed(&sealed, &key, right).is_ok());
        let other = RestoreError::OtherProtocol { found, wanted };
        assert!(other.to_string().contains("pin"), "{other}");
        assert_eq!(Machine::restore(&plain, wrong.clone()).err(), Some(other.clone()));
        assert_eq!(Machine::restore_sealed(&sealed, &key, wrong).err(), Some(other));
    }
}

#[test]
fn a_recorded_updater_says_the_same_again() {
    let mut world = World::new();
    let (sender, record) = std::sync::mpsc::channel();
    let mut machine: Recorded<Updater> =
        Updater::new(keys(1), RootSeed::new([1; 32]), world.pin(), settings(1)).into();
    machine.record(Box::new(move |bytes| sender.send(bytes.to_vec()).unwrap()));
    let mut now = Timestamp::from_millis(START * 1000);
    for _ in 0..8 {
        use crate::participant::{Input, Output};
        machine.handle_input(now, Input::Tick).unwrap();
        loop {
            let input = match machine.poll_output() {
                Output::Request { id, call } => {
                    Input::Response { id, response: world.answer(&call) }
                }
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Event(Event::ModelNeeded { .. }) => {
                    Input::SetModel(Model::F32(vec![0.5; LENGTH]))
                }
                Output::Event(_) => continue,
                Output::Persist { .. } => unreachable!("nobody stores here"),
                Output::Cancel(_) => unreachable!("nothing is held back here"),
                Output::HandOver { .. } => unreachable!("version 2 hands nothing over"),
                Output::Idle(idle) => {
                    now = idle.wake_at.unwrap();
                    break;
                }
            };
            machine.handle_input(now, input).unwrap();
        }
    }
    assert_eq!(world.sent.len(), 1);
    drop(machine);
    let bytes: Vec<u8> = record.try_iter().flatten().collect();
    let replayed = replay::<Updater>(&bytes, |_, _| {}).unwrap();
    assert!(replayed.inputs > 10);
}
