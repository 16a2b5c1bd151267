//! Global models as they are served: their names and forms.

mod form;
mod library;
mod npy_file;

use std::{
    fmt,
    ops::Range,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use pet_core::{
    coordinator::GlobalModel,
    model::{array, DataType, Model},
};

use self::form::npy_header;
pub(crate) use self::form::Form;
pub use self::form::{npy, raw};
pub(crate) use self::library::{Library, Unavailable};
pub use self::npy_file::{read_npy, NpyError};

/// What a kept model is asked for by: its round's number, or the full name, which no other coordinator's
/// model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelName {
    /// The round's number.
    Round(u64),
    /// The round's number and seed: [`GlobalModel::id`].
    Full(u64, String),
}

impl ModelName {
    /// The round's number.
    pub fn round_id(&self) -> u64 {
        match self {
            Self::Round(round_id) => *round_id,
            Self::Full(round_id, _) => *round_id,
        }
    }

    /// Whether it names this one.
    pub fn is_of(&self, model: &Published) -> bool {
        match self {
            Self::Round(round_id) => *round_id == model.round_id,
            Self::Full(_, id) => *id == model.id,
        }
    }
}

/// A text that names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a model is named by its round's number, or by <round>_<seed> with the seed in 64 hexadecimal digits")]
pub(crate) struct NoModelName;

impl FromStr for ModelName {
    type Err = NoModelName;

    fn from_str(text: &str) -> Result<Self, NoModelName> {
        // The standard library would take a plus sign as well.
        let number = |text: &str| -> Option<u64> {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
        };
        match text.split_once('_') {
            None => number(text).map(Self::Round).ok_or(NoModelName),
            Some((round, seed)) => {
                let is_seed = seed.len() == 64 && seed.bytes().all(|byte| byte.is_ascii_hexdigit());
                let round = number(round).filter(|_| is_seed).ok_or(NoModelName)?;
                Ok(Self::Full(round, format!("{round}_{}", seed.to_ascii_lowercase())))
            }
        }
    }
}

/// A global model as it is handed out, piece by piece: other forms than the one it came in are made of no more of
/// it than is sent next. It can be taken back while it is read, so that nobody who reads slowly decides how much
/// memory models take.
pub(crate) struct Published {
    round_id: u64,
    id: String,
    /// The type and the number of its weights, if they have one.
    weights: Option<(DataType, usize)>,
    rationals: usize,
    model: Mutex<Option<GlobalModel>>,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({}, {:?})", self.id, self.weights)
    }
}

impl Published {
    pub fn new(model: GlobalModel) -> Self {
        Self {
            round_id: model.round_id,
            id: model.id(),
            weights: model.weights.as_ref().map(|weights| (weights.data_type(), weights.len())),
            rationals: model.rationals.len(),
            // What an optimiser remembers is nobody's who asks for models.
            model: Mutex::new(Some(GlobalModel { optimizer: None, ..model })),
        }
    }

    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// The name that no other model has: [`GlobalModel::id`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The type of its weights; nothing if one of them is beyond the range of the round's type.
    pub fn data_type(&self) -> Option<DataType> {
        self.weights.map(|(data_type, _)| data_type)
    }

    /// Whether all of it is there.
    pub fn is_there(&self) -> bool {
        self.lock().is_some()
    }

    /// Forgets its weights: who reads it is cut off.
    pub fn take_back(&self) {
        let model = self.lock().take();
        // A large one takes a moment, in which nobody should wait for the lock.
        drop(model);
    }

    /// About how much memory it takes, if it is there.
    pub fn memory(&self) -> usize {
        match self.is_there() {
            true => self.rationals + self.array_len().unwrap_or(0),
            false => 0,
        }
    }

    fn array_len(&self) -> Option<usize> {
        self.weights.map(|(data_type, count)| count * array::weight_len(data_type))
    }

    /// How many bytes it has in a form; `None` if it does not have it.
    pub fn len(&self, form: Form) -> Option<usize> {
        match form {
            Form::Rationals => Some(self.rationals),
            Form::Array => self.array_len(),
            Form::Npy => {
                let (data_type, count) = self.weights?;
                Some(npy_header(data_type, count).len() + self.array_len()?)
            }
        }
    }

    /// A part of its bytes in a form; `None` if it is no longer there. Takes as long as the part is large.
    pub fn read(&self, form: Form, range: Range<usize>) -> Option<Bytes> {
        let model = self.lock().clone()?;
        if form == Form::Rationals {
            // A copy: a piece that waits to be sent must not hold the whole.
            return model.rationals.get(range).map(Bytes::copy_from_slice);
        }
        let weights = model.weights.as_deref()?;
        let header = match form {
            Form::Npy => npy_header(weights.data_type(), weights.len()),
            _ => Vec::new(),
        };
        let (start, end) = (range.start.min(header.len()), range.end.min(header.len()));
        let mut bytes = header.get(start..end)?.to_vec();
        write_array(weights, range.start - start..range.end - end, &mut bytes);
        Some(bytes.into())
    }

    fn lock(&self) -> MutexGuard<'_, Option<GlobalModel>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends some of the bytes of the array form, which are `range` of all.
fn write_array(model: &Model, range: Range<usize>, out: &mut Vec<u8>) {
    let width = array::weight_len(model.data_type());
    let weights = range.start / width..range.end.div_ceil(width).min(model.len());
    let some = match model {
        Model::F32(all) => Model::F32(all[weights.clone()].to_vec()),
        Model::F64(all) => Model::F64(all[weights.clone()].to_vec()),
        Model::I32(all) => Model::I32(all[weights.clone()].to_vec()),
        Model::I64(all) => Model::I64(all[weights.clone()].to_vec()),
    };
    let mut bytes = Vec::new();
    array::write_weights(&some, &mut bytes);
    let first = weights.start * width;
    out.extend_from_slice(&bytes[range.start - first..range.end - first]);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pet_core::crypto::RoundSeed;

    use super::*;

    fn model(round_id: u64, length: usize) -> GlobalModel {
        GlobalModel {
            round_id,
            seed: RoundSeed::new([7; 32]),
            models: 3,
            rationals: Bytes::from(vec![1; 28 * length]),
            weights: Some(Arc::new(Model::F32(vec![0.5; length]))),
            optimizer: None,
        }
    }

    #[test]
    fn names_are_numbers_or_numbers_with_seeds() {
        assert_eq!("12".parse(), Ok(ModelName::Round(12)));
        let id = model(12, 1).id();
        assert_eq!(id.parse(), Ok(ModelName::Full(12, id.clone())));
        assert_eq!(id.to_uppercase().parse(), Ok(ModelName::Full(12, id.clone())));
        for name in
            ["", "x", "-1", "+1", "1_", "1_7", "18446744073709551616", &id[2..], &format!("{id}0")]
        {
            assert_eq!(name.parse::<ModelName>(), Err(NoModelName), "{name}");
        }
        assert!(ModelName::Full(12, id.clone()).is_of(&Published::new(model(12, 1))));
        assert!(!ModelName::Full(12, id).is_of(&Published::new(model(13, 1))));
        assert!(!ModelName::Round(12).is_of(&Published::new(model(13, 1))));
    }

    /// In pieces of every length that matters, each form is what it is as a whole.
    #[test]
    fn pieces_make_the_whole() {
        let weights: Vec<f64> = (0..100).map(|n| f64::from(n) * 0.37 - 11.0).collect();
        for model_of in [
            Model::F32(weights.iter().map(|weight| *weight as f32).collect()),
            Model::F64(weights.clone()),
            Model::I32(weights.iter().map(|weight| *weight as i32).collect()),
            Model::I64(weights.iter().map(|weight| *weight as i64).collect()),
        ] {
            let weights = Some(Arc::new(model_of.clone()));
            let rationals = Bytes::from_iter(0..250_u8);
            let published = Published::new(GlobalModel {
                rationals: rationals.clone(),
                weights,
                ..model(1, 1)
            });
            for (form, whole) in [
                (Form::Rationals, rationals.to_vec()),
                (Form::Array, raw(&model_of)),
                (Form::Npy, npy(&model_of)),
            ] {
                assert_eq!(published.len(form), Some(whole.len()));
                for step in [1, 3, 7, 8, 64, 1000] {
                    let mut read = Vec::new();
                    while read.len() < whole.len() {
                        let end = (read.len() + step).min(whole.len());
                        read.extend_from_slice(&published.read(form, read.len()..end).unwrap());
                    }
                    assert_eq!(read, whole, "{form:?} in steps of {step}");
                }
            }
        }
    }

    #[test]
    fn what_is_taken_back_is_gone() {
        let published = Published::new(model(1, 1000));
        assert_eq!(published.memory(), 32_000);
        published.take_back();
        assert_eq!((published.memory(), published.is_there()), (0, false));
        assert_eq!(published.read(Form::Rationals, 0..1), None);
        assert_eq!(published.len(Form::Array), Some(4000));
    }

    #[test]
    fn a_model_beyond_its_type_has_the_exact_form_only() {
        let published = Published::new(GlobalModel { weights: None, ..model(1, 10) });
        assert!(published.read(Form::Rationals, 0..280).is_some());
        assert_eq!((published.len(Form::Array), published.len(Form::Npy)), (None, None));
        assert_eq!(published.read(Form::Array, 0..1), None);
    }
}
