//! Members look at the updates, and report those that are bad for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{absent, heard, once, too_few, unexpected, Agree, Around, End, Stage};
use crate::v2::coordinator::entries::Entries;
use crate::v2::coordinator::recovery::RecoveryError;
use crate::v2::coordinator::ruling::{Exclusions, Ruling};
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::{Conflict, Phase, Record, Rejection, RoundFailure};
use crate::v2::{MemberId, Report};

/// The reports by member.
pub(in crate::v2::coordinator) type Reports = BTreeMap<MemberId, Arc<Report>>;

/// The updates, and the reports so far.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Check {
    entries: Arc<Entries>,
    reports: Arc<Reports>,
}

/// The updates, what members have against them, and what follows from that.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Checked {
    pub(in crate::v2::coordinator) entries: Arc<Entries>,
    pub(in crate::v2::coordinator) reports: Arc<Reports>,
    /// Who has accused too many, and how many.
    pub(in crate::v2::coordinator) disregarded: BTreeMap<MemberId, u64>,
    pub(in crate::v2::coordinator) excluded: Arc<Exclusions>,
}

impl Checked {
    /// Rejects the report of whoever has accused too many.
    pub(in crate::v2::coordinator) fn listen_to(&self, member: MemberId) -> Result<(), Rejection> {
        match self.disregarded.contains_key(&member) {
            true => Err(Rejection::Disregarded(member)),
            false => Ok(()),
        }
    }
}

impl Check {
    pub(super) fn new(entries: Arc<Entries>) -> Self {
        Self { entries, reports: Arc::default() }
    }

    pub(in crate::v2::coordinator) fn entries(&self) -> &Arc<Entries> {
        &self.entries
    }

    pub(in crate::v2::coordinator) fn reports(&self) -> &Arc<Reports> {
        &self.reports
    }

    /// What becomes of a verified report: nothing if it is there already.
    pub(in crate::v2::coordinator) fn take(
        &self,
        report: Arc<Report>,
    ) -> Result<Option<Record>, Rejection> {
        match self.reports.get(&report.member) {
            Some(known) if **known == *report => Ok(None),
            Some(_) => Err(Rejection::Conflict(Conflict::Report(report.member))),
            None => Ok(Some(Record::Report(report))),
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.reports.len() as u64
    }

    fn reported(&self) -> impl Iterator<Item = MemberId> + Clone + '_ {
        self.reports.keys().copied()
    }

    pub(super) fn end(&self, round: &Round) -> End {
        heard(&round.roster, self.reported(), self.entries.members().count())
    }

    pub(super) fn failure(&self, round: &Round) -> RoundFailure {
        too_few(&round.roster, Phase::Check, self.reported())
    }

    pub(super) fn absent(&self) -> Vec<MemberId> {
        absent(self.entries.members(), self.reported())
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        _: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Report(report) => {
                let reports = Arc::make_mut(&mut self.reports);
                let before = reports.insert(report.member, report.clone());
                once(before.is_none(), Phase::Check)?;
                Ok(Stage::Check(self))
            }
            Record::CheckEnded { ruling } => {
                let Ruling { decision, disregarded, excluded } = &**ruling;
                let Self { entries, reports } = self;
                if decision.count.checked_add(excluded.len() as u64) != Some(entries.len()) {
                    return Err(RecoveryError::WrongDecision);
                }
                let (disregarded, excluded) = (disregarded.clone(), excluded.clone());
                let checked = Checked { entries, reports, disregarded, excluded };
                Ok(Stage::Agree(Agree::new(Arc::new(checked), *decision)))
            }
            _ => Err(unexpected(record, Phase::Check)),
        }
    }
}
