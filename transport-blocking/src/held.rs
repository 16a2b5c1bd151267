//! Requests whose answers may be held back: each on a thread of its own, so that nothing else waits for them.

use std::sync::Arc;

use pet_core::participant::{Input, TransportFault};
use pet_core::request::{Call, Patience, RequestId, Response};

use crate::handle::Shared;
use crate::http::Client;
use crate::sync::thread;

/// The request that is under way, of which there is one at most, and the line that it is sent on.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Kept for the next one.
    line: Option<Client>,
    id: Option<RequestId>,
    /// What has become of it, until the driver looks.
    answer: Option<Input>,
}

impl Held {
    /// Sends a request on a thread of its own; gives whether there is one, which the system may refuse.
    pub(crate) fn send(
        &mut self,
        shared: &Arc<Shared>,
        client: &Client,
        id: RequestId,
        call: &Call,
        patience: Patience,
    ) -> bool {
        let Some(line) = self.line.take().or_else(|| client.line().ok()) else { return false };
        let (shared, call, sent_on) = (shared.clone(), call.clone(), line.clone());
        let work = move || {
            // Not before there is a thread: who gives up the request must not wait for the lock that is held here.
            let mut answering = Answering { shared, id, answer: None };
            let answer = sent_on.send_patiently(&call, &patience);
            answering.answer = Some(answer);
            drop(answering);
        };
        let spawned = thread::Builder::new().name("pet-held-request".into()).spawn(work).is_ok();
        (self.line, self.id) = (Some(line), spawned.then_some(id));
        spawned
    }

    /// Takes in what has become of a request; gives whether that is waited for.
    pub(crate) fn answered(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> bool {
        let is_it = self.id.take_if(|held| *held == id).is_some();
        if is_it {
            self.answer = Some(match answer {
                Ok(response) => Input::Response { id, response },
                Err(fault) => Input::Fault { id, fault },
            });
        }
        is_it
    }

    /// The answer, once.
    pub(crate) fn take_answer(&mut self) -> Option<Input> {
        self.answer.take()
    }

    /// Gives up this request, if it is still under way.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        if self.id == Some(id) {
            self.hang_up();
        }
    }

    /// Gives up the request that is under way: its connection is closed at once.
    pub(crate) fn hang_up(&mut self) {
        if self.id.take().is_some() {
            self.line.take().into_iter().for_each(Client::hang_up);
        }
    }
}

/// Tells what has become of a request, also of one whose thread has panicked.
struct Answering {
    shared: Arc<Shared>,
    id: RequestId,
    answer: Option<Result<Response, TransportFault>>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let lost = || Err(TransportFault::Unreachable("the request's thread has ended".into()));
        self.shared.answered(self.id, self.answer.take().unwrap_or_else(lost));
    }
}
