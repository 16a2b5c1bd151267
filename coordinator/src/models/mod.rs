//! Global models as they are handed out: their names and forms.

mod form;

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use pet_core::coordinator::GlobalModel;
use tokio::{sync::OnceCell, task::spawn_blocking};

pub use self::form::{npy, raw};
pub(crate) use self::form::{npy_header_len, Form};

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
    pub fn is_of(&self, model: &GlobalModel) -> bool {
        match self {
            Self::Round(round_id) => *round_id == model.round_id,
            Self::Full(_, id) => *id == model.id(),
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
        assert_eq!(id.parse(), Ok(ModelName::Full(12, id.clone())));
        assert_eq!(id.to_uppercase().parse(), Ok(ModelName::Full(12, id.clone())));
        for name in
            ["", "x", "-1", "+1", "1_", "1_7", "18446744073709551616", &id[2..], &format!("{id}0")]
        {
            assert_eq!(name.parse::<ModelName>(), Err(NoModelName), "{name}");
        }
        assert!(ModelName::Full(12, id.clone()).is_of(&model(12, 1)));
        assert!(!ModelName::Full(12, id).is_of(&model(13, 1)));
        assert!(!ModelName::Round(12).is_of(&model(13, 1)));
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
