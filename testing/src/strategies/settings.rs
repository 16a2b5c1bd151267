//! Settings of coordinators and participants.

use std::time::Duration;

use pet_core::coordinator::{self, CountRange, Quorum, TimeRange};
use pet_core::message::MessageSize;
use pet_core::participant;
use proptest::prelude::*;

use super::{mask_configs, scalars};
use crate::world;

fn times() -> impl Strategy<Value = TimeRange> {
    (0u64..10_000, 1u64..60_000).prop_map(|(min, more)| TimeRange {
        min: Duration::from_millis(min),
        max: Duration::from_millis(min + more),
    })
}

fn quorums() -> impl Strategy<Value = Quorum> {
    prop_oneof![Just(Quorum::Majority), (1e-3..=1.0).prop_map(Quorum::Share)]
}

/// Settings that keep all rules, for models of up to so many weights.
pub fn coordinator_settings(most_weights: u64) -> impl Strategy<Value = coordinator::Settings> {
    let probabilities = (0.01..0.99, 0.01..=1.0);
    let counts = ((1u64..4, 0u64..50), (3u64..8, 0u64..50));
    let what = (mask_configs(), 1..=most_weights.max(1), quorums());
    let times = (times(), times(), times());
    (probabilities, counts, what, times).prop_map(|(probabilities, counts, what, times)| {
        let ((sum_prob, update_prob), (mask, length, quorum)) = (probabilities, what);
        let mut settings = world::settings(mask.into(), length);
        (settings.sum.prob, settings.update.prob) = (sum_prob, update_prob);
        let ((sums, more_sums), (updates, more_updates)) = counts;
        // No more updates than the config has room for.
        let room = mask.max_nb_models();
        let range = |min: u64, more: u64| CountRange { min, max: min + more };
        settings.sum.count = range(sums, more_sums);
        settings.update.count = range(updates.min(room), more_updates);
        settings.sum2.count = range(1, sums + more_sums - 1);
        (settings.sum.time, settings.update.time, settings.sum2.time) = times;
        settings.sum2.quorum = quorum;
        settings
    })
}

/// Settings that may break any rule.
pub fn wild_coordinator_settings() -> impl Strategy<Value = coordinator::Settings> {
    let chance = || prop_oneof![Just(0.0), Just(1.0), Just(f64::NAN), -1.0..2.0];
    let number = || prop_oneof![0u64..5, Just(u64::MAX), any::<u64>()];
    let range = move || (number(), number()).prop_map(|(min, max)| CountRange { min, max });
    let quorum = prop_oneof![quorums(), chance().prop_map(Quorum::Share)];
    (coordinator_settings(100), (chance(), chance()), (range(), range(), range()), number(), quorum)
        .prop_map(|(mut settings, probabilities, counts, length, quorum)| {
            (settings.sum.prob, settings.update.prob) = probabilities;
            (settings.sum.count, settings.update.count, settings.sum2.count) = counts;
            settings.model_length = length;
            settings.sum2.quorum = quorum;
            settings
        })
}

/// Settings of participants: any scalar from 0 to 2, messages whole or split into parts of a few hundred bytes.
pub fn participant_settings() -> impl Strategy<Value = participant::Settings> {
    let size = prop_oneof![
        Just(MessageSize::UNLIMITED),
        (MessageSize::MIN..MessageSize::MIN + 800)
            .prop_map(|size| MessageSize::at_most(size).unwrap_or(MessageSize::UNLIMITED)),
    ];
    (scalars(), size, any::<bool>()).prop_map(|(scalar, max_message_size, keep_models)| {
        let mut settings = participant::Settings::default();
        (settings.scalar, settings.max_message_size) = (scalar, max_message_size);
        settings.keep_models = keep_models;
        settings
    })
}
