//! The global models of earlier rounds.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pet_core::coordinator::GlobalModel;

use super::StoreError;

/// The global models that are kept: the latest, and some before it.
pub trait Models: fmt::Debug + Send + Sync {
    /// The rounds whose models are kept, in order. Cheap.
    fn rounds(&self) -> Vec<u64>;

    /// About how many bytes it takes to read the model of a round, if that is known. Cheap. Default: it is not.
    fn size(&self, round_id: u64) -> Option<usize> {
        let _ = round_id;
        None
    }

    /// Reads the model of a round, if it is kept. Takes as long as the model is large: not for the
    /// threads of an async runtime.
    ///
    /// # Errors
    /// If the model is kept but cannot be read.
    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError>;
}

/// How much memory earlier models may take: with more the oldest of them are forgotten.
const MEMORY: usize = 256 << 20;

/// Models in memory: as many as are wanted and have room.
#[derive(Debug)]
pub(crate) struct MemoryModels {
    most: usize,
    models: Mutex<VecDeque<GlobalModel>>,
}

impl MemoryModels {
    /// Keeps up to `most` models, the latest one at least.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), models: Mutex::default() }
    }

    /// Without what its optimiser remembers: nobody goes on from here.
    pub fn add(&self, model: GlobalModel) {
        let mut models = self.lock();
        models.push_back(GlobalModel { optimizer: None, ..model });
        let bytes = |models: &VecDeque<GlobalModel>| models.iter().map(size).sum::<usize>();
        while models.len() > 1 && (models.len() > self.most || bytes(&models) > MEMORY) {
            models.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<GlobalModel>> {
        // Every state of the list is a good one.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About how much memory a model takes.
fn size(model: &GlobalModel) -> usize {
    let weights = model.weights.as_ref().map_or(0, |weights| weights.len() * 8);
    model.rationals.len() + weights
}

impl Models for MemoryModels {
    fn rounds(&self) -> Vec<u64> {
        self.lock().iter().map(|model| model.round_id).collect()
    }

    fn load(&self, round_id: u64) -> Result<Option<GlobalModel>, StoreError> {
        Ok(self.lock().iter().find(|model| model.round_id == round_id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use pet_core::crypto::RoundSeed;

    use super::*;

    fn model(round_id: u64, bytes: usize) -> GlobalModel {
        GlobalModel {
            round_id,
            seed: RoundSeed::new([1; 32]),
            models: 3,
            rationals: vec![0; bytes].into(),
            weights: None,
            optimizer: None,
        }
    }

    #[test]
    fn the_latest_models_are_kept() {
        let models = MemoryModels::new(2);
        assert!(models.rounds().is_empty());
        for round_id in [1, 2, 4] {
            models.add(model(round_id, 10));
        }
        assert_eq!(models.rounds(), [2, 4]);
        assert_eq!(models.load(4).unwrap(), Some(model(4, 10)));
        assert_eq!(models.load(1).unwrap(), None);
    }

    #[test]
    fn large_models_are_not_piled_up_in_memory() {
        let models = MemoryModels::new(10);
        for round_id in 1..=3 {
            models.add(model(round_id, MEMORY / 2));
        }
        assert_eq!(models.rounds(), [2, 3]);
        models.add(model(4, MEMORY + 1));
        assert_eq!(models.rounds(), [4]);
    }
}
