//! The coordinator is killed in every phase, and goes on in the middle of the round.

use std::path::Path;

use pet_core::v2::{Call, Phase, RoundView};

use super::{
    begin, check_model,
    server::{Client, Server},
    Cast, Fault, LENGTH,
};

/// Kills the coordinator and starts it again; nothing that it has acknowledged is lost, so the round's state is as before.
fn kill(server: Server, dir: &Path) -> (Server, Client) {
    let before = server.client().view();
    server.kill();
    let server = Server::start(dir);
    let client = server.client();
    let after = client.view();
    let shape = |view: &RoundView| RoundView { wanted: Vec::new(), failure: None, ..view.clone() };
    assert_eq!(shape(&after), shape(&before));
    (server, client)
}

fn whole_round(more: &str) {
    let (dir, cast, server) = begin(4, more);
    let dir = dir.path();
    let mut client = server.client();
    let mut server = server;
    macro_rules! kill {
        () => {
            (server, client) = kill(server, dir)
        };
    }
    // Announce: half of them before, half of them after.
    let terms = client.phase(Phase::Announce).terms.unwrap();
    for (at, member) in cast.members.iter().enumerate() {
        if at == 4 {
            kill!();
            assert_eq!(client.view().announced, 4);
        }
        cast.announce_one(&client, member, &terms);
    }
    let round = cast.round(&client);
    assert_eq!(round.terms, terms);
    // Update: in the middle of an upload.
    let updates: Vec<_> =
        (0..4).map(|number| cast.update(number, &round, LENGTH, Fault::None)).collect();
    cast.send(&client, &round, &updates[0]);
    let [first, second] = &updates[1].chunks[..] else {
        panic!("{} chunks", updates[1].chunks.len())
    };
    client.done(&Call::Update(round.post(updates[1].sealed.clone())));
    client.done(&Cast::chunk(&round, &updates[1], 0, first));
    kill!();
    assert_eq!(client.view().entries, 1);
    client.done(&Cast::chunk(&round, &updates[1], 1, second));
    assert_eq!(client.view().entries, 2);
    // Who does not know what became of it sends it again.
    cast.send(&client, &round, &updates[0]);
    for update in &updates[2..] {
        cast.send(&client, &round, update);
    }
    // Check.
    client.phase(Phase::Check);
    for (at, member) in cast.members.iter().enumerate() {
        if at == 4 {
            kill!();
            assert_eq!(client.view().reported.len(), 4);
        }
        let found = member.check(&client, &cast, &round);
        assert!(found.iter().all(|(_, found)| found.is_ok()));
        client.done(&Call::Report(round.post(member.report(&round, Vec::new()).to_bytes())));
    }
    // Agree.
    let set = cast.set(&client, &round);
    for (at, member) in cast.members.iter().enumerate() {
        if at == 4 {
            kill!();
            assert_eq!(client.view().voted.len(), 4);
        }
        client.done(&Call::Vote(round.post(member.vote(&terms, &set.decision).to_bytes())));
    }
    // Sum2: between headers, and in the middle of a mask.
    client.phase(Phase::Sum2);
    let masks: Vec<_> =
        cast.members.iter().map(|member| member.mask(&client, &cast, &round, &set)).collect();
    for (at, (member, mask)) in cast.members.iter().zip(&masks).enumerate() {
        if at == 4 {
            kill!();
            assert_eq!(client.view().masked.len(), 4);
        }
        let header = member.mask_header(&terms, &set.decision, mask);
        client.done(&Call::Mask(round.post(header.to_bytes())));
    }
    let wanted = client.until("a wanted mask", |view| !view.wanted.is_empty()).wanted[0];
    let mask =
        |member| masks[cast.members.iter().position(|other| other.id == member).unwrap()].clone();
    let first = mask(wanted)[..pet_core::v2::TREE_LEAF].to_vec();
    client.done(&Call::MaskChunk { member: wanted, index: 0, post: round.post(first) });
    kill!();
    cast.send_wanted(&client, &round, mask);
    // Unmask: whether it was killed in it or after it shows in nothing.
    server.kill();
    server = Server::start(dir);
    client = server.client();
    client.until("the model", |view| view.completed == Some(1));
    check_model(&cast, &client, 1, &[0, 1, 2, 3]);
    // And it is still there after another one, in the next round.
    client.phase(Phase::Announce);
    kill!();
    check_model(&cast, &client, 1, &[0, 1, 2, 3]);
    assert_eq!(client.view().terms.unwrap().round, 2);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_round_goes_on_wherever_the_coordinator_is_killed() {
    whole_round("");
}

#[test]
fn so_it_does_where_the_store_is_sealed() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret of the test, long enough\n").unwrap();
    whole_round(&format!("storage.secret_file = {:?}\n", secret.path()));
}
