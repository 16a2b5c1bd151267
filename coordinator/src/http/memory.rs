//! Memory for messages that arrive piece by piece: never more than there is, and never so that all wait for each
//! other.
//!
//! It is handed out as bytes come, not as they are announced: whoever announces much and sends nothing takes
//! nothing. So all of it could be held by messages of which none can go on. The banker's algorithm prevents that:
//! an upload gets more only if afterwards all of them could still finish, one after another, those first that need
//! least. (That order holds for the memory of all and for the share of each client alike, so the two together are
//! safe as well.)

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::peers::Peer;

/// The memory of all uploads.
#[derive(Debug)]
pub(super) struct Memory {
    state: Mutex<State>,
    /// Something was given back, or somebody needs no more.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    all: Pool,
    of_one: HashMap<Peer, Pool>,
    most_of_one: usize,
    last: u64,
    /// How many bytes each unfinished upload has.
    held: HashMap<u64, usize>,
}

/// Some memory, and those who share it.
#[derive(Debug)]
struct Pool {
    total: usize,
    held: usize,
    /// Of it by uploads that need more.
    held_by_unfinished: usize,
    /// What the unfinished ones still need, and who they are.
    unfinished: BTreeSet<(usize, u64)>,
}

impl Pool {
    fn new(total: usize) -> Self {
        Self { total, held: 0, held_by_unfinished: 0, unfinished: BTreeSet::new() }
    }

    /// Whether all can finish once upload `id`, which needs `needed`, has got `more`.
    fn is_safe(&self, held: &HashMap<u64, usize>, id: u64, needed: usize, more: usize) -> bool {
        if self.held + more > self.total {
            return false;
        }
        // What the finished ones have comes back in any case.
        let mut free = self.total - self.held_by_unfinished - more;
        let left = needed - more;
        let others = self.unfinished.iter().copied().filter(|(_, other)| *other != id);
        let most = self.unfinished.last().map_or(0, |(most, _)| *most).max(left);
        if free >= most {
            return true;
        }
        // In the order of what they need: this one as soon as what is free will do.
        let own = held.get(&id).map_or(0, |held| held + more);
        let mut waits = Some(left);
        for (needed, other) in others {
            if let Some(left) = waits.filter(|left| *left <= needed) {
                if left > free {
                    return false;
                }
                free += own;
                waits = None;
            }
            if needed > free {
                return false;
            }
            free += held.get(&other).copied().unwrap_or(0);
            if free >= most {
                return true;
            }
        }
        waits.is_none_or(|left| left <= free)
    }

    fn grow(&mut self, id: u64, needed: usize, more: usize) {
        self.unfinished.remove(&(needed, id));
        self.unfinished.insert((needed - more, id));
        self.held += more;
        self.held_by_unfinished += more;
    }

    /// An upload that holds so much needs nothing more.
    fn finish(&mut self, id: u64, needed: usize, held: usize) {
        if self.unfinished.remove(&(needed, id)) {
            self.held_by_unfinished -= held;
        }
    }
}

impl Memory {
    /// So many bytes, of which nobody may have more than `most_of_one`.
    pub fn new(total: usize, most_of_one: usize) -> Arc<Self> {
        let state = State {
            all: Pool::new(total),
            of_one: HashMap::new(),
            most_of_one: most_of_one.min(total),
            last: 0,
            held: HashMap::new(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// An upload that will need so much, and has nothing yet. One that needs more than its client may have
    /// counts as if it needed just that.
    pub fn claim(self: &Arc<Self>, peer: Peer, needed: usize) -> Claim {
        let mut state = self.lock();
        state.last += 1;
        let (id, most) = (state.last, state.most_of_one);
        let needed = needed.min(most);
        state.held.insert(id, 0);
        state.all.unfinished.insert((needed, id));
        let own = state.of_one.entry(peer).or_insert_with(|| Pool::new(most));
        own.unfinished.insert((needed, id));
        Claim { memory: Arc::clone(self), peer, id, whole: needed, held: 0, finished: false }
    }

    /// How many bytes are handed out.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.lock().all.held
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in it panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an upload has of the memory; given back on drop.
#[derive(Debug)]
pub(super) struct Claim {
    memory: Arc<Memory>,
    peer: Peer,
    id: u64,
    whole: usize,
    held: usize,
    finished: bool,
}

impl Claim {
    /// Makes it so many bytes, if that can be had now.
    pub fn try_grow(&mut self, to: usize) -> bool {
        let more = to.min(self.whole).saturating_sub(self.held);
        if more == 0 {
            return true;
        }
        let needed = self.whole - self.held;
        let mut state = self.memory.lock();
        let State { all, of_one, held, .. } = &mut *state;
        let Some(own) = of_one.get_mut(&self.peer) else { return false };
        let is_safe = |pool: &Pool| pool.is_safe(held, self.id, needed, more);
        if self.finished || !is_safe(own) || !is_safe(all) {
            return false;
        }
        own.grow(self.id, needed, more);
        all.grow(self.id, needed, more);
        self.held += more;
        held.insert(self.id, self.held);
        true
    }

    /// The same, once it can be had.
    pub async fn grow(&mut self, to: usize) {
        let memory = Arc::clone(&self.memory);
        loop {
            let changed = memory.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.try_grow(to) {
                return;
            }
            changed.await;
        }
    }

    /// It is complete: what it has is given back once it is dropped, and others can count on that.
    pub fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let needed = self.whole - self.held;
        let mut state = self.memory.lock();
        state.held.remove(&self.id);
        state.all.finish(self.id, needed, self.held);
        if let Some(own) = state.of_one.get_mut(&self.peer) {
            own.finish(self.id, needed, self.held);
        }
        drop(state);
        self.memory.changed.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.finish();
        let mut state = self.memory.lock();
        state.all.held -= self.held;
        if let Some(own) = state.of_one.get_mut(&self.peer) {
            own.held -= self.held;
            if own.held == 0 && own.unfinished.is_empty() {
                state.of_one.remove(&self.peer);
            }
        }
        drop(state);
        self.memory.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::from(IpAddr::from([192, 0, 2, number]))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin {
            peer: u8,
            needed: usize,
        },
        Arrive {
            which: usize,
            bytes: usize,
        },
        /// It breaks off, or its message is done with.
        End {
            which: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0_u8..4, 0_usize..60).prop_map(|(peer, needed)| Step::Begin { peer, needed }),
            8 => (any::<usize>(), 1_usize..30).prop_map(|(which, bytes)| Step::Arrive { which, bytes }),
            1 => any::<usize>().prop_map(|which| Step::End { which }),
        ]
    }

    /// Each finished message goes, then one that can get all that it needs: until none is left.
    fn all_can_finish(uploads: &mut Vec<Claim>) -> bool {
        loop {
            uploads.retain(|upload| !upload.finished);
            if uploads.is_empty() {
                return true;
            }
            let can = |upload: &mut Claim| upload.try_grow(usize::MAX);
            let Some(at) = uploads.iter_mut().position(can) else { return false };
            uploads.swap_remove(at);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever arrives in whatever order: there is never more than the budget, nobody has more than a
        /// share, and somebody can always go on until all are done.
        #[test]
        fn somebody_can_always_finish(
            total in 1_usize..100,
            share in 1_usize..100,
            steps in vec(step(), 0..80),
        ) {
            let memory = Memory::new(total, share);
            let mut uploads: Vec<Claim> = Vec::new();
            for step in steps {
                let count = uploads.len().max(1);
                match step {
                    Step::Begin { peer: number, needed } => {
                        uploads.push(memory.claim(peer(number), needed));
                    }
                    Step::Arrive { which, bytes } => {
                        if let Some(upload) = uploads.get_mut(which % count) {
                            upload.try_grow(upload.held + bytes);
                            if upload.held == upload.whole {
                                upload.finish();
                            }
                        }
                    }
                    Step::End { which } if !uploads.is_empty() => {
                        uploads.swap_remove(which % count);
                    }
                    Step::End { .. } => {}
                }
                prop_assert!(memory.held() <= total);
                prop_assert_eq!(memory.held(), uploads.iter().map(|upload| upload.held).sum::<usize>());
                for number in 0..4 {
                    let own = uploads.iter().filter(|upload| upload.peer == peer(number));
                    prop_assert!(own.map(|upload| upload.held).sum::<usize>() <= share);
                }
            }
            prop_assert!(all_can_finish(&mut uploads), "they wait for each other");
            prop_assert_eq!(memory.held(), 0);
            prop_assert!(memory.lock().of_one.is_empty());
            prop_assert!(memory.lock().held.is_empty());
        }
    }

    /// What is announced and does not come takes nothing.
    #[test]
    fn who_sends_nothing_has_nothing() {
        let memory = Memory::new(1000, 500);
        let _idle: Vec<Claim> = (0..200).map(|number| memory.claim(peer(number), 400)).collect();
        let mut honest = memory.claim(peer(250), 400);
        assert!(honest.try_grow(400));
    }

    /// Without the banker each of them would hold three fifths of what it needs, for ever.
    #[tokio::test]
    async fn who_would_leave_all_stuck_waits() {
        let memory = Memory::new(100, 100);
        let (mut one, mut other) = (memory.claim(peer(1), 80), memory.claim(peer(2), 80));
        assert!(one.try_grow(50));
        assert!(!other.try_grow(21) && other.try_grow(20));
        assert!(one.try_grow(80));
        one.finish();
        let waiting = other.grow(80);
        tokio::pin!(waiting);
        assert!(futures_util::FutureExt::now_or_never(&mut waiting).is_none());
        drop(one);
        waiting.await;
        assert_eq!(memory.held(), 80);
    }
}
