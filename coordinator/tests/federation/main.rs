//! Rounds of version 2 over HTTP, with the real binary: members and updaters do by hand what the protocol says.

mod audits;
mod cast;
mod everyday;
mod hostile;
mod kills;
mod server;
mod storage;
mod transports;
mod visible;

use std::{fs, path::Path};

use pet_core::{
    model::DataType,
    v2::{merkle::InclusionProof, Call, Certificate, Phase, Pin},
};
use tempfile::TempDir;

use self::{
    cast::{Cast, Fault, Round},
    server::{settings, Client, Server},
};

const LENGTH: usize = 200_000;

fn begin(updaters: u64, more: &str) -> (TempDir, Cast, Server) {
    let dir = tempfile::tempdir().unwrap();
    let cast = Cast::new(dir.path(), 3, 3, updaters);
    write_settings(
        dir.path(),
        &format!("pet.v2.update.count = {{ min = {updaters}, max = {updaters} }}\n{more}"),
    );
    let server = Server::start(dir.path());
    (dir, cast, server)
}

fn write_settings(dir: &Path, more: &str) {
    fs::write(dir.join("pet.toml"), settings(dir, LENGTH, more)).unwrap();
}

/// Plays a round to its end; `faults` are of the first updaters.
fn play(cast: &Cast, client: &Client, faults: &[Fault]) -> Round {
    cast.announce(client);
    let round = cast.round(client);
    for number in 0..cast.updaters.len() {
        let fault = faults.get(number).copied().unwrap_or(Fault::None);
        cast.send(client, &round, &cast.update(number, &round, LENGTH, fault));
    }
    cast.report(client, &round);
    let set = cast.set(client, &round);
    cast.vote(client, &round, &set);
    client.phase(Phase::Sum2);
    cast.send_masks(client, &round, &set);
    client.until("the model", |view| view.completed == Some(round.terms.round));
    round
}

/// The global model is the mean of these updaters', and its certificate holds.
fn check_model(cast: &Cast, client: &Client, round: u64, updaters: &[usize]) -> Certificate {
    let call = Call::Certificate { round: Some(round) };
    let certificate = Certificate::from_bytes(&client.done(&call)).unwrap();
    certificate.verify(&cast.roster, &Pin::new(cast.roster.hash(), 3)).unwrap();
    assert_eq!(
        (certificate.terms.round, certificate.decision.count),
        (round, updaters.len() as u64)
    );
    let body = client.done(&Call::Model { round: Some(round), data_type: DataType::F32 });
    // In whatever way it is asked for.
    for accept in ["*/*", "application/vnd.pet.rationals", "application/octet-stream"] {
        let target = format!("/v2/model?round={round}");
        assert!(client.get_with(&target, &[("accept", accept)]).body == body, "{accept}");
    }
    let model: Vec<f32> =
        body.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(model.len(), LENGTH);
    let all: Vec<_> = updaters.iter().map(|number| Cast::weights(*number, LENGTH)).collect();
    for (at, weight) in model.iter().enumerate() {
        let mean = all.iter().map(|weights| weights[at]).sum::<f32>() / all.len() as f32;
        assert!((weight - mean).abs() < 1e-4, "{at}: {weight} {mean}");
    }
    // Who is in it can prove it.
    for number in updaters {
        let updater = cast.updaters[*number].public();
        let proof =
            InclusionProof::from_bytes(&client.done(&Call::Proof { round, updater })).unwrap();
        assert_eq!(proof.count, updaters.len() as u64);
    }
    certificate
}

#[test]
fn a_round_ends_with_the_mean_and_a_certificate() {
    let (_dir, cast, server) = begin(4, "");
    let client = server.client();
    for round in 1..=2 {
        play(&cast, &client, &[]);
        let certificate = check_model(&cast, &client, round, &[0, 1, 2, 3]);
        assert_eq!(certificate.votes.list().len(), 9);
    }
    let status = client.status();
    assert_eq!(status["totals"]["completed"], 2);
    assert_eq!(status["v2"]["roster"], cast.roster.hash().to_string());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_updater_with_other_seeds_is_excluded_and_named() {
    let (_dir, cast, server) = begin(4, "");
    let client = server.client();
    play(&cast, &client, &[Fault::OtherSeed]);
    check_model(&cast, &client, 1, &[1, 2, 3]);
    let status = client.status();
    let bad = cast.updaters[0].public().to_string();
    // It is of the round before: the next one has begun.
    let notes = status["v2"]["notes"].as_array().unwrap();
    let note = notes.iter().find(|note| note["name"] == "updaters_excluded").unwrap();
    assert!(note["message"].as_str().unwrap().contains(&bad), "{note}");
    assert!(server.log().contains(&bad));
}
