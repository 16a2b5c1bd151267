//! Members announce their keys for the round.

use std::sync::Arc;

use super::{absent, heard, once, too_few, unexpected, Around, End, Stage, Update};
use crate::v2::coordinator::recovery::RecoveryError;
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::{Conflict, Phase, Record, Rejection, RoundFailure};
use crate::v2::{Announcement, Announcements, MemberId};

/// The announcements so far, sorted by member. There are at most as many as the roster has members.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Announce {
    list: Arc<Vec<Announcement>>,
}

impl Announce {
    fn members(&self) -> impl Iterator<Item = MemberId> + Clone + '_ {
        self.list.iter().map(|announcement| announcement.member)
    }

    pub(in crate::v2::coordinator) fn list(&self) -> &Arc<Vec<Announcement>> {
        &self.list
    }

    /// What becomes of a verified announcement: nothing if it is there already.
    pub(in crate::v2::coordinator) fn take(
        &self,
        announcement: Announcement,
    ) -> Result<Option<Record>, Rejection> {
        let same = |known: &&Announcement| known.member == announcement.member;
        match self.list.iter().find(same) {
            None => Ok(Some(Record::Announcement(announcement))),
            Some(known) => known_announcement(known, &announcement).map(|()| None),
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.list.len() as u64
    }

    pub(super) fn end(&self, round: &Round) -> End {
        heard(&round.roster, self.members(), round.roster.members().count())
    }

    pub(super) fn failure(&self, round: &Round) -> RoundFailure {
        too_few(&round.roster, Phase::Announce, self.members())
    }

    pub(super) fn absent(&self, round: &Round) -> Vec<MemberId> {
        absent(round.roster.members().map(|(member, _)| member), self.members())
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        _: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Announcement(announcement) => {
                let list = Arc::make_mut(&mut self.list);
                let at = list.binary_search_by_key(&announcement.member, |known| known.member);
                once(at.is_err(), Phase::Announce)?;
                list.insert(at.unwrap_or_else(|at| at), *announcement);
                Ok(Stage::Announce(self))
            }
            Record::AnnounceEnded => {
                let list = Arc::unwrap_or_clone(self.list);
                let list =
                    Announcements::new(list).map_err(|_| RecoveryError::Twice(Phase::Announce))?;
                Ok(Stage::Update(Update::new(Arc::new(list))))
            }
            _ => Err(unexpected(record, Phase::Announce)),
        }
    }
}

/// Whether an announcement is the one that is there: a member signs one for each round.
pub(in crate::v2::coordinator) fn known_announcement(
    known: &Announcement,
    announcement: &Announcement,
) -> Result<(), Rejection> {
    match known == announcement {
        true => Ok(()),
        false => Err(Rejection::Conflict(Conflict::Announcement(known.member))),
    }
}
