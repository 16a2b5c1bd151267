//! What polite clients and operators do every day: asking for news or parts, pausing, skipping, changing settings.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use pet_core::v2::{Call, Phase};

use super::{begin, play, server::Client, write_settings, Cast, Server};

#[test]
fn what_somebody_has_already_is_not_sent_again_and_news_come_at_once() {
    let (_dir, cast, server) = begin(3, "");
    let client = server.client();
    let terms = client.phase(Phase::Announce).terms.unwrap();
    let view = client.get("/v2/round");
    let tag = view.tag.unwrap();
    let same = |client: &Client, wait: &str| {
        client.get_with("/v2/round", &[("if-none-match", &tag), ("prefer", wait)])
    };
    assert_eq!(same(&client, "wait=0").status, 304);
    // Whoever waits hears of the next announcement before its patience ends.
    let waiting = {
        let (client, tag) = (client.clone(), tag.clone());
        thread::spawn(move || {
            let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=40")];
            (client.get_with("/v2/round", &headers), Instant::now())
        })
    };
    cast.announce_one(&client, &cast.members[0], &terms);
    let announced = Instant::now();
    let (answer, at) = waiting.join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(at.saturating_duration_since(announced) < Duration::from_secs(20));
    for member in &cast.members[1..] {
        cast.announce_one(&client, member, &terms);
    }
    // A whole round later: objects that never change, whole and in parts.
    play_rest(&cast, &client);
    let updater = cast.updaters[0].public();
    let target = Call::MaskedModel { round: 1, updater }.path_and_query();
    let whole = client.get(&target);
    let tag = whole.tag.unwrap();
    assert_eq!(client.get_with(&target, &[("if-none-match", &tag)]).status, 304);
    let part = client.get_with(&target, &[("range", "bytes=1000-1999")]);
    assert_eq!(part.status, 206);
    assert!(part.body == whole.body[1000..2000]);
}

/// The rest of a round in which all members have announced themselves.
fn play_rest(cast: &Cast, client: &Client) {
    let round = cast.round(client);
    for number in 0..cast.updaters.len() {
        let update = cast.update(number, &round, super::LENGTH, super::Fault::None);
        cast.send(client, &round, &update);
    }
    cast.report(client, &round);
    let set = cast.set(client, &round);
    cast.vote(client, &round, &set);
    client.phase(Phase::Sum2);
    cast.send_masks(client, &round, &set);
    client.until("the model", |view| view.completed == Some(round.terms.round));
}

#[test]
fn the_operator_skips_pauses_and_changes_settings() {
    let (dir, cast, server) = begin(3, "");
    assert_eq!(server.stop(), Some(0));
    let (socket, token) = (dir.path().join("admin.sock"), dir.path().join("token"));
    fs::write(&token, "a-token-of-the-test\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let more = format!("pet.v2.update.count = {{ min = 3, max = 3 }}\nadmin.socket = {socket:?}\nadmin.token_file = {token:?}");
    write_settings(dir.path(), &more);
    let server = Server::start(dir.path());
    let client = server.client();
    let admin = |action: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        command
            .arg("admin")
            .arg("--socket")
            .arg(&socket)
            .arg("--token-file")
            .arg(&token)
            .args(action);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let first = client.phase(Phase::Announce).terms.unwrap().round;
    let (code, _, error) = admin(&["skip"]);
    assert_eq!(code, Some(0), "{error}");
    let view = client.until("the next round", |view| {
        view.phase == Phase::Announce && view.terms.as_ref().unwrap().round == first + 1
    });
    assert!(view.failure.unwrap().contains("skipped by the operator"));
    assert_eq!(client.status()["totals"]["failed"]["skipped"], 1);
    // From the next round on.
    let (code, out, error) = admin(&["set", "pet.v2.n_min=3", "pet.v2.check.time.max=390"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("\"pet.v2.check.time.max\":390"), "{out}");
    let (code, _, error) = admin(&["set", "pet.v2.n_min=2"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("must be at least 3"), "{error}");
    let (code, _, error) = admin(&["set", "pet.v2.roster_file=other"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot be changed while the coordinator runs"), "{error}");
    // A pause lets the round finish, and begins no other.
    let (code, _, error) = admin(&["pause"]);
    assert_eq!(code, Some(0), "{error}");
    play(&cast, &client, &[]);
    let view = client.phase(Phase::Idle);
    assert_eq!(view.completed, Some(first + 1));
    assert_eq!(client.status()["phase"]["waits_for"], "resume");
    let (code, _, error) = admin(&["resume"]);
    assert_eq!(code, Some(0), "{error}");
    client.phase(Phase::Announce);
    assert_eq!(client.status()["phase"]["max_seconds"], 300.0);
}
