//! The rules that settings keep.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{root, settings, MIN, START};
use crate::mask::MaskConfig;
use crate::v2::coordinator::*;
use crate::v2::{NoiseTerms, MOST_AGE, MOST_ENTRIES};

fn mask(name: &str) -> crate::mask::MaskConfigPair {
    name.parse::<MaskConfig>().unwrap().into()
}

#[track_caller]
fn broken(settings: Settings, fields: &[Field]) -> String {
    let InvalidSettings(violations) = settings.validate().unwrap_err();
    let found: Vec<_> = violations.iter().map(|violation| violation.field).collect();
    assert_eq!(found, fields);
    for violation in &violations {
        assert!(violation.depends_on.contains(&violation.field));
    }
    InvalidSettings(violations).to_string()
}

#[test]
fn each_rule_is_kept_and_named() {
    settings().validate().unwrap();
    let text = broken(Settings { mask: mask("Prime/F32/B0/M3"), ..settings() }, &[Field::Mask]);
    assert!(text.contains("Word32 or Word64"), "{text}");
    broken(Settings { n_min: 2, ..settings() }, &[Field::NMin]);
    broken(Settings { n_min: 4, ..settings() }, &[Field::CountMin]);
    let count = CountRange { min: 3, max: 2 };
    broken(Settings { count, ..settings() }, &[Field::CountMax]);
    let count = CountRange { min: 3, max: 1001 };
    let text = broken(Settings { count, ..settings() }, &[Field::CountMax]);
    assert!(text.contains("at most 1000"), "{text}");
    broken(Settings { model_length: 0, ..settings() }, &[Field::ModelLength]);
    broken(settings().with_first_round(0), &[Field::FirstRound]);
    let mut times = settings().times;
    times.check.max = Duration::ZERO;
    broken(Settings { times, ..settings() }, &[Field::CheckTimeMax]);
    broken(settings().with_first_round(u64::MAX), &[Field::FirstRound]);
    let page = |page| settings().with_limits(Limits { page, ..Limits::default() });
    page(MOST_ENTRIES).validate().unwrap();
    broken(page(MOST_ENTRIES + 1), &[Field::Page]);
    let limits = Limits { header_bytes: 100, uploads: 0, page: 0, ..Limits::default() };
    let limited = settings().with_limits(limits);
    broken(limited, &[Field::Uploads, Field::Page, Field::HeaderBytes]);
    let limits = Limits { upload_bytes: 7, unstored_bytes: 7, ..Limits::default() };
    let limited = settings().with_limits(limits);
    broken(limited, &[Field::UploadBytes, Field::UnstoredBytes]);
}

/// Members wipe the keys of a round that is seven days old: a longer one would never end well.
#[test]
fn all_phases_together_are_over_before_members_wipe_the_keys() {
    let day = Duration::from_secs(24 * 60 * 60);
    let with = |update: Duration| {
        let mut times = settings().times;
        times.update.max = update;
        Settings { times, ..settings() }
    };
    with(6 * day).validate().unwrap();
    for days in [7, 8, 14] {
        let text = broken(with(days * day), &[Field::UpdateTimeMax]);
        assert!(text.contains("7 days old"), "{text}");
    }
    broken(with(MOST_AGE - MIN), &[Field::UpdateTimeMax]);
    broken(with(Duration::MAX), &[Field::UpdateTimeMax]);
    // Each phase alone would do.
    let times = Times::all(TimeRange { min: MIN, max: 2 * day });
    broken(Settings { times, ..settings() }, &[Field::UpdateTimeMax]);
}

proptest! {
    /// No setting is taken with which each round would be refused by all who are to take part in it.
    #[test]
    fn valid_settings_make_terms_that_participants_accept(
        config in 0..5usize,
        length in prop_oneof![0..10u64, any::<u64>()],
        (n_min, min, max) in (0..10u64, 0..10u64, 0..2000u64),
        first_round in prop_oneof![0..3u64, any::<u64>()],
        noise in proptest::option::of((0..9000u32, prop_oneof![
            any::<f64>(), Just(1.0), Just(5e-324), Just(f64::MIN_POSITIVE),
        ])),
    ) {
        let configs = [
            "Word32/F32/B0/M3", "Word64/F64/B0/M6", "Word64/I32/B6/M3", "Word64/F32/Bmax/M3", "Prime/F32/B0/M3",
        ];
        let Ok(config) = configs[config].parse::<MaskConfig>() else { return Ok(()) };
        let noise = noise.map(|(multiplier_thousandths, clip)| NoiseTerms { multiplier_thousandths, clip });
        let settings = Settings {
            mask: config.into(),
            model_length: length,
            n_min,
            count: CountRange { min, max },
            noise,
            first_round,
            ..settings()
        };
        if settings.validate().is_ok() {
            let machine = Coordinator::new(settings, root(), START).unwrap();
            prop_assert_eq!(machine.terms().check(), Ok(()));
        }
    }
}

#[test]
fn noise_has_rules_of_its_own() {
    let noise = |multiplier_thousandths, clip| NoiseTerms { multiplier_thousandths, clip };
    settings().with_noise(noise(4000, 1.0)).validate().unwrap();
    broken(settings().with_noise(noise(0, 1.0)), &[Field::NoiseMultiplier]);
    for clip in [0.0, -1.0, 1e-310, f64::NAN, f64::INFINITY] {
        broken(settings().with_noise(noise(4000, clip)), &[Field::NoiseClip]);
    }
    for other in ["Word32/F32/B2/M3", "Word64/I32/B0/M3"] {
        let other = Settings { mask: mask(other), ..settings() };
        broken(other.with_noise(noise(4000, 1.0)), &[Field::Mask]);
    }
    // So much that a sum would come out with the wrong sign: the numbers are told.
    let text = broken(settings().with_noise(noise(400_000, 1.0)), &[Field::NoiseMultiplier]);
    assert!(text.contains("8*sqrt(k)*sigma"), "{text}");
}

#[test]
fn fields_have_names_of_their_own() {
    let mut names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Field::ALL.len());
}
