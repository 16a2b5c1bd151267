//! Shares the driver's results with all threads.

use std::sync::Arc;

use pet_core::{coordinator::GlobalModel, v2::coordinator::Front};

use tokio::sync::watch;

use crate::models::{Library, Published};

/// What is answered with at one time. Cheap to clone; it changes as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    front: Front,
    model: Option<Arc<Published>>,
    library: Arc<Library>,
    max_message_len: usize,
    /// The name of the round's stage, for those who are not to be woken for each message.
    stage: Arc<watch::Sender<Arc<str>>>,
}

impl Board {
    /// Nothing published.
    pub fn new(library: Arc<Library>, max_message_len: usize) -> Self {
        let front = Front::new();
        let stage = Arc::new(watch::channel(stage_of(&front)).0);
        Self { front, model: None, library, max_message_len, stage }
    }

    /// Answers with this from now on.
    pub fn show(&mut self, front: Front) {
        let stage = stage_of(&front);
        self.stage.send_if_modified(|shown| {
            let is_other = *shown != stage;
            *shown = stage;
            is_other
        });
        self.front = front;
    }

    /// The name of the round's stage, whenever it is another one.
    pub fn stage(&self) -> watch::Receiver<Arc<str>> {
        self.stage.subscribe()
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

fn stage_of(front: &Front) -> Arc<str> {
    front.view().stage_tag().to_string().into()
}
