//! Looks at the coordinator whose answers may be held back until there is news.

use std::collections::VecDeque;

use super::io::Output;
use super::machine::{Activity, Participant};
use super::stage::Stage;
use crate::holding::GivenUp;
use crate::request::{Call, Patience, RequestId};

impl Participant {
    /// How long the answer to a request may be held back, from when it is polled until it is answered; nothing if it
    /// is wanted at once. Only for drivers that have said that they know of this, with
    /// [`Input::Patience`](super::Input::Patience).
    pub fn patience(&self, id: RequestId) -> Option<&Patience> {
        self.holding.patience(id)
    }

    /// Asks for the round's parameters. Where nothing but another round brings this participant on, the answer may be
    /// held back until there is one.
    pub(super) fn look(&mut self) -> RequestId {
        let only_waits = self.has_looked
            && match &self.stage {
                Stage::Awaiting => true,
                Stage::Mask { .. } => self.model.is_none() && self.model_asked,
                _ => false,
            };
        let known = self.parameters().filter(|_| only_waits && self.holding.is_on());
        match known.map(|parameters| parameters.tag()) {
            Some(tag) => self.request_patiently(Call::Params, Some(tag.to_string())),
            None => self.request(Call::Params),
        }
    }

    /// Asks for what may not be there yet.
    pub(super) fn request_patiently(&mut self, call: Call, known: Option<String>) -> RequestId {
        let id = self.request(call);
        self.holding.ask(id, self.now, known);
        id
    }

    /// The coordinator has answered a request at once.
    pub(super) fn answered_at_once(&mut self) {
        if self.held_since.is_none() {
            self.holding.answered();
        }
    }

    /// There is something to do that does not wait for a look that is held back.
    pub(super) fn give_up_held_look(&mut self) {
        let Activity::Params(look) = self.activity else { return };
        match self.holding.give_up(look) {
            GivenUp::Nothing => return,
            GivenUp::Answered => {}
            GivenUp::Request => give_up(&mut self.outputs, look),
        }
        self.go_on();
    }
}

/// Takes a request back, or says that it is not waited for any more if it is sent already.
pub(crate) fn give_up(outputs: &mut VecDeque<Output>, request: RequestId) {
    let is_it = |output: &Output| matches!(output, Output::Request { id, .. } if *id == request);
    match outputs.iter().position(is_it) {
        Some(unsent) => drop(outputs.remove(unsent)),
        None => outputs.push_back(Output::Cancel(request)),
    }
}
