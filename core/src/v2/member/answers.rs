//! What becomes of answers.

use bytes::Bytes;

use super::event::{Event, Post, TroubleReason};
use super::io::Reject;
use super::jobs::{CheckAnnouncements, CheckEntries, CheckRoster, CheckSet, CheckVotes, Expected};
use super::machine::{Activity, Member, Wanted, MAX_RETRY_AFTER};
use super::round::Settled;
use super::Refusal;
use crate::participant::TransportFault;
use crate::problem::Problem;
use crate::request::{RequestId, Response};
use crate::v2::RoundView;

type Answer = Result<Response, TransportFault>;

impl Member {
    pub(super) fn handle_answer(&mut self, id: RequestId, answer: Answer) -> Result<(), Reject> {
        match self.activity {
            Activity::Look(expected) if expected == id => {
                self.heed(&answer);
                match read(answer).and_then(|body| {
                    RoundView::from_bytes(&body)
                        .map_err(|source| Refusal::Malformed { what: "round", source }.into())
                }) {
                    Ok(view) => {
                        self.looked_at = self.now;
                        self.failure = None;
                        self.take_view(view);
                    }
                    Err(reason) => self.trouble("round", reason),
                }
            }
            Activity::Fetch(expected, wanted) if expected == id => {
                self.heed(&answer);
                match read(answer) {
                    Ok(body) => self.check(wanted, body),
                    Err(reason) => self.trouble(wanted.name(), reason),
                }
            }
            Activity::Post(expected, post) if expected == id => {
                self.heed(&answer);
                self.handle_delivery(post, answer);
            }
            _ => return Err(Reject::UnknownRequest(id)),
        }
        Ok(())
    }

    /// Has a job check what came.
    fn check(&mut self, wanted: Wanted, body: Bytes) {
        if wanted == Wanted::Roster {
            let key = self.keys.public();
            return self.job(wanted, CheckRoster::new(body, self.pin, key));
        }
        let (Some(setup), Some(round), Some(view)) =
            (self.setup(), self.round.as_deref(), self.view.as_ref())
        else {
            return self.go_on();
        };
        match wanted {
            Wanted::Announcements => {
                let expected = view.announcements;
                let vote_key = match (&round.vote_keys, &self.promise) {
                    (Some(keys), _) => keys.public(),
                    (None, Some(promise)) => promise.vote_key,
                    (None, None) => return self.go_on(),
                };
                self.job(wanted, CheckAnnouncements::new(setup, body, expected, vote_key));
            }
            Wanted::Entries => {
                let entries = &round.entries;
                let expected = Expected {
                    from: entries.checked,
                    total: entries.total,
                    last: entries.last,
                    most: self.settings.max_updates,
                };
                self.job(wanted, CheckEntries::new(setup, body, expected));
            }
            Wanted::Set => {
                let Some(all) = round.entries.all.clone() else { return self.go_on() };
                let least = round.terms.least_updates(self.pin.n_min);
                let work = CheckSet::new(setup, body, all, view.decision, least);
                self.job(wanted, work);
            }
            Wanted::Votes => {
                let Some(agreed) = &round.agreed else { return self.go_on() };
                let promise = self.promise.as_ref();
                let voted = promise.and_then(|promise| promise.vote) == Some(agreed.decision);
                let work = CheckVotes::new(setup, body, agreed.decision, voted);
                self.job(wanted, work);
            }
            Wanted::Roster | Wanted::Mask => self.go_on(),
        }
    }

    fn handle_delivery(&mut self, post: Post, answer: Answer) {
        let response = match answer {
            Ok(Response { status: 200..=299, .. }) => return self.delivered(post),
            Ok(response) => response,
            Err(fault) => return self.trouble(post.label(), fault),
        };
        match Problem::of(&response) {
            // It has arrived before, and the answer was lost.
            Some(problem) if problem.name.starts_with("duplicate") => self.delivered(post),
            Some(problem) => {
                self.event(Event::Rejected { post, problem });
                if let Some(round) = &mut self.round {
                    round.settled.insert(post, Settled { delivered_at: None });
                }
                let why = self.why();
                self.wait_longer(why);
            }
            None => self.trouble(post.label(), TroubleReason::Status(response.status)),
        }
    }

    fn delivered(&mut self, post: Post) {
        let Some(round) = self.round.as_deref_mut() else { return self.go_on() };
        let event = match (post, &mut round.mask) {
            (Post::MaskChunk, Some(mask)) => {
                mask.sent = mask.sent.saturating_add(1);
                Event::Progress { sent: mask.sent, total: mask.chunks() }
            }
            (Post::Mask, Some(mask)) => Event::MaskSent {
                digest: mask.digest,
                updates: round.agreed.as_ref().map_or(0, |agreed| agreed.count),
            },
            (Post::Report, _) => Event::Reported {
                updates: round.entries.checked,
                accused: round.entries.accused.len(),
            },
            (Post::Vote, _) => match &round.agreed {
                Some(agreed) => Event::Voted { decision: agreed.decision, updates: agreed.count },
                None => return self.go_on(),
            },
            _ => Event::Announced { round: round.terms.round },
        };
        let is_whole = round.mask.as_ref().is_none_or(|mask| mask.sent >= mask.chunks());
        if post != Post::MaskChunk || is_whole {
            round.settled.insert(post, Settled { delivered_at: Some(self.now) });
        }
        self.event(event);
        self.go_on();
    }

    /// Heeds a coordinator that has too much to do: the next pause lasts as long as it says.
    fn heed(&mut self, answer: &Answer) {
        if let Ok(Response { status: 429 | 503, retry_after: Some(pause), .. }) = answer {
            self.least_pause = (*pause).min(MAX_RETRY_AFTER);
        }
    }
}

/// The body of a 200.
fn read(answer: Answer) -> Result<Bytes, TroubleReason> {
    match answer? {
        Response { status: 200, body, .. } => Ok(body),
        Response { status, .. } => Err(TroubleReason::Status(status)),
    }
}
