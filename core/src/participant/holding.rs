//! Looks at the coordinator whose answers may be held back until there is news.

use std::time::Duration;

use super::io::{Output, TransportFault};
use super::machine::{Activity, Participant};
use super::stage::Stage;
use crate::request::{Call, Patience, RequestId, Response};
use crate::time::Timestamp;

/// After so many answers in a row one may be held back for longer again.
const ANSWERS_TO_TRUST: u32 = 16;

/// What is cut off sooner was not held back: there was nobody.
const SHORTEST_CUT: Duration = Duration::from_millis(100);

/// For how long answers may be held back, and the request that waits for one.
#[derive(Debug, Clone, Default)]
pub(super) struct Holding {
    /// For how long at most, as the driver says; zero if it knows nothing of that.
    most: Duration,
    /// For how long now: less than that if something on the way was found to cut such requests off.
    wait: Duration,
    /// How many answers there were since that has changed.
    answers: u32,
    /// A request was cut off. One that is answered at once has to tell whether there is a coordinator at all.
    is_shaken: bool,
    asked: Option<Asked>,
}

/// A request whose answer may be held back.
#[derive(Debug, Clone)]
struct Asked {
    id: RequestId,
    at: Timestamp,
    patience: Patience,
}

impl Holding {
    pub(super) fn set_most(&mut self, most: Duration) {
        self.most = Patience::clamp(most);
        self.wait = self.most;
    }

    fn is_on(&self) -> bool {
        !self.wait.is_zero() && !self.is_shaken
    }

    /// Ends the request, if it is this one: when it was sent.
    fn take(&mut self, id: RequestId) -> Option<Timestamp> {
        self.asked.take_if(|asked| asked.id == id).map(|asked| asked.at)
    }

    /// A request was answered.
    fn answered(&mut self) {
        self.is_shaken = false;
        self.answers += 1;
        if self.answers >= ANSWERS_TO_TRUST {
            self.answers = 0;
            self.wait = (self.wait * 2).max(Duration::from_secs(1)).min(self.most);
        }
    }

    /// A request was cut off after so long.
    fn cut(&mut self, after: Duration) {
        self.is_shaken = true;
        self.answers = 0;
        if after >= SHORTEST_CUT {
            self.wait = Patience::clamp(self.wait / 2);
        }
    }
}

impl Participant {
    /// How long the answer to a request may be held back, from when it is polled until it is answered; nothing if it
    /// is wanted at once. Only for drivers that have said that they know of this, with
    /// [`Input::Patience`](super::Input::Patience).
    pub fn patience(&self, id: RequestId) -> Option<&Patience> {
        self.holding.asked.as_ref().filter(|asked| asked.id == id).map(|asked| &asked.patience)
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
        if self.holding.is_on() {
            let patience = Patience { wait: self.holding.wait, known };
            self.holding.asked = Some(Asked { id, at: self.now, patience });
        }
        id
    }

    /// Whether the main line waits for an answer that may be held back.
    pub(super) fn is_held(&self) -> bool {
        self.holding.asked.is_some()
    }

    /// Takes the answer to a request that it could be held back for: when the request was sent, and nothing if it had
    /// to come at once, or was cut off. What cuts it off may be something on the way that is not used to waiting: no
    /// trouble, unless the next look finds that there is nobody.
    pub(super) fn take_held(
        &mut self,
        id: RequestId,
        answer: &Result<Response, TransportFault>,
    ) -> Held {
        let Some(since) = self.holding.take(id) else { return Held::No };
        match answer {
            Err(TransportFault::Unreachable(_) | TransportFault::TimedOut)
            | Ok(Response { status: 408 | 502 | 504, .. }) => {
                self.holding.cut(self.now.saturating_since(since));
                Held::CutOff(since)
            }
            _ => {
                self.holding.answered();
                Held::Since(since)
            }
        }
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
        if self.holding.take(look).is_none() {
            return;
        }
        let is_it = |output: &Output| matches!(output, Output::Request { id, .. } if *id == look);
        match self.outputs.iter().position(is_it) {
            Some(unsent) => drop(self.outputs.remove(unsent)),
            None => self.outputs.push_back(Output::Cancel(look)),
        }
        self.go_on();
    }
}

/// Whether a request's answer could be held back.
pub(super) enum Held {
    /// It had to come at once.
    No,
    /// It could, and it came; the request was sent then.
    Since(Timestamp),
    /// It could, and it did not come.
    CutOff(Timestamp),
}
