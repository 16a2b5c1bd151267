//! `keys` and `roster`, as three organisations use them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use pet_core::{
    crypto::PublicSigningKey,
    v2::{hex, Admission, Credential},
};
use tempfile::TempDir;

/// Where the organisations work.
struct Desk(TempDir);

type Ran = (Option<i32>, String, String);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        let Output { status, stdout, stderr } =
            command.args(args).current_dir(self.0.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// What a command prints that must do.
    fn done(&self, args: &[&str]) -> String {
        let (code, out, error) = self.run(args);
        assert_eq!(code, Some(0), "{args:?}: {error}");
        out.trim().to_owned()
    }

    /// Why a command does not, which begins with this status.
    fn refused(&self, status: i32, args: &[&str]) -> String {
        let (code, out, error) = self.run(args);
        assert_eq!(code, Some(status), "{args:?}: {out}{error}");
        assert!(error.starts_with("error: "), "{error}");
        error
    }

    fn key(&self, name: &str) -> String {
        self.done(&["keys", "generate", "-o", name])
    }

    /// Three groups of three, with an authority; the roster's hash.
    fn roster(&self) -> String {
        let group = |name: &str| {
            let keys: Vec<_> =
                (0..3).map(|index| self.key(&format!("{name}-{index}.key"))).collect();
            format!("{name}={}", keys.join(","))
        };
        let groups: Vec<_> = ["north", "south", "auditor"].into_iter().map(group).collect();
        let authority = self.key("authority.key");
        let mut args = vec!["roster", "create", "-o", "roster.toml", "--authority", &authority];
        groups.iter().for_each(|group| args.extend(["--group", group]));
        self.done(&args)
    }

    fn sign(&self, roster: &str, member: &str, hash: &str) -> String {
        self.done(&["roster", "sign", roster, "--key", &format!("{member}.key"), "--expect", hash])
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_for_their_owner_alone() {
    let desk = Desk::new();
    let key = desk.key("a.key");
    assert_eq!(key.parse::<PublicSigningKey>().unwrap().to_string(), key);
    assert_eq!(mode(&desk.path("a.key")), 0o600);
    assert_eq!(desk.done(&["keys", "show", "a.key"]), key);
    let secret = fs::read_to_string(desk.path("a.key")).unwrap();
    // The same key is never made twice, and one that is there is never lost.
    assert!(desk.refused(1, &["keys", "generate", "-o", "a.key"]).contains("a.key"));
    assert_eq!(fs::read_to_string(desk.path("a.key")).unwrap(), secret);
    fs::set_permissions(desk.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = desk.refused(1, &["keys", "show", "a.key"]);
    assert!(error.contains("chmod 600"), "{error}");
    assert!(!error.contains(secret.trim()));
    fs::write(desk.path("b.key"), "not a key").unwrap();
    fs::set_permissions(desk.path("b.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(desk.refused(1, &["keys", "show", "b.key"]).contains("64 hexadecimal digits"));
}

/// Each signs a copy of its own, and one of them collects the signatures.
#[test]
fn three_organisations_agree_on_a_roster() {
    let desk = Desk::new();
    let hash = desk.roster();
    assert_eq!(desk.done(&["roster", "hash", "roster.toml"]), hash);
    for group in ["north", "south", "auditor"] {
        let copy = format!("{group}.toml");
        fs::copy(desk.path("roster.toml"), desk.path(&copy)).unwrap();
        for index in 0..3 {
            let said = desk.sign(&copy, &format!("{group}-{index}"), &hash);
            assert!(said.contains(group) && said.contains(&hash), "{said}");
        }
    }
    let shown = desk.done(&["roster", "show", "north.toml"]);
    assert!(shown.contains(&hash) && shown.contains("3 of 3 members, 2 are a majority"), "{shown}");
    let signed =
        |shown: &str| shown.lines().filter(|line| line.trim_end().ends_with("yes")).count();
    assert_eq!(signed(&shown), 3, "{shown}");
    let error = desk.refused(1, &["roster", "show", "--complete", "north.toml"]);
    assert!(error.contains("6 members have not signed"), "{error}");
    let said = desk.done(&[
        "roster",
        "collect",
        "roster.toml",
        "north.toml",
        "south.toml",
        "auditor.toml",
    ]);
    assert_eq!(said, "9 new signatures, 0 members have not signed");
    let shown = desk.done(&["roster", "show", "--complete", "roster.toml"]);
    assert_eq!(signed(&shown), 9, "{shown}");
    assert_eq!(desk.done(&["roster", "hash", "roster.toml"]), hash);
    // The same as JSON.
    let json = desk.done(&["roster", "show", "--json", "roster.toml"]);
    fs::write(desk.path("roster.json"), json).unwrap();
    assert_eq!(desk.done(&["roster", "show", "--complete", "roster.json"]), shown);
}

#[test]
fn nobody_signs_what_was_not_agreed_on() {
    let desk = Desk::new();
    let hash = desk.roster();
    let before = fs::read_to_string(desk.path("roster.toml")).unwrap();
    desk.sign("roster.toml", "north-0", &hash);
    let text = fs::read_to_string(desk.path("roster.toml")).unwrap();
    // Somebody puts a key of its own in the place of another.
    let (theirs, mallory) = (desk.done(&["keys", "show", "south-1.key"]), desk.key("mallory.key"));
    fs::write(desk.path("swapped.toml"), text.replace(&theirs, &mallory)).unwrap();
    let sign = |roster, key| {
        ["roster", "sign", roster, "--key", key, "--expect", &hash].map(str::to_owned)
    };
    let refused =
        |args: [String; 7]| desk.refused(1, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let error = refused(sign("swapped.toml", "south-0.key"));
    assert!(error.contains("not the roster that you have agreed on"), "{error}");
    // Whoever has signed before sees it.
    let error = desk.refused(1, &["roster", "show", "swapped.toml"]);
    assert!(error.contains("1 signatures are not valid"), "{error}");
    let error = desk.refused(1, &["roster", "collect", "roster.toml", "swapped.toml"]);
    assert!(error.contains("another roster"), "{error}");
    let error = refused(sign("roster.toml", "mallory.key"));
    assert!(error.contains("is of no member"), "{error}");
    assert_eq!(fs::read_to_string(desk.path("roster.toml")).unwrap(), text);
    assert_ne!(before, text);
    // A roster is not written over by another.
    let args = ["roster", "create", "-o", "roster.toml", "--authority", &mallory, "--group"];
    let group = format!("a={mallory}");
    let error = desk.refused(1, &[&args[..], &[&group]].concat());
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn what_is_no_roster_is_said() {
    let desk = Desk::new();
    let (a, b) = (desk.key("a.key"), desk.key("b.key"));
    let create = |groups: &[String]| {
        let mut args = vec!["roster", "create", "-o", "r.toml", "--updater", &a, "--updater", &a];
        groups.iter().for_each(|group| args.extend(["--group", group]));
        desk.run(&args)
    };
    for (groups, expected) in [
        (vec![format!("even={a},{b}")], "odd number"),
        (vec![format!("one={a}"), format!("two={a}")], "is there twice"),
        (vec![format!("one={a}"), format!("one={b}")], "two groups are named"),
        (vec!["one=00ff".to_owned()], "not 32 bytes in hexadecimal"),
    ] {
        let (code, _, error) = create(&groups);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let (code, hash, error) = create(&[format!("one={a}")]);
    assert_eq!((code, hash.trim().len()), (Some(0), 64), "{error}");
    fs::write(desk.path("broken.toml"), "version = 2\n[admission]\nauthority = 7\n").unwrap();
    let error = desk.refused(2, &["roster", "hash", "broken.toml"]);
    assert!(error.contains("broken.toml is no roster file") && error.contains("line 3"), "{error}");
    assert!(desk.refused(1, &["roster", "hash", "none.toml"]).contains("cannot read"));
}

#[test]
fn the_authority_admits_updaters_for_a_time() {
    let desk = Desk::new();
    desk.roster();
    let updater = desk.key("updater.key");
    desk.done(&[
        "roster",
        "admit",
        "--key",
        "authority.key",
        "--roster",
        "roster.toml",
        "--updater",
        &updater,
        "--until",
        "2100-01-31",
        "-o",
        "updater.credential",
    ]);
    let text = fs::read_to_string(desk.path("updater.credential")).unwrap();
    let bytes: [u8; 73] = hex::parse(text.trim()).unwrap();
    let credential = Credential::from_bytes(&bytes).unwrap();
    let authority: PublicSigningKey =
        desk.done(&["keys", "show", "authority.key"]).parse().unwrap();
    let (admission, updater) = (Admission::Authority(authority), updater.parse().unwrap());
    let end = 4_105_123_199;
    assert_eq!(credential.expires_at, end);
    assert!(credential.check(&admission, &updater, end).is_ok());
    assert!(credential.check(&admission, &updater, end + 1).is_err());
    // For days from now, to standard output.
    let text = desk.done(&[
        "roster",
        "credential",
        "--key",
        "authority.key",
        "--updater",
        &updater.to_string(),
        "--days",
        "2",
    ]);
    let bytes: [u8; 73] = hex::parse(&text).unwrap();
    let credential = Credential::from_bytes(&bytes).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 172_790..=now + 172_800).contains(&credential.expires_at));
    assert!(credential.check(&admission, &updater, now).is_ok());
}

#[test]
fn a_credential_that_nobody_could_use_is_not_issued() {
    let desk = Desk::new();
    desk.roster();
    let updater = desk.key("updater.key");
    let admit = |more: &[&str]| {
        let args = [&["roster", "admit", "--updater", &updater, "--key"][..], more].concat();
        let (code, _, error) = desk.run(&args);
        assert_ne!(code, Some(0), "{more:?}");
        error
    };
    for (more, expected) in [
        (&["authority.key", "--until", "2001-01-01"][..], "would have expired"),
        (&["authority.key", "--until", "soon"], "must be a date"),
        (&["authority.key", "--days", "0"], "from 1 to 36525"),
        (&["authority.key"], "--days"),
        (
            &["north-0.key", "--days", "1", "--roster", "roster.toml"],
            "the authority of this roster is",
        ),
        (&["none.key", "--days", "1"], "cannot read the key file"),
    ] {
        let error = admit(more);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let group = format!("one={updater}");
    desk.done(&["roster", "create", "-o", "list.toml", "--updater", &updater, "--group", &group]);
    let error = admit(&["authority.key", "--days", "1", "--roster", "list.toml"]);
    assert!(error.contains("nobody needs a credential"), "{error}");
}
