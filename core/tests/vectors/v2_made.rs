//! Makes the vectors of version 2, all from numbers: `tests/examples/v2_vectors.rs` writes them, a test compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use pet_core::crypto::{
    sha256, Digest, EncryptKeyPair, RoundSeed, Seed, Signature, SigningKeyPair,
};
use pet_core::mask::{tree, Aggregation, MaskConfig, MaskObjectView, MaskSum, Masker, Unmasker};
use pet_core::model::{Model, Scalar};
use pet_core::round::RoundParameters;
use pet_core::v2::merkle::{leaf_hash, root, Tree};
use pet_core::v2::*;
use serde_json::{json, Value};

/// The files, by name.
pub fn files() -> BTreeMap<&'static str, Value> {
    let round = round();
    BTreeMap::from([
        ("hash.json", hashes()),
        ("tree.json", trees()),
        ("merkle.json", merkle()),
        ("certificates.json", certificates(&round)),
        ("refused.json", refused(&round)),
        ("round.json", round.json),
    ])
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    ::hex::encode(bytes)
}

/// A seed for a purpose.
fn seed(purpose: &str, numbers: &[u64]) -> Seed {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Seed::new(*sha256(&[purpose.as_bytes(), &numbers].concat()).as_bytes())
}

fn hashes() -> Value {
    let cases: [(Label, &[&[u8]]); 5] = [
        (Label::Roster, &[b"one part"]),
        (Label::Commit, &[b"ab", b"c"]),
        (Label::Commit, &[b"a", b"bc"]),
        (Label::Stream, &[b"ab", b"c"]),
        (Label::Decision, &[b"", b"", &[0; 200]]),
    ];
    let case = |(label, parts): (Label, &[&[u8]])| {
        let parts_hex: Vec<String> = parts.iter().map(hex).collect();
        json!({"label": label.as_str(), "parts": parts_hex, "hash": hash(label, parts).to_string()})
    };
    json!({ "cases": cases.map(case) })
}

/// Bytes that differ from leaf to leaf.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn trees() -> Value {
    let object = |length: usize| {
        let leaves: Vec<Digest> = tree::leaf_hashes(&pattern(length)).map(Digest::new).collect();
        json!({
            "length": length,
            "leaves": leaves.iter().map(Digest::to_string).collect::<Vec<_>>(),
            "masked_model": model_root(length as u64, &leaves).to_string(),
            "group_mask": group_mask_root(length as u64, &leaves).to_string(),
        })
    };
    let model = |data_type: &str, model: Model| json!({"type": data_type, "length": model.len(), "hash": model_hash(&model).to_string()});
    let float = |at: usize| at as f32 / 8.0 - 3.0;
    let lengths = [1, 44, TREE_LEAF - 1, TREE_LEAF, TREE_LEAF + 1, 3 * TREE_LEAF + 17];
    json!({
        "objects": lengths.map(object),
        "models": [
            model("F32", Model::F32((0..5).map(float).collect())),
            model("F64", Model::F64((0..5).map(|at| float(at).into()).collect())),
            model("I32", Model::I32((0..5).map(|at| at - 3).collect())),
            model("I64", Model::I64((0..5).map(|at| at - 3).collect())),
            model("F32", Model::F32((0..200_000).map(float).collect())),
        ],
    })
}

fn merkle() -> Value {
    let tree_of = |count: u64| {
        let leaves: Vec<[u8; 8]> = (0..count).map(u64::to_le_bytes).collect();
        let tree = Tree::new(leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
        assert_eq!(tree.root(), root(&leaves));
        let indices = [0, 1, count / 2, count.saturating_sub(2), count.saturating_sub(1)];
        let indices = std::collections::BTreeSet::from(indices);
        let proofs: Vec<Value> = indices
            .into_iter()
            .filter_map(|index| tree.prove(index))
            .map(|proof| {
                let path: Vec<String> = proof.path.iter().map(Digest::to_string).collect();
                json!({"index": proof.index, "path": path, "bytes": hex(proof.to_bytes())})
            })
            .collect();
        json!({"count": count, "root": tree.root().to_string(), "proofs": proofs})
    };
    let counts = [0, 1, 2, 3, 5, 8, 13, 1000];
    json!({ "trees": counts.map(tree_of) })
}

/// What other files are made of.
struct Made {
    roster: Roster,
    certificate: Certificate,
    /// One value of each kind.
    values: Vec<(&'static str, Vec<u8>)>,
    json: Value,
}

const OPENED_AT: u64 = 1_800_000_000;
const WEIGHTS: usize = 6;

/// A whole round: three groups of three, five updaters of which one is excluded.
fn round() -> Made {
    let pair = |purpose, numbers: &[u64]| SigningKeyPair::from_seed(&seed(purpose, numbers));
    let ids: Vec<MemberId> =
        (0..3).flat_map(|group| (0..3).map(move |index| MemberId::new(group, index))).collect();
    let place = |id: &MemberId| [u64::from(id.group), u64::from(id.index)];
    let member_keys: BTreeMap<_, _> =
        ids.iter().map(|id| (*id, pair("member", &place(id)))).collect();
    let authority = pair("authority", &[]);

    let names = ["hospitals", "universities", "auditors \u{e9}"];
    let group = |(group, name): (usize, &&str)| {
        let of_group = member_keys.iter().filter(|(id, _)| usize::from(id.group) == group);
        Group::new(*name, of_group.map(|(_, keys)| keys.public()).collect())
    };
    let groups = names.iter().enumerate().map(group).collect();
    let roster = Roster::new(groups, Admission::Authority(authority.public())).unwrap();

    let coordinator = EncryptKeyPair::from_seed(&seed("coordinator", &[]));
    let config = "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap();
    let terms = Terms {
        roster: roster.hash(),
        round: 7,
        parameters: RoundParameters {
            pk: coordinator.public(),
            sum: 0.0,
            update: 0.0,
            seed: RoundSeed::new([3; 32]),
            mask_config: config.into(),
            model_length: WEIGHTS as u64,
        },
        opened_at: OPENED_AT,
        model: Some(model_hash(&Model::F32(vec![0.5; WEIGHTS]))),
        n_min: 3,
        noise: None,
    };
    let context = terms.context();

    let e: BTreeMap<_, _> =
        ids.iter().map(|id| (*id, EncryptKeyPair::from_seed(&seed("E", &place(id))))).collect();
    let v: BTreeMap<_, _> = ids.iter().map(|id| (*id, pair("V", &place(id)))).collect();
    // The last one has not announced itself.
    let announced = &ids[..8];
    let announce = |id: &MemberId| {
        Announcement::sign(&member_keys[id], &context, *id, e[id].public(), v[id].public())
    };
    let announcements = Announcements::new(announced.iter().map(announce).collect()).unwrap();
    let l = announcements.digest();

    let mut updates: Vec<Update> = (0..5)
        .map(|number| update(number, &terms, &announcements, &authority, &coordinator))
        .collect();
    for update in &updates {
        update.header.verify(&roster, &terms, &announcements).unwrap();
    }
    updates.sort_by_key(|update| update.header.updater);
    let excluded = updates[1].header.updater;
    let accuser = MemberId::new(1, 1);
    let accused = vec![(excluded, Accusation::Commitment)];
    let report = Report::sign(&member_keys[&accuser], &context, &l, accuser, accused);

    let counted: Vec<&Update> =
        updates.iter().filter(|update| update.header.updater != excluded).collect();
    let digest = |update: &Update| update.header.statement_digest(&context, &l);
    let decision = Decision::of(
        context,
        l,
        counted.iter().map(|update| (update.header.updater, digest(update))),
    )
    .unwrap();
    let d = decision.digest();
    let tree = Tree::new(
        counted
            .iter()
            .map(|update| leaf_hash(&decision_leaf(&update.header.updater, &digest(update))))
            .collect(),
    );
    let votes: Vec<Vote> = announced.iter().map(|id| Vote::sign(&v[id], *id, &d)).collect();

    let mut masks = Vec::new();
    for group in 0..3u8 {
        let mut sum = MaskSum::new(config.into(), WEIGHTS);
        sum.add_seeds(counted.iter().map(|update| {
            let seed = &update.group_seeds[usize::from(group)];
            stream_seed(&context, &l, &update.header.updater, group, seed)
        }));
        while !sum.step(usize::MAX) {}
        masks.push(sum.finish().to_bytes().unwrap());
    }
    let leaves_of =
        |object: &[u8]| tree::leaf_hashes(object).map(Digest::new).collect::<Vec<Digest>>();
    let headers: Vec<GroupMaskHeader> = announced
        .iter()
        .map(|id| {
            let mask = &masks[usize::from(id.group)];
            let leaves = leaves_of(mask);
            GroupMaskHeader::sign(&member_keys[id], &context, &d, *id, mask.len() as u64, leaves)
        })
        .collect();
    let digests = headers.iter().map(GroupMaskHeader::mask_digest).collect();
    let certificate = Certificate {
        terms: terms.clone(),
        announcements: announcements.clone(),
        decision,
        votes: Votes::new(votes.clone()).unwrap(),
        masks: MaskDigests::new(digests).unwrap(),
    };
    certificate.verify(&roster, &Pin::new(roster.hash(), 3)).unwrap();

    let mut aggregation = Aggregation::new(config.into(), WEIGHTS);
    for update in &counted {
        aggregation.aggregate(&MaskObjectView::parse_exact(&update.masked).unwrap()).unwrap();
    }
    let mut all_masks = Aggregation::new(config.into(), WEIGHTS);
    for mask in &masks {
        all_masks.aggregate(&MaskObjectView::parse_exact(mask).unwrap()).unwrap();
    }
    let all_masks = all_masks.object().to_bytes().unwrap();
    let mut unmasker = Unmasker::model_only(aggregation, all_masks).unwrap();
    while !unmasker.step(usize::MAX) {}
    let model = unmasker.finish().unwrap().model.unwrap();

    let view = RoundView {
        phase: Phase::Sum2,
        terms: Some(terms.clone()),
        announced: 8,
        announcements: Some(l),
        entries: 5,
        reported: announced.to_vec(),
        excluded: 1,
        decision: Some(d),
        voted: announced.to_vec(),
        certified: true,
        masked: vec![accuser],
        wanted: vec![accuser],
        completed: Some(6),
        failure: None,
    };
    let set = SetView { decision, excluded: vec![excluded], reports: vec![report.clone()] };
    let position = announcements.position(accuser).unwrap();
    let entries: Vec<Entry> =
        updates.iter().map(|update| Entry::of(&update.header, position).unwrap()).collect();
    let page = EntriesPage { context, total: 5, from: 0, entries };
    let statements: Vec<Statement> =
        counted.iter().map(|update| Statement::of(&update.header)).collect();
    let statements = StatementsPage { context, total: 4, from: 0, statements };

    let member_json = |id: &MemberId| {
        json!({
            "group": id.group,
            "index": id.index,
            "seed": hex(seed("member", &place(id)).as_bytes()),
            "key": member_keys[id].public().to_string(),
            "encrypt_seed": hex(seed("E", &place(id)).as_bytes()),
            "encrypt_key": e[id].public().to_string(),
            "vote_seed": hex(seed("V", &place(id)).as_bytes()),
            "vote_key": v[id].public().to_string(),
            "announcement": announcements.get(*id).map(|one| hex(one.to_bytes())),
        })
    };
    let update_json = |update: &Update| update.json(&context, &l, excluded);
    let mask_json = |(group, mask): (usize, &Vec<u8>)| json!({"group": group, "mask": hex(mask), "root": group_mask_root(mask.len() as u64, &leaves_of(mask)).to_string()});
    let Model::F32(weights) = &model else { panic!("{model:?}") };
    let bits = |weights: &[f32]| -> Vec<String> {
        weights.iter().map(|weight| format!("{:08x}", weight.to_bits())).collect()
    };
    let proofs: Vec<String> = (0..4).map(|at| hex(tree.prove(at).unwrap().to_bytes())).collect();
    let json = json!({
        "authority_seed": hex(seed("authority", &[]).as_bytes()),
        "coordinator_seed": hex(seed("coordinator", &[]).as_bytes()),
        "roster": hex(roster.to_bytes()),
        "roster_hash": roster.hash().to_string(),
        "members": ids.iter().map(member_json).collect::<Vec<_>>(),
        "terms": hex(terms.to_bytes()),
        "context": context.to_string(),
        "announcements": hex(announcements.to_bytes()),
        "announcements_hash": l.to_string(),
        "updates": updates.iter().map(update_json).collect::<Vec<_>>(),
        "report": hex(report.to_bytes()),
        "excluded": excluded.to_string(),
        "decision": hex(decision.to_bytes()),
        "decision_hash": d.to_string(),
        "proofs": proofs,
        "votes": votes.iter().map(|vote| hex(vote.to_bytes())).collect::<Vec<_>>(),
        "masks": masks.iter().enumerate().map(mask_json).collect::<Vec<_>>(),
        "mask_headers": headers.iter().map(|header| hex(header.to_bytes())).collect::<Vec<_>>(),
        "certificate": hex(certificate.to_bytes()),
        "model": bits(weights),
        "entries": hex(page.to_bytes()),
        "entries_for": [accuser.group, accuser.index],
        "statements": hex(statements.to_bytes()),
        "set": hex(set.to_bytes()),
        "view": hex(view.to_bytes()),
    });
    let values = vec![
        ("Roster", roster.to_bytes()),
        ("Credential", updates[0].header.credential.unwrap().to_bytes()),
        ("Terms", terms.to_bytes()),
        ("Announcement", announcements.list()[0].to_bytes()),
        ("Announcements", announcements.to_bytes()),
        ("UpdateHeader", updates[0].header.to_bytes()),
        ("Entry", page.entries[0].to_bytes()),
        ("EntriesPage", page.to_bytes()),
        ("Statement", statements.statements[0].to_bytes()),
        ("StatementsPage", statements.to_bytes()),
        ("Report", report.to_bytes()),
        ("Decision", decision.to_bytes()),
        ("InclusionProof", tree.prove(2).unwrap().to_bytes()),
        ("Vote", votes[0].to_bytes()),
        ("Votes", certificate.votes.to_bytes()),
        ("MaskDigest", certificate.masks.list()[0].to_bytes()),
        ("MaskDigests", certificate.masks.to_bytes()),
        ("GroupMaskHeader", headers[0].to_bytes()),
        ("Certificate", certificate.to_bytes()),
        ("RoundView", view.to_bytes()),
        ("SetView", set.to_bytes()),
    ];
    Made { roster, certificate, values, json }
}

/// An updater's part, with its secrets.
struct Update {
    number: u64,
    weights: Vec<f32>,
    group_seeds: Vec<GroupSeed>,
    masked: Vec<u8>,
    header: UpdateHeader,
    upload_key: UploadKey,
}

fn update(
    number: u64,
    terms: &Terms,
    announcements: &Announcements,
    authority: &SigningKeyPair,
    coordinator: &EncryptKeyPair,
) -> Update {
    let (context, l) = (terms.context(), announcements.digest());
    let keys = SigningKeyPair::from_seed(&seed("updater", &[number]));
    let updater = keys.public();
    let weights: Vec<f32> = (0..WEIGHTS)
        .map(|at| ((at as f32 + 1.0) * (number as f32 + 1.0) * 0.37) % 1.9 - 0.9)
        .collect();
    let group_seeds: Vec<GroupSeed> =
        (0..3).map(|group| seed("group seed", &[number, group]).into()).collect();
    let streams: Vec<_> = (0..3u8)
        .map(|group| stream_seed(&context, &l, &updater, group, &group_seeds[usize::from(group)]))
        .collect();
    let model = Arc::new(Model::F32(weights.clone()));
    let config = terms.parameters.mask_config;
    let mut masker = Masker::behind_all(&[], 0, &streams, config, &Scalar::one(), model).unwrap();
    while !masker.step(usize::MAX) {}
    let (masked, _) = masker.finish().unwrap();
    let seal = |announcement: &Announcement| {
        let MemberId { group, index } = announcement.member;
        let ephemeral = ephemeral(number, group.into(), index.into());
        let seed = &group_seeds[usize::from(group)];
        SealedGroupSeed::seal(seed, &announcement.encrypt_key, &ephemeral).unwrap()
    };
    let commit =
        |group: u8| commitment(&context, &l, &updater, group, &group_seeds[usize::from(group)]);
    let mut header = UpdateHeader {
        updater,
        credential: Some(Credential::issue(authority, &updater, OPENED_AT + number)),
        commitments: (0..3).map(commit).collect(),
        object_len: masked.len() as u64,
        leaves: tree::leaf_hashes(&masked).map(Digest::new).collect(),
        statement: Signature::new([0; 64]),
        boxes: announcements.list().iter().map(seal).collect(),
    };
    header.sign(&keys, &context, &l);
    let own = ephemeral(number, 99, 0);
    let upload_key = UploadKey::of_sender(&own, &coordinator.public()).unwrap();
    assert_eq!(UploadKey::of_receiver(coordinator, &own.public()).as_ref(), Ok(&upload_key));
    Update { number, weights, group_seeds, masked, header, upload_key }
}

/// The ephemeral pair of a box, or, as that of group 99, of the header.
fn ephemeral(number: u64, group: u64, index: u64) -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&seed("ephemeral", &[number, group, index]))
}

impl Update {
    fn json(
        &self,
        context: &Context,
        l: &AnnouncementsHash,
        excluded: pet_core::crypto::PublicSigningKey,
    ) -> Value {
        let Self { number, weights, group_seeds, masked, header, upload_key } = self;
        let streams: Vec<String> = (0..3u8)
            .zip(group_seeds)
            .map(|(group, seed)| {
                hex(stream_seed(context, l, &header.updater, group, seed).as_bytes())
            })
            .collect();
        let bits = |weight: &f32| format!("{:08x}", weight.to_bits());
        let ephemeral_seed =
            |group, index| hex(seed("ephemeral", &[*number, group, index]).as_bytes());
        let places = (0..3).flat_map(|group| (0..3).map(move |index| (group, index)));
        json!({
            "seed": hex(seed("updater", &[*number]).as_bytes()),
            "key": header.updater.to_string(),
            "counted": header.updater != excluded,
            "weights": weights.iter().map(bits).collect::<Vec<_>>(),
            "group_seeds": group_seeds.iter().map(|seed| hex(seed.as_bytes())).collect::<Vec<_>>(),
            "stream_seeds": streams,
            "box_seeds": places.take(8).map(|(group, index)| ephemeral_seed(group, index)).collect::<Vec<_>>(),
            "masked": hex(masked),
            "model_root": header.model_root().to_string(),
            "statement_digest": header.statement_digest(context, l).to_string(),
            "header": hex(header.to_bytes()),
            "header_seed": ephemeral_seed(99, 0),
            "upload_key": hex(upload_key.as_bytes()),
        })
    }
}

/// Certificates, and the name of what is wrong with each.
fn certificates(made: &Made) -> Value {
    let good = &made.certificate;
    let few_votes = good.votes.list()[..2].iter().chain(&good.votes.list()[3..4]);
    let few_votes =
        Votes::new(few_votes.chain(&good.votes.list()[6..]).copied().collect()).unwrap();
    let mut forged = good.votes.list().to_vec();
    forged[3].signature = forged[2].signature;
    let mut list = good.announcements.list().to_vec();
    list[0].vote_key = list[1].vote_key;
    let announcements = Announcements::new(list).unwrap();
    let decision = Decision { announcements: announcements.digest(), ..good.decision };
    let masks: Vec<MaskDigest> =
        good.masks.list().iter().filter(|mask| mask.member.group != 2).copied().collect();
    let mut swapped = good.masks.list().to_vec();
    swapped[0].digest = swapped[3].digest;
    let with = |change: &dyn Fn(&mut Certificate)| {
        let mut certificate = good.clone();
        change(&mut certificate);
        certificate
    };
    let cases = [
        ("it holds", 3, good.clone(), "none"),
        ("the pin asks for more", 4, good.clone(), "Pin(Updates"),
        ("other terms", 3, with(&|it| it.terms.round = 8), "OtherRound"),
        ("another decision", 3, with(&|it| it.decision.count = 5), "Votes(Signature"),
        ("a decision for too few", 3, with(&|it| it.decision.count = 2), "TooFewUpdates"),
        (
            "a forged announcement",
            3,
            with(&|it| {
                it.announcements = announcements.clone();
                it.decision = decision;
            }),
            "Announcements(Announcement(Signature",
        ),
        (
            "other announcements",
            3,
            with(&|it| it.announcements = announcements.clone()),
            "OtherAnnouncements",
        ),
        ("a minority of a group", 3, with(&|it| it.votes = few_votes.clone()), "Votes(NoMajority"),
        (
            "a forged vote",
            3,
            with(&|it| it.votes = Votes::new(forged.clone()).unwrap()),
            "Votes(Signature",
        ),
        (
            "a group without a mask",
            3,
            with(&|it| it.masks = MaskDigests::new(masks.clone()).unwrap()),
            "Masks(NoMajority",
        ),
        (
            "another's mask",
            3,
            with(&|it| it.masks = MaskDigests::new(swapped.clone()).unwrap()),
            "Masks(Signature",
        ),
        (
            "an invitation to version 1",
            3,
            with(&|it| it.terms.parameters.sum = 0.5),
            "Pin(Terms(InvitesV1",
        ),
    ];
    let case = |(name, n_min, certificate, error): (&str, u64, Certificate, &str)| json!({"name": name, "n_min": n_min, "certificate": hex(certificate.to_bytes()), "error": error});
    json!({ "roster": hex(made.roster.to_bytes()), "cases": cases.map(case) })
}

/// Bytes that are no values, and the name of the error.
fn refused(made: &Made) -> Value {
    let mut cases = Vec::new();
    let mut case = |kind: &str, what: &str, bytes: &[u8], error: &str| {
        cases.push(json!({"kind": kind, "what": what, "bytes": hex(bytes), "error": error}));
    };
    for (kind, bytes) in &made.values {
        let mut other = bytes.clone();
        other[0] = 3;
        case(kind, "another version", &other[..other.len().min(8)], "UnknownVersion");
        case(kind, "nothing", &[], "Truncated");
        if bytes.len() < 1200 {
            case(kind, "a byte too few", &bytes[..bytes.len() - 1], "Truncated");
            case(kind, "a byte too many", &[&bytes[..], &[0]].concat(), "TrailingBytes");
        }
    }
    let value = |kind: &str| made.values.iter().find(|(name, _)| *name == kind).unwrap().1.clone();
    let mut votes = value("Votes");
    let (first, second) = votes[5..].split_at_mut(67);
    first.swap_with_slice(&mut second[..67]);
    case("Votes", "not sorted", &votes, "Malformed");
    let mut report = value("Report");
    report[3 + 4 + 32] = 9;
    case("Report", "an unknown reason", &report, "Malformed");
    let mut view = value("RoundView");
    view[1] = 8;
    case("RoundView", "an unknown phase", &view, "Malformed");
    view[1] = 5;
    view[2] = 2;
    case("RoundView", "neither there nor absent", &view, "Malformed");
    let empty = [2, 0, 0, 0, 0, 0, 0, 0];
    case("Roster", "no group", &[&empty[..5], &[0; 33]].concat(), "Roster");
    case("Votes", "many claimed, none there", &[2, 255, 0, 0, 0], "Truncated");
    case("Votes", "more claimed than there can be", &[2, 255, 255, 255, 255], "Malformed");
    json!({ "cases": cases })
}
