//! Which rounds a member announces itself in.

use std::time::Duration;

use super::jobs::noise_of;
use super::settings::{Settings, HIGHEST_FIRST, LONGEST_LEAP};
use super::snapshot::Promise;
use super::Refusal;
use crate::mask::accounting;
use crate::time::Timestamp;
use crate::v2::{Budget, Pin, Terms};

/// All that terms are held against.
pub(super) struct Judge<'a> {
    pub(super) pin: &'a Pin,
    pub(super) settings: &'a Settings,
    pub(super) promise: Option<&'a Promise>,
    /// When this member was started; only if it was restored: what it did before it may have forgotten.
    pub(super) restored_at: Option<Timestamp>,
    pub(super) now: Timestamp,
    /// How many groups add noise.
    pub(super) groups: usize,
}

/// What a member makes of terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It announces itself.
    Accepted,
    /// It does once its clock is there: an announcement always follows the opening on the member's own clock.
    NotBefore(Timestamp),
    /// It does not.
    Refused(Refusal),
}

impl Judge<'_> {
    pub(super) fn judge(&self, terms: &Terms) -> Verdict {
        match self.refusal(terms) {
            Some(refusal) => Verdict::Refused(refusal),
            None if opened(terms) > self.now => Verdict::NotBefore(opened(terms)),
            None => Verdict::Accepted,
        }
    }

    fn refusal(&self, terms: &Terms) -> Option<Refusal> {
        self.about_pin(terms)
            .or_else(|| self.about_number(terms.round))
            .or_else(|| self.about_time(terms))
            .or_else(|| self.about_parameters(terms))
            .or_else(|| self.about_noise(terms))
    }

    fn about_pin(&self, terms: &Terms) -> Option<Refusal> {
        self.pin.check_terms(terms).err().map(Refusal::from)
    }

    /// Numbers only rise, whatever becomes of a round.
    fn about_number(&self, offered: u64) -> Option<Refusal> {
        let last = self.promise.map_or(0, |promise| promise.round);
        // Who has signed for none yet may come to a federation that is old.
        let leap = if self.promise.is_some() { LONGEST_LEAP } else { HIGHEST_FIRST };
        if offered <= last {
            return Some(Refusal::RoundNotAbove { last, offered });
        }
        (offered - last > leap).then_some(Refusal::RoundTooFarAhead { last, offered })
    }

    /// What makes it impossible that two lives of one member, of which the later does not remember the earlier, announce
    /// themselves in one context: the earlier one did so when its clock had passed the opening, the later one does so
    /// only if the opening is after its own start.
    fn about_time(&self, terms: &Terms) -> Option<Refusal> {
        let now = self.now.as_millis() / 1000;
        if let Err(error) = terms.check_time(now, self.settings.clock_tolerance) {
            return Some(error.into());
        }
        let is_older = self.restored_at.is_some_and(|start| opened(terms) <= start);
        is_older.then_some(Refusal::OpenedBefore)
    }

    fn about_parameters(&self, terms: &Terms) -> Option<Refusal> {
        let parameters = &terms.parameters;
        let (found, most) = (parameters.model_length, self.settings.max_model_length);
        if found > most {
            return Some(Refusal::Length { found, most });
        }
        parameters.pk.is_weak().then_some(Refusal::WeakKey)
    }

    fn about_noise(&self, terms: &Terms) -> Option<Refusal> {
        let found = terms.noise.as_ref().map_or(0, |noise| noise.multiplier_thousandths);
        if let Some(least) = self.settings.least_noise.filter(|least| found < *least) {
            return Some(Refusal::Noise { least, found });
        }
        // Without noise there is none that could be wrong: a pin with a budget has refused it.
        terms.noise.as_ref()?;
        if let Some(Budget { epsilon: budget, delta }) = self.pin.budget {
            let found = accounting::epsilon(accounting::rho(found), delta);
            if found > budget {
                return Some(Refusal::Budget { budget, found });
            }
        }
        noise_of(terms, self.groups, terms.n_min).err()
    }
}

fn opened(terms: &Terms) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(terms.opened_at)
}
