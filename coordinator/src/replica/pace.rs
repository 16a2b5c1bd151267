//! How long updates wait for others before they are stored.
//!
//! All that are stored at the same time share one aggregate. While one is being stored the next updates gather; but to store it
//! takes the same processors that open and add up messages, so that few of them do. So the next large aggregate is stored
//! once as much time has gone by as the last one took: at most half of the time goes to storing them.

use std::time::Duration;

use pet_core::coordinator::Record;

/// Models of so many weights are large: to store their aggregate takes much longer than all else that is stored of updates.
const LARGE: usize = 1 << 18;

/// Nobody waits longer for others.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait for others after so many updates were stored, which took so long. (Whoever sends one after another waits for
/// nobody.)
pub(super) fn pause(updates: usize, took: Duration) -> Option<Duration> {
    (updates > 1).then(|| took.min(PATIENCE))
}

/// How many updates there are in all.
pub(super) fn updates<'a>(records: impl IntoIterator<Item = &'a Record>) -> usize {
    let updates = records.into_iter().map(|record| match record {
        Record::Updates { seeds, .. } => seeds.len(),
        _ => 0,
    });
    updates.sum()
}

/// Whether there is something, and nothing else than updates of large models: nothing else is held up.
pub(super) fn can_wait<'a>(records: impl IntoIterator<Item = &'a Record>) -> bool {
    let mut is_large = false;
    for record in records {
        match record {
            Record::Updates { aggregation: Some(sum), .. } if sum.len() >= LARGE => is_large = true,
            // Its aggregate was superseded.
            Record::Updates { aggregation: None, .. } => {}
            _ => return false,
        }
    }
    is_large
}

#[cfg(test)]
pub(in crate::replica) mod tests {
    use std::sync::Arc;

    use pet_core::{
        crypto::PublicSigningKey,
        mask::{Aggregation, MaskConfig},
    };

    use super::*;

    /// An update of a model that is large, or not.
    pub(in crate::replica) fn update(number: u8, is_large: bool) -> Record {
        let config: MaskConfig = "Prime/F32/B0/M6".parse().unwrap();
        let sum = Aggregation::new(config.into(), if is_large { LARGE } else { 4 });
        let sum = Aggregation::with_nb_models(sum.object().clone(), number.into());
        Record::Updates {
            seeds: vec![(PublicSigningKey::new([number; 32]), Arc::default())],
            aggregation: Some(Arc::new(sum)),
        }
    }

    #[test]
    fn only_updates_of_large_models_wait_and_not_for_long() {
        let took = Duration::from_millis(40);
        assert_eq!(
            [0, 1, 2, 9].map(|updates| pause(updates, took)),
            [None, None, Some(took), Some(took)]
        );
        assert_eq!(pause(2, Duration::from_secs(9)), Some(PATIENCE));
        let superseded = Record::Updates { seeds: Vec::new(), aggregation: None };
        let all =
            [superseded, update(1, true), update(2, true), update(3, false), Record::SumEnded];
        assert_eq!(updates(&all), 3);
        for (records, waits) in [
            (0..0, false),
            (0..1, false),
            (0..2, true),
            (0..3, true),
            (0..4, false),
            (3..4, false),
            (4..5, false),
        ] {
            assert_eq!(can_wait(&all[records.clone()]), waits, "{records:?}");
        }
    }
}
