//! The rules that settings keep.

use std::time::Duration;

use super::fixture::settings;
use crate::mask::MaskConfig;
use crate::v2::coordinator::*;
use crate::v2::NoiseTerms;

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
    let limits = Limits { header_bytes: 100, uploads: 0, page: 0, ..Limits::default() };
    let limited = settings().with_limits(limits);
    broken(limited, &[Field::Uploads, Field::Page, Field::HeaderBytes]);
    let limits = Limits { upload_bytes: 7, unstored_bytes: 7, ..Limits::default() };
    let limited = settings().with_limits(limits);
    broken(limited, &[Field::UploadBytes, Field::UnstoredBytes]);
}

#[test]
fn noise_has_rules_of_its_own() {
    let noise = |multiplier_thousandths, clip| NoiseTerms { multiplier_thousandths, clip };
    settings().with_noise(noise(4000, 1.0)).validate().unwrap();
    broken(settings().with_noise(noise(0, 1.0)), &[Field::NoiseMultiplier]);
    for clip in [0.0, -1.0, f64::NAN, f64::INFINITY] {
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
