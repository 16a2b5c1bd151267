//! Whole rounds.

use super::fixture::{long, settings, Fixture, MIN};
use super::people::{members, roster, Member};
use crate::v2::coordinator::*;
use crate::v2::merkle::InclusionProof;
use crate::v2::{Call, Certificate, Pin, StatementsPage};

fn get(fixture: &Fixture, call: Call) -> bytes::Bytes {
    let answer = fixture.front.answer(&call).respond(|object| fixture.store.load(&object)).unwrap();
    assert_eq!(answer.status, 200, "{call:?}: {:?}", answer.body);
    answer.body
}

#[test]
fn a_round_ends_with_the_mean_and_its_certificate() {
    for settings in [settings(), long()] {
        let mut fixture = Fixture::new(settings);
        let updaters = fixture.round(4);
        fixture.check_model(&updaters);
        assert_eq!((fixture.machine.round(), fixture.machine.phase()), (2, Phase::Announce));
        assert_eq!(fixture.failures(), []);

        let certificate =
            Certificate::from_bytes(&get(&fixture, Call::Certificate { round: Some(1) }));
        let certificate = certificate.unwrap();
        let pin = Pin::new(roster().hash(), 3);
        let masks = certificate.verify(&roster(), &pin).unwrap();
        for updater in &updaters {
            let proof = get(&fixture, Call::Proof { round: 1, updater: updater.key() });
            let proof = InclusionProof::from_bytes(&proof).unwrap();
            let last = fixture.front.completed().unwrap();
            let header = last.headers().find(|header| header.updater == updater.key()).unwrap();
            let announcements = certificate.announcements.digest();
            let digest = header.statement_digest(&certificate.terms.context(), &announcements);
            assert!(certificate.decision.includes(&updater.key(), &digest, &proof));
            let masked = get(&fixture, Call::MaskedModel { round: 1, updater: updater.key() });
            assert_eq!(masked.len() as u64, certificate.terms.object_len());
        }
        let page = get(&fixture, Call::Statements { round: 1, from: 1 });
        let page = StatementsPage::from_bytes(&page).unwrap();
        assert_eq!((page.total, page.from, page.statements.len()), (4, 1, 3));
        for (group, digest) in (0..).zip(masks) {
            let mask = get(&fixture, Call::GroupMask { round: 1, group });
            let leaves: Vec<_> =
                crate::mask::tree::leaf_hashes(&mask).map(crate::crypto::Digest::new).collect();
            assert_eq!(crate::v2::group_mask_root(mask.len() as u64, &leaves), digest);
        }
        // The next round starts from the model.
        let hash = fixture.front.completed().unwrap().model_hash;
        assert_eq!(fixture.machine.terms().model, Some(hash));
        let updaters = fixture.round(3);
        fixture.check_model(&updaters);
    }
}

#[test]
fn participants_of_version_1_idle() {
    use crate::request;
    let fixture = Fixture::new(settings());
    let response = fixture.front.answer_v1(&request::Call::Params).unwrap();
    let parameters = crate::round::RoundParameters::from_bytes(&response.body).unwrap();
    assert_eq!((parameters.sum, parameters.update), (0.0, 0.0));
    assert_eq!(fixture.front.answer_v1(&request::Call::Sums).unwrap().status, 204);
}

#[test]
fn a_minority_of_each_group_may_be_lost_in_each_phase() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    let (lost, there): (Vec<_>, Vec<_>) = members().partition(|member| member.index == 2);
    for member in &there {
        fixture.accepts(Member(*member).announce(&seen));
    }
    assert_eq!(fixture.machine.phase(), Phase::Announce);
    fixture.wait(MIN);
    let missing = Event::MembersMissing { round: 1, phase: Phase::Announce, members: lost.clone() };
    assert!(fixture.events.contains(&missing));
    let updaters = fixture.update(3);
    let seen = fixture.seen();
    for member in &there {
        fixture.accepts(Member(*member).report(&seen, &[]));
    }
    assert_eq!(fixture.machine.phase(), Phase::Agree, "all that had announced themselves");
    fixture.agree_with(&there);
    fixture.sum2(there.into_iter(), &updaters);
    fixture.check_model(&updaters);
}

#[test]
fn numbers_begin_where_the_settings_say() {
    let fixture = Fixture::new(settings().with_first_round(1000));
    assert_eq!(fixture.machine.round(), 1000);
}
