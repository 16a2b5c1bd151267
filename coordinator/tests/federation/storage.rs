//! What stays of rounds of version 2, and for how long.

use std::{fs, path::Path, process::Command};

use pet_core::v2::Call;

use super::{begin, check_model, play, Server, LENGTH};

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join("data/v2/round")).unwrap().count()
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pet-coordinator")).args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The disk does not fill up: of rounds before, only what audits may want stays.
#[test]
fn masked_models_leave_once_their_round_is_audited_no_more() {
    let (dir, cast, server) = begin(3, "pet.v2.rounds_audited = 1\nstorage.models_kept = 2");
    let client = server.client();
    let masked = |round| Call::MaskedModel { round, updater: cast.updaters[0].public() };
    let mut most = 0;
    for round in 1..=4 {
        play(&cast, &client, &[]);
        client.until("the next round", |view| view.terms.as_ref().unwrap().round == round + 1);
        assert_eq!(client.call(&masked(round)).status, 200, "{round}");
        if round > 1 {
            let answer = client.call(&masked(round - 1));
            assert_eq!(
                (answer.status, answer.problem.as_deref()),
                (404, Some("not_there")),
                "{round}"
            );
        }
        most = most.max(if round == 1 { files(dir.path()) } else { 0 });
        let what = format!("no more than {} files after round {round}", 3 * most);
        client.until(&what, |_| files(dir.path()) <= 3 * most);
    }
    // Models and certificates stay for longer.
    check_model(&cast, &client, 3, &[0, 1, 2]);
    check_model(&cast, &client, 4, &[0, 1, 2]);
    assert_eq!(client.call(&Call::Certificate { round: Some(2) }).status, 404);
    let object = 4 * LENGTH + 100;
    let stored = || -> u64 {
        let entries = fs::read_dir(dir.path().join("data/v2/round")).unwrap();
        // (One may be gone by now.)
        entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
    };
    // Three updates and three masks of one round: the others are removed soon.
    client.until("no more than that", |_| stored() < 7 * object as u64);
    assert_eq!(server.stop(), Some(0));

    // What is on the disk can be copied, and read.
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (code, error) = run(&["backup", "--data-dir", &path("data"), "--to", &path("copy")]);
    assert_eq!(code, Some(0), "{error}");
    let args =
        ["export-model", "--data-dir", &path("copy"), "--format", "raw", "-o", &path("model")];
    let (code, error) = run(&args);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(fs::metadata(dir.path().join("model")).unwrap().len(), 4 * LENGTH as u64);
    fs::rename(dir.path().join("data"), dir.path().join("old")).unwrap();
    fs::rename(dir.path().join("copy"), dir.path().join("data")).unwrap();
    let server = Server::start(dir.path());
    check_model(&cast, &server.client(), 4, &[0, 1, 2]);
    assert_eq!(server.client().view().terms.unwrap().round, 5);
}

#[test]
fn rounds_in_memory_leave_nothing_on_the_disk() {
    let (dir, cast, server) = begin(3, "storage.ephemeral = true");
    let client = server.client();
    for round in 1..=2 {
        play(&cast, &client, &[]);
        check_model(&cast, &client, round, &[0, 1, 2]);
        let updater = cast.updaters[0].public();
        assert_eq!(client.call(&Call::MaskedModel { round, updater }).status, 200);
    }
    assert!(!dir.path().join("data").exists());
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(dir.path());
    assert_eq!(server.client().view().terms.unwrap().round, 1);
}

/// A roster that somebody has changed, or one that is none, is found out before anything listens.
#[test]
fn a_roster_that_was_changed_after_it_was_signed_is_refused() {
    let (dir, _cast, server) = begin(3, "");
    assert_eq!(server.stop(), Some(0));
    let path = dir.path().join("roster.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("group 1", "group one")).unwrap();
    let log = Server::try_start(dir.path()).err().expect("it must not start");
    assert!(
        log.contains("the signatures of members 0.0, 0.1") && log.contains("pet.v2.roster_file"),
        "{log}"
    );
    fs::write(&path, "no roster").unwrap();
    let log = Server::try_start(dir.path()).err().expect("it must not start");
    assert!(log.contains("is no roster file"), "{log}");
    // It could have been known before.
    let config = dir.path().join("pet.toml").display().to_string();
    let (code, error) = run(&["check-config", "--config", &config]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("is no roster file"), "{error}");
    // One that is not signed by all is told, and taken: the participants decide by its hash.
    let unsigned: String = text
        .lines()
        .filter(|line| !line.starts_with("signature"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, unsigned).unwrap();
    let server = Server::start(dir.path());
    assert!(server.log().contains("not all members have signed the roster"));
}
