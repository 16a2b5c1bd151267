//! The bodies of a coordinator's answers.

use pet_core::mask::DataType;
use pet_core::model::{array, ratio, ArrayDecoder};
use pet_core::round::{RoundParameters, SumDict, UpdateSeedDict};

/// What a coordinator publishes, read by a participant.
pub fn published(data: &[u8]) {
    if let Ok(parameters) = RoundParameters::from_bytes(data) {
        // NaN is not equal to itself, so the bytes are compared.
        assert_eq!(parameters.to_bytes(), data);
    }
    if let Ok(dict) = SumDict::from_bytes(data) {
        assert_eq!(SumDict::from_bytes(&dict.to_bytes()), Ok(dict));
    }
    if let Ok(dict) = UpdateSeedDict::from_bytes(data) {
        assert_eq!(UpdateSeedDict::from_bytes(&dict.to_bytes()), Ok(dict));
    }
    for data_type in [DataType::F32, DataType::F64, DataType::I32, DataType::I64] {
        let _ = ratio::decode(data, data_type);
        if let Ok(model) = ArrayDecoder::new(data, data_type).and_then(ArrayDecoder::finish) {
            let mut again = Vec::new();
            array::write_weights(&model, &mut again);
            assert_eq!(again, data);
        }
    }
}
