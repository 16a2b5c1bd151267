//! How an aggregate is saved that may not be here: as if it were always here, or as one of no bytes.

use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mask::{Aggregation, MaskObject};

type Sum = Option<Arc<Aggregation>>;

pub(super) fn serialize<S: Serializer>(sum: &Sum, serializer: S) -> Result<S::Ok, S::Error> {
    match sum {
        Some(sum) => sum.serialize(serializer),
        None => (0u64, Vec::<u8>::new()).serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sum, D::Error> {
    let (models, bytes) = <(u64, Vec<u8>)>::deserialize(deserializer)?;
    if models == 0 && bytes.is_empty() {
        return Ok(None);
    }
    let sum = MaskObject::from_bytes(&bytes).map_err(D::Error::custom)?;
    match models <= sum.config().max_nb_models() {
        true => Ok(Some(Arc::new(Aggregation::with_nb_models(sum, models)))),
        false => Err(D::Error::custom("more models than the configs allow")),
    }
}
