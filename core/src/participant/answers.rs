//! What becomes of answers.

use bytes::Bytes;

use super::io::{Event, Reject, TransportFault, TroubleReason};
use super::jobs::ComposeError;
use super::machine::{Activity, Participant, MAX_RETRY_AFTER};
use super::stage::{Content, Stage};
use crate::holding::Held;
use crate::message::{MessageSize, Tag};
use crate::problem::Problem;
use crate::request::{RequestId, Response};
use crate::round::RoundParameters;
use crate::time::Timestamp;

impl Participant {
    pub(super) fn handle_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        if self.holding.is_parked(id) {
            return Err(Reject::UnknownRequest(id));
        }
        match self.holding.take_answer(self.now, id, &answer) {
            Held::No => self.take_answer(id, answer),
            Held::Since(sent) => match &answer {
                Ok(response) if self.park(id, sent, response) => Ok(()),
                _ => self.take_held_answer(id, sent, answer),
            },
            Held::CutOff(sent) => {
                self.held_since = Some(sent);
                self.heed(&answer);
                self.wait_longer();
                self.held_since = None;
                Ok(())
            }
        }
    }

    /// Keeps news back for a while, if this participant's turn comes later.
    fn park(&mut self, id: RequestId, sent: Timestamp, response: &Response) -> bool {
        let (key, longest) = (self.keys.public(), self.settings.polling.max);
        self.holding.park(self.now, &key, longest, (id, sent, response))
    }

    /// Takes in the answer to a request that was sent then, and could be held back.
    pub(super) fn take_held_answer(
        &mut self,
        id: RequestId,
        sent: Timestamp,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        self.held_since = Some(sent);
        let taken = self.take_answer(id, answer);
        self.held_since = None;
        taken
    }

    fn take_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        match self.activity {
            Activity::Params(expected) if expected == id => self.handle_params(answer),
            Activity::Sums(expected) if expected == id => {
                if let Some(sums) = self.available("sums", answer) {
                    self.stage = Stage::Mask { sums };
                    self.misses = 0;
                    self.step();
                }
            }
            Activity::Seeds(expected) if expected == id => {
                if let Some(seeds) = self.available("seeds", answer) {
                    self.compose(|composer| composer.sum2(seeds));
                }
            }
            Activity::Post(expected) if expected == id => self.handle_delivery(answer),
            _ => return self.handle_fetch_answer(id, answer),
        }
        Ok(())
    }

    fn handle_params(&mut self, answer: Result<Response, TransportFault>) {
        self.heed(&answer);
        // Only who has said what it knows is told that there is nothing else.
        if let (Ok(Response { status: 304, .. }), Some(_)) = (&answer, self.held_since) {
            return self.step();
        }
        let parameters = match read_params(answer) {
            Ok(parameters) => {
                self.answered_at_once();
                parameters
            }
            Err(reason) => return self.trouble("params", reason),
        };
        if self.passed.has(&parameters) {
            return self.trouble("params", TroubleReason::PastRound);
        }
        let has_looked = std::mem::replace(&mut self.has_looked, true);
        if self.parameters().is_none_or(|current| **current != parameters) {
            self.begin_round(parameters);
        } else if !has_looked {
            self.check_model();
        }
        self.step();
    }

    /// The body of a 200; on a 204 or anything else another look is taken later.
    fn available(
        &mut self,
        call: &'static str,
        answer: Result<Response, TransportFault>,
    ) -> Option<Bytes> {
        self.heed(&answer);
        // Whoever has answered is behind, or another round has begun meanwhile: the next look at the parameters tells.
        if matches!(answer, Ok(Response { status: 412, .. })) {
            self.wait_longer();
            return None;
        }
        match read_body(answer) {
            Ok(Some(body)) => return Some(body),
            Ok(None) => self.wait_longer(),
            Err(reason) => self.trouble(call, reason),
        }
        None
    }

    fn handle_delivery(&mut self, answer: Result<Response, TransportFault>) {
        self.heed(&answer);
        let response = match answer {
            Ok(Response { status: 200..=299, .. }) => return self.delivered(),
            Ok(response) => response,
            Err(fault) => return self.trouble("message", fault.into()),
        };
        let Some(problem) = Problem::of(&response) else {
            if response.status == 413 {
                return self.not_let_through();
            }
            return self.trouble("message", TroubleReason::Status(response.status));
        };
        match self.upload_mut().map(|upload| upload.tag) {
            // It has arrived before, and the answer was lost.
            Some(tag) if problem.is_duplicate(tag) => self.sent(tag),
            Some(tag) => {
                self.set_stage(Stage::Awaiting);
                self.event(Event::Rejected { tag, problem });
                self.wait_longer();
            }
            None => self.go_on(),
        }
    }

    /// Something before the coordinator takes no bodies as long as this one. The same would be refused for ever:
    /// it is split, if it can be.
    fn not_let_through(&mut self) {
        let Some(upload) = self.upload_mut() else { return self.go_on() };
        let size = upload.sealed_length();
        let can_be_split = !matches!(upload.content, Content::Whole(_));
        match MessageSize::below(size).filter(|_| can_be_split) {
            Some(smaller) => {
                self.way = self.way.min(smaller);
                let parts = smaller.limit().unwrap_or(size);
                self.trouble("message", TroubleReason::NotLetThrough { size, parts });
            }
            None => {
                self.set_stage(Stage::Awaiting);
                self.event(Event::GaveUp(ComposeError::NotLetThrough { size }));
                self.wait_longer();
            }
        }
    }

    /// A part of the message was delivered.
    fn delivered(&mut self) {
        let Some(upload) = self.upload_mut() else {
            return self.go_on();
        };
        let tag = upload.tag;
        if let Content::Chunks { next, .. } = &mut upload.content {
            *next = next.saturating_add(1);
            let (sent, total) = upload.progress();
            self.event(Event::Progress { tag, sent, total });
            if sent < total {
                return self.go_on();
            }
        }
        self.sent(tag);
    }

    /// All of the message was delivered.
    pub(super) fn sent(&mut self, tag: Tag) {
        self.event(Event::Sent(tag));
        self.set_stage(match tag {
            Tag::Sum => Stage::Sum2(None),
            Tag::Update | Tag::Sum2 => Stage::Awaiting,
        });
        self.wait_after_progress();
    }

    /// Heeds a coordinator that has too much to do: the next pause lasts as long as it says.
    fn heed(&mut self, answer: &Result<Response, TransportFault>) {
        if let Ok(Response { status: 429 | 503, retry_after: Some(pause), .. }) = answer {
            self.least_pause = (*pause).min(MAX_RETRY_AFTER);
        }
    }
}

pub(super) fn read_params(
    answer: Result<Response, TransportFault>,
) -> Result<RoundParameters, TroubleReason> {
    match answer? {
        Response { status: 200, body, .. } => Ok(RoundParameters::from_bytes(&body)?),
        Response { status, .. } => Err(TroubleReason::Status(status)),
    }
}

/// The body of a 200, nothing for a 204.
pub(super) fn read_body(
    answer: Result<Response, TransportFault>,
) -> Result<Option<Bytes>, TroubleReason> {
    match answer? {
        Response { status: 200, body, .. } => Ok(Some(body)),
        Response { status: 204, .. } => Ok(None),
        Response { status, .. } => Err(TroubleReason::Status(status)),
    }
}
