//! Calls of participants, and answers to them.

use std::time::Duration;

use bytes::Bytes;
use pet_core::crypto::{PublicEncryptKey, PublicSigningKey, RoundSeed};
use pet_core::mask::DataType;
use pet_core::participant::TransportFault;
use pet_core::request::{Call, ModelForm, Response};
use pet_core::round::RoundParameters;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bytes, mask_config_pairs};

fn data_types() -> impl Strategy<Value = DataType> {
    select(DataType::ALL.to_vec())
}

/// Every kind of call; messages are any bytes.
pub fn calls() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Params),
        Just(Call::Sums),
        bytes().prop_map(|key| Call::Seeds(PublicSigningKey::new(key))),
        data_types().prop_map(Call::Model),
        vec(any::<u8>(), 0..300).prop_map(|body| Call::Message(Bytes::from(body))),
    ]
}

/// Answers of anyone: of coordinators, of proxies, of what is no coordinator at all.
pub fn responses() -> impl Strategy<Value = Response> {
    let status = prop_oneof![
        4 => Just(200u16),
        2 => Just(204),
        3 => select(vec![301, 400, 401, 403, 404, 407, 409, 413, 429, 500, 502, 503]),
        1 => any::<u16>(),
    ];
    let body = prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 0..200),
        round_parameters().prop_map(|parameters| parameters.to_bytes()),
    ];
    let pause = prop::option::of((0u64..100_000).prop_map(Duration::from_millis));
    let form = prop_oneof![Just(ModelForm::Rationals), data_types().prop_map(ModelForm::Array)];
    (status, body, pause, form).prop_map(|(status, body, pause, form)| {
        let mut response = Response::new(status, body).retry_after(pause);
        response.model_form = form;
        response
    })
}

/// Every way not to be answered.
pub fn transport_faults() -> impl Strategy<Value = TransportFault> {
    prop_oneof![
        Just(TransportFault::TimedOut),
        Just(TransportFault::TooLarge),
        "[a-z ]{0,20}".prop_map(TransportFault::Unreachable),
    ]
}

/// Parameters of rounds as anybody could send them, good ones and such as make no sense.
pub fn round_parameters() -> impl Strategy<Value = RoundParameters> {
    let chance =
        prop_oneof![4 => 0.0..=1.0, 1 => any::<f64>().prop_filter("a number", |x| !x.is_nan())];
    (bytes(), (chance, 0.0f64..=1.0), bytes(), mask_config_pairs(), any::<u64>()).prop_map(
        |(pk, (sum, update), seed, mask_config, model_length)| RoundParameters {
            pk: PublicEncryptKey::new(pk),
            sum,
            update,
            seed: RoundSeed::new(seed),
            mask_config,
            model_length,
        },
    )
}
