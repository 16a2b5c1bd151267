//! Answers to what is asked.

use std::sync::Arc;

use super::{Answer, Front, Shown};
use crate::problem::Problem;
use crate::request::{self, Response};
use crate::v2::coordinator::{Completed, Object, ObjectKind};
use crate::v2::{Call, Report, SetView, Statement, StatementsPage, MOST_ENTRIES};

/// That something is not published, or not yet.
pub(super) fn not_there(detail: &str, round: Option<u64>) -> Response {
    let problem = Problem::new("not_there", 404, "It is not published", detail);
    let problem = Problem { round, ..problem };
    Response::new(problem.status, problem.to_json())
}

impl Front {
    /// Answers a call. Some answers take long: pages of entries, and what is made when it is asked for the first time.
    pub fn answer(&self, call: &Call) -> Answer {
        let found = match call {
            Call::Round => Some(self.view().to_bytes()),
            Call::Roster => self.shown(|shown| Some(shown.round.roster.to_bytes())),
            Call::Announcements => {
                self.shown(|shown| shown.what.announcements().map(|list| list.to_bytes()))
            }
            Call::Entries { member, from } => self.shown(|shown| {
                let entries = shown.what.entries()?;
                let page = entries.page(shown.round.context, *member, *from, shown.page)?;
                Some(page.to_bytes())
            }),
            Call::Set => self.shown(|shown| shown.set().map(|set| set.to_bytes())),
            Call::Votes => self.shown(|shown| Some(shown.what.agreed()?.votes().to_bytes())),
            Call::Certificate { round } => {
                self.of_round(*round).map(|last| last.certificate.to_bytes())
            }
            Call::Proof { round, updater } => {
                let proof = self.of_round(Some(*round)).and_then(|last| last.prove(updater));
                proof.map(|proof| proof.to_bytes())
            }
            Call::Statements { round, from } => {
                self.of_round(Some(*round)).map(|last| statements(last, *from).to_bytes())
            }
            Call::Model { round, data_type } => {
                return match self.of_round(*round) {
                    Some(last) if last.model.data_type() == *data_type => {
                        Answer::Model(last.clone())
                    }
                    Some(last) => {
                        let title = "The weights have another type";
                        let detail = format!("the weights are {:?}", last.model.data_type());
                        Problem::new("other_data_type", 406, title, detail).into()
                    }
                    None => self.nothing(),
                };
            }
            Call::MaskedModel { round, updater } => {
                let kind = ObjectKind::Update(*updater);
                return self.object(*round, |last| last.includes(updater).then_some(kind));
            }
            Call::GroupMask { round, group } => {
                let kind = |digest| ObjectKind::Mask { group: *group, digest };
                return self.object(*round, |last| last.mask(*group).map(kind));
            }
            _ => return Answer::Message,
        };
        found.map_or_else(|| self.nothing(), |bytes| Answer::Ready(Response::ok(bytes)))
    }

    /// Answers a call of version 1, so that its participants idle: the parameters of the round have probabilities of 0.
    /// Nothing for a message, of which none is taken.
    pub fn answer_v1(&self, call: &request::Call) -> Option<Response> {
        Some(match (call, self.terms()) {
            (request::Call::Message(_), _) => return None,
            (request::Call::Params, Some(terms)) => Response::ok(terms.parameters.to_bytes()),
            _ => Response::no_content(),
        })
    }

    fn shown(&self, answer: impl FnOnce(&Shown) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.round.as_deref().and_then(answer)
    }

    /// The round that was completed last, if this is it.
    fn of_round(&self, round: Option<u64>) -> Option<&Arc<Completed>> {
        let is_it = |last: &&Arc<Completed>| round.is_none_or(|round| round == last.round());
        self.last.as_ref().filter(is_it)
    }

    fn object(&self, round: u64, kind: impl FnOnce(&Completed) -> Option<ObjectKind>) -> Answer {
        let kind = self.of_round(Some(round)).and_then(|last| kind(last));
        kind.map_or_else(|| self.nothing(), |kind| Answer::Object(Object { round, kind }))
    }

    fn nothing(&self) -> Answer {
        let completed = match &self.last {
            Some(last) => format!("of completed rounds, round {} is published", last.round()),
            None => "no round is completed yet".to_owned(),
        };
        let phase = self.phase();
        let detail = format!("there is no such thing in the {phase} phase; {completed}");
        Answer::Ready(not_there(&detail, self.round()))
    }
}

impl Shown {
    fn set(&self) -> Option<SetView> {
        let agreed = self.what.agreed()?;
        let accuses = |report: &&Arc<Report>| !report.accused.is_empty();
        let reports = agreed.checked.reports.values().filter(accuses);
        Some(SetView {
            decision: agreed.decision,
            excluded: agreed.checked.excluded.keys().copied().collect(),
            reports: reports.map(|report| (**report).clone()).collect(),
        })
    }
}

fn statements(last: &Completed, from: u64) -> StatementsPage {
    let total = last.models();
    let from = from.min(total);
    let headers = last.headers().skip(from as usize).take(MOST_ENTRIES);
    let statements = headers.map(Statement::of).collect();
    StatementsPage { context: *last.context(), total, from, statements }
}
