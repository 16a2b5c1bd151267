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
    /// The process that has sent it: in one that was forked from that there is no thread that waits for the answer.
    process: u32,
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
        self.process = std::process::id();
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
        if self.is_of_another_process() {
            let id = self.id.take()?;
            self.forget_line();
            let why = "this process was forked while the request was under way".into();
            return Some(Input::Fault { id, fault: TransportFault::Unreachable(why) });
        }
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
        if self.is_of_another_process() {
            self.id = None;
            return self.forget_line();
        }
        if self.id.take().is_some() {
            self.line.take().into_iter().for_each(Client::hang_up);
        }
    }
}

impl Held {
    fn is_of_another_process(&self) -> bool {
        self.id.is_some() && self.process != std::process::id()
    }

    /// The connection is the other process's as well: closing it there would cut off that one's request.
    fn forget_line(&mut self) {
        std::mem::forget(self.line.take());
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

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    /// A request that another process has sent, which this one was forked from.
    fn forked() -> Held {
        Held { id: Some(RequestId(7)), process: std::process::id() ^ 1, ..Held::default() }
    }

    /// Nobody in a forked process hears of the answer: it must not be waited for.
    #[test]
    fn a_forked_process_does_not_wait_for_the_other_ones_answer() {
        let mut held = forked();
        let Some(Input::Fault { id: RequestId(7), fault }) = held.take_answer() else { panic!() };
        assert!(fault.to_string().contains("forked"), "{fault}");
        assert!(held.take_answer().is_none());
        let mut held = forked();
        held.hang_up();
        assert!(held.id.is_none() && held.take_answer().is_none());
        // In its own process it is waited for.
        let mut held = Held { process: std::process::id(), ..forked() };
        assert!(held.take_answer().is_none() && held.id.is_some());
    }
}
