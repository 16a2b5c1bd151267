//! The relay as a whole: what it is told, and what it says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::part::UnderWay;
use super::passed::Passed;
use super::updates::Updates;
use super::{
    Front, Idle, Input, Letter, LetterNumber, Limits, Output, PartId, Phase, Rejection, Seen,
    Shard, ShardSum, Ticket, Verified, Why, PATIENCE, REPEAT,
};
use crate::crypto::{Blake2b, PublicSigningKey};
use crate::job::{Job, JobId, Release};
use crate::message::Tag;
use crate::time::Timestamp;

use crate::coordinator::jobs::Outcome;

/// How much of what is due is done in one call; the rest is done with the next.
const PER_CALL: usize = 128;

/// Takes messages where the machine does not run. See the [module's page](super).
pub struct Relay {
    pub(super) limits: Limits,
    /// All names are derived of it.
    origin: Shard,
    pub(super) shard: Shard,
    pub(super) now: Timestamp,
    /// What the log showed last.
    pub(super) front: Front,
    pub(super) epoch: u64,
    last_number: u64,
    /// Letters without an answer.
    letters: BTreeMap<LetterNumber, Open>,
    repeats: BTreeSet<(Timestamp, LetterNumber)>,
    /// Letters that were given out, and are not in the engine yet as far as is known.
    in_mail: BTreeSet<LetterNumber>,
    /// The senders that wait, by when they are told to come again.
    waiting: BTreeMap<(Timestamp, Ticket), About>,
    pub(super) passed: BTreeMap<LetterNumber, Passed>,
    /// Whose sum or sum2 message is among them: one of each participant at a time.
    pub(super) senders: BTreeMap<PublicSigningKey, LetterNumber>,
    /// Pieces on their way into the store, and the messages that wait for them.
    pub(super) storing: BTreeMap<PartId, Vec<LetterNumber>>,
    /// Masks that are stored, in this round.
    pub(super) masks: BTreeSet<PartId>,
    pub(super) updates: Updates,
    /// The part that is being made.
    pub(super) part: Option<UnderWay>,
    /// The sum in the part that was recorded last; nothing before the first models.
    pub(super) sum: Option<ShardSum>,
    pub(super) last: Option<PartId>,
    /// How many models the part before has added.
    pub(super) last_count: usize,
    /// How long it took to make and record it.
    pub(super) last_took: Duration,
    /// How many bytes are held.
    pub(super) bytes: usize,
    garbage: Vec<Bytes>,
    pub(super) out: VecDeque<Output>,
}

/// A letter without an answer.
struct Open {
    letter: Letter,
    about: About,
    repeat_at: Timestamp,
}

/// What a letter is about, or a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The message that goes with this letter.
    Message(LetterNumber),
    /// Whether this participant is reserved.
    Update(PublicSigningKey),
    /// The part that is being made.
    Part,
}

/// A sender that waits, and until when.
pub(super) type Waiter = (Ticket, Timestamp);

/// Shows how much it holds.
impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("shard", &self.shard)
            .field("updates", &self.updates.len())
            .field("messages", &self.passed.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay of this shard, random and new: nobody else may ever have used it.
    pub fn new(shard: Shard, limits: Limits, now: Timestamp) -> Self {
        Self {
            limits,
            origin: shard,
            shard,
            now,
            front: Front::new(),
            epoch: 0,
            last_number: 0,
            letters: BTreeMap::new(),
            repeats: BTreeSet::new(),
            in_mail: BTreeSet::new(),
            waiting: BTreeMap::new(),
            passed: BTreeMap::new(),
            senders: BTreeMap::new(),
            storing: BTreeMap::new(),
            masks: BTreeSet::new(),
            updates: Updates::default(),
            part: None,
            sum: None,
            last: None,
            last_count: 0,
            last_took: Duration::ZERO,
            bytes: 0,
            garbage: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// The shard that it is now. (A shard that has lost track of its parts is given up for another one.)
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// How many updates it holds.
    pub fn updates(&self) -> usize {
        self.updates.len()
    }

    /// How many letters have no answer yet.
    pub fn letters(&self) -> usize {
        self.letters.len()
    }

    /// How many bytes of masked models, masks and chunks it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells it what happened. Then ask for outputs until it is idle.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Message { ticket, message } => self.take(ticket, message),
            Input::Log(seen) => self.read(*seen),
            Input::Posted { letter } => drop(self.in_mail.remove(&letter)),
            Input::NotPosted { letter } => {
                self.in_mail.remove(&letter);
                // It is told to come again. (An update stays, and is tried again.)
                if let Some(tag) = self.passed.get(&letter).map(|passed| passed.tag) {
                    self.forget(letter);
                    self.message_answered(letter, Err(Rejection::InProgress(tag)));
                }
            }
            Input::Answered { letter, outcome } => self.answered(letter, outcome),
            Input::Stored { part } => match self.is_making(&part) {
                true => self.part_stored(),
                false => self.piece_stored(part),
            },
            Input::NotStored { part } => match self.is_making(&part) {
                // Another replica may be able to, or this one later: nobody is kept from coming again.
                true => self.give_shard_up(Rejection::InProgress(Tag::Update)),
                false => self.piece_not_stored(&part),
            },
            Input::JobDone(result) => self.added(result),
            Input::JobLost => self.job_lost(),
        }
        self.do_what_is_due();
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.out.pop_front() {
                return output;
            }
            // One after the other, so that no call takes long.
            if self.end_next() || self.admit_next() || self.begin_part() {
                continue;
            }
            if !self.garbage.is_empty() {
                let garbage = std::mem::take(&mut self.garbage);
                return Output::Job(Job::new(
                    self.next_job(),
                    Release::new(garbage, Outcome::Released),
                ));
            }
            return Output::Idle(self.idle());
        }
    }

    fn idle(&self) -> Idle {
        let due = self.waiting.keys().next().map(|(due, _)| *due);
        let repeat = self.repeats.first().map(|(at, _)| *at);
        let linger = self.lingers_until();
        let wake_at = [due, repeat, linger].into_iter().flatten().min();
        let why = match &self.part {
            Some(part) => part.why(),
            None if linger.is_some() => Why::Updates,
            None if self.letters.is_empty() && self.storing.is_empty() => Why::Messages,
            None => Why::Engine,
        };
        Idle::new(wake_at, why)
    }

    fn take(&mut self, ticket: Ticket, message: Verified) {
        let (round_id, tag) = (message.round_id(), message.tag());
        let phase = self.front.phase();
        // Of a round that the log does not show yet nothing is known.
        match self.front.round_id() {
            Some(round) if round == round_id => {}
            Some(round) if round > round_id => {
                return self.tell(ticket, Err(Rejection::WrongPhase { tag, phase }))
            }
            _ => return self.tell(ticket, Err(Rejection::InProgress(tag))),
        }
        match message.admission() {
            Some((admission, model)) => self.take_update(ticket, admission, model),
            None => self.pass_on(ticket, message),
        }
    }

    /// What the log shows is the truth.
    fn read(&mut self, seen: Seen) {
        let Seen { front, epoch, recorded, complete } = seen;
        let is_other_round = front.round_id() != self.front.round_id();
        // Of rounds before the last one parts are not told.
        let complete = complete && front.round_id() <= self.front.round_id().map(|round| round + 1);
        (self.front, self.epoch) = (front, epoch);
        if recorded.is_some_and(|part| self.is_making(&part)) {
            self.recorded();
        }
        if is_other_round {
            self.masks.clear();
        }
        if is_other_round || !takes_updates(self.front.phase()) {
            self.end_updates(complete);
        }
    }

    fn answered(&mut self, number: LetterNumber, outcome: Result<(), Rejection>) {
        let Some(about) = self.forget(number) else { return };
        match about {
            About::Message(_) => self.message_answered(number, outcome),
            About::Update(participant) => self.admission_answered(number, participant, outcome),
            About::Part => self.part_answered(number, outcome),
        }
    }

    fn do_what_is_due(&mut self) {
        for _ in 0..PER_CALL {
            let Some(entry) = self.waiting.first_entry() else { break };
            let (due, ticket) = *entry.key();
            if due > self.now {
                break;
            }
            // It is being worked on, and whether it counts will be known soon.
            let tag = match entry.remove() {
                About::Message(number) => self.wait_no_longer(number, ticket),
                About::Update(participant) => {
                    self.updates.wait_no_longer(&participant, ticket);
                    Some(Tag::Update)
                }
                About::Part => None,
            };
            if let Some(tag) = tag {
                self.tell(ticket, Err(Rejection::InProgress(tag)));
            }
        }
        for _ in 0..PER_CALL {
            let Some(&(at, number)) = self.repeats.first() else { break };
            if at > self.now {
                break;
            }
            self.repeats.pop_first();
            let is_wanted =
                self.letters.get(&number).is_some_and(|open| self.wants(number, open.about));
            match self.letters.get_mut(&number).filter(|_| is_wanted) {
                Some(open) => {
                    open.repeat_at = self.now + REPEAT;
                    self.repeats.insert((open.repeat_at, number));
                    let letter = open.letter.clone();
                    self.put_out(number, letter);
                }
                None => {
                    self.letters.remove(&number);
                    self.remove_passed(number);
                }
            }
        }
    }

    /// Whether the answer to a letter would still matter.
    fn wants(&self, number: LetterNumber, about: About) -> bool {
        match about {
            About::Message(_) => {
                let (passed, round) = (self.passed.get(&number), self.front.round_id());
                passed.is_some_and(|passed| !passed.is_over(round))
            }
            About::Update(participant) => {
                self.updates.awaits(&participant, number)
                    || self.part.as_ref().is_some_and(|part| part.awaits(&participant, number))
            }
            About::Part => self.part.as_ref().is_some_and(|part| part.awaits_record(number)),
        }
    }
}

/// Small things.
impl Relay {
    pub(super) fn next_number(&mut self) -> LetterNumber {
        self.last_number += 1;
        LetterNumber(self.last_number)
    }

    pub(super) fn next_job(&mut self) -> JobId {
        JobId(self.next_number().0)
    }

    /// A name that nobody else comes upon.
    pub(super) fn next_name(&mut self) -> [u8; 16] {
        let number = self.next_number().0.to_le_bytes();
        name(&[b"a name of a relay", self.origin.as_bytes(), &number])
    }

    pub(super) fn set_shard(&mut self, shard: Shard) {
        self.shard = shard;
    }

    pub(super) fn post(&mut self, number: LetterNumber, letter: Letter, about: About) {
        self.post_later(number, letter.clone(), about, REPEAT);
        self.put_out(number, letter);
    }

    /// Gives a letter out, unless it is on its way: while the engine is away they would become ever more.
    fn put_out(&mut self, number: LetterNumber, letter: Letter) {
        if self.in_mail.insert(number) {
            self.out.push_back(Output::Post { number, letter });
        }
    }

    /// Posts a letter after a while.
    pub(super) fn post_later(
        &mut self,
        number: LetterNumber,
        letter: Letter,
        about: About,
        pause: Duration,
    ) {
        let repeat_at = self.now + pause;
        self.repeats.insert((repeat_at, number));
        self.letters.insert(number, Open { letter, about, repeat_at });
    }

    /// Posts a letter whose answer is not waited for.
    pub(super) fn say(&mut self, letter: Letter) {
        let number = self.next_number();
        self.put_out(number, letter);
    }

    /// An answer to this letter is not waited for any more.
    pub(super) fn forget(&mut self, number: LetterNumber) -> Option<About> {
        let Open { about, repeat_at, .. } = self.letters.remove(&number)?;
        self.repeats.remove(&(repeat_at, number));
        Some(about)
    }

    pub(super) fn wait(&mut self, ticket: Ticket, about: About) -> Waiter {
        let due = self.now + PATIENCE;
        self.waiting.insert((due, ticket), about);
        (ticket, due)
    }

    /// Answers those that wait.
    pub(super) fn answer(
        &mut self,
        waiters: impl IntoIterator<Item = Waiter>,
        outcome: &Result<(), Rejection>,
    ) {
        for (ticket, due) in waiters {
            if self.waiting.remove(&(due, ticket)).is_some() {
                self.tell(ticket, outcome.clone());
            }
        }
    }

    pub(super) fn tell(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        self.out.push_back(Output::Reply { ticket, outcome });
    }

    /// Whether so many bytes more can be held. What has no answer counts, and what is not even posted.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.updates.len() + self.passed.len() < self.limits.messages
            && self.in_mail.len() < self.limits.messages
            && self.bytes.saturating_add(bytes) <= self.limits.bytes
    }

    /// These bytes are needed no more. To free many takes long.
    pub(super) fn release(&mut self, bytes: Bytes) {
        self.bytes = self.bytes.saturating_sub(bytes.len());
        self.garbage.push(bytes);
    }
}

/// Whether updates are taken, or will be, in this phase of the round.
pub(super) fn takes_updates(phase: Phase) -> bool {
    matches!(phase, Phase::Sum | Phase::Update)
}

/// A name that follows from what is given.
pub(super) fn name(of: &[&[u8]]) -> [u8; 16] {
    let digest = Blake2b::hash(of);
    let mut name = [0; 16];
    name.copy_from_slice(&digest.as_bytes()[..16]);
    name
}
