use std::fs;

use pet_core::{
    crypto::Seed,
    v2::{Admission, Group},
};
use proptest::prelude::*;

use super::*;

fn keys(number: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new([number; 32]))
}

fn key(number: u8) -> PublicSigningKey {
    keys(number).public()
}

fn roster(admission: Admission) -> Roster {
    let group = |name: &str, first: u8| Group::new(name, (first..first + 3).map(key).collect());
    let groups = vec![group("North \"clinic\"", 1), group("Süd", 4), group("Auditor", 7)];
    Roster::new(groups, admission).unwrap()
}

fn listed() -> Admission {
    let mut updaters: Vec<_> = (20..25).map(key).collect();
    updaters.sort_unstable();
    Admission::List(updaters)
}

fn parse(text: &str) -> Result<RosterFile, String> {
    text::parse(text).map_err(|error| error.of(Path::new("r.toml")).to_string())
}

#[test]
fn toml_and_json_come_back_with_all_signatures() {
    for admission in [Admission::Authority(key(9)), listed()] {
        let mut file = RosterFile::new(roster(admission));
        for signer in [2, 4, 9] {
            file.sign(&keys(signer)).unwrap();
        }
        for text in [file.to_toml(), file.to_json()] {
            assert_eq!(parse(&text).unwrap(), file, "{text}");
        }
        let signed: Vec<_> =
            file.members().filter(|(.., consent)| *consent == Consent::Signed).collect();
        assert_eq!(signed.len(), 3);
        assert!(file.to_toml().contains(&file.hash().to_string()));
    }
}

#[test]
fn the_order_of_updaters_means_nothing() {
    let text = RosterFile::new(roster(listed())).to_json();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["admission"]["updaters"].as_array_mut().unwrap().reverse();
    assert_eq!(parse(&json.to_string()).unwrap().to_json(), text);
}

/// Whoever signs agrees to all of it: a change afterwards shows.
#[test]
fn a_signature_is_for_this_roster_and_this_member() {
    let mut file = RosterFile::new(roster(Admission::Authority(key(9))));
    let hash = file.hash();
    assert_eq!(file.sign(&keys(5)).unwrap(), MemberId::new(1, 1));
    assert_eq!(file.hash(), hash, "signatures are not part of the roster");
    let text = file.to_toml();
    let consents = |text: &str| -> Vec<Consent> {
        parse(text).unwrap().members().map(|(.., consent)| consent).collect()
    };
    assert_eq!(consents(&text)[4], Consent::Signed);
    for changed in [
        text.replace("Auditor", "Somebody else"),
        text.replace(&key(9).to_string(), &key(10).to_string()),
        text.replace(&key(1).to_string(), &key(11).to_string()),
    ] {
        assert_eq!(consents(&changed)[4], Consent::Invalid, "{changed}");
    }
    // As another member's it does not count either.
    let mut json: serde_json::Value = serde_json::from_str(&file.to_json()).unwrap();
    let signature = json["groups"][1]["members"][1]["signature"].take();
    json["groups"][1]["members"][1].as_object_mut().unwrap().remove("signature");
    json["groups"][0]["members"][0]["signature"] = signature;
    let consents = consents(&json.to_string());
    assert_eq!((consents[0], consents[4]), (Consent::Invalid, Consent::Missing));
    let stranger = file.sign(&keys(99)).unwrap_err();
    assert!(stranger.to_string().contains("is of no member"), "{stranger}");
}

#[test]
fn signatures_of_copies_are_collected() {
    let mut file = RosterFile::new(roster(Admission::Authority(key(9))));
    let mut copies = [file.clone(), file.clone()];
    copies[0].sign(&keys(1)).unwrap();
    copies[1].sign(&keys(1)).unwrap();
    copies[1].sign(&keys(2)).unwrap();
    // A forged one is not taken.
    copies[1].signatures[5] = copies[1].signatures[1];
    assert_eq!(file.collect(&copies[0]), Some(1));
    assert_eq!(file.collect(&copies[1]), Some(1));
    assert_eq!(file.members().filter(|(.., consent)| *consent == Consent::Signed).count(), 2);
    assert_eq!(file.signatures[5], None);
    let other = RosterFile::new(roster(listed()));
    assert_eq!(file.collect(&other), None);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let text = RosterFile::new(roster(Admission::Authority(key(9)))).to_toml();
    let authority = format!("authority = \"{}\"", key(9));
    for (changed, expected) in [
        (String::new(), "missing field `version`"),
        ("{".to_owned(), "EOF while parsing"),
        (text.replace("version = 2", "version = 3"), "its version is 3"),
        (text.replace("[admission]", "[admision]"), "admision"),
        (text.replace(&authority, ""), "either authority, a key, or updaters"),
        (text.replace(&authority, &format!("{authority}\nupdaters = []")), "either authority"),
        (text.replace(&authority, "updaters = []"), "list of updaters must have 1 to"),
        (
            text.replace(&key(5).to_string(), "abc"),
            "the key of member 1 of group \"Süd\": \"abc\" is not 32 bytes",
        ),
        (text.replace(&key(5).to_string(), &key(1).to_string()), "is there twice"),
        (text.replace("Auditor", "Süd"), "two groups are named"),
        (text.replace("key = ", "kye = "), "kye"),
    ] {
        let error = parse(&changed).unwrap_err();
        assert!(error.contains(expected) && error.contains("r.toml"), "{expected}: {error}");
    }
}

#[test]
fn files_are_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roster.toml");
    let file = RosterFile::new(roster(listed()));
    file.write(&path).unwrap();
    assert_eq!(RosterFile::read(&path).unwrap(), file);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let error = RosterFile::read(&dir.path().join("none")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the roster file"), "{error}");
    let error = file.write(&dir.path().join("no/such/dir")).unwrap_err().to_string();
    assert!(error.starts_with("cannot write the roster file"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_a_roster_or_an_error(text in "\\PC*") {
        let _ = text::parse(&text);
    }

    #[test]
    fn any_damage_is_a_roster_or_an_error(at in any::<prop::sample::Index>(), with in any::<char>()) {
        let text = RosterFile::new(roster(listed())).to_toml();
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        chars[at] = with;
        let _ = text::parse(&chars.into_iter().collect::<String>());
    }
}
