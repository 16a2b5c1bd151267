//! The vectors of version 2, read as another implementation would.

use pet_core::crypto::{EncryptKeyPair, PublicSigningKey, Seed};
use pet_core::mask::{tree, Aggregation, MaskObjectView, MaskSum, Unmasker};
use pet_core::model::Model;
use pet_core::v2::merkle::InclusionProof;
use pet_core::v2::*;
use serde_json::Value;

use super::v2_made::files;
use super::{are_our_own, cases, load, number, text};

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    ::hex::decode(text(value, field)).unwrap()
}

fn all<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    let list = value[field].as_array().unwrap_or_else(|| panic!("no list {field}"));
    assert!(!list.is_empty(), "no {field}");
    list
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    all(value, field).iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Reads bytes as a kind of value, and writes what was read.
fn again(kind: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    macro_rules! kinds {
        ($($name:ident),*) => {
            match kind {
                $(stringify!($name) => $name::from_bytes(bytes).map(|value| value.to_bytes()),)*
                _ => panic!("no kind {kind}"),
            }
        };
    }
    kinds!(
        Roster,
        Credential,
        Terms,
        Announcement,
        Announcements,
        UpdateHeader,
        Entry,
        EntriesPage,
        Statement,
        StatementsPage,
        Report,
        Decision,
        InclusionProof,
        Vote,
        Votes,
        MaskDigest,
        MaskDigests,
        GroupMaskHeader,
        Certificate,
        RoundView,
        SetView
    )
}

/// The beginning of an error's name.
fn is_named(error: &impl std::fmt::Debug, name: &str) -> bool {
    format!("{error:?}").starts_with(name)
}

#[test]
fn the_files_are_what_is_made() {
    if !are_our_own() {
        return;
    }
    for (name, made) in files() {
        assert!(load(&format!("v2/{name}")) == made, "v2/{name}: run the example v2_vectors");
    }
}

#[test]
fn whatever_is_no_value_is_refused_by_name() {
    if !are_our_own() {
        return;
    }
    for case in cases("v2/refused.json", "cases") {
        let error = again(text(&case, "kind"), &bytes(&case, "bytes")).unwrap_err();
        assert!(is_named(&error, text(&case, "error")), "{case}: {error:?}");
    }
}

#[test]
fn certificates_hold_or_are_refused_by_name() {
    if !are_our_own() {
        return;
    }
    let roster = Roster::from_bytes(&bytes(&load("v2/certificates.json"), "roster")).unwrap();
    for case in cases("v2/certificates.json", "cases") {
        let certificate = Certificate::from_bytes(&bytes(&case, "certificate")).unwrap();
        let pin = Pin::new(roster.hash(), number(&case, "n_min"));
        match (certificate.verify(&roster, &pin), text(&case, "error")) {
            (Ok(_), "none") => {}
            (Err(error), name) => assert!(is_named(&error, name), "{}: {error:?}", case["name"]),
            (Ok(_), name) => panic!("{}: {name} was not found", case["name"]),
        }
    }
}

/// A whole round, from what is published, and from the members' secrets.
#[test]
fn a_round_comes_out_as_written() {
    if !are_our_own() {
        return;
    }
    let file = load("v2/round.json");
    let roster = Roster::from_bytes(&bytes(&file, "roster")).unwrap();
    assert_eq!(roster.hash().to_string(), text(&file, "roster_hash"));
    let terms = Terms::from_bytes(&bytes(&file, "terms")).unwrap();
    let context = terms.context();
    assert_eq!(context.to_string(), text(&file, "context"));
    let announcements = Announcements::from_bytes(&bytes(&file, "announcements")).unwrap();
    assert_eq!(announcements.check(&roster, &context), Ok(()));
    let l = announcements.digest();
    assert_eq!(l.to_string(), text(&file, "announcements_hash"));

    let config = terms.parameters.mask_config;
    let length = terms.parameters.model_length as usize;
    let mut aggregation = Aggregation::new(config, length);
    let mut decision = DecisionHasher::new(context, l);
    let mut counted = Vec::new();
    for update in all(&file, "updates") {
        let header = UpdateHeader::from_bytes(&bytes(update, "header")).unwrap();
        assert_eq!(header.verify(&roster, &terms, &announcements), Ok(()));
        let masked = bytes(update, "masked");
        let leaves: Vec<_> = tree::leaf_hashes(&masked).collect();
        assert!(header.leaves.iter().map(|leaf| *leaf.as_bytes()).eq(leaves));
        if update["counted"] == true {
            let digest = header.statement_digest(&context, &l);
            decision.push(&header.updater, &digest).unwrap();
            aggregation.aggregate(&MaskObjectView::parse_exact(&masked).unwrap()).unwrap();
            counted.push((header, digest));
        }
    }
    let decision = decision.finish();
    assert_eq!(decision.to_bytes(), bytes(&file, "decision"));
    assert_eq!(decision.digest().to_string(), text(&file, "decision_hash"));
    for ((header, digest), proof) in counted.iter().zip(texts(&file, "proofs")) {
        let proof = InclusionProof::from_bytes(&::hex::decode(proof).unwrap()).unwrap();
        assert!(decision.includes(&header.updater, digest, &proof));
    }

    // Each member opens its boxes, and gets to the mask of its group.
    let mut masks = Aggregation::new(config, length);
    for (group, published) in all(&file, "masks").iter().enumerate() {
        let mut sum = MaskSum::new(config, length);
        let member = &all(&file, "members")[3 * group];
        let seed = Seed::from_slice(&bytes(member, "encrypt_seed")).unwrap();
        let keys = EncryptKeyPair::from_seed(&seed);
        let (group, id) = (group as u8, MemberId::new(group as u8, 0));
        for (header, _) in &counted {
            let entry = Entry::of(header, announcements.position(id).unwrap()).unwrap();
            let seed = entry.check(&roster, &terms, &context, &l, group, &keys).unwrap();
            sum.add_seeds([stream_seed(&context, &l, &header.updater, group, &seed)]);
        }
        while !sum.step(usize::MAX) {}
        let mask = sum.finish().to_bytes().unwrap();
        assert_eq!(mask, bytes(published, "mask"));
        masks.aggregate(&MaskObjectView::parse_exact(&mask).unwrap()).unwrap();
    }
    let masks = masks.object().to_bytes().unwrap();
    let mut unmasker = Unmasker::model_only(aggregation, masks).unwrap();
    while !unmasker.step(usize::MAX) {}
    let Model::F32(weights) = unmasker.finish().unwrap().model.unwrap() else { panic!() };
    let bits: Vec<String> =
        weights.iter().map(|weight| format!("{:08x}", weight.to_bits())).collect();
    assert_eq!(bits, texts(&file, "model"));

    let report = Report::from_bytes(&bytes(&file, "report")).unwrap();
    assert_eq!(report.verify(&roster, &context, &l), Ok(()));
    let excluded: PublicSigningKey = text(&file, "excluded").parse().unwrap();
    assert!(report.accusation(&excluded).is_some());
    for (kind, field) in [
        ("EntriesPage", "entries"),
        ("StatementsPage", "statements"),
        ("SetView", "set"),
        ("RoundView", "view"),
        ("Certificate", "certificate"),
    ] {
        let written = bytes(&file, field);
        assert_eq!(again(kind, &written), Ok(written), "{kind}");
    }
}
