//! Models and certificates that lie. Each is refused, nothing is handed out or trained on, and once it is put right it goes on.

use super::world::*;
use crate::participant::{Event, FetchError};
use crate::request::Response;
use crate::v2::merkle::InclusionProof;
use crate::v2::*;

/// A federation at the beginning of its second round.
fn second_round() -> (World, Vec<Client>) {
    let mut world = World::new();
    let mut clients = clients(&world);
    run_all(&mut clients, &mut world, 6);
    world.complete(&[]);
    world.open();
    for client in &mut clients {
        client.events.clear();
    }
    (world, clients)
}

fn refused(
    path: &'static str,
    name: &str,
    lie: impl FnMut(Response) -> Response + Send + 'static,
) -> Refusal {
    let (mut world, mut clients) = second_round();
    world.lie.insert(path, Box::new(lie));
    let client = &mut clients[0];
    client.run(&mut world, 8);
    let refusals = client.refusals();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].name(), name);
    let was_given = |event: &Event| {
        matches!(event, Event::GlobalModel(_) | Event::ModelNeeded { .. } | Event::Sent(_))
    };
    assert!(!client.events.iter().any(was_given), "{:?}", client.events);
    assert!(!world.uploads.contains_key(&client.key()));
    // Control: it is the lie that stops it.
    world.lie.clear();
    client.now = client.now + std::time::Duration::from_secs(11);
    client.run(&mut world, 8);
    assert!(client.is_sent(), "{:?}", client.events);
    refusals[0].clone()
}

fn changed(change: impl Fn(&mut Certificate) + Send + 'static) -> impl FnMut(Response) -> Response {
    move |response| {
        let mut certificate = Certificate::from_bytes(&response.body).unwrap();
        change(&mut certificate);
        Response::ok(certificate.to_bytes())
    }
}

#[test]
fn a_certificate_without_a_majority_is_refused() {
    let without = |group: u8| {
        changed(move |certificate| {
            let votes = certificate.votes.list().iter();
            let mut left =
                votes.filter(|vote| vote.member.group != group || vote.member.index == 0);
            certificate.votes = Votes::new(left.by_ref().copied().collect()).unwrap();
        })
    };
    for group in 0..3 {
        let refusal = refused("/v2/certificate", "certificate", without(group));
        assert_eq!(refusal.blame(), Blame::Coordinator);
    }
}

#[test]
fn a_certificate_for_other_updates_than_were_voted_for_is_refused() {
    refused(
        "/v2/certificate",
        "certificate",
        changed(|certificate| certificate.decision.count += 1),
    );
}

/// The round that this updater took part in, and the one that the certificate is of, have the same number.
#[test]
fn a_certificate_of_other_terms_is_refused() {
    let (mut world, mut clients) = second_round();
    let mut other = World::new();
    other.terms.parameters.seed = crate::crypto::RoundSeed::new([77; 32]);
    let mut others = super::world::clients(&other);
    run_all(&mut others, &mut other, 6);
    other.complete(&[]);
    let bytes = other.completed[&1].certificate.to_bytes();
    world.lie.insert("/v2/certificate", Box::new(move |_| Response::ok(bytes.clone())));
    let client = &mut clients[0];
    client.run(&mut world, 8);
    assert_eq!(client.refusals(), [Refusal::OtherCertificate { round: 1 }]);
    assert!(!world.uploads.contains_key(&client.key()));
}

#[test]
fn a_wrong_proof_is_refused_and_a_missing_one_is_told_as_being_left_out() {
    let refusal = refused("/v2/proof", "proof", |response| {
        let mut proof = InclusionProof::from_bytes(&response.body).unwrap();
        proof.index = (proof.index + 1) % proof.count;
        Response::ok(proof.to_bytes())
    });
    assert_eq!(refusal, Refusal::Proof { round: 1 });
    let (mut world, mut clients) = second_round();
    world.lie.insert("/v2/proof", Box::new(|_| Response::new(404, "")));
    clients[0].run(&mut world, 8);
    assert!(clients[0].events.contains(&Event::Certified {
        round: 1,
        count: 5,
        included: Some(false)
    }));
}

/// Models that were split: this updater is given another than the terms say.
#[test]
fn another_global_model_than_the_terms_name_is_refused() {
    let refusal = refused("/v2/model", "other_model", |response| {
        let mut body = response.body.to_vec();
        body[0] ^= 1;
        Response::ok(body).model_form(response.model_form)
    });
    assert!(matches!(refusal, Refusal::OtherModel { round: 2, .. }));
    assert_eq!(refusal.blame(), Blame::Coordinator);
}

/// The other way round: the terms are changed for this updater, to go with another model. Then the members' signatures are over
/// another context.
#[test]
fn terms_that_go_with_a_split_model_have_no_announcements() {
    let (mut world, mut clients) = second_round();
    let client = &mut clients[0];
    let honest = world.announcements().to_bytes();
    let other = {
        let crate::model::Model::F32(mut weights) = world.completed[&1].model.clone() else {
            panic!()
        };
        weights[0] += 0.5;
        crate::model::Model::F32(weights)
    };
    world.completed.get_mut(&1).unwrap().model = other.clone();
    world.terms.model = Some(model_hash(&other));
    world.lie.insert("/v2/announcements", Box::new(move |_| Response::ok(honest.clone())));
    client.run(&mut world, 8);
    let refusals = client.refusals();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].name(), "announcements");
    assert!(world.sent.iter().all(|sent| sent.context != world.terms.context()));
}

#[test]
fn a_model_without_a_certificate_is_refused() {
    let (mut world, _) = second_round();
    // One that has not taken part in the first round.
    let mut late = Client::new(9, world.pin()).trains(crate::model::Model::F32(vec![0.5; LENGTH]));
    world.lie.insert("/v2/certificate", Box::new(|_| Response::new(404, "")));
    late.run(&mut world, 8);
    assert_eq!(late.refusals(), [Refusal::NoCertificate { round: 2 }]);
    // Who has wished for the model is told why there is none.
    let failed = |event: &Event| {
        matches!(
            event,
            Event::GlobalModelFailed(FetchError::Refused(Refusal::NoCertificate { .. }))
        )
    };
    assert!(late.events.iter().any(failed));
    world.lie.clear();
    late.now = late.now + std::time::Duration::from_secs(11);
    late.run(&mut world, 8);
    assert!(late.is_sent());
}

/// Both the federation and its participants ask for more from now on: the model at hand was made under the old terms, and
/// of enough updates.
#[test]
fn after_n_min_was_raised_the_model_of_enough_updates_is_gone_on_from() {
    for (n_min, is_enough) in [(5, true), (6, false)] {
        let (mut world, mut clients) = second_round();
        world.terms.n_min = n_min;
        let client = &mut clients[0];
        let pin = Pin::new(world.roster.hash(), n_min);
        client.machine = repinned(client, pin);
        client.run(&mut world, 8);
        assert_eq!(client.is_sent(), is_enough, "{:?}", client.events);
        let names: Vec<_> = client.refusals().iter().map(Refusal::name).collect();
        assert_eq!(names, if is_enough { &[][..] } else { &["certificate"] });
    }
}

fn repinned(client: &Client, pin: Pin) -> crate::v2::updater::Updater {
    let bytes = client.machine.snapshot().to_bytes();
    crate::v2::updater::Updater::restore(&bytes, pin, client.machine.settings().clone()).unwrap()
}

/// The roster is another one, and pinned: rounds start from nothing, and the certificate of the old committee is not in the
/// way.
#[test]
fn after_the_roster_was_changed_updaters_take_part_from_nothing() {
    for starts_from_nothing in [true, false] {
        let (mut world, mut clients) = second_round();
        let renamed =
            |group: &Group| Group::new(format!("new {}", group.name), group.members.clone());
        let groups = world.roster.groups().iter().map(renamed).collect();
        world.roster = Roster::new(groups, world.roster.admission().clone()).unwrap();
        world.terms.roster = world.roster.hash();
        if starts_from_nothing {
            world.terms.model = None;
        }
        let client = &mut clients[0];
        client.machine = repinned(client, world.pin());
        client.run(&mut world, 8);
        assert_eq!(client.is_sent(), starts_from_nothing, "{:?}", client.events);
        let names: Vec<_> = client.refusals().iter().map(Refusal::name).collect();
        assert_eq!(names, if starts_from_nothing { &[][..] } else { &["certificate"] });
    }
}

/// The next round does not need the certificate that is refused.
#[test]
fn a_certificate_that_is_refused_does_not_hold_up_the_rounds_after_it() {
    let (mut world, mut clients) = second_round();
    world.terms.model = None;
    let few = changed(|certificate| {
        certificate.votes = Votes::new(certificate.votes.list()[..1].to_vec()).unwrap();
    });
    world.lie.insert("/v2/certificate", Box::new(few));
    let client = &mut clients[0];
    client.run(&mut world, 8);
    let names: Vec<_> = client.refusals().iter().map(Refusal::name).collect();
    assert_eq!(names, ["certificate"]);
    let told = client.take(|event| match event {
        Event::NotCertified { round, reason } => Some((*round, reason.clone())),
        _ => None,
    });
    assert_eq!(told, [(1, Some(client.refusals()[0].to_string()))]);
    assert!(client.is_sent(), "{:?}", client.events);
}

#[test]
fn damaged_bodies_are_trouble_and_are_asked_for_again() {
    for path in ["/v2/certificate", "/v2/proof", "/v2/announcements", "/v2/round", "/v2/model"] {
        let (mut world, mut clients) = second_round();
        let cut = |response: Response| Response::ok(response.body.slice(..response.body.len() / 2));
        world.lie.insert(path, Box::new(cut));
        let client = &mut clients[0];
        client.run(&mut world, 4);
        assert!(client.events.iter().any(|event| matches!(event, Event::Trouble(_))), "{path}");
        assert_eq!(client.refusals(), [], "{path}");
        world.lie.clear();
        client.run(&mut world, 12);
        assert!(client.is_sent(), "{path}");
    }
}
