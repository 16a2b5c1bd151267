//! Checking the list of announcements, a signature a step.

use std::sync::Arc;

use bytes::Bytes;

use super::{done, Done, Flaw, Outcome};
use crate::job::{JobKind, Progress, Work};
use crate::v2::{Announcements, Context, Roster};

/// Reads and checks the list of announcements.
pub(in super::super) struct CheckList {
    bytes: Bytes,
    roster: Arc<Roster>,
    context: Context,
    list: Option<Result<Arc<Announcements>, Flaw>>,
    checked: usize,
}

impl CheckList {
    pub(in super::super) fn new(bytes: Bytes, roster: Arc<Roster>, context: Context) -> Self {
        Self { bytes, roster, context, list: None, checked: 0 }
    }
}

impl Work<Outcome> for CheckList {
    fn kind(&self) -> JobKind {
        JobKind::CheckAnnouncements
    }

    fn step(&mut self) -> bool {
        let Some(list) = &mut self.list else {
            let read = Announcements::from_bytes(&self.bytes).map_err(Flaw::Malformed);
            self.list = Some(read.map(Arc::new));
            return false;
        };
        let Ok(announcements) = list else { return true };
        let verdict = match announcements.list().get(self.checked) {
            Some(announcement) => {
                announcement.verify(&self.roster, &self.context).map_err(Into::into)
            }
            None => announcements.check_majorities(&self.roster),
        };
        self.checked += 1;
        let is_over = self.checked > announcements.list().len();
        if let Err(error) = verdict {
            *list = Err(error.into());
        }
        is_over || list.is_err()
    }

    fn progress(&self) -> Progress {
        let total = match &self.list {
            Some(Ok(list)) => list.list().len(),
            _ => 1,
        };
        Progress { done: self.checked.min(total) as u64, total: total as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        let unread = || unreachable!("a step reads the list");
        done(Done::List(self.list.unwrap_or_else(unread)))
    }
}
