//! Checking updates: credential, statement, box and commitment of each.

use std::sync::Arc;

use bytes::Bytes;

use super::{CheckedPage, Outcome, Setup, Steps, ENTRIES_PER_STEP};
use crate::crypto::PublicSigningKey;
use crate::job::{JobKind, Progress, Work};
use crate::v2::member::round::Checked;
use crate::v2::member::Refusal;
use crate::v2::{AnnouncementsHash, EntriesPage, Entry};

/// Fewer updates than this are not worth another thread.
const MIN_SHARE: usize = 4;

/// Checks a page of updates.
pub(in super::super) struct CheckEntries {
    setup: Setup,
    expected: Expected,
    steps: Steps<Stage, CheckedPage>,
}

/// What the page must go on with.
pub(in super::super) struct Expected {
    /// The place of its first update.
    pub(in super::super) from: u64,
    /// How many updates there are, if that is known.
    pub(in super::super) total: Option<u64>,
    /// Whose the one before is.
    pub(in super::super) last: Option<PublicSigningKey>,
    /// The most updates that there may be.
    pub(in super::super) most: u64,
}

enum Stage {
    Read(Bytes),
    Check { total: u64, count: usize, waiting: std::vec::IntoIter<Entry>, checked: Vec<Checked> },
}

impl CheckEntries {
    pub(in super::super) fn new(setup: Setup, bytes: Bytes, expected: Expected) -> Self {
        Self { setup, expected, steps: Steps::Next(Stage::Read(bytes)) }
    }
}

fn read(setup: &Setup, expected: &Expected, bytes: &[u8]) -> Result<Stage, Refusal> {
    let page = EntriesPage::from_bytes(bytes)
        .map_err(|source| Refusal::Malformed { what: "list of updates", source })?;
    let EntriesPage { context, total: found, from, entries } = page;
    if context != setup.context {
        return Err(Refusal::Entries("is of another round"));
    }
    if found > expected.most {
        return Err(Refusal::Updates { found, most: expected.most });
    }
    if from != expected.from || expected.total.is_some_and(|total| total != found) {
        return Err(Refusal::Entries("changes while it is read"));
    }
    if entries.is_empty() && from < found {
        return Err(Refusal::Entries("breaks off"));
    }
    // A page itself is sorted, or it is not read.
    if entries.first().is_some_and(|first| Some(first.updater) <= expected.last) {
        return Err(Refusal::Entries("is not sorted, or has an updater twice"));
    }
    let checked = Vec::with_capacity(entries.len());
    Ok(Stage::Check { total: found, count: entries.len(), waiting: entries.into_iter(), checked })
}

fn check(setup: &Setup, announcements: &AnnouncementsHash, entry: &Entry) -> Checked {
    let Setup { roster, terms, context, member, keys, .. } = setup;
    Checked {
        updater: entry.updater,
        statement: entry.statement_digest(context, announcements),
        seed: entry.check(roster, terms, context, announcements, member.group, keys),
    }
}

fn announcements(setup: &Setup) -> Result<AnnouncementsHash, Refusal> {
    setup.list.as_ref().map(|list| list.digest()).ok_or(Refusal::LeftOut)
}

fn next(
    setup: &Setup,
    expected: &Expected,
    stage: Stage,
) -> Result<Steps<Stage, CheckedPage>, Refusal> {
    match stage {
        Stage::Read(bytes) => Ok(Steps::Next(read(setup, expected, &bytes)?)),
        Stage::Check { total, count, mut waiting, mut checked } => {
            let announcements = announcements(setup)?;
            let next = waiting.by_ref().take(ENTRIES_PER_STEP);
            checked.extend(next.map(|entry| check(setup, &announcements, &entry)));
            if waiting.len() > 0 {
                return Ok(Steps::Next(Stage::Check { total, count, waiting, checked }));
            }
            match checked.len() == count {
                true => Ok(Steps::Done(Ok(CheckedPage { total, entries: checked }))),
                // Whoever runs the job has lost a part of it.
                false => Err(Refusal::Entries("was not checked as a whole")),
            }
        }
    }
}

impl Work<Outcome> for CheckEntries {
    fn kind(&self) -> JobKind {
        JobKind::CheckEntries
    }

    fn step(&mut self) -> bool {
        let Self { setup, expected, steps } = self;
        steps.step(|stage| next(setup, expected, stage))
    }

    fn progress(&self) -> Progress {
        match &self.steps {
            Steps::Next(Stage::Check { count, checked, .. }) => {
                Progress { done: checked.len() as u64, total: *count as u64 }
            }
            Steps::Done(_) => Progress { done: 1, total: 1 },
            _ => Progress { done: 0, total: 1 },
        }
    }

    /// Each part checks some of the updates.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let (Steps::Next(Stage::Check { waiting, .. }), Ok(announcements)) =
            (&mut self.steps, announcements(&self.setup))
        else {
            return Vec::new();
        };
        if waiting.len() < 2 * MIN_SHARE {
            return Vec::new();
        }
        let share = waiting.len().div_ceil(parts).max(MIN_SHARE);
        let mut pieces: Vec<Box<dyn Work<Outcome>>> = Vec::new();
        let setup = Arc::new(self.setup.clone());
        while waiting.len() > 0 {
            let waiting: Vec<_> = waiting.by_ref().take(share).collect();
            let (setup, checked) = (setup.clone(), Vec::with_capacity(waiting.len()));
            pieces.push(Box::new(Part {
                setup,
                announcements,
                waiting: waiting.into_iter(),
                checked,
            }));
        }
        pieces
    }

    fn absorb(&mut self, part: Outcome) {
        if let (Steps::Next(Stage::Check { checked, .. }), Outcome::EntriesPart(part)) =
            (&mut self.steps, part)
        {
            checked.extend(part);
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Entries(self.steps.finish())
    }
}

/// Some updates of a page.
struct Part {
    setup: Arc<Setup>,
    announcements: AnnouncementsHash,
    waiting: std::vec::IntoIter<Entry>,
    checked: Vec<Checked>,
}

impl Work<Outcome> for Part {
    fn kind(&self) -> JobKind {
        JobKind::CheckEntries
    }

    fn step(&mut self) -> bool {
        let Self { setup, announcements, waiting, checked } = self;
        let next = waiting.by_ref().take(ENTRIES_PER_STEP);
        checked.extend(next.map(|entry| check(setup, announcements, &entry)));
        waiting.len() == 0
    }

    fn progress(&self) -> Progress {
        let done = self.checked.len() as u64;
        Progress { done, total: done + self.waiting.len() as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::EntriesPart(self.checked)
    }
}
