//! The rounds that an updater is shown, and what can be wrong with them.

use std::collections::BTreeMap;

use pet_core::crypto::{Digest, EncryptKeyPair, PublicSigningKey, SigningKeyPair};
use pet_core::model::{array, Model};
use pet_core::request::Response;
use pet_core::v2::merkle::{leaf_hash, InclusionProof, Tree};
use pet_core::v2::{
    decision_leaf, model_hash, Announcement, Announcements, Call, Certificate, Decision, Group,
    MaskDigest, MaskDigests, Phase, Post, Roster, RoundView, Terms, UpdateHeader, Votes,
};
use pet_testing::v2::by_hand::{list, seed, Committee, HandMember, Round};

use super::answers::Flaw;
use super::looks::Shown;

/// The number of the round; the one before has a global model.
pub const ROUND: u64 = 6;
pub const LENGTH: usize = 4;

/// One group of three members; four updaters, of whom the first is driven.
pub struct World {
    pub committee: Committee,
    pub terms: Terms,
    hands: Vec<HandMember>,
    completed: BTreeMap<u64, Completed>,
}

/// What there is of a round that is over.
struct Completed {
    certificate: Certificate,
    model: Model,
    /// For the driven updater.
    proof: Option<InclusionProof>,
}

impl World {
    /// The round in which the updater has not made its update yet.
    pub fn new() -> Self {
        let committee = Committee::new(1, 3, 4);
        let hands = committee.hands();
        let before = committee.terms(ROUND - 1, LENGTH as u64);
        let mut terms = committee.terms(ROUND, LENGTH as u64);
        let model = Model::F32(vec![0.25; LENGTH]);
        terms.model = Some(model_hash(&model));
        let mut world = Self { committee, terms, hands, completed: BTreeMap::new() };
        world.complete(&before, None, model);
        world
    }

    fn list(&self, terms: &Terms) -> Announcements {
        let context = terms.context();
        list(self.hands.iter().map(|hand| hand.announce(&context)).collect())
    }

    /// The updater has sent this: now the round can be completed.
    pub fn sent(&mut self, post: &Post) {
        let keys = EncryptKeyPair::from_seed(&seed(4, ROUND));
        let opened = keys.open(&post.body).expect("sealed for the round");
        let header = UpdateHeader::from_bytes(&opened).expect("well-formed");
        let terms = self.terms.clone();
        self.complete(&terms, Some(&header), Model::F32(vec![0.125; LENGTH]));
    }

    /// Completes a round with the updates of the others, and perhaps this one.
    fn complete(&mut self, terms: &Terms, own: Option<&UpdateHeader>, model: Model) {
        let (context, list) = (terms.context(), self.list(terms));
        let round = Round { committee: &self.committee, terms, list: &list };
        let others = (1..4).map(|nth| round.update(nth, &[0.5; LENGTH]));
        let others = others.map(|update| (update.key(), update.statement_digest()));
        let own = own.map(|own| (own.updater, own.statement_digest(&context, &list.digest())));
        let mut leaves: Vec<(PublicSigningKey, Digest)> = own.into_iter().chain(others).collect();
        leaves.sort_unstable_by_key(|(key, _)| *key);
        let decision = Decision::of(context, list.digest(), leaves.clone()).expect("sorted");
        let votes = self.hands.iter().map(|hand| hand.vote(&decision)).collect();
        let sign = |hand: &HandMember| {
            let (decision, digest) = (decision.digest(), Digest::new([hand.id.group; 32]));
            MaskDigest::sign(&hand.keys, &context, &decision, hand.id, digest)
        };
        let masks = self.hands.iter().map(sign).collect();
        let certificate = Certificate {
            terms: terms.clone(),
            announcements: list,
            decision,
            votes: Votes::new(votes).expect("sorted"),
            masks: MaskDigests::new(masks).expect("sorted"),
        };
        let place = own.and_then(|(own, _)| leaves.iter().position(|(key, _)| *key == own));
        let hash =
            |(key, digest): &(PublicSigningKey, Digest)| leaf_hash(&decision_leaf(key, digest));
        let tree = Tree::new(leaves.iter().map(hash).collect());
        let proof = place.and_then(|place| tree.prove(place as u64));
        self.completed.insert(terms.round, Completed { certificate, model, proof });
    }

    /// How a coordinator shows the round.
    pub fn shown(&self, shown: Shown) -> RoundView {
        use Shown as W;
        let round = |phase| self.in_phase(&self.terms, phase);
        match shown {
            W::Nothing => RoundView::idle(),
            W::Announce => round(Phase::Announce),
            W::Update => round(Phase::Update),
            W::Check => round(Phase::Check),
            W::Unmask => round(Phase::Unmask),
            W::Failed => round(Phase::Failed),
            W::Completed => RoundView { completed: Some(ROUND), ..round(Phase::Idle) },
            W::Next => {
                let terms = Terms { round: ROUND + 1, ..self.terms.clone() };
                self.in_phase(&terms, Phase::Announce)
            }
            W::NextCompleted => {
                let model = self.completed.get(&ROUND).map(|over| model_hash(&over.model));
                let terms = Terms { round: ROUND + 1, model, ..self.terms.clone() };
                let view = self.in_phase(&terms, Phase::Announce);
                RoundView { completed: Some(ROUND), ..view }
            }
        }
    }

    /// A round with these terms, of which none is completed after the one that has the model.
    pub fn in_phase(&self, terms: &Terms, phase: Phase) -> RoundView {
        let is_fixed = !matches!(phase, Phase::Announce | Phase::Idle);
        RoundView {
            phase,
            terms: Some(terms.clone()),
            announcements: is_fixed.then(|| self.list(terms).digest()),
            completed: Some(ROUND - 1),
            failure: (phase == Phase::Failed).then(|| "it was skipped".to_owned()),
            ..RoundView::idle()
        }
    }

    /// What an honest coordinator answers that shows this.
    pub fn answer(&self, view: &RoundView, call: &Call) -> Response {
        let completed = |round: Option<u64>| self.completed.get(&round?);
        let body = match call {
            Call::Round => Some(view.to_bytes()),
            Call::Roster => Some(self.committee.roster.to_bytes()),
            Call::Announcements => view.terms.as_ref().map(|terms| self.list(terms).to_bytes()),
            Call::Certificate { round } => {
                completed(*round).map(|over| over.certificate.to_bytes())
            }
            Call::Proof { round, .. } => completed(Some(*round))
                .and_then(|over| over.proof.as_ref())
                .map(InclusionProof::to_bytes),
            Call::Model { round, .. } => completed(*round).map(|over| bytes(&over.model)),
            _ => Some(Vec::new()),
        };
        body.map_or_else(|| Response::new(404, ""), Response::ok)
    }

    fn flawed_list(&self, flaw: Flaw) -> Announcements {
        let context = self.terms.context();
        let mut all = self.list(&self.terms).list().to_vec();
        match flaw {
            Flaw::ListForged => {
                let stranger = SigningKeyPair::from_seed(&seed(99, 0));
                let (e, v) = (self.hands[2].encrypt.public(), self.hands[2].vote.public());
                all[2] = Announcement::sign(&stranger, &context, all[2].member, e, v);
            }
            Flaw::ListNoMajority => all.truncate(1),
            _ => all.truncate(2),
        }
        list(all)
    }

    fn flawed_certificate(&self, flaw: Flaw) -> Certificate {
        let is_own = flaw.stage() == super::Stage::Sent;
        let round = if is_own { ROUND } else { ROUND - 1 };
        let mut certificate = self.completed[&round].certificate.clone();
        match flaw {
            Flaw::CertificateNoMajority | Flaw::OwnNoMajority => {
                let one = certificate.votes.list()[..1].to_vec();
                certificate.votes = Votes::new(one).expect("sorted");
                certificate
            }
            Flaw::CertificateOther => self.completed[&ROUND].certificate.clone(),
            _ => {
                // Of a round with the same number.
                let terms = Terms { opened_at: self.terms.opened_at + 1, ..self.terms.clone() };
                let mut other = Self::new();
                other.complete(&terms, None, Model::F32(vec![0.5; LENGTH]));
                other.completed.remove(&ROUND).expect("completed").certificate
            }
        }
    }

    fn flawed_proof(&self) -> Vec<u8> {
        let mut proof = self.completed[&ROUND].proof.clone().expect("it was sent");
        proof.index = (proof.index + 1) % proof.count;
        proof.to_bytes()
    }

    /// The answer that has the flaw.
    #[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
    pub fn flawed(&self, flaw: Flaw) -> Response {
        use Flaw as F;
        Response::ok(match flaw {
            F::RosterNonsense | F::CertificateNonsense | F::ModelNonsense | F::ListNonsense => {
                b"\x02nonsense".to_vec()
            }
            F::RosterVersion => b"\x03".to_vec(),
            F::RosterOther => {
                let mut groups: Vec<Group> = self.committee.roster.groups().to_vec();
                groups[0].name = "another".to_owned();
                let admission = self.committee.roster.admission().clone();
                Roster::new(groups, admission).expect("a roster").to_bytes()
            }
            F::CertificateNoMajority
            | F::CertificateOther
            | F::OwnNoMajority
            | F::OwnOther
            | F::OwnOtherLate => self.flawed_certificate(flaw).to_bytes(),
            F::ModelLength => bytes(&Model::F32(vec![0.25; LENGTH + 1])),
            F::ModelOther => bytes(&Model::F32(vec![0.5; LENGTH])),
            F::ListOther | F::ListForged | F::ListNoMajority => self.flawed_list(flaw).to_bytes(),
            F::LocalNaN => self.list(&self.terms).to_bytes(),
            F::ProofWrong => self.flawed_proof(),
        })
    }

    /// What the round is said to be where the flaw shows.
    pub fn flawed_view(&self, flaw: Flaw) -> RoundView {
        let mut view = self.shown(super::answers::comes_in(flaw.stage()));
        if matches!(flaw, Flaw::ListForged | Flaw::ListNoMajority) {
            view.announcements = Some(self.flawed_list(flaw).digest());
        }
        if flaw == Flaw::OwnOtherLate {
            view = self.shown(Shown::NextCompleted);
        }
        view
    }
}

fn bytes(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    array::write_weights(model, &mut bytes);
    bytes
}
