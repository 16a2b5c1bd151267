//! The jobs and objects that phases need, and what becomes of them.

use std::sync::Arc;

use bytes::Bytes;

use super::io::{Event, Reject};
use super::jobs::{Add, Leaves, Noisy, Outcome, Stored, Unmask};
use super::machine::Coordinator;
use super::phases::{Agreed, Stage};
use super::underway::{Running, Source};
use super::{Completed, JobResult, Object, ObjectKind, Record, RoundFailure};
use crate::job::{JobId, JobKind, MAX_LOSSES};
use crate::mask::MaskObjectView;
use crate::time::Timestamp;
use crate::v2::Terms;

impl Coordinator {
    /// Goes on with what the phase needs and no message brings: objects are asked for, jobs given out, and who does not
    /// send its mask gives way to another. Called when nothing else is due.
    pub(super) fn go_on_working(&mut self) {
        let agreed = match self.state.stage() {
            Stage::Sum2(stage) => stage.agreed().clone(),
            Stage::Unmask(stage) => stage.agreed().clone(),
            _ => return,
        };
        self.ask_for_updates(&agreed);
        self.add();
        if self.choose_sources() {
            self.show();
        }
        self.unmask(&agreed);
    }

    /// Asks for as many updates as may be read ahead.
    fn ask_for_updates(&mut self, agreed: &Agreed) {
        let object_len = self.state.round().shape.object_len();
        let most = self.settings.limits.loaded_bytes;
        let checked = &agreed.checked;
        let mut last = self.under_way.sums.last().copied();
        while self.under_way.sums.has_room(object_len, most) {
            let Some(header) = checked.entries.after(last.as_ref()) else { return };
            let updater = header.updater;
            last = Some(updater);
            if !checked.excluded.contains_key(&updater) {
                self.ask(ObjectKind::Update(updater), 1);
            }
        }
    }

    fn ask(&mut self, kind: ObjectKind, times: u32) {
        self.under_way.sums.ask(kind, times);
        self.outbox.load(Object { round: self.round(), kind });
    }

    /// Gives out what was read as one job, unless one is running.
    fn add(&mut self) {
        let Some(models) = self.under_way.sums.next() else { return };
        let sum = self.under_way.sums.sum().cloned();
        let work = Add::new(self.state.round().shape, sum, models.clone());
        self.job(work, Running::Add(models));
    }

    /// Asks for the masks once the sum is complete, and takes them off once they are here.
    fn unmask(&mut self, agreed: &Agreed) {
        let Stage::Unmask(stage) = self.state.stage() else { return };
        let sums = &self.under_way.sums;
        if !sums.is_complete(agreed.decision.count) || self.under_way.is_unmasking() {
            return;
        }
        let winners = stage.winners();
        if winners.iter().all(|(group, _)| sums.masks().contains_key(group)) {
            let masks = sums.masks().values().cloned().collect();
            let Some(sum) = sums.sum().cloned() else { return };
            match self.noisy() {
                Ok(noisy) => self.job(Unmask::new(sum, masks, noisy), Running::Unmask),
                Err(failure) => self.fail(failure),
            }
            return;
        }
        for (group, digest) in winners {
            let (kind, sums) = (ObjectKind::Mask { group, digest }, &self.under_way.sums);
            if !sums.masks().contains_key(&group) && !sums.asks_for(&kind) {
                self.ask(kind, 1);
            }
        }
    }

    /// What the round starts from, if it has noise: nothing only if the terms name no model.
    fn noisy(&self) -> Result<Option<Noisy>, RoundFailure> {
        let Terms { noise, model, .. } = &**self.terms();
        let Some(noise) = noise else { return Ok(None) };
        let last = self.state.last().filter(|last| Some(last.model_hash) == *model);
        let previous = last.map(|last| last.model.clone());
        match (model, &previous) {
            (Some(model), None) => Err(RoundFailure::ModelLost(*model)),
            _ => Ok(Some(Noisy { clip: noise.clip, previous })),
        }
    }

    /// The hashes that an object must have.
    fn leaves(&self, kind: &ObjectKind) -> Option<Leaves> {
        let (agreed, masks) = match self.state.stage() {
            Stage::Sum2(stage) => (stage.agreed(), stage.masks()),
            Stage::Unmask(stage) => (stage.agreed(), stage.masks()),
            _ => return None,
        };
        match kind {
            ObjectKind::Update(updater) => {
                agreed.checked.entries.get(updater).cloned().map(Leaves::Update)
            }
            ObjectKind::Mask { group, digest } => {
                masks.get(&(*group, *digest)).map(|mask| Leaves::Mask(mask.leaves.clone()))
            }
        }
    }

    pub(super) fn handle_loaded(
        &mut self,
        object: Object,
        bytes: Option<Bytes>,
    ) -> Result<(), Reject> {
        let is_this_round = object.round == self.round();
        let sums = &mut self.under_way.sums;
        let times = sums.answered(&object.kind).filter(|_| is_this_round);
        let times = times.ok_or(Reject::UnknownObject(object))?;
        let shape = &self.state.round().shape;
        let is_sound = |bytes: &Bytes| {
            MaskObjectView::parse_exact(bytes)
                .is_ok_and(|view| view.matches(shape.mask, shape.length))
        };
        let kind = object.kind;
        match bytes.filter(is_sound).zip(self.leaves(&kind)) {
            Some((bytes, leaves)) => self.under_way.sums.loaded(Stored { kind, bytes, leaves }),
            None if times < MAX_LOSSES => self.ask(object.kind, times + 1),
            None => self.fail(RoundFailure::ObjectLost { object }),
        }
        Ok(())
    }

    pub(super) fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        let (id, outcome) = result.handed_in();
        if let Outcome::Released = outcome {
            return Ok(());
        }
        let Some(running) = self.under_way.done(id, &outcome) else {
            // What is no longer waited for may be as large as a model.
            self.release(usize::MAX, outcome);
            return Err(Reject::UnknownJob(id));
        };
        self.under_way.not_lost();
        match (running, outcome) {
            (Running::Decide, Outcome::Decided(ruling)) => self.decided(*ruling),
            (Running::Add(models), Outcome::Added(sum)) => {
                let bytes = models.iter().map(|model| model.bytes.len()).sum();
                let old = self.under_way.sums.added(sum);
                self.release(bytes, (models, old));
            }
            (Running::Unmask, Outcome::Unmasked(Ok((model, hash)))) => {
                if let Stage::Unmask(stage) = self.state.stage() {
                    let checked = &stage.agreed().checked;
                    let certificate = stage.certificate(self.state.round());
                    let (entries, excluded) = (checked.entries.clone(), checked.excluded.clone());
                    self.complete(Completed::new(certificate, entries, excluded, model, hash));
                }
            }
            (Running::Unmask, Outcome::Unmasked(Err(failure))) => self.fail(failure),
            (_, Outcome::Damaged(kind)) => {
                let object = Object { round: self.round(), kind };
                self.fail(RoundFailure::ObjectLost { object });
            }
            // No job gives the result of another kind.
            _ => {}
        }
        Ok(())
    }

    fn complete(&mut self, completed: Completed) {
        let event = Event::RoundCompleted {
            round: completed.round(),
            models: completed.models(),
            excluded: completed.excluded(),
            votes: completed.certificate.votes.list().len() as u64,
        };
        self.record(Record::Completed(Arc::new(completed)));
        self.end_work();
        self.show();
        self.outbox.event(event);
        self.next_round();
    }

    pub(super) fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        let Some(running) = self.under_way.take(id) else {
            // It is not waited for any more, or the machine knows: nothing is wrong.
            let is_known = self.under_way.has_given_out(id);
            return if is_known { Ok(()) } else { Err(Reject::UnknownJob(id)) };
        };
        let (times, job) = (self.under_way.lost(), running.kind());
        if times >= MAX_LOSSES {
            self.fail(RoundFailure::JobLost { job, times });
            return Ok(());
        }
        match running {
            Running::Add(models) => self.under_way.sums.add_again(models),
            // They are given out again by whoever finds that they do not run.
            Running::Decide | Running::Unmask => {}
        }
        Ok(())
    }

    /// Chooses whom to ask for each mask that is wanted: the first who has signed it, until nothing of it has come for too
    /// long, and then the next. Whether others are asked than was shown.
    pub(super) fn choose_sources(&mut self) -> bool {
        let Stage::Sum2(sum2) = self.state.stage() else { return false };
        let (now, patience) = (self.clock.now(), self.settings.limits.mask_patience);
        let old = std::mem::take(&mut self.under_way.sources);
        let mut events = Vec::new();
        for (id, mask) in sum2.wanted(self.state.round()) {
            let Some(first) = mask.signed.keys().next() else { continue };
            let mut source = old.get(&id).copied().unwrap_or(Source { member: *first, since: now });
            if now.saturating_since(source.since) >= patience {
                let from = source.member;
                let next = mask
                    .signed
                    .range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded));
                let to = next.map(|(member, _)| *member).next().unwrap_or(*first);
                source = Source { member: to, since: now };
                if from != to {
                    events.push(Event::MaskSourceChanged { round: self.round(), from, to });
                }
            }
            self.under_way.sources.insert(id, source);
        }
        events.into_iter().for_each(|event| self.outbox.event(event));
        let mut wanted: Vec<_> =
            self.under_way.sources.values().map(|source| source.member).collect();
        wanted.sort_unstable();
        let has_changed = wanted != self.wanted;
        self.wanted = wanted;
        has_changed
    }

    /// When somebody else has to be asked for a mask.
    pub(super) fn next_source_at(&self) -> Option<Timestamp> {
        let since = self.under_way.sources.values().map(|source| source.since).min();
        since.map(|since| since + self.settings.limits.mask_patience)
    }
}

impl Running {
    fn kind(&self) -> JobKind {
        match self {
            Self::Decide => JobKind::Decide,
            Self::Add(_) => JobKind::Aggregate,
            Self::Unmask => JobKind::Unmask,
        }
    }
}
