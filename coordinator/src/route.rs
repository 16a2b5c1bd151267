//! Where messages go once they are opened: to the machine, if it is in this process.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{driver::Delivery, http::Unprocessed};

/// Until when this process may say something final, by its own clock.
#[derive(Clone, Debug)]
pub(crate) struct Tenure(Option<watch::Receiver<Instant>>);

impl Tenure {
    /// As long as it runs: nobody else has this coordinator's state.
    pub fn for_ever() -> Self {
        Self(None)
    }

    /// Until the latest of these points in time.
    #[cfg(feature = "postgres")]
    pub fn until(end: watch::Receiver<Instant>) -> Self {
        Self(Some(end))
    }

    /// Whether what is known here may be out of date.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|end| *end.borrow() <= Instant::now())
    }
}

/// Where messages go now.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// To the machine in this process.
    Machine(mpsc::Sender<Delivery>, Tenure),
    /// Nowhere, for this reason.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Nowhere(Arc<str>),
}

/// Knows where messages go at any time.
#[derive(Clone, Debug)]
pub(crate) struct Routes(watch::Receiver<Route>);

impl Routes {
    /// Where messages go; or why they go nowhere.
    pub fn now(&self) -> Result<(mpsc::Sender<Delivery>, Tenure), Unprocessed> {
        match &*self.0.borrow() {
            Route::Machine(deliver, tenure) => Ok((deliver.clone(), tenure.clone())),
            Route::Nowhere(why) => Err(Unprocessed::NoLeader(Arc::clone(why))),
        }
    }

    /// Why a message was not taken that was on its way to the machine.
    pub fn gone(&self, tenure: &Tenure) -> Unprocessed {
        match tenure.0 {
            None => Unprocessed::Stopped,
            Some(_) => Unprocessed::NoLeader("this replica has just ceased to lead".into()),
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
        Self(watch::channel(Route::Machine(deliver, Tenure::for_ever())).1)
    }
}
