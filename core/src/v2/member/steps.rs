//! What a member does next.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Post};
use super::io::Why;
use super::jobs::{AddMasks, Setup};
use super::machine::{Activity, Member, Wanted};
use super::round::{Entries, Round, Settled};
use super::snapshot::Promise;
use super::terms::{Judge, Verdict};
use super::Refusal;
use crate::crypto::{EncryptKeyPair, Purpose, SigningKeyPair};
use crate::time::Timestamp;
use crate::v2::{
    self, Announcement, Context, DecisionHash, MemberId, Phase, PinError, Report, RoundView, Terms,
    Vote,
};

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Wait(Why),
    Fetch(Wanted),
    Post(Post),
    SitOut(Denied),
}

/// A decision that nothing is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    SecondDecision { voted: DecisionHash, found: DecisionHash },
    OtherThanCertified { certified: DecisionHash, found: DecisionHash },
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::SecondDecision { voted, found } => Self::SecondDecision { voted, found },
            Denied::OtherThanCertified { certified, found } => {
                Self::OtherThanCertified { certified, found }
            }
        }
    }
}

impl Member {
    /// Takes the next step, as the round was last seen.
    pub(super) fn step(&mut self) {
        let Some(view) = self.view.clone() else { return self.wait_longer(Why::Coordinator) };
        if self.is_unsaved {
            return self.persist();
        }
        if self.round.is_none() {
            return self.consider(&view);
        }
        match self.action(&view) {
            Action::Wait(why) => self.wait_longer(why),
            Action::Fetch(Wanted::Mask) => self.add_masks(),
            Action::Fetch(wanted) => self.fetch(wanted),
            Action::Post(post) => self.post(post),
            Action::SitOut(denied) => {
                self.sit_out(denied.into());
                self.wait_longer(Why::SitsOut);
            }
        }
    }

    /// A look at the round has brought this.
    pub(super) fn take_view(&mut self, view: RoundView) {
        let view = Arc::new(view);
        let context = view.terms.as_ref().map(Terms::context);
        let is_other = |round: &Round| Some(round.context) != context;
        // A coordinator that has just begun to look for its state shows no terms at all.
        let is_over = matches!(view.phase, Phase::Idle | Phase::Failed)
            || view.terms.as_ref().is_some_and(|terms| view.completed >= Some(terms.round));
        let has_ended = |round: &Round| context.is_some() && (is_over || is_other(round));
        if self.round.as_deref().is_some_and(has_ended) {
            self.end_round();
        }
        let before = self.view.replace(view.clone());
        if let (Some(terms), Some(context)) = (&view.terms, context) {
            let round = terms.round;
            let is_new = self.seen.replace(context) != Some(context);
            if is_new {
                self.told.clear();
                self.event(Event::NewRound { round, context });
            }
            if is_new || before.is_none_or(|before| before.phase != view.phase) {
                self.event(Event::Phase { round, phase: view.phase });
                if let (Phase::Failed, Some(reason)) = (view.phase, &view.failure) {
                    self.event(Event::RoundFailed { round, reason: reason.clone() });
                }
                self.misses = 0;
            }
        }
        if context.is_some() {
            self.end_promise(context.filter(|_| !is_over));
        }
        self.step();
    }

    /// Wipes what is kept of the round.
    fn end_round(&mut self) {
        let Some(round) = self.round.take() else { return };
        self.event(Event::RoundOver { round: round.terms.round });
        self.release(round.bytes(), round);
    }

    /// Has the root seed go on once the round that was announced is not on any more: nobody gets back to its key.
    fn end_promise(&mut self, on: Option<Context>) {
        let Some(promise) = &mut self.promise else { return };
        if !promise.is_over && Some(promise.context) != on {
            promise.is_over = true;
            self.root = self.root.ratchet();
            self.is_unsaved = true;
        }
    }

    /// A round that has not ended for days is over for this member, whatever the coordinator says.
    pub(super) fn end_old_round(&mut self) {
        let is_old = |promise: &Promise| {
            !promise.is_over && self.now > Timestamp::from_millis(promise.at) + v2::MOST_AGE
        };
        if self.promise.as_ref().is_some_and(is_old) {
            self.refuse(Refusal::Outlived);
            self.end_round();
            self.end_promise(None);
        }
    }

    /// Decides whether to take part in the round.
    fn consider(&mut self, view: &RoundView) {
        let Some(terms) = &view.terms else { return self.wait_longer(Why::Round) };
        if matches!(view.phase, Phase::Idle | Phase::Failed) {
            return self.wait_longer(Why::Round);
        }
        if terms.roster != self.pin.roster {
            let (pinned, found) = (self.pin.roster, terms.roster);
            self.refuse(PinError::Roster { pinned, found }.into());
            return self.wait_longer(Why::Round);
        }
        let Some((roster, member)) = self.roster.clone() else { return self.fetch(Wanted::Roster) };
        let context = terms.context();
        let promise = self.promise.as_ref();
        if let Some(promise) = promise.filter(|p| p.context == context && !p.is_over) {
            // It was started anew in the middle of the round.
            let has_voted = promise.vote.is_some();
            self.round = Some(Box::new(self.begin(terms, context, member, None)));
            if !has_voted {
                self.refuse(Refusal::Restarted);
            }
            return self.step();
        }
        if view.phase != Phase::Announce {
            let is_known = promise.is_some_and(|promise| promise.context == context);
            if !is_known {
                self.refuse(Refusal::Late);
            }
            return self.wait_longer(Why::Round);
        }
        let judge = Judge {
            pin: &self.pin,
            settings: &self.settings,
            promise,
            restored_at: self.started.filter(|_| self.is_restored),
            now: self.now,
            groups: roster.groups().len(),
        };
        match judge.judge(terms) {
            Verdict::Accepted => self.announce(terms, context, member),
            Verdict::NotBefore(opened) => {
                self.wait_longer(Why::Clock);
                // No longer than needed.
                if let Activity::Waiting(until, _) = &mut self.activity {
                    *until = (*until).min(opened).max(self.now + Duration::from_millis(1));
                }
            }
            Verdict::Refused(refusal) => {
                self.refuse(refusal);
                self.wait_longer(Why::Round);
            }
        }
    }

    /// Promises to announce itself in this round, and in no other with its number.
    fn announce(&mut self, terms: &Terms, context: Context, member: MemberId) {
        let place = [member.group, member.index];
        let seed = self.boot.derive(Purpose::VoteKey, &[context.as_bytes(), &place]);
        let vote_keys = SigningKeyPair::from_seed(&seed);
        self.promise = Some(Promise {
            round: terms.round,
            context,
            vote_key: vote_keys.public(),
            at: self.now.as_millis(),
            vote: None,
            is_over: false,
        });
        self.round = Some(Box::new(self.begin(terms, context, member, Some(vote_keys))));
        self.is_unsaved = true;
        self.persist();
    }

    fn begin(
        &self,
        terms: &Terms,
        context: Context,
        member: MemberId,
        vote_keys: Option<SigningKeyPair>,
    ) -> Round {
        let place = [member.group, member.index];
        let seed = self.root.derive(Purpose::MemberKey, &[context.as_bytes(), &place]);
        let announced = Settled { delivered_at: None };
        let settled = vote_keys.is_none().then_some((Post::Announcement, announced));
        Round {
            terms: Arc::new(terms.clone()),
            context,
            member,
            keys: Arc::new(EncryptKeyPair::from_seed(&seed)),
            vote_keys,
            list: None,
            entries: Entries::default(),
            agreed: None,
            certified: None,
            mask: None,
            settled: settled.into_iter().collect(),
            out: None,
        }
    }

    /// What is due in the round that it takes part in.
    fn action(&self, view: &RoundView) -> Action {
        let Some(round) = self.round.as_deref() else { return Action::Wait(Why::Round) };
        if round.out.is_some() {
            return Action::Wait(Why::SitsOut);
        }
        if view.terms.is_none() {
            // It has just begun to look for its state: the round goes on when it has found it.
            return Action::Wait(Why::Coordinator);
        }
        if view.phase == Phase::Announce {
            // Who has announced is not told.
            return self.unless_settled(
                round,
                Post::Announcement,
                &[round.member],
                Why::Announcements,
            );
        }
        let Some(_) = view.announcements else { return Action::Wait(Why::Announcements) };
        if round.list.is_none() {
            return Action::Fetch(Wanted::Announcements);
        }
        if view.phase == Phase::Update {
            return Action::Wait(Why::Updates);
        }
        if round.mask.is_none() && round.entries.all.is_none() {
            return Action::Fetch(Wanted::Entries);
        }
        if view.phase == Phase::Check {
            return self.unless_settled(round, Post::Report, &view.reported, Why::Reports);
        }
        let Some(decision) = view.decision else { return Action::Wait(Why::Reports) };
        if let Some(certified) = round.certified.filter(|certified| *certified != decision) {
            return Action::SitOut(Denied::OtherThanCertified { certified, found: decision });
        }
        let Some(agreed) = round.agreed.as_ref().filter(|agreed| agreed.decision == decision)
        else {
            return Action::Fetch(Wanted::Set);
        };
        let promise = self.promise.as_ref().filter(|promise| promise.context == round.context);
        let voted = promise.and_then(|promise| promise.vote);
        if let Some(voted) = voted.filter(|voted| *voted != decision) {
            return Action::SitOut(Denied::SecondDecision { voted, found: decision });
        }
        if view.phase == Phase::Agree {
            return match round.vote_keys {
                Some(_) => self.unless_settled(round, Post::Vote, &view.voted, Why::Votes),
                None => Action::Wait(Why::Votes),
            };
        }
        if round.certified != Some(agreed.decision) {
            return Action::Fetch(Wanted::Votes);
        }
        let is_wanted = view.wanted.binary_search(&round.member).is_ok();
        if round.mask.is_none() {
            // One that was started anew need not add up again what the coordinator has.
            let is_there = view.masked.binary_search(&round.member).is_ok();
            return match is_there && !is_wanted {
                true => Action::Wait(Why::Masks),
                false => Action::Fetch(Wanted::Mask),
            };
        }
        if !round.is_settled(Post::Mask, self.looked_at, &view.masked) {
            return Action::Post(Post::Mask);
        }
        match is_wanted && !round.is_settled(Post::MaskChunk, self.looked_at, &[]) {
            true => Action::Post(Post::MaskChunk),
            false => Action::Wait(Why::Masks),
        }
    }

    fn unless_settled(&self, round: &Round, post: Post, listed: &[MemberId], why: Why) -> Action {
        match round.is_settled(post, self.looked_at, listed) {
            true => Action::Wait(why),
            false => Action::Post(post),
        }
    }

    /// The coordinator still wants the mask after all of it was sent: it has lost it.
    fn begin_again(&mut self) {
        let Some(round) = self.round.as_deref_mut() else { return };
        if let Some(mask) = round.mask.as_mut().filter(|mask| mask.sent >= mask.chunks()) {
            mask.sent = 0;
            round.settled.remove(&Post::MaskChunk);
        }
    }

    /// Makes what is to be posted, and has it sent.
    fn post(&mut self, post: Post) {
        if post == Post::MaskChunk {
            self.begin_again();
        }
        let Some(round) = self.round.as_deref() else { return self.wait_longer(Why::Round) };
        let tag = round.context.tag();
        let call = match post {
            Post::Announcement => {
                let Some(own) = self.own_announcement(round) else {
                    return self.wait_longer(Why::Round);
                };
                v2::Call::Announce(v2::Post::new(tag, own.to_bytes()))
            }
            Post::Report => {
                let Some(list) = &round.list else { return self.wait_longer(Why::Reports) };
                let accused = round.entries.accused.clone();
                let report =
                    Report::sign(&self.keys, &round.context, &list.digest(), round.member, accused);
                v2::Call::Report(v2::Post::new(tag, report.to_bytes()))
            }
            Post::Vote => {
                let (Some(keys), Some(agreed)) = (&round.vote_keys, &round.agreed) else {
                    return self.wait_longer(Why::Votes);
                };
                let decision = agreed.decision;
                let Some(promise) =
                    self.promise.as_mut().filter(|promise| promise.context == round.context)
                else {
                    return self.wait_longer(Why::Votes);
                };
                // Stored first; then it comes here again. That there is no other is looked at before.
                if promise.vote.is_none() {
                    promise.vote = Some(decision);
                    self.is_unsaved = true;
                    return self.persist();
                }
                if promise.vote != Some(decision) {
                    return self.wait_longer(Why::Votes);
                }
                let vote = Vote::sign(keys, round.member, &decision);
                v2::Call::Vote(v2::Post::new(tag, vote.to_bytes()))
            }
            Post::Mask => match &round.mask {
                Some(mask) => v2::Call::Mask(v2::Post::new(tag, mask.header.to_bytes())),
                None => return self.wait_longer(Why::Masks),
            },
            Post::MaskChunk => match &round.mask {
                Some(mask) => {
                    let post = v2::Post::new(tag, mask.chunk(mask.sent));
                    v2::Call::MaskChunk { member: round.member, index: mask.sent, post }
                }
                None => return self.wait_longer(Why::Masks),
            },
        };
        let id = self.request(call);
        self.activity = Activity::Post(id, post);
    }

    /// The announcement of this life; nothing if it was made in an earlier one.
    pub(super) fn own_announcement(&self, round: &Round) -> Option<Announcement> {
        let vote_keys = round.vote_keys.as_ref()?;
        let (e, v) = (round.keys.public(), vote_keys.public());
        Some(Announcement::sign(&self.keys, &round.context, round.member, e, v))
    }

    pub(super) fn fetch(&mut self, wanted: Wanted) {
        let call = match (wanted, self.round.as_deref()) {
            (Wanted::Roster, _) => v2::Call::Roster,
            (Wanted::Announcements, _) => v2::Call::Announcements,
            (Wanted::Entries, Some(round)) => {
                v2::Call::Entries { member: round.member, from: round.entries.checked }
            }
            (Wanted::Set, _) => v2::Call::Set,
            (Wanted::Votes, _) => v2::Call::Votes,
            (Wanted::Mask, _) | (_, None) => return self.wait_longer(Why::Round),
        };
        let id = self.request(call);
        self.activity = Activity::Fetch(id, wanted);
    }

    fn add_masks(&mut self) {
        let (Some(setup), Some(round)) = (self.setup(), self.round.as_deref()) else {
            return self.wait_longer(Why::Round);
        };
        let (Some(all), Some(agreed)) = (&round.entries.all, &round.agreed) else {
            return self.wait_longer(Why::Round);
        };
        let work = AddMasks::new(setup, self.keys.clone(), all.clone(), agreed.clone());
        self.job(Wanted::Mask, work);
    }

    /// What all jobs of the round need.
    pub(super) fn setup(&self) -> Option<Setup> {
        let round = self.round.as_deref()?;
        let (roster, _) = self.roster.as_ref()?;
        Some(Setup {
            roster: roster.clone(),
            terms: round.terms.clone(),
            context: round.context,
            member: round.member,
            keys: round.keys.clone(),
            list: round.list.clone(),
        })
    }
}
