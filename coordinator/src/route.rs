//! Where messages go once they are opened: to the machine, if it is in this process, or on their way to the replica
//! where it is.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch, Notify};

#[cfg(feature = "replicas")]
use crate::replica::flaws::Flaw;
use crate::{
    driver::{Delivery, Progress},
    http::Unprocessed,
    process::time::{timeout, Instant},
};

/// How long it may take to be sure.
const SURE_WITHIN: Duration = Duration::from_secs(5);

/// So long it is waited until messages go anywhere.
const SOON: Duration = Duration::from_secs(1);

/// Tells how recent what is known here is: nothing final is said of a message on the word of something older than the
/// message.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    /// When that was asked for which is known here.
    asked: watch::Receiver<Instant>,
    wanted: Arc<Notify>,
    /// Where the machine runs: what it has done counts once it is stored.
    stored: Option<watch::Receiver<Progress>>,
}

/// The side of whoever asks.
#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    asked: watch::Sender<Instant>,
    wanted: Arc<Notify>,
}

#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
impl Asking {
    /// What is known now was asked for at this time.
    pub fn since(asked: Instant) -> Self {
        Self { asked: watch::channel(asked).0, wanted: Arc::default() }
    }

    /// Something newer is known: it was asked for then.
    pub fn knows(&self, asked: Instant) {
        self.asked.send_replace(asked);
    }

    /// Waits until somebody wants to know something newer.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// For whoever needs to be sure.
    pub fn recent(&self) -> Recent {
        let (asked, wanted) = (self.asked.subscribe(), Arc::clone(&self.wanted));
        Recent { asked, wanted, stored: None }
    }
}

#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
impl Recent {
    /// The same, where the machine runs.
    pub fn with_store(self, progress: watch::Receiver<Progress>) -> Self {
        Self { stored: Some(progress), ..self }
    }

    /// Waits until all is stored that was on its way; false if that was not to be.
    async fn is_stored(&self) -> bool {
        #[cfg(feature = "replicas")]
        if Flaw::RejectsBefore.is_there() || Flaw::LeadsOn.is_there() {
            return true;
        }
        let Some(mut stored) = self.stored.clone() else { return true };
        let given = stored.borrow().given;
        let known = stored.wait_for(|progress| progress.stored >= given).await.is_ok();
        known
    }

    /// Waits until something is known that was asked for after this time; false if it could not be had.
    pub(crate) async fn after(&self, time: Instant) -> bool {
        #[cfg(feature = "replicas")]
        if self.stored.is_none() && Flaw::RejectsUnread.is_there() {
            return true;
        }
        let mut asked = self.asked.clone();
        let looking = async {
            loop {
                if *asked.borrow_and_update() > time {
                    return self.is_stored().await;
                }
                self.wanted.notify_one();
                if asked.changed().await.is_err() {
                    return false;
                }
            }
        };
        timeout(SURE_WITHIN, looking).await.unwrap_or(false)
    }
}

/// Where messages go now.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// To the machine in this process. Others may have taken its place, unless the lease was renewed since.
    Machine(mpsc::Sender<Delivery>, Option<Recent>),
    /// To the replica that runs the machine. What is answered comes from there; what is known here is what the log showed.
    #[cfg_attr(not(feature = "replicas"), allow(dead_code))]
    Relay(mpsc::Sender<Delivery>, Recent),
    /// Nowhere, for this reason.
    #[cfg_attr(not(feature = "replicas"), allow(dead_code))]
    Nowhere(Arc<str>),
}

/// A way for a message.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub deliver: mpsc::Sender<Delivery>,
    recent: Option<Recent>,
    is_relay: bool,
}

impl Way {
    /// Whether other processes may know more than this one.
    pub fn may_be_behind(&self) -> bool {
        self.is_relay
    }

    /// Whether there are other processes.
    pub fn is_shared(&self) -> bool {
        self.recent.is_some()
    }

    /// Waits until it is sure that what this process knows was not out of date at that time; false if it may have been.
    pub async fn is_sure_after(&self, time: Instant) -> bool {
        match &self.recent {
            None => true,
            Some(recent) => recent.after(time).await,
        }
    }

    /// Whether the answer is as sure as it can be.
    pub fn is_answer_sure(&self) -> bool {
        self.is_relay || self.recent.is_none()
    }

    /// Why a message was not taken that was on its way.
    pub fn gone(&self) -> Unprocessed {
        match &self.recent {
            None => Unprocessed::Stopped,
            Some(_) => Unprocessed::NoLeader("it has just changed which replica leads".into()),
        }
    }
}

/// Knows where messages go at any time.
#[derive(Clone, Debug)]
pub(crate) struct Routes(watch::Receiver<Route>);

impl Routes {
    /// Where messages go; or why they go nowhere.
    pub fn now(&self) -> Result<Way, Unprocessed> {
        match self.0.borrow().clone() {
            Route::Machine(deliver, recent) => Ok(Way { deliver, recent, is_relay: false }),
            Route::Relay(deliver, recent) => {
                Ok(Way { deliver, recent: Some(recent), is_relay: true })
            }
            Route::Nowhere(why) => Err(Unprocessed::NoLeader(why)),
        }
    }

    /// The same, once messages go anywhere, if that is soon: it may be about to change which replica leads.
    pub async fn soon(&self) -> Result<Way, Unprocessed> {
        let mut route = self.0.clone();
        let is_anywhere = |route: &Route| !matches!(route, Route::Nowhere(_));
        drop(timeout(SOON, route.wait_for(is_anywhere)).await);
        self.now()
    }

    /// Waits until messages go nowhere.
    pub async fn lead_nowhere(&self) {
        let mut route = self.0.clone();
        let nowhere = route.wait_for(|route| matches!(route, Route::Nowhere(_))).await.is_ok();
        if !nowhere {
            // They go where they go, for ever.
            std::future::pending().await
        }
    }
}

impl From<watch::Receiver<Route>> for Routes {
    fn from(route: watch::Receiver<Route>) -> Self {
        Self(route)
    }
}

/// To this machine, for ever.
impl From<mpsc::Sender<Delivery>> for Routes {
    fn from(deliver: mpsc::Sender<Delivery>) -> Self {
        Self(watch::channel(Route::Machine(deliver, None)).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_known_must_be_newer_than_the_message() {
        let asking = Asking::since(Instant::now());
        let recent = asking.recent();
        tokio::time::advance(Duration::from_millis(1)).await;
        let arrived = Instant::now();
        let waiting = tokio::spawn(async move { recent.after(arrived).await });
        asking.wanted().await;
        // An answer to an earlier question is not enough.
        asking.knows(arrived);
        asking.wanted().await;
        asking.knows(arrived + Duration::from_millis(1));
        assert!(waiting.await.unwrap());
        assert!(asking.recent().after(arrived).await);
        // Nobody answers.
        assert!(!asking.recent().after(arrived + SURE_WITHIN).await);
        let recent = asking.recent();
        drop(asking);
        assert!(!recent.after(arrived + SURE_WITHIN).await);
    }
}
