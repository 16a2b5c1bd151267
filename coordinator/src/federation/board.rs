//! Shares the driver's results with all threads.

use std::sync::Arc;

use pet_core::{coordinator::GlobalModel, v2::coordinator::Front};

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
    /// Nothing published.
    pub fn new(library: Arc<Library>, max_message_len: usize) -> Self {
        Self { front: Front::new(), model: None, library, max_message_len }
    }

    /// Answers with this from now on.
    pub fn show(&mut self, front: Front) {
        self.front = front;
    }

    /// Hands this global model out from now on, in the forms of version 1 as well.
    pub fn publish(&mut self, model: GlobalModel) {
        self.model = Some(self.library.publish(model));
    }

    /// What answers calls and opens messages.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// The latest global model.
    pub fn model(&self) -> Option<&Arc<Published>> {
        self.model.as_ref()
    }

    /// No message of version 1 is longer.
    pub fn max_message_len(&self) -> usize {
        self.max_message_len
    }
}
