//! Global models after their rounds: which ones are kept, and in which forms they are handed out.

mod form;

use std::{collections::VecDeque, fmt, io, str::FromStr, sync::Arc};

use bytes::Bytes;
use pet_core::coordinator::GlobalModel;
use serde::Serialize;
use tokio::{sync::OnceCell, task::spawn_blocking};

pub use self::form::{dtype, npy, NPY_DATA_ALIGNMENT};
pub(crate) use self::form::{npy_header_len, Form};

/// A durable place in which global models are kept. Its calls may block: they are made on threads that
/// may wait.
pub trait ModelArchive: Send + Sync + 'static {
    /// What is kept, in any order.
    ///
    /// # Errors
    /// If it cannot be read.
    fn list(&self) -> io::Result<Vec<ModelEntry>>;

    /// A model that is kept.
    ///
    /// # Errors
    /// If it cannot be read.
    fn load(&self, name: &ModelName) -> io::Result<Option<GlobalModel>>;
}

/// One line of the list of kept models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelEntry {
    /// Its full name: `<round id>_<hex round seed>`.
    pub id: String,
    /// The number of the round that it is from.
    pub round_id: u64,
    /// How many updates it is made of.
    pub models: u64,
    /// How many weights it has; `None` if one of them is beyond the range of the round's data type.
    pub length: Option<usize>,
    /// NumPy's name for the type of its weights, such as `<f4`; `None` like `length`.
    pub dtype: Option<&'static str>,
}

impl From<&GlobalModel> for ModelEntry {
    fn from(model: &GlobalModel) -> Self {
        Self {
            id: model.id(),
            round_id: model.round_id,
            models: model.models,
            length: model.weights.as_ref().map(|weights| weights.len()),
            dtype: model.weights.as_ref().map(|weights| dtype(weights.data_type())),
        }
    }
}

/// What a kept model is asked for by: its round's number, or the full name, which no other coordinator's
/// model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// The round's number.
    Round(u64),
    /// [`GlobalModel::id`].
    Full(String),
}

impl ModelName {
    /// Whether it names this one.
    pub fn is_of(&self, model: &GlobalModel) -> bool {
        match self {
            Self::Round(round_id) => *round_id == model.round_id,
            Self::Full(id) => *id == model.id(),
        }
    }
}

/// A text that names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a model is named by its round's number, or by <round>_<seed> with the seed in 64 hexadecimal digits")]
pub struct NoModelName;

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
                Ok(Self::Full(format!("{round}_{}", seed.to_ascii_lowercase())))
            }
        }
    }
}

/// A global model as it is handed out. Further forms than the one it came in are made when somebody first
/// asks for them.
pub(crate) struct Published {
    model: GlobalModel,
    /// The weights as a `.npy` file; its data alone is the array form.
    npy: OnceCell<Option<Bytes>>,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({:?})", self.model)
    }
}

impl Published {
    pub fn new(model: GlobalModel) -> Self {
        Self { model, npy: OnceCell::new() }
    }

    pub fn model(&self) -> &GlobalModel {
        &self.model
    }

    /// Its bytes in a form; `None` if a weight is beyond the range of the form's type.
    pub async fn bytes(self: &Arc<Self>, form: Form) -> Option<Bytes> {
        if form == Form::Rationals {
            return Some(self.model.rationals.clone());
        }
        let weights = self.model.weights.clone()?;
        let length = weights.len();
        let make = || async {
            // Copying a large model takes a while: not on a thread that others wait for.
            spawn_blocking(move || Bytes::from(npy(&weights))).await.ok()
        };
        let npy = self.npy.get_or_init(make).await.clone()?;
        Some(match form {
            Form::Array => {
                npy.slice(npy_header_len(self.model.weights.as_ref()?.data_type(), length)..)
            }
            _ => npy,
        })
    }

    /// How much memory it takes, once all its forms were asked for.
    fn memory(&self) -> usize {
        let weights = self.model.weights.as_ref().map_or(0, |weights| {
            weights.len().saturating_mul(2 * form::width(weights.data_type()))
        });
        self.model.rationals.len().saturating_add(weights)
    }
}

/// The latest global models, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    models: VecDeque<Arc<Published>>,
    limits: ShelfLimits,
}

/// How many models stay in memory. The latest one always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShelfLimits {
    pub models: usize,
    pub bytes: usize,
}

impl Default for ShelfLimits {
    fn default() -> Self {
        Self { models: 10, bytes: 256 << 20 }
    }
}

impl Shelf {
    pub fn new(limits: ShelfLimits) -> Self {
        Self { models: VecDeque::new(), limits }
    }

    pub fn put(&mut self, model: GlobalModel) {
        self.models.push_front(Arc::new(Published::new(model)));
        let mut bytes = 0_usize;
        let fitting = self.models.iter().take(self.limits.models).take_while(|model| {
            bytes = bytes.saturating_add(model.memory());
            bytes <= self.limits.bytes
        });
        let fitting = fitting.count().max(1);
        self.models.truncate(fitting);
    }

    /// The latest model.
    pub fn latest(&self) -> Option<&Arc<Published>> {
        self.models.front()
    }

    pub fn find(&self, name: &ModelName) -> Option<&Arc<Published>> {
        self.models.iter().find(|model| name.is_of(model.model()))
    }

    /// The latest one first.
    pub fn entries(&self) -> Vec<ModelEntry> {
        self.models.iter().map(|model| model.model().into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use pet_core::{crypto::RoundSeed, model::Model};

    use super::*;

    fn model(round_id: u64, length: usize) -> GlobalModel {
        GlobalModel {
            round_id,
            seed: RoundSeed::new([7; 32]),
            models: 3,
            rationals: Bytes::from(vec![1; 28 * length]),
            weights: Some(Arc::new(Model::F32(vec![0.5; length]))),
        }
    }

    #[test]
    fn names_are_numbers_or_numbers_with_seeds() {
        assert_eq!("12".parse(), Ok(ModelName::Round(12)));
        let id = model(12, 1).id();
        assert_eq!(id.parse(), Ok(ModelName::Full(id.clone())));
        assert_eq!(id.to_uppercase().parse(), Ok(ModelName::Full(id.clone())));
        for name in
            ["", "x", "-1", "+1", "1_", "1_7", "18446744073709551616", &id[2..], &format!("{id}0")]
        {
            assert_eq!(name.parse::<ModelName>(), Err(NoModelName), "{name}");
        }
        assert!(ModelName::Full(id.clone()).is_of(&model(12, 1)));
        assert!(!ModelName::Full(id).is_of(&model(13, 1)));
        assert!(!ModelName::Round(12).is_of(&model(13, 1)));
    }

    #[test]
    fn a_shelf_is_bounded_by_number_and_bytes_and_always_has_the_latest() {
        let mut shelf = Shelf::new(ShelfLimits { models: 3, bytes: 100 * 36 });
        let rounds = |shelf: &Shelf| -> Vec<u64> {
            shelf.entries().iter().map(|entry| entry.round_id).collect()
        };
        assert!(shelf.latest().is_none());
        for round in 1..=4 {
            shelf.put(model(round, 10));
        }
        assert_eq!(rounds(&shelf), [4, 3, 2]);
        shelf.put(model(5, 80));
        assert_eq!(rounds(&shelf), [5, 4, 3]);
        shelf.put(model(6, 15));
        assert_eq!(rounds(&shelf), [6, 5]);
        shelf.put(model(7, 101));
        assert_eq!(rounds(&shelf), [7]);
        assert_eq!(shelf.latest().map(|latest| latest.model().round_id), Some(7));
        assert!(
            shelf.find(&ModelName::Round(7)).is_some()
                && shelf.find(&ModelName::Round(6)).is_none()
        );
    }

    #[tokio::test]
    async fn forms_are_made_once_and_share_memory() {
        let published = Arc::new(Published::new(model(1, 1000)));
        let npy = published.bytes(Form::Npy).await.unwrap();
        let again = published.bytes(Form::Npy).await.unwrap();
        assert_eq!(npy.as_ptr(), again.as_ptr());
        let array = published.bytes(Form::Array).await.unwrap();
        assert_eq!(array.len(), 4000);
        assert_eq!(array.as_ptr(), npy[npy.len() - 4000..].as_ptr());
        assert_eq!(published.bytes(Form::Rationals).await.unwrap().len(), 28_000);
    }

    #[tokio::test]
    async fn a_model_beyond_its_type_has_the_exact_form_only() {
        let published = Arc::new(Published::new(GlobalModel { weights: None, ..model(1, 10) }));
        assert!(published.bytes(Form::Rationals).await.is_some());
        assert_eq!(published.bytes(Form::Array).await, None);
        assert_eq!(published.bytes(Form::Npy).await, None);
    }
}
