//! The operator's commands to a running coordinator.

use super::io::{Reject, RoundFailure};
use super::machine::Coordinator;
use super::phases::facts;
use super::settings::Settings;

impl Coordinator {
    /// The round under way goes on, but no other begins after it.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// End the pause: rounds begin again. One that ended meanwhile is followed by the next in
    /// [`Coordinator::advance`].
    pub(super) fn resume_rounds(&mut self) {
        self.paused = false;
    }

    /// Ends the round without a model.
    pub(super) fn skip(&mut self) -> Result<(), Reject> {
        match facts(self.phase()).is_in_round {
            true => {
                self.fail(RoundFailure::Skipped);
                Ok(())
            }
            false => Err(Reject::NoRound),
        }
    }

    /// Keeps settings for the next round: this one's participants know the old ones.
    pub(super) fn change_settings(&mut self, settings: Settings) -> Result<(), Reject> {
        if settings.validate().is_err() {
            return Err(Reject::InvalidSettings);
        }
        self.next_settings = Some(settings);
        Ok(())
    }
}
