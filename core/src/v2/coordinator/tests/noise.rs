//! Rounds with noise: each group takes its own off its mask, and the mean difference is added to the model before.

use bytes::Bytes;

use super::fixture::{settings, Fixture, START};
use super::people::{members, Member, Seen, Updater, GROUPS};
use crate::mask::noise::{Noise, NoiseSeed};
use crate::mask::GroupMask;
use crate::model::Model;
use crate::v2::coordinator::*;
use crate::v2::{MemberId, NoiseTerms};

const CLIP: f64 = 2.0;

/// The group's mask with its noise; here all seeds are public.
fn mask(seen: &Seen, member: MemberId, updaters: &[Updater]) -> Bytes {
    let parameters = &seen.terms.parameters;
    let (config, length) = (parameters.mask_config, parameters.model_length as usize);
    let seeds = updaters.iter().map(|updater| updater.stream(seen, member.group));
    let thousandths = seen.terms.noise.unwrap().multiplier_thousandths;
    let noise = Noise::new(config.vect, length, thousandths).unwrap();
    let mask = GroupMask::new(config, length, seeds).unwrap();
    let mask = mask.with_noise(&noise, NoiseSeed::new([member.group; 32])).unwrap();
    mask.finish().to_bytes().unwrap().into()
}

fn round(fixture: &mut Fixture) -> Vec<Updater> {
    fixture.announce();
    let updaters = fixture.update(4);
    fixture.check();
    fixture.agree();
    masks(fixture, &updaters);
    updaters
}

fn masks(fixture: &mut Fixture, updaters: &[Updater]) {
    let seen = fixture.seen();
    for member in members() {
        let mask = mask(&seen, member, updaters);
        fixture.accepts(Member(member).mask_header(&seen, &mask));
    }
    for member in fixture.view().wanted {
        let mask = mask(&seen, member, updaters);
        fixture.accepts(Member(member).mask_chunk(&seen, &mask, 0));
    }
}

fn weights(fixture: &Fixture) -> Vec<f32> {
    match &*fixture.front.completed().unwrap().model {
        Model::F32(weights) => weights.clone(),
        _ => panic!(),
    }
}

#[test]
fn a_round_with_noise_adds_the_mean_difference_to_the_model_before() {
    // Hardly any noise, so that what is below it can be seen.
    let noise = NoiseTerms { multiplier_thousandths: 1, clip: CLIP };
    let mut fixture = Fixture::new(settings().with_noise(noise));
    assert_eq!(fixture.machine.terms().noise, Some(noise));
    let mut expected = 0.0;
    for _ in 0..3 {
        let updaters = round(&mut fixture);
        let sum: f64 = updaters.iter().map(|updater| f64::from(updater.weight())).sum();
        expected += CLIP * sum / updaters.len() as f64;
        let most = 0.05 * f64::from(GROUPS);
        for weight in weights(&fixture) {
            let off = (f64::from(weight) - expected).abs();
            assert!(off < most, "{weight} and not {expected}");
        }
    }
    assert_eq!(fixture.failures(), []);
}

/// What was restored lacks the round before: the differences are from a model that is not there.
#[test]
fn a_round_whose_start_is_lost_fails_by_name_and_makes_no_model_of_the_differences_alone() {
    let noise = NoiseTerms { multiplier_thousandths: 1, clip: CLIP };
    let settings = settings().with_noise(noise);
    let mut fixture = Fixture::new(settings.clone());
    round(&mut fixture);
    let hash = fixture.machine.terms().model.unwrap();
    fixture.announce();
    let updaters = fixture.update(4);
    fixture.check();
    fixture.agree();
    for is_lost in [true, false] {
        let mut store = fixture.store.clone();
        if is_lost {
            let begins = |record: &Record| matches!(record, Record::RoundBegan { .. });
            let second = store.records.iter().rposition(begins).unwrap();
            store.records.drain(..second);
        }
        let mut fixture = Fixture::resume(store, settings.clone(), START);
        masks(&mut fixture, &updaters);
        let expected = if is_lost { vec![RoundFailure::ModelLost(hash)] } else { vec![] };
        assert_eq!(fixture.failures(), expected);
        let completed = fixture.front.completed().map(|last| last.round());
        assert_eq!(completed, (!is_lost).then_some(2));
    }
}

/// A model of another length is nothing to add a difference to: the next round begins from nothing.
#[test]
fn a_model_of_another_length_is_not_gone_on_from() {
    let noise = NoiseTerms { multiplier_thousandths: 1, clip: CLIP };
    let mut fixture = Fixture::new(settings().with_noise(noise));
    let changed = Settings { model_length: 5, ..settings() }.with_noise(noise);
    fixture.input(Input::ChangeSettings(Box::new(changed))).unwrap();
    round(&mut fixture);
    assert_eq!((fixture.machine.round(), fixture.machine.terms().model), (2, None));
    round(&mut fixture);
    assert_eq!(weights(&fixture).len(), 5);
}
