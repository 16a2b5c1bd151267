//! The published crate gives the answers of the committed vectors: the oracle is the right one.

use pet_oracle::{
    old,
    vectors::{
        array, bytes, cases, double, integer, load, pair, ratio, scalar, single, size, text,
        weights,
    },
    Body, PairBytes, Task,
};
use serde_json::Value;

#[test]
fn mask_configs() {
    let file = load("mask_configs.json");
    for case in cases(&file, "configs") {
        let parameters = old::config_parameters(array(case, "bytes"));
        assert_eq!(parameters.order.to_string(), text(case, "order"), "{case}");
        assert_eq!(parameters.bytes_per_number, size(case, "bytes_per_number"), "{case}");
        assert_eq!(parameters.add_shift, ratio(text(case, "add_shift")), "{case}");
        assert_eq!(parameters.exp_shift.to_string(), text(case, "exp_shift"), "{case}");
        assert_eq!(parameters.max_nb_models as usize, size(case, "max_nb_models"), "{case}");
    }
}

#[test]
fn mask_derivation() {
    let file = load("mask_derivation.json");
    for case in cases(&file, "pairs") {
        let object = old::derive_mask(&array(case, "seed"), pair(case), size(case, "length"));
        assert_eq!(old::sha256(&object), array(case, "sha256"), "{case}");
    }
    for case in cases(&file, "configs") {
        let config = PairBytes::from(array::<4>(case, "config"));
        let object = old::derive_mask(&array(case, "seed"), config, 8);
        let width = old::config_parameters(config.vect).bytes_per_number;
        let numbers: Vec<_> = object[8..8 + 8 * width]
            .chunks(width)
            .map(|number| num_bigint::BigUint::from_bytes_le(number).to_string())
            .collect();
        let expected: Vec<_> =
            cases(case, "vect").iter().map(|number| number.as_str().unwrap()).collect();
        assert_eq!(numbers, expected, "{case}");
    }
}

#[test]
fn masking() {
    let file = load("masking.json");
    let mut compared = 0;
    for case in cases(&file, "cases") {
        let Some(scalar) = scalar(case) else { continue };
        let masked = old::mask(&array(case, "seed"), pair(case), scalar, &weights(case));
        assert_eq!(hex::encode(masked), text(case, "masked"), "{case}");
        compared += 1;
    }
    assert!(compared > 0, "no case has a scalar that is a double");
}

#[test]
fn aggregation_and_unmasking() {
    let file = load("aggregation.json");
    for case in cases(&file, "cases") {
        let mut sum = old::Aggregation::new(pair(case), size(case, "length"));
        let mut mask = sum.clone();
        for model in cases(case, "models") {
            sum.add(&bytes(model, "masked")).unwrap();
            mask.add(&old::derive_mask(&array(model, "seed"), pair(case), size(case, "length")))
                .unwrap();
        }
        assert_eq!(hex::encode(sum.to_bytes()), text(case, "aggregated"), "{case}");
        assert_eq!(hex::encode(mask.to_bytes()), text(case, "mask"), "{case}");
        let expected: Vec<_> =
            cases(case, "unmasked").iter().map(|weight| ratio(weight.as_str().unwrap())).collect();
        assert_eq!(sum.unmask(&bytes(case, "mask")).unwrap(), expected, "{case}");
    }
}

#[test]
fn fractions_to_primitives() {
    let file = load("aggregation.json");
    // "hang" stands for a conversion that never returns: not to be tried here.
    fn given<'a>(case: &'a Value, field: &str) -> Option<Option<&'a str>> {
        match case[field].as_str() {
            Some("hang") => None,
            value => Some(value),
        }
    }
    for case in cases(&file, "ratio_to_primitive") {
        let weight = [ratio(text(case, "ratio"))];
        if let Some(expected) = given(case, "f32") {
            assert_eq!(old::to_f32(&weight), [expected.map(single)], "{case}");
        }
        if let Some(expected) = given(case, "f64") {
            assert_eq!(old::to_f64(&weight), [expected.map(double)], "{case}");
        }
        if let Some(expected) = given(case, "i32") {
            let expected = expected.map(|value| i32::try_from(integer(value)).unwrap());
            assert_eq!(old::to_i32(&weight), [expected], "{case}");
        }
        if let Some(expected) = given(case, "i64") {
            let expected = expected.map(|value| i64::try_from(integer(value)).unwrap());
            assert_eq!(old::to_i64(&weight), [expected], "{case}");
        }
    }
}

#[test]
fn published_models() {
    let file = load("bincode.json");
    for case in cases(&file, "model") {
        let ratios: Vec<_> = case["ratios"]
            .as_array()
            .unwrap()
            .iter()
            .map(|weight| ratio(weight.as_str().unwrap()))
            .collect();
        assert_eq!(hex::encode(old::ratio_model_to_bincode(&ratios)), text(case, "bincode"));
        assert_eq!(old::ratio_model_from_bincode(&bytes(case, "bincode")).unwrap(), ratios);
    }
}

#[test]
fn round_parameters() {
    let file = load("bincode.json");
    for case in cases(&file, "round_parameters") {
        let parameters = old::read_parameters(&bytes(case, "bincode")).unwrap();
        assert_eq!(parameters.pk, array(case, "pk"), "{case}");
        assert_eq!(parameters.sum.to_bits(), double(text(case, "sum")).to_bits(), "{case}");
        assert_eq!(parameters.update.to_bits(), double(text(case, "update")).to_bits(), "{case}");
        assert_eq!(parameters.seed, array(case, "seed"), "{case}");
        assert_eq!(parameters.mask_config.vect, array(case, "vect_config_bytes"), "{case}");
        assert_eq!(parameters.mask_config.unit, array(case, "unit_config_bytes"), "{case}");
        assert_eq!(parameters.model_length as usize, size(case, "model_length"), "{case}");
        assert_eq!(hex::encode(old::write_parameters(&parameters)), text(case, "bincode"));
    }
}

#[test]
fn messages() {
    let file = load("messages.json");
    let signing_key = array(&file["keys"], "participant_sk");
    for case in cases(&file, "messages") {
        let message = bytes(case, "message");
        let plain = old::read(&message).unwrap();
        match &plain.body {
            Body::Sum { sum_signature, ephm_pk } => {
                assert_eq!(*sum_signature, array(case, "sum_signature"));
                assert_eq!(*ephm_pk, array(case, "ephm_pk"));
            }
            Body::Update { masked_model, seed_dict, .. } => {
                assert_eq!(hex::encode(masked_model), text(case, "masked_model"));
                assert_eq!(seed_dict.len(), case["local_seed_dict"].as_array().unwrap().len());
                let masked = old::mask(
                    &array(case, "mask_seed"),
                    pair(case),
                    scalar(case).unwrap(),
                    &weights(case),
                );
                assert_eq!(masked, *masked_model);
            }
            Body::Sum2 { mask, .. } => assert_eq!(hex::encode(mask), text(case, "model_mask")),
            Body::Chunk { task, id, message_id, last, data } => {
                let tags = [Task::Sum, Task::Update, Task::Sum2];
                assert_eq!(*task, tags[size(case, "tag") - 1]);
                assert_eq!(usize::from(*id), size(case, "chunk_id"));
                assert_eq!(usize::from(*message_id), size(case, "message_id"));
                assert_eq!(Some(*last), case["last"].as_bool());
                assert_eq!(hex::encode(data), text(case, "data"));
            }
        }
        // The old crate writes dictionaries in an order of its own.
        if !matches!(&plain.body, Body::Update { seed_dict, .. } if seed_dict.len() > 1) {
            assert_eq!(old::write(&plain, &signing_key), message, "{case}");
        }
    }
}

#[test]
fn keys_and_seals() {
    let file = load("sealed.json");
    for case in cases(&file, "signing_keys") {
        let (public, secret) = old::signing_key_pair(&array(case, "seed"));
        assert_eq!((public, secret), (array(case, "pk"), array(case, "sk")));
    }
    for case in cases(&file, "encrypt_keys") {
        let (public, secret) = old::encrypt_key_pair(&array(case, "seed"));
        assert_eq!((public, secret), (array(case, "pk"), array(case, "sk")));
    }
    for case in cases(&file, "sealed_boxes") {
        let opened = old::open(&array(case, "pk"), &array(case, "sk"), &bytes(case, "ciphertext"));
        let expected = case["decrypts"].as_bool().unwrap().then(|| bytes(case, "plaintext"));
        assert_eq!(opened, expected, "{case}");
    }
}

#[test]
fn eligibility() {
    let file = load("eligibility.json");
    for case in cases(&file, "eligibility") {
        // A threshold of NaN panics there.
        let Some(expected) = case["eligible"].as_bool() else {
            continue;
        };
        let threshold = double(text(case, "threshold"));
        assert_eq!(old::is_eligible(&array(case, "signature"), threshold), expected, "{case}");
    }
}
