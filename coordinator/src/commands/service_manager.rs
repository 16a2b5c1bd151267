//! Tells the service manager how far the service is: systemd, with `Type=notify` in the unit, or whatever else set
//! `NOTIFY_SOCKET`. See `sd_notify(3)`.

use std::fmt::Display;

use sd_notify::{notify, NotifyState};
use tracing::warn;

/// It serves: `systemctl start` ends now.
pub fn ready(status: impl Display) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status.to_string())]);
}

/// It ends, and does not want to be started again for that.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("answering the requests in flight")]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a service manager that is nothing to do, and no error.
    if let Err(error) = notify(state) {
        warn!(%error, "the service manager is not told: NOTIFY_SOCKET names a socket that takes nothing");
    }
}
