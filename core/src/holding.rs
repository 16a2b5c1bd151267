//! Requests whose answers may be held back until there is news: what the machines of both versions know of them.

use std::time::Duration;

use crate::crypto::{Blake2b, PublicSigningKey};
use crate::participant::TransportFault;
use crate::request::{Patience, RequestId, Response};
use crate::time::Timestamp;

/// After so many answers in a row one may be held back for longer again.
const ANSWERS_TO_TRUST: u32 = 16;

/// What comes, or is cut off, sooner was not held back.
const SHORTEST: Duration = Duration::from_millis(100);

/// Who has waited for so long spreads what it does next over a part of it: a sixteenth, as who asks again and again after
/// pauses that grow would come within a sixth.
const SPREAD: u32 = 16;

/// For how long answers may be held back, and the request that waits for one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holding {
    /// For how long at most, as the driver says; zero if it knows nothing of that.
    most: Duration,
    /// For how long now: less than that if something on the way was found to cut such requests off.
    wait: Duration,
    /// How many answers there were since that has changed.
    answers: u32,
    /// A request was cut off. One that is answered at once has to tell whether there is a coordinator at all.
    is_shaken: bool,
    asked: Option<Asked>,
    /// Since when news have been waited for.
    since: Option<Timestamp>,
    parked: Option<Parked>,
}

/// A request whose answer may be held back.
#[derive(Debug, Clone)]
struct Asked {
    id: RequestId,
    at: Timestamp,
    patience: Patience,
}

/// News that all who wait have got at one moment, and that are taken in a little later, so that they do not come with what
/// they do next at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) id: RequestId,
    /// When the request was sent.
    pub(crate) sent: Timestamp,
    pub(crate) response: Response,
    until: Timestamp,
}

/// Whether a request's answer could be held back.
pub(crate) enum Held {
    /// It had to come at once.
    No,
    /// It could, and it came; the request was sent then.
    Since(Timestamp),
    /// It could, and it did not come.
    CutOff(Timestamp),
}

/// What was given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Nothing: the answer is wanted at once.
    Nothing,
    /// A request that is not answered.
    Request,
    /// One that is, and whose answer was not taken in.
    Answered,
}

impl Holding {
    pub(crate) fn set_most(&mut self, most: Duration) {
        self.most = Patience::clamp(most);
        self.wait = self.most;
    }

    /// Whether answers may be held back now.
    pub(crate) fn is_on(&self) -> bool {
        !self.wait.is_zero() && !self.is_shaken
    }

    /// Whether a request waits for news, or for its turn to take them in.
    pub(crate) fn is_held(&self) -> bool {
        self.asked.is_some() || self.parked.is_some()
    }

    /// What is said along with a request.
    pub(crate) fn patience(&self, id: RequestId) -> Option<&Patience> {
        self.asked.as_ref().filter(|asked| asked.id == id).map(|asked| &asked.patience)
    }

    /// The answer to this request may be held back, if it may be now.
    pub(crate) fn ask(&mut self, id: RequestId, now: Timestamp, known: Option<String>) {
        if self.is_on() {
            let patience = Patience { wait: self.wait, known };
            self.since.get_or_insert(now);
            self.asked = Some(Asked { id, at: now, patience });
        }
    }

    /// What was waited for is over.
    pub(crate) fn wait_anew(&mut self) {
        self.since = None;
    }

    /// A request was answered. It may be one whose answer had to come at once.
    pub(crate) fn answered(&mut self) {
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
        if after >= SHORTEST {
            self.wait = Patience::clamp(self.wait / 2);
        }
    }

    /// Ends the request, if it is this one: when it was sent.
    fn take(&mut self, id: RequestId) -> Option<Timestamp> {
        self.asked.take_if(|asked| asked.id == id).map(|asked| asked.at)
    }

    /// Takes the answer to a request that it could be held back for: when the request was sent, and nothing if it had
    /// to come at once, or was cut off. What cuts it off may be something on the way that is not used to waiting: no
    /// trouble, unless the next look finds that there is nobody.
    pub(crate) fn take_answer(
        &mut self,
        now: Timestamp,
        id: RequestId,
        answer: &Result<Response, TransportFault>,
    ) -> Held {
        let Some(since) = self.take(id) else { return Held::No };
        match answer {
            Err(TransportFault::Unreachable(_) | TransportFault::TimedOut)
            | Ok(Response { status: 408 | 502 | 504, .. })
            // The coordinator itself says when to come back.
            | Ok(Response { status: 503, retry_after: None, .. }) => {
                self.cut(now.saturating_since(since));
                Held::CutOff(since)
            }
            _ => {
                self.answered();
                Held::Since(since)
            }
        }
    }

    /// Keeps news back that all who wait have got at one moment, if the turn of whoever has this key comes later: whether it
    /// does. When that is follows from the key; no later than after `longest`.
    pub(crate) fn park(
        &mut self,
        now: Timestamp,
        key: &PublicSigningKey,
        longest: Duration,
        (id, sent, response): (RequestId, Timestamp, &Response),
    ) -> bool {
        if response.status != 200 {
            return false;
        }
        let waited = now.saturating_since(self.since.take().unwrap_or(sent));
        // Who asks again and again does not come at the same moment as others do.
        if now.saturating_since(sent) < SHORTEST {
            return false;
        }
        let window = (waited / SPREAD).min(longest);
        let drawn = Blake2b::hash(&[key.as_bytes(), &id.0.to_le_bytes()]);
        let drawn = u16::from_le_bytes([drawn.as_bytes()[0], drawn.as_bytes()[1]]);
        let delay = window.mul_f64(f64::from(drawn) / f64::from(1u32 << 16));
        // Times are whole milliseconds.
        let until = now + Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(0));
        if until == now {
            return false;
        }
        self.parked = Some(Parked { id, sent, response: response.clone(), until });
        true
    }

    /// Whether this answer is there, and not taken in yet.
    pub(crate) fn is_parked(&self, id: RequestId) -> bool {
        self.parked.as_ref().is_some_and(|parked| parked.id == id)
    }

    /// When news are taken in that were kept back.
    pub(crate) fn parked_until(&self) -> Option<Timestamp> {
        self.parked.as_ref().map(|parked| parked.until)
    }

    /// The news that were kept back, once it is time.
    pub(crate) fn take_parked(&mut self, now: Timestamp) -> Option<Parked> {
        self.parked.take_if(|parked| parked.until <= now)
    }

    /// There is something to do that does not wait for this request.
    pub(crate) fn give_up(&mut self, id: RequestId) -> GivenUp {
        if self.parked.take_if(|parked| parked.id == id).is_some() {
            self.wait_anew();
            return GivenUp::Answered;
        }
        match self.take(id) {
            Some(_) => {
                self.wait_anew();
                GivenUp::Request
            }
            None => GivenUp::Nothing,
        }
    }
}
