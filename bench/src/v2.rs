//! What is checked in rounds of version 2, piece by piece: times are of a piece, not of a weight.
//!
//! The values are those of the test vectors: three groups of three (eight of them have announced themselves), an authority,
//! and its credentials.

use pet_core::crypto::{Digest, EncryptKeyPair, Seed};
use pet_core::model::Model;
use pet_core::v2::merkle::RootHasher;
use pet_core::v2::{
    decision_leaf, model_hash, Announcements, Certificate, EntriesPage, Pin, Roster, Terms,
    UpdateHeader,
};
use serde_json::Value;

use crate::ours::weights;
use crate::runner::{Row, Runner, Target};

/// What the names of these rows begin with.
const ENTRY: &str = "piece: check an entry";
const HEADER: &str = "piece: check an update";
const CERTIFICATE: &str = "piece: check a certificate";
const LEAF: &str = "piece: decide an update";
const MODEL: &str = "piece: hash a global model";

/// Measures all of them.
pub fn measure(runner: &mut Runner) {
    let file: Value =
        serde_json::from_str(include_str!("../../tests/vectors/v2/round.json")).expect("JSON");
    let roster = Roster::from_bytes(&hex(&file["roster"])).expect("a roster");
    let terms = Terms::from_bytes(&hex(&file["terms"])).expect("terms");
    let list = Announcements::from_bytes(&hex(&file["announcements"])).expect("announcements");
    let (context, l) = (terms.context(), list.digest());

    let page = EntriesPage::from_bytes(&hex(&file["entries"])).expect("entries");
    // They are for member 1 of group 1.
    let seed = Seed::from_slice(&hex(&file["members"][4]["encrypt_seed"])).expect("a seed");
    let keys = EncryptKeyPair::from_seed(&seed);
    let row = Row::new(ENTRY, "k 3, credential", 1).target(Target::Nanoseconds(200_000.0));
    let mut entries = page.entries.iter().cycle();
    runner.measure(
        row,
        || entries.next().expect("there are some"),
        |entry| entry.check(&roster, &terms, &context, &l, 1, &keys).expect("it is right"),
    );

    let header = UpdateHeader::from_bytes(&hex(&file["updates"][0]["header"])).expect("a header");
    let row = Row::new(HEADER, "k 3, r 3", 1).target(Target::Nanoseconds(200_000.0));
    runner.measure(row, || (), |()| header.verify(&roster, &terms, &list).expect("it is right"));

    let certificate = Certificate::from_bytes(&hex(&file["certificate"])).expect("a certificate");
    let pin = Pin::new(roster.hash(), 3);
    let row = Row::new(CERTIFICATE, "k 3, r 3", 1);
    runner.measure(row, || (), |()| certificate.verify(&roster, &pin).expect("it holds"));

    let digest = Digest::new([1; 32]);
    runner.measure(Row::new(LEAF, "a leaf", 1), RootHasher::new, |mut tree| {
        tree.push(&decision_leaf(&header.updater, &digest));
        tree
    });

    let length = if runner.is_quick() { 20_000 } else { 1_000_000 };
    let model = Model::F32(weights(length).into_iter().map(|weight| weight as f32).collect());
    let row = Row::new(MODEL, format!("{length} F32"), 1);
    runner.measure(row, || (), |()| model_hash(&model));
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a text").as_bytes();
    let digit = |at: usize| char::from(text[at]).to_digit(16).expect("a digit") as u8;
    (0..text.len() / 2).map(|at| digit(2 * at) << 4 | digit(2 * at + 1)).collect()
}
