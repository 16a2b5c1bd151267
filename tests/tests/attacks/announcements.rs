//! Attack 4: forged announcements, a swapped roster, split parameters, split models, downgrade to version 1. The updater is a real
//! machine; the coordinator shows it what it likes.

use std::collections::BTreeMap;

use pet_core::crypto::{
    Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RoundSeed, Seed, SigningKeyPair,
    Task,
};
use pet_core::mask::{derive_mask, MaskConfig};
use pet_core::message::{MessageView, UpdatePayload};
use pet_core::model::Model;
use pet_core::participant::{Event, Input, Output, Participant, Settings};
use pet_core::request::{Call, Response};
use pet_core::round::{RoundParameters, SumDict};
use pet_core::time::Timestamp;
use pet_core::v2::member::Refusal as MemberRefusal;
use pet_core::v2::updater::Refusal;
use pet_core::v2::{
    model_hash, Announcement, AnnouncementError, Announcements, AnnouncementsError, Budget,
    Certificate, InvalidTerms, MaskDigest, MaskDigests, MemberId, NoiseTerms, PinError, Terms,
    Votes,
};
use pet_testing::v2::by_hand::{list, root, seed, Committee, HandMember, Round, OPENED_AT};
use pet_testing::v2::stage::{Player, Shown};
use pet_testing::v2::trainer::{update_phase, Extra, Trainer};
use pet_testing::v2::words;

use super::scene::has_refused;

fn model() -> Model {
    Model::F32(vec![0.5, -0.25, 0.125, 0.0])
}

/// Shows an updater a round; gives it back.
fn show(
    committee: &Committee,
    terms: &Terms,
    list: &Announcements,
    change: impl Fn(&mut Shown),
) -> Trainer {
    let mut trainer = Trainer::new(committee, 0);
    let mut shown = update_phase(&Round { committee, terms, list });
    change(&mut shown);
    trainer.show(&shown, &Extra::default(), &model());
    trainer
}

fn announcements(committee: &Committee, terms: &Terms) -> Vec<Announcement> {
    committee.hands().iter().map(|hand| hand.announce(&terms.context())).collect()
}

fn refuses(trainer: &Trainer, expected: &Refusal) {
    assert!(trainer.has_refused(|refusal| refusal == expected), "{:?}", trainer.events);
    assert_eq!(trainer.sent, []);
}

/// The control of all that follows: where nothing is wrong it sends, and what it sends is its model under the streams of both
/// groups.
#[test]
fn an_honest_round_gets_the_update() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let list = list(announcements(&committee, &terms));
    let trainer = show(&committee, &terms, &list, |_| {});
    let [sent] = &trainer.sent[..] else { panic!("{:?}", trainer.events) };
    let verified = sent.header.verify(&committee.roster, &terms, &list);
    assert_eq!(verified, Ok(()));
    let mut left = words::vector(&sent.object);
    let config = terms.parameters.mask_config;
    for member in [MemberId::new(0, 1), MemberId::new(1, 2)] {
        let hand = HandMember::new(&committee, member, 0);
        let seed = sent.header.boxes[list.position(member).unwrap()].open(&hand.encrypt).unwrap();
        let (context, l, key) = (terms.context(), list.digest(), sent.header.updater);
        let stream = pet_core::v2::stream_seed(&context, &l, &key, member.group, &seed);
        left = words::sub(&left, &words::of(&derive_mask(&stream, config, 4)));
    }
    assert_eq!(left, words::encode(&[0.5, -0.25, 0.125, 0.0]));
}

#[test]
fn forged_announcements_are_refused() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let good = announcements(&committee, &terms);
    let id = MemberId::new(0, 1);
    let friend = &committee.members[1][0];
    let own = EncryptKeyPair::from_seed(&seed(77, 0)).public();
    // Signed by somebody else; with the key swapped under the member's signature; by the member, for another round.
    let swapped = Announcement { encrypt_key: own, ..good[1] };
    let by_friend = Announcement::sign(friend, &terms.context(), id, own, good[1].vote_key);
    let other = committee.terms(2, 4).context();
    let late = HandMember::new(&committee, id, 0).announce(&other);
    for forged in [swapped, by_friend, late] {
        let mut all = good.clone();
        all[1] = forged;
        let trainer = show(&committee, &terms, &list(all), |_| {});
        let error = AnnouncementsError::Announcement(AnnouncementError::Signature(id));
        refuses(&trainer, &error.into());
    }
    // A point of low order, signed by a member: everybody would know what is sealed to it.
    let weak = PublicEncryptKey::new([0; 32]);
    let keys = committee.member(id);
    let mut all = good.clone();
    all[1] = Announcement::sign(keys, &terms.context(), id, weak, good[1].vote_key);
    let trainer = show(&committee, &terms, &list(all), |_| {});
    let error = AnnouncementsError::Announcement(AnnouncementError::WeakKey(id));
    refuses(&trainer, &error.into());
}

#[test]
fn a_list_without_a_majority_is_refused() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let all = announcements(&committee, &terms).into_iter();
    let few = list(all.filter(|a| a.member.group == 1 || a.member.index == 0).collect());
    let trainer = show(&committee, &terms, &few, |_| {});
    let is_named = |refusal: &Refusal| {
        matches!(refusal, Refusal::Announcements(AnnouncementsError::NoMajority(lacking))
            if (lacking.group, lacking.have, lacking.need) == (0, 1, 2))
    };
    assert!(trainer.has_refused(is_named), "{:?}", trainer.events);
    assert_eq!(trainer.sent, []);
}

/// A committee of the coordinator's own, consistent in itself: only the pin tells.
#[test]
fn a_swapped_roster_is_refused() {
    let committee = Committee::new(2, 3, 3);
    let mut own = committee.clone();
    for members in &mut own.members {
        for (number, keys) in members.iter_mut().enumerate() {
            *keys = SigningKeyPair::from_seed(&seed(
                88,
                10 * number as u64 + u64::from(keys.public().as_bytes()[0]),
            ));
        }
    }
    let groups = own.members.iter().zip(committee.roster.groups()).map(|(members, group)| {
        let keys = members.iter().map(SigningKeyPair::public).collect();
        pet_core::v2::Group::new(group.name.clone(), keys)
    });
    let admission = committee.roster.admission().clone();
    own.roster = pet_core::v2::Roster::new(groups.collect(), admission).unwrap();
    let terms = own.terms(1, 4);
    let list = list(announcements(&own, &terms));
    let mut trainer = Trainer::new(&committee, 0);
    let shown = update_phase(&Round { committee: &own, terms: &terms, list: &list });
    trainer.show(&shown, &Extra::default(), &model());
    let (pinned, found) = (committee.roster.hash(), own.roster.hash());
    refuses(&trainer, &PinError::Roster { pinned, found }.into());
    // The right roster beside terms that name the other one.
    let mut shown = shown;
    shown.roster = committee.roster.to_bytes();
    let mut trainer = Trainer::new(&committee, 0);
    trainer.show(&shown, &Extra::default(), &model());
    refuses(&trainer, &PinError::Roster { pinned, found }.into());
    // A member refuses it as well.
    let mut player = Player::new(&committee, MemberId::new(0, 0));
    assert_eq!(player.show(&Shown::announce(&own, &terms)), []);
    let expected = MemberRefusal::Pin(PinError::Roster { pinned, found });
    assert!(has_refused(&player, |refusal| *refusal == expected), "{:?}", player.events);
    // The control: who pins nothing but what is shown takes part.
    let mut trainer = Trainer::with_pin(&committee, 0, own.pin());
    trainer.show(
        &update_phase(&Round { committee: &own, terms: &terms, list: &list }),
        &Extra::default(),
        &model(),
    );
    assert_eq!(trainer.sent.len(), 1);
}

/// Two updaters are shown different parameters, with the same announcements: one of the two contexts is not what the
/// honest members have signed.
#[test]
fn split_parameters_are_refused() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let list = list(announcements(&committee, &terms));
    let changes: [fn(&mut Terms); 5] = [
        |terms| terms.n_min = 4,
        |terms| terms.opened_at += 1,
        |terms| terms.round = 2,
        |terms| terms.parameters.pk = EncryptKeyPair::from_seed(&seed(66, 0)).public(),
        |terms| terms.parameters.seed = RoundSeed::new([6; 32]),
    ];
    for change in changes {
        let mut other = terms.clone();
        change(&mut other);
        let trainer = show(&committee, &other, &list, |_| {});
        let first = AnnouncementError::Signature(MemberId::new(0, 0));
        refuses(&trainer, &AnnouncementsError::Announcement(first).into());
    }
    // Members sign one context for a number: the coordinator gets no second list from the honest group either.
    let mut player = Player::new(&committee, MemberId::new(0, 0));
    assert_eq!(player.show(&Shown::announce(&committee, &terms)).len(), 1);
    let mut other = terms.clone();
    other.n_min = 4;
    assert_eq!(player.show(&Shown::announce(&committee, &other)), []);
}

/// The certificate of a round, with all votes and masks.
fn certificate(committee: &Committee, terms: &Terms) -> Certificate {
    let hands = committee.hands();
    let list = list(announcements(committee, terms));
    let round = Round { committee, terms, list: &list };
    let updates: Vec<_> = (0..3).map(|i| round.update(i, &[0.1; 4])).collect();
    let decision = round.decision(&updates.iter().collect::<Vec<_>>()).unwrap();
    let (context, hash) = (terms.context(), decision.digest());
    let mask = |hand: &HandMember| {
        MaskDigest::sign(&hand.keys, &context, &hash, hand.id, Digest::new([hand.id.group; 32]))
    };
    Certificate {
        terms: terms.clone(),
        decision,
        votes: Votes::new(hands.iter().map(|hand| hand.vote(&decision)).collect()).unwrap(),
        masks: MaskDigests::new(hands.iter().map(mask).collect()).unwrap(),
        announcements: list,
    }
}

/// The updater is given another global model than the one that the terms name, which the others have got.
#[test]
fn split_models_are_refused() {
    let committee = Committee::new(2, 3, 3);
    let before = certificate(&committee, &committee.terms(1, 4));
    let global = Model::F32(vec![0.1; 4]);
    let mut terms = committee.terms(2, 4);
    terms.model = Some(model_hash(&global));
    let list = list(announcements(&committee, &terms));
    let mut shown = update_phase(&Round { committee: &committee, terms: &terms, list: &list });
    shown.view.completed = Some(1);
    let play = |global: &Model, certificates: BTreeMap<u64, Certificate>| {
        let mut trainer = Trainer::new(&committee, 0);
        let extra = Extra { model: Some(global.clone()), certificate: certificates, is_v1: false };
        trainer.show(&shown, &extra, &model());
        trainer
    };
    // The control.
    let trainer = play(&global, [(1, before.clone())].into());
    assert_eq!(trainer.sent.len(), 1, "{:?}", trainer.events);
    let crafted = Model::F32(vec![0.1, 0.1, 0.1, 9.0]);
    let (expected, found) = (model_hash(&global), model_hash(&crafted));
    refuses(
        &play(&crafted, [(1, before.clone())].into()),
        &Refusal::OtherModel { round: 2, expected, found },
    );
    // Without a certificate, or with that of a minority, it does not even look at the model.
    refuses(&play(&global, BTreeMap::new()), &Refusal::NoCertificate { round: 2 });
    let mut minority = before;
    let votes = minority.votes.list().iter().copied().filter(|vote| vote.member.group != 0);
    minority.votes = Votes::new(votes.collect()).unwrap();
    let trainer = play(&global, [(1, minority)].into());
    assert!(trainer.has_refused(|refusal| matches!(refusal, Refusal::Certificate(_))));
    assert_eq!(trainer.sent, []);
}

/// A coordinator that knows nothing of version 2: who has a pin says so, and sends nothing. (`Trainer` panics at any call of
/// version 1.)
#[test]
fn no_downgrade_to_version_1() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let list = list(announcements(&committee, &terms));
    let mut trainer = Trainer::new(&committee, 0);
    let extra = Extra { is_v1: true, ..Extra::default() };
    let shown = update_phase(&Round { committee: &committee, terms: &terms, list: &list });
    trainer.show(&shown, &extra, &model());
    refuses(&trainer, &Refusal::NoV2);
    assert!(trainer.asked.iter().all(|path| path.starts_with("/v2/")), "{:?}", trainer.asked);
    // A version that does not exist yet is named.
    let mut shown = shown;
    shown.roster[0] = 3;
    let mut trainer = Trainer::new(&committee, 0);
    trainer.show(&shown, &Extra::default(), &model());
    refuses(&trainer, &Refusal::UnknownVersion { found: 3, known: 2 });
}

#[test]
fn terms_below_the_pin_are_refused() {
    let committee = Committee::new(2, 3, 3);
    let play = |terms: &Terms, pin: pet_core::v2::Pin| {
        let list = list(announcements(&committee, terms));
        let mut trainer = Trainer::with_pin(&committee, 0, pin);
        let shown = update_phase(&Round { committee: &committee, terms, list: &list });
        trainer.show(&shown, &Extra::default(), &model());
        trainer
    };
    let terms = committee.terms(1, 4);
    let mut pin = committee.pin();
    pin.n_min = 50;
    refuses(&play(&terms, pin), &PinError::Updates { pinned: 50, found: 3 }.into());
    // Noise that is turned off, and noise that costs more than the budget.
    let pin = committee.pin().with_budget(Budget::new(1.0, 1e-5));
    refuses(&play(&terms, pin), &PinError::NoNoise.into());
    let mut noisy = terms.clone();
    noisy.noise = Some(NoiseTerms { multiplier_thousandths: 1000, clip: 1.0 });
    let trainer = play(&noisy, pin);
    let is_named = |refusal: &Refusal| matches!(refusal, Refusal::Budget { .. });
    assert!(trainer.has_refused(is_named), "{:?}", trainer.events);
    assert_eq!(trainer.sent, []);
    // The control: a budget for it, and it sends.
    let pin = committee.pin().with_budget(Budget::new(10.0, 1e-5));
    let trainer = play(&noisy, pin);
    assert_eq!(trainer.sent.len(), 1, "{:?}", trainer.events);
    assert!(trainer.events.iter().any(|event| matches!(event, Event::BudgetSpent { .. })));
    // Old rounds, and ones from the future.
    for (opened_at, is_old) in [(OPENED_AT - 8 * 86_400, true), (OPENED_AT + 7200, false)] {
        let mut terms = terms.clone();
        terms.opened_at = opened_at;
        let trainer = play(&terms, committee.pin());
        let is_named = |refusal: &Refusal| match refusal {
            Refusal::Pin(PinError::Terms(InvalidTerms::Old { .. })) => is_old,
            Refusal::Pin(PinError::Terms(InvalidTerms::FromTheFuture { .. })) => !is_old,
            _ => false,
        };
        assert!(trainer.has_refused(is_named), "{:?}", trainer.events);
        assert_eq!(trainer.sent, []);
    }
}

/// One statement in a context, also for another list and another model, and after a restart from its last state.
#[test]
fn an_updater_makes_one_statement_in_a_context() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let all = announcements(&committee, &terms);
    let whole = list(all.clone());
    let fewer = list(all.into_iter().filter(|a| a.member.index != 2).collect());
    let mut trainer = show(&committee, &terms, &whole, |_| {});
    assert_eq!(trainer.sent.len(), 1);
    let again = update_phase(&Round { committee: &committee, terms: &terms, list: &fewer });
    trainer.show(&again, &Extra::default(), &Model::F32(vec![0.9; 4]));
    assert_eq!(trainer.sent.len(), 1);
    let snapshot = trainer.snapshot();
    trainer.restore(&snapshot);
    trainer.show(&again, &Extra::default(), &Model::F32(vec![0.9; 4]));
    assert_eq!(trainer.sent.len(), 1);
}

/// Set back to before its statement it makes another, of another model (which is not claimed to be hindered): every seed, and
/// every box, is another, so that no two models are under one mask.
#[test]
fn an_updater_that_is_set_back_uses_no_seed_twice() {
    let committee = Committee::new(2, 3, 3);
    let terms = committee.terms(1, 4);
    let list = list(announcements(&committee, &terms));
    let shown = update_phase(&Round { committee: &committee, terms: &terms, list: &list });
    let mut trainer = Trainer::new(&committee, 0);
    let before = trainer.snapshot();
    for weights in [[0.5; 4], [0.75; 4], [0.5; 4]] {
        trainer.restore(&before);
        trainer.show(&shown, &Extra::default(), &Model::F32(weights.to_vec()));
    }
    let [first, second, again] = &trainer.sent[..] else { panic!("{:?}", trainer.events) };
    assert_eq!(first.object, again.object, "the same model gives the same bytes");
    let difference = words::sub(&words::vector(&first.object), &words::vector(&second.object));
    assert_ne!(difference, words::sub(&words::encode(&[0.5; 4]), &words::encode(&[0.75; 4])));
    for (a, b) in first.header.commitments.iter().zip(&second.header.commitments) {
        assert_ne!(a, b);
    }
    for (a, b) in first.header.boxes.iter().zip(&second.header.boxes) {
        // Not even the ephemeral keys: with one key and one nonce the difference of the seeds would show.
        assert_ne!(a.as_bytes()[..32], b.as_bytes()[..32]);
    }
}

/// The control, in version 1: the coordinator makes up a sum participant, a real participant seals its mask seed for it, and the
/// coordinator unmasks it alone.
#[test]
fn in_version_1_a_made_up_summer_is_enough() {
    let config: MaskConfig = "Word32/F32/B0/M3".parse().unwrap();
    let coordinator = EncryptKeyPair::from_seed(&Seed::new([1; 32]));
    let parameters = RoundParameters {
        pk: coordinator.public(),
        sum: 0.000_001,
        update: 1.0,
        seed: RoundSeed::new([2; 32]),
        mask_config: config.into(),
        model_length: 4,
    };
    // Nobody checks who this is.
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new([3; 32]));
    let made_up: PublicSigningKey = SigningKeyPair::from_seed(&Seed::new([4; 32])).public();
    let mut sums = SumDict::new();
    sums.insert(made_up, ephemeral.public());
    let keys = SigningKeyPair::from_seed(&Seed::new([5; 32]));
    let mut participant = Participant::new(keys, root(40, 0), Settings::default());
    let mut now = Timestamp::ZERO;
    participant.handle_input(now, Input::Tick).unwrap();
    let sent = loop {
        let input = match participant.poll_output() {
            Output::Request { id, call } => match call {
                Call::Params => {
                    Input::Response { id, response: Response::ok(parameters.to_bytes()) }
                }
                Call::SumsOf(_) => Input::Response { id, response: Response::ok(sums.to_bytes()) },
                call => break call.body().to_vec(),
            },
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Event(Event::NewRound { task, .. }) => {
                assert_eq!(task, Task::Update);
                continue;
            }
            Output::Event(Event::ModelNeeded { .. }) => Input::SetModel(model()),
            Output::Event(_) => continue,
            Output::Idle(idle) => {
                now = now.max(idle.wake_at.unwrap());
                Input::Tick
            }
            other => panic!("{other:?}"),
        };
        participant.handle_input(now, input).unwrap();
    };
    let opened = coordinator.open(&sent).unwrap();
    let message = MessageView::parse(&opened).unwrap();
    let payload = UpdatePayload::parse(message.payload).unwrap();
    let seed = payload.seeds.get(&made_up).unwrap().open(&ephemeral).unwrap();
    let mask = words::of(&derive_mask(&seed, config.into(), 4));
    let masked = &message.payload[UpdatePayload::MASKED_MODEL_FROM..];
    let length = pet_core::mask::MaskObjectView::serialized_len(config.into(), 4).unwrap();
    let left = words::sub(&words::vector(&masked[..length]), &mask);
    assert_eq!(left, words::encode(&[0.5, -0.25, 0.125, 0.0]));
}
