//! Mask configs, masks, masking, aggregation, unmasking and models against the test vectors.

use std::str::FromStr;
use std::sync::Arc;

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::Zero;
use pet_core::crypto::sha256;
use pet_core::mask::{
    derive_mask, mask_model, mask_ratios, unmask_ratios, Aggregation, AggregationError, DataType,
    MaskConfig, MaskConfigPair, MaskError, MaskObject, MaskObjectView, MaskSeed, MaskSum, Masker,
    UnmaskError, Unmasker,
};
use pet_core::model::{castable, convert, ratio, Model, Scalar};
use serde_json::Value;

use crate::{array, bytes, cases, list, number, text};

fn texts<'a>(case: &'a Value, field: &str) -> Vec<&'a str> {
    list(case, field).iter().map(|item| item.as_str().expect(field)).collect()
}

fn count(case: &Value, field: &str) -> u64 {
    match &case[field] {
        Value::String(digits) => digits.parse().expect(field),
        _ => number(case, field),
    }
}

fn config(hex_bytes: &str) -> MaskConfig {
    MaskConfig::from_bytes(hex::decode(hex_bytes).unwrap().try_into().unwrap()).unwrap()
}

fn pair(case: &Value, prefix: &str) -> MaskConfigPair {
    MaskConfigPair {
        vect: config(text(case, &format!("{prefix}vect_config"))),
        unit: config(text(case, &format!("{prefix}unit_config"))),
    }
}

fn seed(case: &Value) -> MaskSeed {
    MaskSeed::new(array(case, "seed"))
}

fn uint(digits: &str) -> BigUint {
    BigUint::from_str(digits).unwrap()
}

fn uints(case: &Value, field: &str) -> Vec<BigUint> {
    texts(case, field).into_iter().map(uint).collect()
}

fn fraction(value: &str) -> BigRational {
    BigRational::from_str(value).unwrap()
}

/// As the files write it: with the denominator even if it is 1.
fn show(value: &BigRational) -> String {
    format!("{}/{}", value.numer(), value.denom())
}

fn f32_bits(hex_bits: &str) -> f32 {
    assert_eq!(hex_bits.len(), 8);
    f32::from_bits(u32::from_str_radix(hex_bits, 16).unwrap())
}

fn f64_bits(hex_bits: &str) -> f64 {
    assert_eq!(hex_bits.len(), 16);
    f64::from_bits(u64::from_str_radix(hex_bits, 16).unwrap())
}

fn view(object: &[u8]) -> MaskObjectView<'_> {
    MaskObjectView::parse_exact(object).unwrap()
}

#[test]
fn mask_configs() {
    let configs = cases("mask_configs.json", "configs");
    for case in &configs {
        let config = config(text(case, "bytes"));
        assert_eq!(hex::encode(config.to_bytes()), text(case, "bytes"));
        assert_eq!(text(case, "group").parse(), Ok(config.group_type()));
        assert_eq!(text(case, "data").parse(), Ok(config.data_type()));
        assert_eq!(text(case, "bound").parse(), Ok(config.bound_type()));
        assert_eq!(text(case, "model").parse(), Ok(config.model_type()));
        assert_eq!(config.order(), uint(text(case, "order")), "{config}");
        assert_eq!(config.bytes_per_number() as u64, count(case, "bytes_per_number"), "{config}");
        assert_eq!(show(&config.add_shift()), text(case, "add_shift"), "{config}");
        assert_eq!(config.exp_shift(), uint(text(case, "exp_shift")), "{config}");
        assert_eq!(config.max_nb_models(), count(case, "max_nb_models"), "{config}");
    }
}

#[test]
fn derived_masks_per_config() {
    for section in ["configs", "fixed_seeds"] {
        for case in cases("mask_derivation.json", section) {
            let config = config(text(&case, "config"));
            let expected = uints(&case, "vect");
            assert!(!expected.is_empty());
            let mask = derive_mask(&seed(&case), config.into(), expected.len());
            assert_eq!(mask.unit(), uint(text(&case, "unit")), "{config}");
            assert_eq!(mask.numbers(), expected, "{config}");
        }
    }
}

#[test]
fn long_derived_masks() {
    for case in cases("mask_derivation.json", "long") {
        let name = text(&case, "name");
        let mask = derive_mask(&seed(&case), pair(&case, ""), count(&case, "length") as usize);
        assert_eq!(mask.numbers().last(), Some(&uint(text(&case, "last"))), "{name}");
        let object = mask.to_bytes().unwrap();
        assert_eq!(object.len() as u64, count(&case, "object_bytes"), "{name}");
        assert_eq!(sha256(&object).to_string(), text(&case, "sha256"), "{name}");
        assert_eq!(MaskObject::from_bytes(&object).unwrap(), mask, "{name}");
    }
}

#[test]
fn derived_masks_of_config_pairs() {
    for case in cases("mask_derivation.json", "pairs") {
        let length = count(&case, "length") as usize;
        let expected = uints(&case, "vect");
        let mask = derive_mask(&seed(&case), pair(&case, ""), length);
        assert_eq!(mask.unit(), uint(text(&case, "unit")));
        assert_eq!(mask.numbers()[..expected.len()], expected);
        assert_eq!(sha256(&mask.to_bytes().unwrap()).to_string(), text(&case, "sha256"));
    }
}

/// The model of a masking case as it is given, and with what is not finite replaced.
enum Weights {
    Typed(Model, Model),
    Ratios,
}

fn weights(case: &Value) -> (Weights, Vec<BigRational>) {
    let list = texts(case, "weights");
    let integers = |f: fn(&str) -> BigRational| list.iter().map(|w| f(w)).collect();
    match text(case, "weight_type") {
        "f32" => {
            let given: Vec<f32> = list.iter().map(|w| f32_bits(w)).collect();
            let bounded: Vec<f32> = given.iter().map(|&w| convert::bounded_f32(w)).collect();
            let exact = bounded.iter().map(|&w| convert::from_f32(w).unwrap()).collect();
            (Weights::Typed(given.into(), bounded.into()), exact)
        }
        "f64" => {
            let given: Vec<f64> = list.iter().map(|w| f64_bits(w)).collect();
            let bounded: Vec<f64> = given.iter().map(|&w| convert::bounded_f64(w)).collect();
            let exact = bounded.iter().map(|&w| convert::from_f64(w).unwrap()).collect();
            (Weights::Typed(given.into(), bounded.into()), exact)
        }
        "i32" => {
            let model = Model::I32(list.iter().map(|w| w.parse().unwrap()).collect());
            (Weights::Typed(model.clone(), model), integers(fraction))
        }
        "i64" => {
            let model = Model::I64(list.iter().map(|w| w.parse().unwrap()).collect());
            (Weights::Typed(model.clone(), model), integers(fraction))
        }
        "ratio" => (Weights::Ratios, integers(fraction)),
        other => panic!("unknown weight type {other}"),
    }
}

/// What the old SDK makes of any double that is given as a scalar.
fn bounded_scalar(value: f64) -> Scalar {
    Scalar::from_f64(convert::bounded_f64(value).max(0.0)).unwrap()
}

fn scalar(case: &Value) -> Scalar {
    let exact = Scalar::from_rational(&fraction(text(case, "scalar"))).unwrap();
    if let Some(bits) = case["scalar_f64"].as_str() {
        assert_eq!(bounded_scalar(f64_bits(bits)), exact, "{bits}");
    }
    exact
}

/// A model of another type is masked as its conversion is, where it has one.
fn check_other_type(seed: &MaskSeed, config: MaskConfigPair, scalar: &Scalar, model: &Model) {
    let wanted = config.vect.data_type();
    let masked = mask_model(seed, config, scalar, model);
    if castable(model.data_type(), wanted).is_err() {
        assert!(matches!(masked, Err(MaskError::DataType { .. })));
        return;
    }
    let mut converted = Model::with_capacity(wanted, model.len());
    let all = converted.append_converted(model);
    assert_eq!(all.is_ok(), masked.is_ok());
    if all.is_ok() {
        assert_eq!(mask_model(seed, config, scalar, &converted), masked);
    }
}

/// Masks in every way there is and compares with the vector; returns the masked model.
pub(crate) fn check_masking(case: &Value, config: MaskConfigPair) -> Vec<u8> {
    let (seed, scalar, expected) = (seed(case), scalar(case), bytes(case, "masked"));
    let (weights, exact) = weights(case);
    let (masked, exact_report) = mask_ratios(&seed, config, &scalar, &exact).unwrap();
    assert_eq!(hex::encode(masked), text(case, "masked"), "{config} exactly");
    if let Weights::Typed(given, model) = weights {
        if model.data_type() != config.vect.data_type() {
            check_other_type(&seed, config, &scalar, &model);
            return expected;
        }
        let (masked, report) = mask_model(&seed, config, &scalar, &model).unwrap();
        assert_eq!(hex::encode(masked), text(case, "masked"), "{config}");
        assert_eq!(report.clamped, exact_report.clamped, "{config}");
        assert_eq!(report.scalar_clamped, exact_report.scalar_clamped, "{config}");
        for step in [1, 3, 700] {
            let mut masker =
                Masker::append_to(b"before".to_vec(), &seed, config, &scalar, model.clone())
                    .unwrap();
            while !masker.step(step) {
                assert!(masker.progress().0 < masker.progress().1);
            }
            let (out, _) = masker.finish().unwrap();
            assert_eq!(out.strip_prefix(b"before"), Some(&expected[..]), "{config} in steps");
        }
        let first_bad = match &given {
            Model::F32(weights) => weights.iter().position(|w| !w.is_finite()),
            Model::F64(weights) => weights.iter().position(|w| !w.is_finite()),
            _ => None,
        };
        if let Some(index) = first_bad {
            let error = mask_model(&seed, config, &scalar, &given).unwrap_err();
            assert_eq!(error, MaskError::NotFinite { index });
        }
    }
    expected
}

#[test]
fn masking() {
    for case in cases("masking.json", "cases") {
        let masked = check_masking(&case, pair(&case, ""));
        let object = MaskObject::from_bytes(&masked).unwrap();
        assert_eq!(object.to_bytes().unwrap(), masked, "{}", text(&case, "name"));
    }
}

/// Masks the models of a case, adds up masked models and masks in several ways, and compares with it.
fn check_aggregation(case: &Value) -> (Aggregation, Vec<u8>) {
    let (config, length) = (pair(case, ""), count(case, "length") as usize);
    let models = list(case, "models");
    assert_eq!(models.len() as u64, count(case, "k"));
    let masked: Vec<Vec<u8>> = models.iter().map(|model| check_masking(model, config)).collect();

    let mut whole = Aggregation::new(config, length);
    let mut parts = [Aggregation::new(config, length), Aggregation::new(config, length)];
    for (i, object) in masked.iter().enumerate() {
        let view = view(object);
        whole.aggregate(&view).unwrap();
        // In steps, to one of two sums.
        let part = &mut parts[i % 2];
        part.validate_shape(&view).unwrap();
        let middle = length / 2;
        for range in [0..middle, middle..length] {
            view.check_range(range.clone()).unwrap();
        }
        view.check_unit().unwrap();
        part.add_range(&view, middle..length);
        part.add_range(&view, 0..middle);
        part.add_unit(&view);
    }
    let [mut merged, other] = parts;
    merged.merge(&other).unwrap();
    assert_eq!(merged, whole, "{config}");
    assert_eq!(whole.nb_models(), models.len() as u64);
    assert_eq!(hex::encode(whole.object().to_bytes().unwrap()), text(case, "aggregated"));
    let saved = bincode::serialize(&whole).unwrap();
    assert_eq!(bincode::deserialize::<Aggregation>(&saved).unwrap(), whole);

    let mut sums = [MaskSum::new(config, length), MaskSum::new(config, length)];
    for (i, model) in models.iter().enumerate() {
        sums[i % 2].add_seeds([seed(model)]);
    }
    let [mut sum, mut other] = sums;
    while !sum.step(5) {}
    other.step(3);
    sum.merge(other).unwrap();
    let mask = sum.finish().to_bytes().unwrap();
    assert_eq!(hex::encode(&mask), text(case, "mask"), "{config}");
    whole.validate_unmasking(&view(&mask)).unwrap();
    (whole, mask)
}

#[test]
fn aggregation() {
    for case in cases("aggregation.json", "cases") {
        let name = text(&case, "name");
        let (aggregation, mask) = check_aggregation(&case);
        let unmasked: Vec<BigRational> =
            texts(&case, "unmasked").into_iter().map(fraction).collect();
        assert_eq!(unmask_ratios(&aggregation, &view(&mask)).unwrap(), unmasked, "{name}");

        let data_type = aggregation.config().vect.data_type();
        let aggregation = Arc::new(aggregation);
        let mut unmasker = Unmasker::new(aggregation.clone(), mask.clone()).unwrap();
        while !unmasker.step(2) {}
        let in_steps = unmasker.finish().unwrap();
        let at_once = Unmasker::new(aggregation, mask).unwrap().finish().unwrap();
        assert_eq!(in_steps, at_once, "{name}");
        assert_eq!(ratio::decode_ratios(&at_once.ratios).unwrap(), unmasked, "{name}");
        assert_eq!(at_once.ratios, ratio::encode_ratios(&unmasked), "{name}");

        for (i, value) in unmasked.iter().enumerate() {
            check_conversions(value, |field| case[field][i].as_str());
        }
        match at_once.model {
            Ok(model) => {
                let decoded = ratio::decode(&at_once.ratios, data_type).unwrap();
                assert_eq!(decoded, model, "{name}");
                assert_eq!(model.len(), unmasked.len());
                assert_model_is(&model, &unmasked);
            }
            Err(error) => {
                assert!(ratio::decode(&at_once.ratios, data_type).is_err(), "{name}");
                assert!(!converts(&unmasked[error.index], data_type), "{name}");
                assert!(unmasked[..error.index].iter().all(|value| converts(value, data_type)));
            }
        }
    }
}

fn converts(value: &BigRational, data_type: DataType) -> bool {
    match data_type {
        DataType::F32 => convert::to_f32(value).is_ok(),
        DataType::F64 => convert::to_f64(value).is_ok(),
        DataType::I32 => convert::to_i32(value).is_ok(),
        DataType::I64 => convert::to_i64(value).is_ok(),
    }
}

fn assert_model_is(model: &Model, exact: &[BigRational]) {
    for (i, value) in exact.iter().enumerate() {
        match model {
            Model::F32(m) => assert_eq!(m[i].to_bits(), convert::to_f32(value).unwrap().to_bits()),
            Model::F64(m) => assert_eq!(m[i].to_bits(), convert::to_f64(value).unwrap().to_bits()),
            Model::I32(m) => assert_eq!(Ok(m[i]), convert::to_i32(value)),
            Model::I64(m) => assert_eq!(Ok(m[i]), convert::to_i64(value)),
        }
    }
}

/// How far the old conversion may be from the nearest float: it divides two floats, each of which is
/// rounded already, so that three roundings of half a unit add up.
const OLD_ULPS: i128 = 2;

/// Compares the conversions of an exact value with the fields of a case.
fn check_conversions<'a>(value: &BigRational, field: impl Fn(&str) -> Option<&'a str>) {
    let nearest = convert::nearest_f32(value);
    let expected = f32_bits(field("f32_nearest").unwrap());
    assert_eq!(nearest.to_bits(), expected.to_bits(), "{value} as f32");
    match field("f32") {
        None => assert!(convert::to_f32(value).is_err(), "{value}"),
        Some("hang") => {}
        Some(old) => {
            let ours = convert::to_f32(value).unwrap();
            let distance =
                ordered(ours.to_bits().into(), 31) - ordered(f32_bits(old).to_bits().into(), 31);
            let max = convert::from_f32(f32::MAX).unwrap();
            assert!(
                distance.abs() <= OLD_ULPS || old_gives_zero(value, &max, old),
                "{value} as f32"
            );
        }
    }
    let nearest = convert::nearest_f64(value);
    let expected = f64_bits(field("f64_nearest").unwrap());
    assert_eq!(nearest.to_bits(), expected.to_bits(), "{value} as f64");
    match field("f64") {
        None => assert!(convert::to_f64(value).is_err(), "{value}"),
        Some("hang") => {}
        Some(old) => {
            let ours = convert::to_f64(value).unwrap();
            let distance = ordered(ours.to_bits(), 63) - ordered(f64_bits(old).to_bits(), 63);
            let max = convert::from_f64(f64::MAX).unwrap();
            assert!(
                distance.abs() <= OLD_ULPS || old_gives_zero(value, &max, old),
                "{value} as f64"
            );
        }
    }
    let integer = |name: &str| field(name).map(|digits| digits.to_string());
    assert_eq!(convert::to_i32(value).ok().map(|v| v.to_string()), integer("i32"), "{value}");
    assert_eq!(convert::to_i64(value).ok().map(|v| v.to_string()), integer("i64"), "{value}");
}

/// Neighbouring floats are neighbouring integers.
fn ordered(bits: u64, sign: u32) -> i128 {
    let magnitude = i128::from(bits & ((1 << sign) - 1));
    if bits >> sign == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// The old conversion's known fault: 0 where only the denominator is beyond the floats.
fn old_gives_zero(value: &BigRational, max: &BigRational, old: &str) -> bool {
    old.trim_start_matches(['0', '8']).is_empty()
        && BigRational::from_integer(value.denom().clone()) > *max
}

#[test]
fn zero_scalar_sum() {
    for case in cases("aggregation.json", "zero_scalar_sum") {
        assert_eq!(text(&case, "validate_unmasking"), "ok");
        let (aggregation, mask) = check_aggregation(&case);
        assert_eq!(
            unmask_ratios(&aggregation, &view(&mask)).unwrap_err(),
            UnmaskError::ScalarSumZero
        );
        assert_eq!(Unmasker::new(aggregation, mask).unwrap_err(), UnmaskError::ScalarSumZero);
    }
}

fn aggregation_result(result: Result<(), AggregationError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(AggregationError::ModelMismatch { .. }) => "ModelMismatch",
        Err(AggregationError::ScalarMismatch { .. }) => "ScalarMismatch",
        Err(AggregationError::TooManyModels(_)) => "TooManyModels",
        Err(AggregationError::TooManyScalars(_)) => "TooManyScalars",
        Err(AggregationError::InvalidObject(_)) => "InvalidObject",
        Err(other) => panic!("an unknown error: {other}"),
    }
}

fn unmask_result(result: Result<(), UnmaskError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(UnmaskError::NoModel) => "NoModel",
        Err(UnmaskError::TooManyModels(_)) => "TooManyModels",
        Err(UnmaskError::TooManyScalars(_)) => "TooManyScalars",
        Err(UnmaskError::MaskManyMismatch { .. }) => "MaskManyMismatch",
        Err(UnmaskError::MaskOneMismatch { .. }) => "MaskOneMismatch",
        Err(UnmaskError::InvalidMask(_)) => "InvalidMask",
        Err(UnmaskError::ScalarSumZero) => "ScalarSumZero",
        Err(UnmaskError::ImpossibleSum { .. }) => "ImpossibleSum",
        Err(UnmaskError::OutOfMemory { .. }) => "OutOfMemory",
        Err(other) => panic!("an unknown error: {other}"),
    }
}

#[test]
fn validation() {
    for case in cases("aggregation.json", "validation") {
        let length = count(&case, "aggregator_length") as usize;
        let zeros = MaskObject::from_numbers(
            pair(&case, "aggregator_"),
            &vec![BigUint::zero(); length],
            BigUint::zero(),
        );
        let models = count(&case, "aggregator_nb_models");
        let mut aggregation = Aggregation::with_nb_models(zeros.unwrap(), models);
        let object = bytes(&case, "object");
        let (view, expected) = (view(&object), text(&case, "result"));
        match text(&case, "op") {
            "validate_aggregation" => {
                let found = aggregation_result(aggregation.validate_aggregation(&view));
                assert_eq!(found, expected, "{case}");
                let before = aggregation.clone();
                let found = aggregation_result(aggregation.aggregate(&view));
                assert_eq!(found, expected, "{case}");
                assert_eq!(aggregation == before, expected != "ok", "{case}");
            }
            "validate_unmasking" => {
                let found = unmask_result(aggregation.validate_unmasking(&view));
                assert_eq!(found, expected, "{case}");
                let unmasked = Unmasker::new(aggregation, object.clone())
                    .and_then(|unmasker| unmasker.finish())
                    .map(drop);
                // The scalars are looked at first, and no model adds up to these sums of zero.
                let found = unmask_result(unmasked);
                if expected != "ok" && found != "ImpossibleSum" {
                    assert_eq!(found, expected, "{case}");
                }
            }
            other => panic!("unknown operation {other}"),
        }
    }
}

#[test]
fn ratio_to_primitive() {
    for case in cases("aggregation.json", "ratio_to_primitive") {
        let value = fraction(text(&case, "ratio"));
        check_conversions(&value, |field| case[field].as_str());
        // What a global model of this weight is read as.
        let model = ratio::encode_ratios(std::slice::from_ref(&value));
        for data_type in DataType::ALL {
            match ratio::decode(&model, *data_type) {
                Ok(model) => assert_model_is(&model, std::slice::from_ref(&value)),
                Err(_) => assert!(!converts(&value, *data_type), "{value} as {data_type}"),
            }
        }
    }
}

#[test]
fn primitive_to_ratio() {
    for case in cases("aggregation.json", "primitive_to_ratio") {
        let value = text(&case, "value");
        let optional = |field: &str| case[field].as_str().map(fraction);
        let (strict, bounded, scalar, scalar_bounded) = match text(&case, "type") {
            "f32" => {
                let value = f32_bits(value);
                let (strict, bounded) =
                    (convert::from_f32(value), convert::from_f32(convert::bounded_f32(value)));
                // An infinite scalar is bounded in its own type.
                let wide = f64::from(convert::bounded_f32(value));
                (strict, bounded, Scalar::from_f64(value.into()).ok(), bounded_scalar(wide))
            }
            "f64" => {
                let value = f64_bits(value);
                let (strict, bounded) =
                    (convert::from_f64(value), convert::from_f64(convert::bounded_f64(value)));
                (strict, bounded, Scalar::from_f64(value).ok(), bounded_scalar(value))
            }
            "i32" | "i64" => {
                let value = BigRational::from_integer(BigInt::from_str(value).unwrap());
                let zero = Scalar::from(0);
                let scalar = Scalar::from_rational(&value);
                (Some(value.clone()), Some(value), scalar.clone(), scalar.unwrap_or(zero))
            }
            other => panic!("unknown type {other}"),
        };
        assert_eq!(strict, optional("ratio"), "{case}");
        assert_eq!(bounded, optional("ratio_bounded"), "{case}");
        assert_eq!(scalar.map(|s| s.to_rational()), optional("scalar"), "{case}");
        assert_eq!(Some(scalar_bounded.to_rational()), optional("scalar_bounded"), "{case}");
    }
}

#[test]
fn bincode_models() {
    for case in cases("bincode.json", "model") {
        let exact: Vec<BigRational> = texts(&case, "ratios").into_iter().map(fraction).collect();
        let encoded = bytes(&case, "bincode");
        assert_eq!(hex::encode(ratio::encode_ratios(&exact)), text(&case, "bincode"));
        assert_eq!(ratio::decode_ratios(&encoded).unwrap(), exact);
        let of_some = bytes(&case, "bincode_of_some");
        assert_eq!(of_some.split_first(), Some((&1, &encoded[..])));
        for data_type in DataType::ALL {
            match ratio::decode(&encoded, *data_type) {
                Ok(model) => assert_model_is(&model, &exact),
                Err(_) => assert!(!exact.iter().all(|value| converts(value, *data_type))),
            }
        }
    }
}

#[test]
fn bincode_mask_objects() {
    for case in cases("bincode.json", "mask_object") {
        let object = MaskObject::from_bytes(&bytes(&case, "object")).unwrap();
        assert_eq!(object.config().vect.to_string(), text(&case, "name"));
        assert_eq!(hex::encode(bincode::serialize(&object).unwrap()), text(&case, "bincode"));
        assert_eq!(bincode::deserialize::<MaskObject>(&bytes(&case, "bincode")).unwrap(), object);
    }
}
