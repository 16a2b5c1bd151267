//! What the engine holds, and what each call does to it: at once, and whole.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::bugs::Bug;
use crate::{
    types::limit, Append, Appended, Ask, Beat, Elapsed, Entry, EntryHash, Epoch, Head, Known,
    Lease, LedgerError, Letter, LetterId, Limits, PartName, Position, Posted, ReplicaId, Seen,
    StoredPart, SCHEMA,
};

type Result<T> = std::result::Result<T, LedgerError>;

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// What was added to the clock by hand.
    pub skipped: Duration,
    pub paused: bool,
    pub bug: Option<Bug>,
    epoch: Epoch,
    holder: Option<Holder>,
    /// Entries that are kept.
    entries: VecDeque<Entry>,
    position: Position,
    hash: EntryHash,
    before: EntryHash,
    /// And when that was said.
    elapsed: Option<(Elapsed, Duration)>,
    letters: BTreeMap<LetterId, Letter>,
    last_letter: LetterId,
    /// Letters by sender, kind and key, if they have one.
    keys: BTreeMap<(ReplicaId, u8, Bytes), LetterId>,
    /// How many letters of each replica wait.
    waiting: BTreeMap<ReplicaId, usize>,
    answers: BTreeMap<(ReplicaId, LetterId), Bytes>,
    beats: BTreeMap<ReplicaId, (Beat, Duration)>,
    header: Option<Bytes>,
    parts: BTreeMap<PartName, (Bytes, Duration)>,
}

#[derive(Clone, Debug)]
struct Holder {
    replica: ReplicaId,
    name: String,
    until: Duration,
}

impl State {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn fence(&self, epoch: Epoch) -> Result<()> {
        if epoch != self.epoch {
            return Err(LedgerError::Fenced { epoch: self.epoch });
        }
        Ok(())
    }

    pub fn lease(&mut self, now: Duration, ask: &Ask) -> Result<Lease> {
        let free = !self.has(Bug::LeaseForEver);
        let holder = self.holder.clone().filter(|holder| !free || holder.until > now);
        let shared = self.has(Bug::SharedLease) && self.epoch > Epoch(0);
        match holder {
            Some(Holder { replica, name, until }) if replica != ask.replica => {
                let left = until.saturating_sub(now);
                return Ok(Lease::HeldBy { replica, name, epoch: self.epoch, left });
            }
            _ if ask.renews.is_some_and(|epoch| !self.renews(ask.replica, epoch)) => {
                return Err(LedgerError::Fenced { epoch: self.epoch });
            }
            Some(_) if !self.has(Bug::RenewalChangesHands) => {}
            // Nobody has taken it since, so that it is renewed although it had run out.
            None if self.holder.as_ref().is_some_and(|holder| holder.replica == ask.replica) => {}
            None if shared && self.holder.is_some() => {}
            _ => self.epoch = Epoch(self.epoch.0 + 1),
        }
        let (replica, name) = (ask.replica, ask.name.clone());
        if let Some(elapsed) = ask.elapsed {
            self.elapsed = Some((elapsed, now));
        }
        self.holder = Some(Holder { replica, name, until: now + ask.ttl });
        Ok(Lease::Held { epoch: self.epoch, left: ask.ttl })
    }

    /// Whether that replica has the lease in that epoch, and nobody has taken it since if it has run out.
    fn renews(&self, replica: ReplicaId, epoch: Epoch) -> bool {
        let has = self.holder.as_ref().is_some_and(|holder| holder.replica == replica);
        (has && epoch == self.epoch) || self.has(Bug::RenewalTakes)
    }

    pub fn release(&mut self, replica: ReplicaId, epoch: Epoch) {
        if epoch == self.epoch && self.holder.as_ref().is_some_and(|h| h.replica == replica) {
            self.holder = None;
            if !self.has(Bug::ReleaseIsNoFence) {
                self.epoch = Epoch(epoch.0 + 1);
            }
        }
    }

    fn first(&self) -> Position {
        self.entries.front().map_or(self.position.later(1), |entry| entry.position)
    }

    pub fn head(&self, now: Duration) -> Head {
        let elapsed = self.elapsed.map(|(elapsed, said)| {
            let since = now.saturating_sub(said);
            let since = if self.has(Bug::ElapsedStands) { Duration::ZERO } else { since };
            Elapsed { time: elapsed.time + since, ..elapsed }
        });
        Head {
            epoch: self.epoch,
            position: self.position,
            hash: self.hash,
            first: self.first(),
            before: self.before,
            elapsed,
            schema: SCHEMA,
        }
    }

    pub fn append(&mut self, now: Duration, append: &Append) -> Result<Appended> {
        append.check()?;
        if self.has(Bug::AnswersWithoutEntries) {
            self.answer(&append.answers);
        }
        if append.epoch != self.epoch && !self.has(Bug::NoFence) {
            return Ok(Appended::Fenced { epoch: self.epoch });
        }
        let fits = (append.after, append.hash) == (self.position, self.hash);
        if !fits && !self.has(Bug::NoPredecessor) {
            return Ok(Appended::Conflict(self.head(now)));
        }
        let here = Append { after: self.position, hash: self.hash, ..append.clone() };
        self.entries.extend(here.to_entries());
        (self.position, self.hash) = here.end();
        self.answer(&append.answers);
        if let Some(time) = append.elapsed {
            self.elapsed = Some((Elapsed { at: self.position, time }, now));
        }
        Ok(Appended::Done(self.head(now)))
    }

    fn answer(&mut self, answers: &[(LetterId, Bytes)]) {
        for (id, answer) in answers {
            if let Some(letter) = self.remove_letter(*id) {
                self.answers.insert((letter.from, *id), answer.clone());
            }
        }
    }

    pub fn read(&self, after: Position, most: usize, most_bytes: usize) -> Result<Vec<Entry>> {
        let first = self.first();
        if after.later(1) < first {
            return Err(LedgerError::Forgotten { first });
        }
        let skipped = usize::try_from(after.later(1).0 - first.0).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(skipped).take(most);
        Ok(up_to(entries, most_bytes, |entry| entry.bytes.len()).cloned().collect())
    }

    pub fn forget(&mut self, epoch: Epoch, before: Position) -> Result<()> {
        if !self.has(Bug::OldLeaderForgets) {
            self.fence(epoch)?;
        }
        let before = if self.has(Bug::ForgetsOneMore) { before.later(1) } else { before };
        while self.entries.front().is_some_and(|entry| entry.position < before) {
            self.before = self.entries.pop_front().expect("there is one").hash;
        }
        Ok(())
    }

    fn remove_letter(&mut self, id: LetterId) -> Option<Letter> {
        let letter = self.letters.remove(&id)?;
        self.keys.remove(&(letter.from, letter.kind, letter.key.clone()));
        *self.waiting.entry(letter.from).or_default() -= 1;
        Some(letter)
    }

    pub fn post(&mut self, letters: &[Letter]) -> Result<Vec<LetterId>> {
        Letter::check(letters)?;
        let first = self.last_letter;
        let posted: Result<Vec<_>> = letters.iter().map(|letter| self.post_one(letter)).collect();
        if posted.is_err() {
            for id in first.0 + 1..=self.last_letter.0 {
                self.remove_letter(LetterId(id));
            }
            self.last_letter = first;
        }
        posted
    }

    fn post_one(&mut self, letter: &Letter) -> Result<LetterId> {
        let key = (letter.from, letter.kind, letter.key.clone());
        if let Some(id) = self.keys.get(&key).filter(|_| !self.has(Bug::LetterTwice)) {
            return Ok(*id);
        }
        let of_one = self.waiting.get(&letter.from).copied().unwrap_or(0);
        let limits =
            [(of_one, Limits::ALL.waiting_of_one), (self.letters.len(), Limits::ALL.waiting)];
        for (waiting, most) in limits {
            if waiting >= most && !self.has(Bug::NoLimit) {
                return Err(LedgerError::Full { waiting, most });
            }
        }
        self.last_letter = LetterId(self.last_letter.0 + 1);
        self.letters.insert(self.last_letter, letter.clone());
        *self.waiting.entry(letter.from).or_default() += 1;
        if !letter.key.is_empty() {
            self.keys.insert(key, self.last_letter);
        }
        Ok(self.last_letter)
    }

    pub fn letters(
        &self,
        epoch: Epoch,
        after: LetterId,
        most: usize,
        most_bytes: usize,
    ) -> Result<Vec<Posted>> {
        if !self.has(Bug::OldLeaderForgets) {
            self.fence(epoch)?;
        }
        let letters = self.letters.range(LetterId(after.0.saturating_add(1))..).take(most);
        let length = |(_, letter): &(&LetterId, &Letter)| letter.key.len() + letter.body.len();
        let letters = up_to(letters, most_bytes, length);
        Ok(letters.map(|(id, letter)| Posted { id: *id, letter: letter.clone() }).collect())
    }

    pub fn answers(&self, to: ReplicaId, most: usize) -> Vec<(LetterId, Bytes)> {
        let all = self.has(Bug::AnswersForAll);
        let answers = self.answers.iter().filter(|((of, _), _)| *of == to || all).take(most);
        answers.map(|((_, id), answer)| (*id, answer.clone())).collect()
    }

    pub fn taken(&mut self, to: ReplicaId, letters: &[LetterId]) {
        letters.iter().for_each(|id| drop(self.answers.remove(&(to, *id))));
    }

    pub fn beat(&mut self, now: Duration, beat: &Beat) -> Result<()> {
        beat.check()?;
        let others = self.beats.keys().filter(|replica| **replica != beat.replica).count();
        limit("the number of replicas", others + 1, Limits::ALL.replicas)?;
        self.beats.insert(beat.replica, (beat.clone(), now));
        Ok(())
    }

    pub fn replicas(&self, now: Duration) -> Vec<Seen> {
        let seen = self
            .beats
            .values()
            .map(|(beat, said)| Seen { beat: beat.clone(), age: now.saturating_sub(*said) });
        seen.collect()
    }

    pub fn sweep(
        &mut self,
        now: Duration,
        epoch: Epoch,
        silent: Duration,
    ) -> Result<Vec<ReplicaId>> {
        self.fence(epoch)?;
        let old = |said: Duration| now.saturating_sub(said) > silent;
        let mut lost: Vec<_> = self.beats.keys().copied().collect();
        lost.extend(self.letters.values().map(|letter| letter.from));
        lost.extend(self.answers.keys().map(|(of, _)| *of));
        lost.sort_unstable();
        lost.dedup();
        lost.retain(|replica| self.beats.get(replica).is_none_or(|(_, said)| old(*said)));
        for replica in &lost {
            self.beats.remove(replica);
            if !self.has(Bug::SweepForgetsLetters) {
                let of_it = self.letters.iter().filter(|(_, letter)| letter.from == *replica);
                let of_it: Vec<_> = of_it.map(|(id, _)| *id).collect();
                of_it.into_iter().for_each(|id| drop(self.remove_letter(id)));
            }
            self.answers.retain(|(of, _), _| of != replica);
        }
        Ok(lost)
    }

    /// Whether there is anything beyond what is known.
    pub fn is_beyond(&self, known: &Known) -> bool {
        self.epoch != known.epoch
            || self.position > known.position
            || known
                .letters
                .is_some_and(|last| self.letters.last_key_value().is_some_and(|(id, _)| *id > last))
            || known.answers.is_some_and(|to| !self.answers(to, 1).is_empty())
    }

    pub fn header(&mut self, new: &Bytes) -> Result<Bytes> {
        limit("the header's length", new.len(), Limits::ALL.header)?;
        Ok(self.header.get_or_insert_with(|| new.clone()).clone())
    }

    pub fn put_part(&mut self, now: Duration, name: &PartName, bytes: &Bytes) -> Result<()> {
        limit("a part's length", bytes.len(), Limits::ALL.part)?;
        match self.parts.get(name) {
            Some((there, _)) if there == bytes => return Ok(()),
            Some(_) if !self.has(Bug::PartsChange) => {
                return Err(LedgerError::PartDiffers { name: name.clone() })
            }
            _ => {}
        }
        self.parts.insert(name.clone(), (bytes.clone(), now));
        Ok(())
    }

    pub fn part(&self, name: &PartName) -> Option<Bytes> {
        self.parts.get(name).map(|(bytes, _)| bytes.clone())
    }

    pub fn parts(&self, now: Duration) -> Vec<StoredPart> {
        let parts = self.parts.iter().map(|(name, (_, stored))| StoredPart {
            name: name.clone(),
            age: now.saturating_sub(*stored),
        });
        parts.collect()
    }

    pub fn remove_parts(&mut self, names: &[PartName]) {
        names.iter().for_each(|name| drop(self.parts.remove(name)));
    }

    pub fn damage_part(&mut self, name: &PartName, bytes: Option<Bytes>) -> bool {
        match (self.parts.get_mut(name), bytes) {
            (Some((there, _)), Some(bytes)) => *there = bytes,
            (there, _) => {
                let was_there = there.is_some();
                self.parts.remove(name);
                return was_there;
            }
        }
        true
    }
}

/// The first ones, until they are so many bytes long together; the very first one in any case.
fn up_to<T>(
    items: impl Iterator<Item = T>,
    most_bytes: usize,
    length: impl Fn(&T) -> usize,
) -> impl Iterator<Item = T> {
    let mut sum = 0usize;
    let mut first = true;
    items.take_while(move |item| {
        sum = sum.saturating_add(length(item));
        std::mem::take(&mut first) || sum <= most_bytes
    })
}
