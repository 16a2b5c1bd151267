//! How the round stands, as everybody polls it.

use super::{Front, Shown, What};
use crate::v2::coordinator::Phase;
use crate::v2::{MemberId, RoundView};

impl Front {
    /// How the round stands: who was heard of, and who is waited for.
    pub fn view(&self) -> RoundView {
        let completed = self.last.as_ref().map(|last| last.round());
        let Some(shown) = &self.round else { return RoundView { completed, ..RoundView::idle() } };
        RoundView { completed, ..shown.view() }
    }
}

impl Shown {
    fn view(&self) -> RoundView {
        let what = &self.what;
        let mut view = RoundView {
            phase: self.phase,
            terms: Some((*self.round.terms).clone()),
            wanted: self.wanted.clone(),
            // Of no interest any more once the next round is on its way.
            failure: match self.phase {
                Phase::Failed | Phase::Idle | Phase::Announce => {
                    self.failure.as_deref().map(str::to_owned)
                }
                _ => None,
            },
            ..RoundView::idle()
        };
        if let What::Announce(list) = what {
            view.announced = list.len() as u32;
        }
        if let Some(announcements) = what.announcements() {
            view.announced = announcements.list().len() as u32;
            view.announcements = Some(announcements.digest());
        }
        if let What::Update { complete, .. } = what {
            view.entries = *complete;
        }
        if let (Some(entries), Some(reports)) = (what.entries(), what.reports()) {
            view.entries = entries.len();
            view.reported = reports.keys().copied().collect();
        }
        if let Some(agreed) = what.agreed() {
            view.excluded = agreed.checked.excluded.len() as u64;
            view.decision = Some(agreed.hash);
            view.voted = agreed.votes.keys().copied().collect();
        }
        if let Some(masks) = what.masks() {
            view.certified = true;
            let mut masked: Vec<MemberId> =
                masks.values().flat_map(|mask| mask.signed.keys().copied()).collect();
            masked.sort_unstable();
            view.masked = masked;
        }
        view
    }
}
