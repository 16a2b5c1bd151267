//! A round of version 2 to try values against: that of the test vectors.

use std::sync::OnceLock;

use pet_core::v2::{Certificate, EntriesPage, StatementsPage, UpdateHeader};
use serde_json::Value;

fn file() -> &'static Value {
    static FILE: OnceLock<Value> = OnceLock::new();
    let text = include_str!("../../tests/vectors/v2/round.json");
    FILE.get_or_init(|| serde_json::from_str(text).expect("the vectors are JSON"))
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a text").as_bytes();
    let digit = |at: usize| char::from(text[at]).to_digit(16).expect("a digit") as u8;
    (0..text.len() / 2).map(|at| digit(2 * at) << 4 | digit(2 * at + 1)).collect()
}

/// One value of each kind as bytes.
pub fn values() -> Vec<(&'static str, Vec<u8>)> {
    let file = file();
    let certificate = Certificate::from_bytes(&hex(&file["certificate"])).expect("a certificate");
    let entries = EntriesPage::from_bytes(&hex(&file["entries"])).expect("entries");
    let statements = StatementsPage::from_bytes(&hex(&file["statements"])).expect("statements");
    let header = UpdateHeader::from_bytes(&hex(&file["updates"][0]["header"])).expect("a header");
    vec![
        ("Roster", hex(&file["roster"])),
        ("Credential", header.credential.expect("it has one").to_bytes()),
        ("Terms", hex(&file["terms"])),
        ("Announcement", certificate.announcements.list()[0].to_bytes()),
        ("Announcements", hex(&file["announcements"])),
        ("UpdateHeader", header.to_bytes()),
        ("Entry", entries.entries[0].to_bytes()),
        ("EntriesPage", entries.to_bytes()),
        ("Statement", statements.statements[0].to_bytes()),
        ("StatementsPage", statements.to_bytes()),
        ("Report", hex(&file["report"])),
        ("Decision", hex(&file["decision"])),
        ("InclusionProof", hex(&file["proofs"][2])),
        ("Vote", hex(&file["votes"][0])),
        ("Votes", certificate.votes.to_bytes()),
        ("MaskDigest", certificate.masks.list()[0].to_bytes()),
        ("MaskDigests", certificate.masks.to_bytes()),
        ("GroupMaskHeader", hex(&file["mask_headers"][0])),
        ("Certificate", certificate.to_bytes()),
        ("RoundView", hex(&file["view"])),
        ("SetView", hex(&file["set"])),
    ]
}

/// The bytes of one kind.
pub fn value(kind: &str) -> Vec<u8> {
    values().into_iter().find(|(name, _)| *name == kind).expect("a known kind").1
}

/// The seed of the key pair that the entries are sealed for: that of member 1 of group 1.
pub fn encrypt_seed() -> Vec<u8> {
    hex(&file()["members"][4]["encrypt_seed"])
}
