//! Answers that wait for the store: what follows from records that are not stored yet may never have been.

use std::collections::VecDeque;

use pet_core::coordinator::PersistId;
use tokio::sync::watch;

/// How far the store is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last record that it was given.
    pub given: Option<PersistId>,
    /// The last one that it has confirmed.
    pub stored: Option<PersistId>,
}

/// Answers that are held back until the records are stored that they follow from, in order.
#[derive(Debug)]
pub(super) struct Held<T> {
    progress: watch::Sender<Progress>,
    answers: VecDeque<(PersistId, T)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { progress: watch::Sender::default(), answers: VecDeque::new() }
    }
}

impl<T> Held<T> {
    /// Tells how far the store is behind.
    #[cfg_attr(not(feature = "replicas"), allow(dead_code))]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// A record is on its way to the store.
    pub fn given(&mut self, id: PersistId) {
        self.progress.send_modify(|progress| progress.given = Some(id));
    }

    /// An answer that follows from all records so far: given back if they are stored, and kept else.
    pub fn hold(&mut self, answer: T) -> Option<T> {
        let Progress { given, stored } = *self.progress.borrow();
        match given.filter(|given| stored < Some(*given)) {
            Some(given) => {
                self.answers.push_back((given, answer));
                None
            }
            None => Some(answer),
        }
    }

    /// Records up to this one are stored. Gives the next answer that waited for no other.
    pub fn stored(&mut self, id: PersistId) -> Option<T> {
        self.progress.send_if_modified(|progress| {
            let is_new = progress.stored < Some(id);
            progress.stored = progress.stored.max(Some(id));
            is_new
        });
        let (after, _) = self.answers.front()?;
        if self.progress.borrow().stored < Some(*after) {
            return None;
        }
        self.answers.pop_front().map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_for_what_was_given_before_them_and_for_nothing_else() {
        let mut held = Held::default();
        assert_eq!(held.hold('a'), Some('a'));
        held.given(PersistId(1));
        assert_eq!(held.hold('b'), None);
        held.given(PersistId(2));
        held.given(PersistId(3));
        assert_eq!((held.hold('c'), held.hold('d')), (None, None));
        assert_eq!(held.stored(PersistId(2)), Some('b'));
        assert_eq!(held.stored(PersistId(2)), None);
        let rest: Vec<_> = std::iter::from_fn(|| held.stored(PersistId(3))).collect();
        assert_eq!(rest, ['c', 'd']);
        assert_eq!(held.hold('e'), Some('e'));
        assert_eq!(held.progress().borrow().stored, Some(PersistId(3)));
    }
}
