//! What the driver of the rounds shows to all threads: what is published, and what opens messages
//! now.

use std::sync::Arc;

use pet_core::coordinator::{Bulletin, Publication, RoundContext};

use crate::models::{Library, Published};

/// One state of the board. Cheap to clone; it changes as a whole, so that nobody sees a new
/// dictionary together with the context of the phase before.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    bulletin: Bulletin,
    model: Option<Arc<Published>>,
    library: Arc<Library>,
    context: Option<Arc<RoundContext>>,
    max_message_len: usize,
}

impl Board {
    /// Nothing published; messages of up to `max_message_len` bytes are let in. Models that are no longer the
    /// latest, and still read, take no more memory than the library has.
    pub fn new(max_message_len: usize, library: Arc<Library>) -> Self {
        Self { bulletin: Bulletin::new(), model: None, library, context: None, max_message_len }
    }

    pub fn publish(&mut self, publication: Publication) {
        if let Publication::Model(model) = &publication {
            self.model = Some(self.library.publish(model.clone()));
        }
        self.bulletin.apply(publication);
    }

    pub fn set_context(&mut self, context: Arc<RoundContext>) {
        // Never shrinks: a message of an earlier phase is late, not too long, and must be told
        // apart.
        self.max_message_len = self.max_message_len.max(context.max_message_len());
        self.context = Some(context);
    }

    pub fn bulletin(&self) -> &Bulletin {
        &self.bulletin
    }

    /// The latest global model.
    pub fn model(&self) -> Option<&Arc<Published>> {
        self.model.as_ref()
    }

    /// What opens messages; `None` before the first round and once there will be no more.
    pub fn context(&self) -> Option<&Arc<RoundContext>> {
        self.context.as_ref()
    }

    /// No message that can be taken now, or could be in an earlier phase, is longer.
    pub fn max_message_len(&self) -> usize {
        self.max_message_len
    }
}
