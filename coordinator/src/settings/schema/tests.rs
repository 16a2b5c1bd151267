use std::{path::Path, time::Duration};

use pet_core::coordinator::{Field, Quorum};
use pet_core::mask::{BoundType, DataType, GroupType, ModelType};
use proptest::prelude::*;

use super::*;
use crate::{settings::MinMax, tls::TlsFiles};

/// Layers of a file with a model length and `extra`, which are TOML lines with dotted keys.
fn layers(extra: &str) -> Layers {
    let mut layers = Layers::default();
    layers.add_toml(Path::new("c.toml"), &format!("model.length = 10\n{extra}")).unwrap();
    layers
}

fn load(extra: &str) -> Settings {
    interpret(&layers(extra)).unwrap().settings
}

fn problems(extra: &str) -> Vec<Problem> {
    match interpret(&layers(extra)) {
        Err(SettingsError::Invalid(problems)) => problems,
        other => panic!("{extra}: {other:?}"),
    }
}

fn is_key(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.bytes().all(is_part)
}

/// Core tells of its own fields; whoever has a settings file is told of its keys.
#[test]
fn every_field_of_core_has_a_key() {
    let (keys, mut of_fields) = (super::keys(), BTreeSet::new());
    for field in Field::ALL {
        let key = rules::key_of(*field);
        let is_section = keys.iter().any(|known| is_below(known, key));
        assert!(keys.contains(&key) || is_section, "{field} has no key: {key}");
        assert!(of_fields.insert(key), "two fields have the key {key}");
    }
}

/// The same for rounds of v2; limits are not set by their names.
#[test]
fn every_field_of_core_for_rounds_of_v2_has_a_key() {
    use pet_core::v2::coordinator::Field;
    let (keys, mut of_fields) = (super::keys(), BTreeSet::new());
    for field in Field::ALL.iter().filter(|field| !field.name().starts_with("limits.")) {
        let key = rules::key_of_v2(*field);
        let is_section = keys.iter().any(|known| is_below(known, key));
        assert!(keys.contains(&key) || is_section, "{field} has no key: {key}");
        assert!(of_fields.insert(key), "two fields have the key {key}");
    }
}

#[test]
fn nothing_but_a_length_gives_the_defaults() {
    let loaded = interpret(&layers("")).unwrap();
    assert_eq!(loaded.settings, Settings::for_model_length(10));
    assert_eq!(loaded.warnings, []);
    loaded.settings.validate().unwrap();
}

#[test]
fn the_example_file_gives_the_documented_defaults() {
    let mut layers = Layers::default();
    let text = include_str!("../../../config.example.toml");
    layers.add_toml(Path::new("config.example.toml"), text).unwrap();
    let loaded = interpret(&layers).unwrap();
    assert_eq!(loaded.settings, Settings::for_model_length(1000));
    assert_eq!(loaded.warnings, []);

    // What has no default is shown in comments.
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(setting) if setting.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => {
            format!("{setting}\n")
        }
        _ => format!("{line}\n"),
    };
    let all: String = text.lines().map(uncommented).collect();
    let mut layers = Layers::default();
    layers.add_toml(Path::new("config.example.toml"), &all).unwrap();
    let given: Vec<&str> = layers.iter().map(|(key, _)| key).collect();
    assert_eq!(given, super::keys(), "the example must show every key");
}

/// What is shown can be given again, and means the same.
#[test]
fn effective_settings_are_a_settings_file() {
    let mut layers = Layers::default();
    layers.add_toml(Path::new("a.toml"), "pet.sum.prob = 0.25\nlog.filter = 'a=\"b\\c\"'").unwrap();
    layers.add_option("model.length", "--model-length", "7".to_owned());
    layers.add_option("pet.sum.time.min", "--set", "0.5".to_owned());
    layers.add_option("log.filter", "--set", "info".to_owned());
    let loaded = interpret(&layers).unwrap();
    let keys: Vec<&str> = loaded.effective.iter().map(|setting| setting.key.as_str()).collect();
    assert_eq!(keys, super::keys());
    let origin = |key: &str| {
        loaded.effective.iter().find(|setting| setting.key == key).unwrap().origin.clone()
    };
    assert_eq!(origin("pet.sum.prob"), Origin::File { path: "a.toml".into(), line: 1 });
    assert_eq!(origin("model.length"), Origin::Option { name: "--model-length".into() });
    assert_eq!(origin("pet.update.prob"), Origin::Default);

    let text: String = loaded.effective.iter().map(|setting| format!("{setting}\n")).collect();
    let mut again = Layers::default();
    again.add_toml(Path::new("b.toml"), &text).unwrap();
    assert_eq!(interpret(&again).unwrap().settings, loaded.settings, "{text}");
}

#[test]
fn every_key_is_read() {
    let s = load(
        r#"
        api.bind_address = "[::1]:0"
        pet.sum = { prob = 0.25, count = { min = 2, max = 20 }, time = { min = 3, max = 30 } }
        pet.update = { prob = 0.75, count = { min = 4, max = 40 }, time = { min = 5, max = 50 } }
        pet.sum2 = { count = { min = 6, max = 16 }, time = { min = 7, max = 70 }, quorum = 0.5 }
        mask = { group_type = "power2", data_type = "I64", bound_type = "BMax", model_type = "M12" }
        log = { filter = "warn,pet_coordinator=trace", format = "JSON" }
        "#,
    );
    let secs = |min, max| MinMax { min: Duration::from_secs(min), max: Duration::from_secs(max) };
    assert_eq!(s.api.bind_address.to_string(), "[::1]:0");
    assert_eq!((s.pet.sum.prob, s.pet.update.prob), (0.25, 0.75));
    assert_eq!(s.pet.sum2.quorum, Quorum::Share(0.5));
    assert_eq!(s.pet.sum.count, MinMax { min: 2, max: 20 });
    assert_eq!(s.pet.sum.time, secs(3, 30));
    assert_eq!(s.pet.update.count, MinMax { min: 4, max: 40 });
    assert_eq!(s.pet.update.time, secs(5, 50));
    assert_eq!(s.pet.sum2.count, MinMax { min: 6, max: 16 });
    assert_eq!(s.pet.sum2.time, secs(7, 70));
    assert_eq!(s.mask.group_type(), GroupType::Power2);
    assert_eq!(s.mask.data_type(), DataType::I64);
    assert_eq!(s.mask.bound_type(), BoundType::Bmax);
    assert_eq!(s.mask.model_type(), ModelType::M12);
    assert_eq!(s.log.filter, "warn,pet_coordinator=trace");
    assert_eq!(s.log.format, LogFormat::Json);
    assert_eq!(s.model.length, 10);
}

#[test]
fn an_optimizer_has_the_defaults_of_its_paper() {
    use pet_core::coordinator::{OptimizerKind, StepRule};
    assert_eq!(load("").protocol().optimizer, None);
    for kind in OptimizerKind::ALL {
        let s = load(&format!("pet.optimizer.kind = \"{}\"", kind.name().to_lowercase()));
        let optimizer = s.protocol().optimizer.unwrap();
        assert_eq!(optimizer.rule, StepRule::of(kind));
        let rate = if optimizer.rule.kind().name().starts_with("FedAvg") { 1.0 } else { 0.1 };
        assert_eq!((optimizer.learning_rate.at(7), optimizer.beside_model), (rate, 0));
        // By hand in code the same.
        let mut by_hand = Settings::for_model_length(10);
        by_hand.pet.optimizer.kind = Some(kind);
        assert_eq!(by_hand.protocol(), s.protocol());
    }
}

#[test]
fn every_key_of_an_optimizer_is_read() {
    use pet_core::coordinator::StepRule;
    let s = load(
        r#"
        [pet.optimizer]
        kind = "FedYogi"
        learning_rate = "0.5*2, 0.25"
        beta1 = 0.5
        beta2 = 0.75
        tau = 0.125
        beside_model = 9
        "#,
    );
    let optimizer = s.protocol().optimizer.unwrap();
    assert_eq!(optimizer.rule, StepRule::FedYogi { beta1: 0.5, beta2: 0.75, tau: 0.125 });
    assert_eq!(optimizer.learning_rate.to_string(), "0.5*2, 0.25");
    assert_eq!(optimizer.beside_model, 9);
    let s = load("pet.optimizer = { kind = \"FedAvgM\", learning_rate = 2, momentum = 0 }");
    let optimizer = s.protocol().optimizer.unwrap();
    assert_eq!(optimizer.rule, StepRule::FedAvgM { momentum: 0.0 });
    assert_eq!(optimizer.learning_rate.to_string(), "2.0");
}

/// While it runs, too: what was the other one's is gone.
#[test]
fn another_kind_of_optimizer_has_its_own_defaults() {
    let adam = load("pet.optimizer = { kind = \"FedAdam\", beta2 = 0.5, learning_rate = 0.2 }");
    let changed = |changes: &[(&str, &str)]| {
        let owned = changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        change(&adam, &owned.collect::<Vec<_>>()).unwrap().pet.optimizer
    };
    let faster = changed(&[("pet.optimizer.learning_rate", "0.4")]);
    assert_eq!((faster.beta2, faster.learning_rate), (Some(0.5), "0.4".parse().ok()));
    let momentum = changed(&[("pet.optimizer.kind", "FedAvgM"), ("pet.optimizer.momentum", "0.5")]);
    assert_eq!((momentum.beta2, momentum.momentum), (None, Some(0.5)));
    assert_eq!(momentum.learning_rate, "1".parse().ok());
    assert_eq!(changed(&[("pet.optimizer.kind", "")]), OptimizerSettings::default());
    // Participants pack their models as before: no change of kind makes weights of the sums beside them.
    let with_sums = load("pet.optimizer = { kind = \"FedAdam\", beside_model = 3 }");
    let one = |settings: &Settings, value: &str| {
        change(settings, &[("pet.optimizer.kind".to_owned(), value.to_owned())]).unwrap()
    };
    let other = one(&with_sums, "FedAvgM");
    assert_eq!(other.protocol().optimizer.unwrap().beside_model, 3);
    let none = one(&with_sums, "");
    assert_eq!(none.protocol().optimizer, None);
    assert_eq!(one(&none, "FedYogi").protocol().optimizer.unwrap().beside_model, 3);
    let given = [("kind", "FedAvg"), ("beside_model", "2")];
    let given = given.map(|(key, value)| (format!("pet.optimizer.{key}"), value.to_owned()));
    assert_eq!(change(&with_sums, &given).unwrap().pet.optimizer.beside_model, 2);
}

#[test]
fn every_rule_of_optimizers_holds_and_names_key_and_rule() {
    let fed = |kind: &str, more: &str| format!("pet.optimizer = {{ kind = \"{kind}\", {more} }}");
    for (wrong, key, rule) in [
        (
            "pet.optimizer.kind = \"adam\"".to_owned(),
            "kind",
            "FedAvg, FedAvgM, FedAdagrad, FedAdam or FedYogi",
        ),
        (
            "pet.optimizer.learning_rate = 0.1".to_owned(),
            "learning_rate",
            "needs pet.optimizer.kind",
        ),
        (
            fed("FedAvg", "momentum = 0.9"),
            "momentum",
            "is for pet.optimizer.kind = FedAvgM, and it is FedAvg",
        ),
        (
            fed("FedAvgM", "beta1 = 0.9"),
            "beta1",
            "FedAdagrad, FedAdam or FedYogi, and it is FedAvgM",
        ),
        (fed("FedAdagrad", "beta2 = 0.9"), "beta2", "FedAdam or FedYogi, and it is FedAdagrad"),
        (fed("FedAvg", "tau = 1"), "tau", "and it is FedAvg"),
        (fed("FedAdam", "beta1 = 1"), "beta1", "at least 0 and below 1"),
        (fed("FedYogi", "beta2 = nan"), "beta2", "at least 0 and below 1"),
        (fed("FedAvgM", "momentum = -0.1"), "momentum", "at least 0 and below 1"),
        (fed("FedAdam", "tau = 0"), "tau", "a number above 0"),
        (fed("FedAdam", "learning_rate = -1"), "learning_rate", "0 or more"),
        (fed("FedAdam", "learning_rate = \"0.1*0\""), "learning_rate", "0 or more"),
        (
            fed("FedAdam", "beside_model = 10"),
            "beside_model",
            "must be below model.length, which is 10",
        ),
        (
            format!("mask.data_type = \"I32\"\n{}", fed("FedAdam", "tau = 1")),
            "kind",
            "mask of whole numbers",
        ),
        (
            format!(
                "mask.group_type = \"Word64\"\npet.v2.roster_file = \"r\"\n{}",
                fed("FedAdam", "tau = 1")
            ),
            "kind",
            "must be nothing with pet.v2.roster_file",
        ),
    ] {
        let found = problems(&wrong);
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
        assert_eq!(found[0].key, format!("pet.optimizer.{key}"), "{wrong}");
        assert!(found[0].rule.contains(rule), "{wrong}: {}", found[0].rule);
    }
}

#[test]
fn every_key_of_v2_is_read() {
    let s = load(
        r#"
        mask.group_type = "Word32"
        pet.v2.roster_file = "roster.toml"
        pet.v2.n_min = 5
        pet.v2.rounds_audited = 7
        pet.v2.first_round = 40
        pet.v2.announce.time = { min = 2, max = 20 }
        pet.v2.update = { count = { min = 6, max = 60 }, time = { min = 3, max = 30 } }
        pet.v2.check.time = { min = 4, max = 40 }
        pet.v2.agree.time = { min = 5, max = 50 }
        pet.v2.sum2.time = { min = 6, max = 60.5 }
        pet.v2.noise = { multiplier = 8.125, clip = 0.5 }
        "#,
    );
    let secs = |min, max| MinMax { min: Duration::from_secs(min), max: Duration::from_secs(max) };
    let v2 = s.pet.v2;
    assert!(v2.is_on());
    assert_eq!(v2.roster_file, Some("roster.toml".into()));
    assert_eq!((v2.n_min, v2.rounds_audited, v2.first_round), (5, 7, 40));
    assert_eq!(v2.announce.time, secs(2, 20));
    assert_eq!((v2.update.count, v2.update.time), (MinMax { min: 6, max: 60 }, secs(3, 30)));
    assert_eq!((v2.check.time, v2.agree.time), (secs(4, 40), secs(5, 50)));
    assert_eq!(v2.sum2.time.max, Duration::from_millis(60_500));
    assert_eq!(v2.noise.thousandths(), Some(8125));
    assert_eq!(v2.noise.clip, Some(0.5));
    // The fewest updates to wait for are the fewest that may be.
    let s = load("mask.group_type = \"Word64\"\npet.v2 = { roster_file = \"r\", n_min = 9 }");
    assert_eq!(s.pet.v2.update.count.min, 9);
    assert!(!load("pet.v2.roster_file = \"\"").pet.v2.is_on());
}

#[test]
fn every_rule_of_v2_holds_and_names_key_and_rule() {
    let on = "mask.group_type = \"Word32\"\npet.v2.roster_file = \"r\"\n";
    for (extra, key, rule) in [
        ("pet.v2.n_min = 2\npet.v2.update.count.min = 3", "pet.v2.n_min", "at least 3"),
        (
            "pet.v2.n_min = 5\npet.v2.update.count.min = 4",
            "pet.v2.update.count.min",
            "pet.v2.n_min",
        ),
        ("pet.v2.update.count.max = 2", "pet.v2.update.count.max", "pet.v2.update.count.min"),
        (
            "pet.v2.check.time = { min = 2, max = 1 }",
            "pet.v2.check.time.max",
            "pet.v2.check.time.min",
        ),
        (
            "pet.v2.agree.time = { min = 0, max = 0 }",
            "pet.v2.agree.time.max",
            "more than 0 seconds",
        ),
        ("pet.v2.noise.multiplier = 8", "pet.v2.noise.multiplier", "needs pet.v2.noise.clip"),
        ("pet.v2.noise.clip = 1", "pet.v2.noise.clip", "needs pet.v2.noise.multiplier"),
        ("pet.v2.noise = { multiplier = 0.05, clip = 1 }", "pet.v2.noise.multiplier", "from 0.1"),
        ("pet.v2.noise = { multiplier = 8, clip = -1 }", "pet.v2.noise.clip", "more than 0"),
        ("pet.v2.noise = { multiplier = 8, clip = inf }", "pet.v2.noise.clip", "more than 0"),
        (
            "pet.v2.noise = { multiplier = 8, clip = 1 }\nmask.bound_type = \"B2\"",
            "mask.bound_type",
            "must be B0",
        ),
        ("pet.v2.first_round = 0", "pet.v2.first_round", "at least 1"),
        ("pet.v2.rounds_audited = 0", "pet.v2.rounds_audited", "1 or more"),
        (
            "pet.v2.update.count = { min = 200, max = 3000 }\nmask.model_type = \"M3\"",
            "pet.v2.update.count.max",
            "allows no more models",
        ),
    ] {
        let problems = problems(&format!("{on}{extra}"));
        let [problem] = &problems[..] else { panic!("{extra}: {problems:?}") };
        assert_eq!(problem.key, key, "{extra}");
        assert!(problem.rule.contains(rule), "{extra}: {}", problem.rule);
    }
    // As many updates as the mask has room for is what is taken by default.
    assert_eq!(load(on).pet.v2.update.count.max, 1000);
    let problems = problems("pet.v2.roster_file = \"r\"");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.key, "mask.group_type");
    assert!(problem.rule.contains("Word32 or Word64"), "{}", problem.rule);
}

#[test]
fn what_belongs_to_the_store_does_not_change_while_it_runs() {
    let settings = Settings::for_model_length(10);
    let change =
        |key: &str, value: &str| super::change(&settings, &[(key.to_owned(), value.to_owned())]);
    for (key, value) in [
        ("pet.v2.roster_file", "other"),
        ("pet.v2.rounds_audited", "3"),
        ("pet.v2.first_round", "9"),
    ] {
        assert!(change(key, value).unwrap_err().to_string().contains("cannot be changed"), "{key}");
    }
    assert_eq!(change("pet.v2.check.time.max", "90").unwrap().pet.v2.check.time.max.as_secs(), 90);
}

#[test]
fn numbers_may_be_written_as_text_as_they_always_could() {
    let s = load("pet.sum.prob = \"0.25\"\npet.sum.count.min = \" 2 \"");
    assert_eq!((s.pet.sum.prob, s.pet.sum.count.min), (0.25, 2));
}

#[test]
fn times_may_be_fractions_and_practically_infinite() {
    let s = load("pet.sum.time = { min = 0.25, max = 9223372036854775807 }\npet.sum2.time.min = 0");
    assert_eq!(s.pet.sum.time.min, Duration::from_millis(250));
    assert_eq!(s.pet.sum.time.max, Duration::from_secs(i64::MAX as u64));
    assert_eq!(s.pet.sum2.time.min, Duration::ZERO);
}

#[test]
fn sum2_takes_by_default_as_many_as_sum_participants_there_can_be() {
    let s = load("pet.sum.count.max = 7");
    assert_eq!(s.pet.sum2.count.max, 7);
    let s = load("pet.sum.count.max = 700");
    assert_eq!(s.pet.sum2.count.max, 700);
}

/// Each rule, at both sides of its edge: what breaks it (key, given value) and what just keeps it.
#[test]
fn every_rule_holds_and_names_key_value_and_rule() {
    for (wrong, key, value, rule, right) in [
        ("pet.sum.prob = 0", "pet.sum.prob", "0", "above 0 and below 1", "pet.sum.prob = 1e-9"),
        ("pet.sum.prob = 1.0", "pet.sum.prob", "1", "above 0 and below 1", "pet.sum.prob = 0.999"),
        ("pet.sum.prob = nan", "pet.sum.prob", "NaN", "above 0 and below 1", "pet.sum.prob = 0.5"),
        (
            "pet.update.prob = 0",
            "pet.update.prob",
            "0",
            "above 0 and at most 1",
            "pet.update.prob = 1e-9",
        ),
        (
            "pet.update.prob = 1.01",
            "pet.update.prob",
            "1.01",
            "above 0 and at most 1",
            "pet.update.prob = 1",
        ),
        ("pet.sum.count.min = 0", "pet.sum.count.min", "0", "at least 1", "pet.sum.count.min = 1"),
        (
            "pet.update.count.min = 2",
            "pet.update.count.min",
            "2",
            "at least 3",
            "pet.update.count.min = 3",
        ),
        (
            "pet.sum2.count.min = 0",
            "pet.sum2.count.min",
            "0",
            "at least 1",
            "pet.sum2.count.min = 1",
        ),
        (
            "pet.sum.count.min = 101",
            "pet.sum.count.max",
            "100",
            "at least pet.sum.count.min, which is 101",
            "pet.sum.count.min = 100",
        ),
        (
            "pet.update.count = { min = 10, max = 9 }",
            "pet.update.count.max",
            "9",
            "at least pet.update.count.min, which is 10",
            "pet.update.count = { min = 9, max = 9 }",
        ),
        (
            "pet.sum2.count = { min = 10, max = 9 }",
            "pet.sum2.count.max",
            "9",
            "at least pet.sum2.count.min, which is 10",
            "pet.sum2.count = { min = 9, max = 9 }",
        ),
        (
            "pet.sum2.count.max = 101",
            "pet.sum2.count.max",
            "101",
            "at most pet.sum.count.max, which is 100",
            "pet.sum2.count.max = 100",
        ),
        (
            "pet.sum.time = { min = 2.5, max = 2 }",
            "pet.sum.time.min",
            "2.5",
            "at most pet.sum.time.max, which is 2",
            "pet.sum.time = { min = 2, max = 2.0 }",
        ),
        (
            "pet.update.time = { min = 301 }",
            "pet.update.time.min",
            "301",
            "at most pet.update.time.max, which is 300",
            "pet.update.time = { min = 300 }",
        ),
        (
            "pet.sum2.time.max = 0.5",
            "pet.sum2.time.min",
            "1",
            "at most pet.sum2.time.max, which is 0.5",
            "pet.sum2.time.max = 1",
        ),
        (
            "pet.update.count.min = 1001",
            "pet.update.count.min",
            "1001",
            "at most 1000: mask.model_type M3",
            "pet.update.count.min = 1000",
        ),
        ("model.length = 0", "model.length", "0", "at least 1", "model.length = 1"),
        (
            "model.length = 800_000_000",
            "model.length",
            "800000000",
            "below 4 GiB",
            "model.length = 700_000_000",
        ),
        (
            "log.filter = \"a=b=c\"",
            "log.filter",
            "\"a=b=c\"",
            "target=level",
            "log.filter = \"a=debug\"",
        ),
        // Values of the wrong kind.
        (
            "pet.sum.count.min = -1",
            "pet.sum.count.min",
            "\"-1\"",
            "whole number",
            "pet.sum.count.min = +1",
        ),
        (
            "pet.sum.count.min = 1.5",
            "pet.sum.count.min",
            "\"1.5\"",
            "whole number",
            "pet.sum.count.min = 1",
        ),
        ("model.length = true", "model.length", "\"true\"", "whole number", "model.length = 8"),
        (
            "pet.sum.time.min = -1",
            "pet.sum.time.min",
            "\"-1\"",
            "number of seconds",
            "pet.sum.time.min = 0",
        ),
        (
            "pet.sum.time.max = inf",
            "pet.sum.time.max",
            "\"inf\"",
            "number of seconds",
            "pet.sum.time.max = 1e9",
        ),
        (
            "pet.sum.prob = \"half\"",
            "pet.sum.prob",
            "\"half\"",
            "must be a number",
            "pet.sum.prob = 0.5",
        ),
        (
            "api.bind_address = \"localhost\"",
            "api.bind_address",
            "\"localhost\"",
            "IP address and a port",
            "api.bind_address = \"0.0.0.0:0\"",
        ),
        (
            "mask.group_type = \"Odd\"",
            "mask.group_type",
            "\"Odd\"",
            "Integer, Prime, Power2, Word32, Word64",
            "mask.group_type = \"prime\"",
        ),
        (
            "mask.group_type = \"word32\"\nmask.bound_type = \"B6\"",
            "mask.group_type",
            "\"Word32\"",
            "Word32/F32/B6/M3 is of no use: weights would be rounded down to multiples of 1/2; use group type \
             Word64 or bound type B4 or group type Prime",
            "mask.group_type = \"word32\"\nmask.bound_type = \"B4\"",
        ),
        (
            "mask.data_type = \"F16\"",
            "mask.data_type",
            "\"F16\"",
            "F32, F64, I32, I64",
            "mask.data_type = \"f64\"",
        ),
        (
            "mask.bound_type = \"B1\"",
            "mask.bound_type",
            "\"B1\"",
            "B0, B2, B4, B6, Bmax",
            "mask.bound_type = \"bmax\"",
        ),
        (
            "mask.model_type = \"M1\"",
            "mask.model_type",
            "\"M1\"",
            "M3, M6, M9, M12",
            "mask.model_type = \"m12\"",
        ),
        ("log.format = \"xml\"", "log.format", "\"xml\"", "text or json", "log.format = \"json\""),
    ] {
        let parse = |line: &str| {
            let mut layers = Layers::default();
            let length = if line.starts_with("model.length") { "" } else { "model.length = 10" };
            layers.add_toml(Path::new("c.toml"), &format!("{length}\n{line}")).unwrap();
            interpret(&layers)
        };
        let found = match parse(wrong) {
            Err(SettingsError::Invalid(found)) => found,
            other => panic!("{wrong}: {other:?}"),
        };
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
        assert_eq!(found[0].key, key, "{wrong}");
        assert_eq!(found[0].value.as_deref(), Some(value), "{wrong}");
        assert!(found[0].rule.contains(rule), "{wrong}: {}", found[0].rule);
        if let Err(error) = parse(right) {
            panic!("{right}: {error}");
        }
    }
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_origin() {
    let mut layers = layers("pet.sum.prob = 7\npet.update.count = { min = 1, max = \"many\" }");
    layers.add_env([
        ("XAYNET__PET__SUM__COUNT__MIN".into(), "x".into()),
        ("XAYNET__MODEL__LENGHT".into(), "5".into()),
    ]);
    layers.add_option("model.length", "--model-length", "0".to_owned());
    let Err(SettingsError::Invalid(found)) = interpret(&layers) else {
        panic!("these settings are wrong");
    };
    let text: Vec<String> = found.iter().map(Problem::to_string).collect();
    assert_eq!(
        text,
        [
            "model.lenght = \"5\" (environment variable XAYNET__MODEL__LENGHT): is not a setting; did you mean model.length?",
            "model.length = 0 (option --model-length): must be at least 1",
            "pet.sum.count.min = \"x\" (environment variable XAYNET__PET__SUM__COUNT__MIN): \
             must be a whole number, 0 or more",
            "pet.sum.prob = 7 (c.toml, line 2): must be above 0 and below 1",
            "pet.update.count.max = \"many\" (c.toml, line 3): must be a whole number, 0 or more",
            "pet.update.count.min = 1 (c.toml, line 3): must be at least 3",
        ]
    );
    let all = SettingsError::Invalid(found).to_string();
    assert!(all.starts_with("6 settings are wrong:\n  - model.lenght"), "{all}");
}

#[test]
fn a_missing_length_says_how_to_give_it() {
    let Err(SettingsError::Invalid(found)) = interpret(&Layers::default()) else {
        panic!("there is no length");
    };
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].origin, Origin::Nowhere);
    let told = found[0].to_string();
    assert!(told.starts_with("model.length: is missing: give the number"), "{told}");
    assert!(told.ends_with("or as XAYNET__MODEL__LENGTH"), "{told}");
}

#[test]
fn unknown_keys_of_known_sections_are_errors_with_a_hint() {
    for (line, hint) in [
        ("pet.sum.probability = 0.5", "is not a setting"),
        ("pet.sum.porb = 0.5", "did you mean pet.sum.prob?"),
        ("pet.summ.prob = 0.5", "did you mean pet.sum.prob?"),
        ("api.bind_adress = \"0.5\"", "did you mean api.bind_address?"),
        ("pet.sum.count = 0.5", "is a section with keys of its own"),
        ("pet.sum.count.min.x = 0.5", "pet.sum.count.min is a value and has no keys"),
    ] {
        let found = problems(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].rule.contains(hint), "{line}: {}", found[0].rule);
        let value = (!line.starts_with("api")).then_some("\"0.5\"");
        assert_eq!(found[0].value.as_deref(), value, "{line}: only what cannot be a secret");
    }
}

#[test]
fn sections_without_effect_and_unknown_ones_are_warnings() {
    let loaded = interpret(&layers(
        r#"
        redis.url = "redis://:secret@host"
        s3 = { access_key = "a", secret_access_key = "hush", region = ["minio", "x"], buckets.global_models = "b" }
        restore.enable = true
        metrics.influxdb = { url = "u", db = "d" }
        pett.sum.prob = 0.1
        something.else = 1
        "#,
    ))
    .unwrap();
    assert_eq!(loaded.settings, Settings::for_model_length(10));
    let keys: Vec<&str> = loaded.warnings.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["metrics", "pett", "redis", "restore", "s3", "something"]);
    let text: String = loaded.warnings.iter().map(Warning::to_string).collect();
    assert!(text.contains("did you mean pet?"), "{text}");
    assert!(!text.contains("hush") && !text.contains("secret@"), "{text}");
}

#[test]
fn certificate_and_key_need_each_other() {
    let api =
        load("api = { tls_certificate = \"c\", tls_key = \"k\", tls_client_auth = \"a\" }").api;
    let files = TlsFiles::of(&api).unwrap();
    assert_eq!((files.certificate, files.key), ("c".into(), "k".into()));
    assert_eq!(files.client_auth, Some("a".into()));
    for (line, key, rule) in [
        ("api.tls_key = \"k\"", "api.tls_key", "needs api.tls_certificate as well"),
        ("api.tls_certificate = \"c\"", "api.tls_certificate", "needs api.tls_key as well"),
        ("api.tls_client_auth = \"a\"", "api.tls_client_auth", "needs api.tls_certificate as well"),
        ("api.proxy_protocol = true", "api.proxy_protocol", "needs api.trusted_proxies as well"),
        ("api.tls_key = \"\"", "api.tls_key", "must be the path of a file in PEM form"),
    ] {
        let found = problems(line);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].key.as_str(), found[0].rule.as_str()), (key, rule));
    }
}

#[test]
fn an_unknown_section_on_the_command_line_is_an_error() {
    let mut layers = layers("");
    layers.add_option("pett.x", "--set pett.x", "1".to_owned());
    let Err(SettingsError::Invalid(found)) = interpret(&layers) else {
        panic!("there is no such section");
    };
    let text: Vec<String> = found.iter().map(Problem::to_string).collect();
    assert_eq!(text, ["pett.x (option --set pett.x): there is no section pett; did you mean pet?"]);
}

/// Values of a kind that no setting has are shown as they were written, on one line.
#[test]
fn a_value_of_the_wrong_kind_is_shown() {
    for (line, value, rule) in [
        ("pet.sum.count.min = [1,\n  2]", "[1, 2]", "whole number, 0 or more, not an array"),
        (
            "pet.sum.time.max = 2020-01-01",
            "2020-01-01",
            "seconds, 0 or more, whole or with a fraction, not a date",
        ),
        ("mask.data_type = []", "[]", "F32, F64, I32, I64, not an array"),
        ("pet.sum.count = [1]", "[1]", "is a section with keys of its own"),
    ] {
        let found = problems(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert_eq!(found[0].value.as_deref(), Some(value), "{line}");
        assert!(found[0].rule.contains(rule), "{line}: {}", found[0].rule);
    }
    let long = problems(&format!("pet.sum.prob = \"{}\"", "é".repeat(200)));
    assert_eq!(long[0].value, Some(format!("\"{}...", "é".repeat(59))));
}

#[cfg(unix)]
#[test]
fn an_environment_value_that_is_no_text_is_shown() {
    use std::os::unix::ffi::OsStringExt;

    let mut layers = layers("");
    let value = std::ffi::OsString::from_vec(b"0.\xff5".to_vec());
    layers.add_env([("XAYNET__PET__SUM__PROB".into(), value)]);
    let Err(SettingsError::Invalid(found)) = interpret(&layers) else {
        panic!("this is no number");
    };
    assert_eq!(
        found[0].to_string(),
        "pet.sum.prob = 0.\u{fffd}5 (environment variable XAYNET__PET__SUM__PROB): \
         must be a number, not bytes that are no Unicode text"
    );
}

#[test]
fn a_log_filter_that_says_nothing_of_this_program_is_a_warning() {
    let warnings =
        |filter: &str| interpret(&layers(&format!("log.filter = \"{filter}\""))).unwrap().warnings;
    let found = warnings("http=debug");
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .to_string()
            .starts_with("setting log.filter (c.toml, line 2): \"http=debug\" says"),
        "{}",
        found[0]
    );
    assert_eq!(warnings("xaynet=debug,http=warn"), []);
}

#[test]
fn settings_built_by_hand_keep_the_same_rules() {
    let mut settings = Settings::for_model_length(0);
    settings.pet.update.count.min = 2;
    let Err(SettingsError::Invalid(found)) = settings.validate() else {
        panic!("these settings are wrong");
    };
    let text: Vec<String> = found.iter().map(Problem::to_string).collect();
    assert_eq!(
        text,
        ["pet.update.count.min = 2: must be at least 3", "model.length = 0: must be at least 1"]
    );
}

#[test]
fn rules_over_a_value_that_cannot_be_read_are_not_reported() {
    for line in [
        "pet.sum.count.max = \"x\"\npet.sum.count.min = 101",
        "pet.sum.count.max = \"x\"\npet.sum2.count.max = 101",
        "mask.model_type = \"x\"\npet.update.count.min = 1001",
    ] {
        let found = problems(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert_eq!(found[0].value.as_deref(), Some("\"x\""), "{line}");
    }
}

/// One setting that cannot be read hides only the rules that look at it.
#[test]
fn rules_that_look_at_nothing_unreadable_are_reported() {
    let mut layers = layers("pet.sum.count.max = \"x\"\nmask.data_type = \"x\"");
    layers.add_option("model.length", "--model-length", "1000000000000".to_owned());
    let Err(SettingsError::Invalid(found)) = interpret(&layers) else {
        panic!("these settings are wrong");
    };
    let keys: Vec<&str> = found.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["mask.data_type", "model.length", "pet.sum.count.max"]);
}

proptest! {
    /// Whatever is in the file, reading it ends in settings that keep the rules or in an error;
    /// never in a panic.
    #[test]
    fn any_text_is_settings_or_an_error(text in r#"(\[?[a-z.0-9]{1,9}\]?( = ["0-9a-z{}.]{0,6})?\n){0,5}"#) {
        let mut layers = Layers::default();
        if layers.add_toml(Path::new("c.toml"), &text).is_ok() {
            layers.add_option("model.length", "--model-length", "5".to_owned());
            if let Ok(loaded) = interpret(&layers) {
                prop_assert!(loaded.settings.validate().is_ok());
            }
        }
    }
}

#[test]
fn what_is_shared_has_rules_and_hides_its_password() {
    let read = |text: &str| {
        let mut layers = Layers::default();
        let length = if text.contains("model.length") { "" } else { "model.length = 1\n" };
        layers.add_toml(Path::new("a.toml"), &format!("{length}{text}")).unwrap();
        interpret(&layers)
    };
    let url = "postgres.url = 'postgres://pet:hush@db/pet'";
    let loaded = read(&format!("storage.engine = 'Postgres'\n{url}")).unwrap();
    let shown: String = loaded.effective.iter().map(|setting| format!("{setting}\n")).collect();
    assert!(shown.contains("postgres.url = \"postgres://pet@db/pet\"") && !shown.contains("hush"));
    assert!(!format!("{loaded:?}").contains("hush"));
    let url_of_redis = "redis = { url = 'redis://:hush@redis:6379', accept_loss = true }";
    let loaded = read(&format!("storage.engine = 'redis'\n{url_of_redis}")).unwrap();
    let shown: String = loaded.effective.iter().map(|setting| format!("{setting}\n")).collect();
    assert!(shown.contains("redis.url = \"redis://redis:6379\"") && !shown.contains("hush"));
    assert!(loaded.settings.redis.accept_loss && loaded.warnings.is_empty());
    // It says nothing to other engines, whatever it says.
    for other in
        [url_of_redis, "redis.url = 7", "redis.accept_loss = 'x'", "redis = 'redis://:hush@redis'"]
    {
        let loaded = read(other).unwrap();
        assert_eq!(loaded.settings, Settings::for_model_length(1));
        assert_eq!(loaded.warnings.len(), 1, "{other}");
    }
    for (text, rule) in [
        ("storage.engine = 'postgres'", "needs postgres.url as well"),
        ("storage.engine = 'oracle'", "must be directory, postgres or redis"),
        ("storage.engine = 'redis'", "needs redis.url as well"),
        (&format!("storage.engine = 'redis'\n{url_of_redis}\nmodel.length = 40000000"), "is too long for storage.engine"),
        (&format!("storage.engine = 'redis'\n{url_of_redis}\npet.sum.count.max = 30001"), "must be 30000 at most with storage.engine"),
        ("storage.engine = 'redis'\nredis.ur = 'redis://:hush@db'", "did you mean redis.url?"),
        ("storage.engine = 'redis'\nredis.url = 'redis://:hush@db'\nredis.accept_loss = 3", "redis.accept_loss"),
        ("storage.federation = 'No'", "must be 1 to 40 lower-case letters"),
        ("storage.lease_time = 0.5", "must be from 1 to 60 seconds"),
        (&format!("storage = {{ engine = 'postgres', ephemeral = true }}\n{url}"), "storage.ephemeral"),
        (
            &format!("storage.engine = 'postgres'\n{url}\npet.v2.roster_file = 'r'\nmask.group_type = 'Word32'"),
            "rounds of v2 cannot be shared",
        ),
        ("postgres.ur = 'postgres://pet:hush@db/pet'", "postgres.ur"),
    ] {
        let told = read(text).unwrap_err().to_string();
        assert!(told.contains(rule) && !told.contains("hush"), "{text}: {told}");
    }
}

#[test]
fn s3_has_its_old_keys_and_is_asked_for_by_one_of_its_own() {
    let read = |text: &str| {
        let mut layers = Layers::default();
        let shared =
            "storage = { engine = 'postgres', parts = 'S3' }\npostgres.url = 'postgres://db/pet'";
        layers
            .add_toml(Path::new("a.toml"), &format!("model.length = 1\n{shared}\n{text}"))
            .unwrap();
        interpret(&layers)
    };
    let keys = "access_key = 'a', secret_access_key = 'hush'";
    let old = format!(
        "s3 = {{ {keys}, region = ['minio', 'http://s3:9000'], buckets.global_models = 'b' }}"
    );
    let loaded = read(&old).unwrap();
    assert_eq!(loaded.warnings, []);
    let s3 = &loaded.settings.s3;
    let region = s3.region.as_ref().unwrap();
    assert_eq!((&*region.name, region.endpoint.as_deref()), ("minio", Some("http://s3:9000")));
    assert_eq!(s3.buckets.global_models.as_deref(), Some("b"));
    let shown: String = loaded.effective.iter().map(|setting| format!("{setting}\n")).collect();
    assert!(shown.contains(r#"s3.region = ["minio","http://s3:9000"]"#), "{shown}");
    assert!(!shown.contains("hush") && !format!("{loaded:?}").contains("hush"));
    for (text, rule) in [
        ("", "needs s3.region as well"),
        (&*format!("s3 = {{ {keys}, region = 'r' }}"), "needs s3.buckets.global_models as well"),
        (&old.replace("['minio', 'http://s3:9000']", "['minio', 9000]"), "must be a region"),
        (&old.replace("access_key = 'a',", "acess_key = 'a',"), "did you mean s3.access_key?"),
        // Of another kind than it has to be, and as part of an address: it is a secret nevertheless.
        (&old.replace("'hush'", "['hush']"), "s3.secret_access_key"),
        (&old.replace("http://", "http://pet:hush@"), "must have no user and no password"),
        (&old.replace("'http://s3:9000'", "'http://pet:hush@s3', 9"), "must be a region"),
    ] {
        let told = read(text).unwrap_err().to_string();
        assert!(told.contains(rule) && !told.contains("hush"), "{text}: {told}");
    }
    let mut layers = Layers::default();
    layers.add_toml(Path::new("a.toml"), "model.length = 1\nstorage.parts = 's3'").unwrap();
    let told = interpret(&layers).unwrap_err().to_string();
    assert!(told.contains("needs another storage.engine"), "{told}");
}
