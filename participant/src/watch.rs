//! Looking whenever a round begins what has become of the one before, on a thread beside the participant's, which is
//! not to wait for that.

use std::sync::{Arc, PoisonError};

use pet_transport_blocking::core::request::Response;
use pet_transport_blocking::Observer;

use crate::mailbox::Mailbox;
use crate::sync::{thread, Mutex, MutexGuard};

pub(crate) struct RoundWatch {
    observer: Observer,
    mailbox: Arc<Mailbox>,
    look: Arc<Mutex<Look>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    None,
    UnderWay,
    /// Another round has begun meanwhile.
    Again,
    /// The coordinator has no status: one of old.
    Never,
}

impl RoundWatch {
    pub(crate) fn new(observer: Observer, mailbox: Arc<Mailbox>) -> Self {
        Self { observer, mailbox, look: Arc::new(Mutex::new(Look::None)) }
    }

    pub(crate) fn look(&self) {
        {
            let mut look = lock(&self.look);
            match *look {
                Look::None => *look = Look::UnderWay,
                Look::UnderWay => *look = Look::Again,
                Look::Again | Look::Never => {}
            }
            if *look != Look::UnderWay {
                return;
            }
        }
        let (observer, mailbox, look) =
            (self.observer.clone(), self.mailbox.clone(), self.look.clone());
        let started = thread::Builder::new().name("pet-status".into()).spawn(move || loop {
            let answer = observer.status();
            if let Ok(Response { status: 200, body, .. }) = &answer {
                mailbox.lock().inbox.take_in_status(body);
                mailbox.notify();
            }
            let mut look = lock(&look);
            match (*look, answer) {
                // A proxy that has a bad moment answers otherwise.
                (_, Ok(Response { status: 404 | 405 | 501, .. })) => *look = Look::Never,
                (Look::Again, _) => {
                    *look = Look::UnderWay;
                    continue;
                }
                _ => *look = Look::None,
            }
            return;
        });
        if started.is_err() {
            // No thread is to be had: next time.
            *lock(&self.look) = Look::None;
        }
    }
}

fn lock(look: &Mutex<Look>) -> MutexGuard<'_, Look> {
    look.lock().unwrap_or_else(PoisonError::into_inner)
}
