//! Hostile requests against each call of version 2: each is refused by name, and honest rounds go on.

use pet_core::{
    crypto::{EncryptKeyPair, PublicSigningKey, SigningKeyPair},
    v2::{Call, Credential, MemberId, Phase, Post, Report, RoundTag, Vote},
};

use super::{
    begin,
    cast::seed,
    check_model,
    server::{Answer, Client},
    Cast, Fault, LENGTH,
};

const POSTS: [&str; 7] = [
    "/v2/announcement",
    "/v2/update",
    "/v2/update/chunk",
    "/v2/report",
    "/v2/vote",
    "/v2/mask",
    "/v2/mask/chunk",
];

const GETS: [&str; 12] = [
    "/v2/round",
    "/v2/roster",
    "/v2/announcements",
    "/v2/entries",
    "/v2/set",
    "/v2/votes",
    "/v2/model",
    "/v2/certificate",
    "/v2/proof",
    "/v2/audit/statements",
    "/v2/audit/masked",
    "/v2/audit/mask",
];

/// A query with all that a call may need.
fn query() -> String {
    format!("?pk={}&index=0&group=0&member=0&from=0", "ab".repeat(32))
}

fn refused(answer: &Answer, names: &[&str], what: &str) {
    let name = answer.problem.as_deref().unwrap_or_else(|| panic!("{what}: {answer:?}"));
    assert!(names.contains(&name), "{what}: {name} is not one of {names:?}");
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
}

/// Whatever the phase: rubbish, what is too long, of another version or another round, with a broken query.
fn rubbish(client: &Client) {
    let round = client.view().terms.unwrap().context().tag();
    for path in POSTS {
        let query = query();
        for body in [&b""[..], &[2], &[0; 100], &[2; 4000]] {
            let answer = client.post(&format!("{path}{query}"), body);
            let names = [
                "malformed",
                "unknown_version",
                "not_authentic",
                "wrong_phase",
                "unknown_upload",
                "unknown_mask",
                "other_chunk",
                "unknown_member",
                "bad_signature",
                "not_needed",
                "not_announced",
                "too_late",
                "no_such_chunk",
                "other_shape",
                "too_long",
            ];
            refused(&answer, &names, &format!("{path} with {} bytes", body.len()));
        }
        // Of a later version of the protocol: by name, where it is read.
        let answer = client.post(&format!("{path}{query}"), &[3; 200]);
        assert!(answer.problem.is_some(), "{path}: {answer:?}");
        // Of another round.
        let other = RoundTag::new([7; 8]);
        assert_ne!(other, round);
        let answer = client.post(&format!("{path}{query}&round={other}"), &[2; 50]);
        refused(&answer, &["other_round"], path);
        for broken in ["round=xyz", "round=", &format!("round={round}00")] {
            let answer = client.post(&format!("{path}{query}&{broken}"), &[2; 50]);
            assert_eq!(answer.status, 400, "{path}?{broken}: {answer:?}");
        }
        // Far too long: nothing of it is kept.
        let answer = client.post(&format!("{path}{query}"), &vec![2; 5 << 18]);
        assert_eq!((answer.status, answer.problem.as_deref()), (413, Some("too_long")), "{path}");
        assert_eq!(client.get(&format!("{path}{query}")).status, 405, "{path}");
    }
    for path in
        ["/v2/entries", "/v2/proof", "/v2/audit/masked", "/v2/audit/mask", "/v2/audit/statements"]
    {
        for query in [
            "",
            "?group=-1&member=0&round=x",
            "?pk=00&round=1",
            "?group=999999999999&member=1&round=1",
        ] {
            let answer = client.get(&format!("{path}{query}"));
            assert!(answer.status == 400 || answer.status == 404, "{path}{query}: {answer:?}");
            assert!(answer.problem.is_some(), "{path}{query}: {answer:?}");
        }
    }
    for path in GETS {
        let answer = client.post(path, b"x");
        assert_eq!(answer.status, 405, "{path}");
        let answer = client.get(&format!(
            "{path}?round=18446744073709551615&pk={}&group=255&member=255",
            "ff".repeat(32)
        ));
        assert!([200, 400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(client.get("/v2/other").status, 404);
}

#[test]
fn rubbish_is_refused_by_name_in_every_phase_and_the_round_goes_on() {
    let (_dir, cast, server) = begin(4, "");
    let client = server.client();
    client.phase(Phase::Announce);
    rubbish(&client);
    let terms = cast.announce(&client);
    // An announcement that is there: again it is the same, another is a conflict, a stranger's is none.
    let round = cast.round(&client);
    rubbish(&client);
    let late = Post::new(terms.context().tag(), cast.members[0].announcement(&terms).to_bytes());
    assert_eq!(client.call(&Call::Announce(late)).status, 200, "it was accepted before");
    for number in 0..4 {
        let update = cast.update(number, &round, LENGTH, Fault::None);
        if number == 1 {
            hostile_updates(&cast, &client, &round);
        }
        cast.send(&client, &round, &update);
        // Again and again: accepted before, nothing new.
        if number == 0 {
            for _ in 0..20 {
                cast.send(&client, &round, &update);
            }
        }
    }
    client.phase(Phase::Check);
    rubbish(&client);
    // A report of somebody else, and one that accuses strangers.
    let member = &cast.members[0];
    let (context, list) = (round.terms.context(), round.announcements.digest());
    let stranger = SigningKeyPair::from_seed(&seed(&[77]));
    let forged = Report::sign(&stranger, &context, &list, member.id, Vec::new());
    let answer = client.call(&Call::Report(round.post(forged.to_bytes())));
    refused(&answer, &["bad_signature"], "a forged report");
    cast.report(&client, &round);
    let set = cast.set(&client, &round);
    rubbish(&client);
    let forged = Vote::sign(&stranger, member.id, &set.decision.digest());
    refused(
        &client.call(&Call::Vote(round.post(forged.to_bytes()))),
        &["bad_signature"],
        "a forged vote",
    );
    let nobody = Vote::sign(&stranger, MemberId::new(9, 9), &set.decision.digest());
    let answer = client.call(&Call::Vote(round.post(nobody.to_bytes())));
    refused(&answer, &["unknown_member", "not_announced"], "a vote of nobody");
    cast.vote(&client, &round, &set);
    client.phase(Phase::Sum2);
    rubbish(&client);
    let mask = member.mask(&client, &cast, &round, &set);
    let other = &cast.members[1];
    let mut header = other.mask_header(&round.terms, &set.decision, &mask);
    header.member = member.id;
    refused(
        &client.call(&Call::Mask(round.post(header.to_bytes()))),
        &["bad_signature"],
        "a stolen mask header",
    );
    cast.send_masks(&client, &round, &set);
    client.until("the model", |view| view.completed == Some(1));
    check_model(&cast, &client, 1, &[0, 1, 2, 3]);
    let metrics = String::from_utf8(client.get("/metrics").body).unwrap();
    assert!(metrics.contains("pet_panics_total 0"), "{metrics}");
    assert!(!server.log().contains("panicked"));
}

/// Updates that no member would take, each with the reason.
fn hostile_updates(cast: &Cast, client: &Client, round: &super::Round) {
    let good = cast.update(1, round, LENGTH, Fault::None);
    let seal = |header: &pet_core::v2::UpdateHeader, number: u64| {
        let ephemeral = EncryptKeyPair::from_seed(&seed(&[66, number]));
        round.terms.parameters.pk.seal(&header.to_bytes(), &ephemeral).unwrap()
    };
    let send = |sealed: Vec<u8>| client.call(&Call::Update(round.post(sealed)));
    let (context, list) = (round.terms.context(), round.announcements.digest());
    let keys = &cast.updaters[1];
    let mut damaged = good.sealed.clone();
    damaged[100] ^= 1;
    refused(&send(damaged), &["not_authentic"], "a damaged header");
    let mut unsigned = good.header.clone();
    unsigned.commitments.swap(0, 1);
    refused(&send(seal(&unsigned, 1)), &["bad_signature"], "another statement than was signed");
    let mut short = good.header.clone();
    short.object_len -= 1;
    short.sign(keys, &context, &list);
    let answer = send(seal(&short, 2));
    assert!(answer.status >= 400 && answer.problem.is_some(), "{answer:?}");
    for (credential, what) in [
        (None, "no credential"),
        (Some(Credential::issue(&cast.authority, &keys.public(), 1)), "an expired credential"),
        (
            Some(Credential::issue(
                &SigningKeyPair::from_seed(&seed(&[55])),
                &keys.public(),
                u64::MAX,
            )),
            "a forged credential",
        ),
        (
            Some(Credential::issue(&cast.authority, &PublicSigningKey::new([1; 32]), u64::MAX)),
            "somebody else's credential",
        ),
    ] {
        let mut header = good.header.clone();
        header.credential = credential;
        let answer = send(seal(&header, 3));
        assert_eq!(answer.status, 403, "{what}: {answer:?}");
        assert!(answer.problem.is_some(), "{what}");
    }
    // Chunks before their header, damaged ones, and ones that do not exist.
    let chunk = |index, bytes: &[u8]| client.call(&Cast::chunk(round, &good, index, bytes));
    refused(&chunk(0, &good.chunks[0]), &["unknown_upload"], "a chunk before its header");
    assert_eq!(send(good.sealed.clone()).status, 200);
    let mut damaged = good.chunks[0].clone();
    damaged[7] ^= 1;
    refused(&chunk(0, &damaged), &["other_chunk"], "a damaged chunk");
    refused(
        &chunk(1, &good.chunks[0]),
        &["other_chunk", "too_long", "other_shape"],
        "a chunk in another place",
    );
    let answer = chunk(99, &good.chunks[0]);
    assert!(answer.status >= 400 && answer.problem.is_some(), "{answer:?}");
}

/// Clients of version 1 wait; their messages are refused by name, or as old ones know it.
#[test]
fn participants_of_version_1_idle() {
    let (_dir, _cast, server) = begin(3, "");
    let client = server.client();
    client.phase(Phase::Announce);
    let params = client.get("/params");
    let params = pet_core::round::RoundParameters::from_bytes(&params.body).unwrap();
    assert_eq!((params.sum, params.update), (0.0, 0.0));
    for path in ["/sums", "/model"] {
        assert_eq!(client.get(path).status, 204, "{path}");
    }
    let answer = client.post("/message", &[1; 500]);
    assert_eq!((answer.status, answer.problem.as_deref()), (409, Some("version_1")));
}
