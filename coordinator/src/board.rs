//! Shares the driver's results with all threads.

use std::sync::Arc;

use pet_core::coordinator::{Front, GlobalModel};
use tokio::sync::watch;

use crate::models::{Library, Published};

/// What is answered with at one time. Cheap to clone; it changes as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    front: Front,
    model: Option<Arc<Published>>,
    library: Arc<Library>,
    max_message_len: usize,
}

impl Board {
    /// Nothing published; messages of up to `max_message_len` bytes are let in. Models that are no longer the
    /// latest, and still read, take no more memory than the library has.
    pub fn new(max_message_len: usize, library: Arc<Library>) -> Self {
        Self { front: Front::new(), model: None, library, max_message_len }
    }

    /// Answers with this from now on. Gives the global model if there is a new one.
    pub fn show(&mut self, front: Front) -> Option<GlobalModel> {
        // Never shrinks: a message of an earlier phase is late, not too long, and must be told
        // apart.
        self.max_message_len = self.max_message_len.max(front.max_message_len());
        let before = self.front.model();
        let is_new = |model: &&GlobalModel| before.is_none_or(|old| !old.is_same(model));
        let new = front.model().filter(is_new).cloned();
        if let Some(model) = &new {
            self.model = Some(self.library.publish(model.clone()));
        }
        self.front = front;
        new
    }

    /// Has all answered with this from now on. Who waits for news is woken only if it is something else. Gives the global
    /// model if there is a new one.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub fn publish(board: &watch::Sender<Self>, front: Front) -> Option<GlobalModel> {
        let mut new = None;
        board.send_if_modified(|board| {
            if board.front.is_same(&front) {
                return false;
            }
            new = board.show(front);
            true
        });
        new
    }

    /// What answers calls and opens messages.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// The latest global model.
    pub fn model(&self) -> Option<&Arc<Published>> {
        self.model.as_ref()
    }

    /// No message that can be taken now, or could be in an earlier phase, is longer.
    pub fn max_message_len(&self) -> usize {
        self.max_message_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_woken_where_nothing_is_new() {
        let (board, mut seen) = watch::channel(Board::new(100, Arc::new(Library::new(1 << 20))));
        assert!(Board::publish(&board, Front::new()).is_none());
        assert!(!seen.has_changed().unwrap());
        let model = GlobalModel {
            round_id: 1,
            seed: pet_core::crypto::RoundSeed::new([1; 32]),
            models: 3,
            rationals: axum::body::Bytes::from_static(b"a model"),
            weights: None,
            optimizer: None,
        };
        let front = Front::new().with_model(Some(model));
        assert!(Board::publish(&board, front.clone()).is_some());
        assert!(seen.has_changed().unwrap());
        seen.mark_unchanged();
        assert!(Board::publish(&board, front).is_none());
        assert!(!seen.has_changed().unwrap());
    }
}
