//! The updates of a round, once no more are taken.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use crate::crypto::{Digest, PublicSigningKey};
use crate::v2::{Announcements, Context, Decision, EntriesPage, Entry, MemberId, UpdateHeader};

/// All updates that came in time, sorted by updater.
pub(super) struct Entries {
    pub(super) announcements: Arc<Announcements>,
    headers: BTreeMap<PublicSigningKey, Arc<UpdateHeader>>,
    /// The same by their places: made by the first who asks for a page, on its own thread.
    sorted: OnceLock<Vec<Arc<UpdateHeader>>>,
}

/// Shows what is there, and not how it was asked for.
impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.headers).finish()
    }
}

impl Entries {
    pub(super) fn new(
        announcements: Arc<Announcements>,
        headers: BTreeMap<PublicSigningKey, Arc<UpdateHeader>>,
    ) -> Self {
        Self { announcements, headers, sorted: OnceLock::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.headers.len() as u64
    }

    pub(super) fn get(&self, updater: &PublicSigningKey) -> Option<&Arc<UpdateHeader>> {
        self.headers.get(updater)
    }

    /// All of them, sorted by updater.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<UpdateHeader>> + Clone {
        self.headers.values()
    }

    /// The first update after this updater's; the first of all if there is none before.
    pub(super) fn after(&self, updater: Option<&PublicSigningKey>) -> Option<&Arc<UpdateHeader>> {
        let from = updater.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from, Bound::Unbounded);
        self.headers.range::<PublicSigningKey, _>(range).next().map(|(_, header)| header)
    }

    /// The members that had announced themselves.
    pub(super) fn members(&self) -> impl Iterator<Item = MemberId> + Clone + '_ {
        self.announcements.list().iter().map(|announcement| announcement.member)
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let one = self.headers.values().next();
        one.map_or(0, |header| 400 + 32 * header.leaves.len() + 80 * header.boxes.len())
            * self.headers.len()
    }

    /// Some of the entries, as this member sees them; nothing for whoever has not announced itself. Takes time for
    /// each of them, and for all when it is asked for the first time.
    pub(super) fn page(
        &self,
        context: Context,
        member: MemberId,
        from: u64,
        most: usize,
    ) -> Option<EntriesPage> {
        let position = self.announcements.position(member)?;
        let sorted = self.sorted();
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(sorted.len());
        let headers = sorted[start..].iter().take(most);
        let entries = headers.filter_map(|header| Entry::of(header, position)).collect();
        Some(EntriesPage { context, total: self.len(), from: start as u64, entries })
    }

    /// At which place an updater is.
    pub(super) fn place(&self, updater: &PublicSigningKey) -> Option<usize> {
        self.sorted().binary_search_by_key(updater, |header| header.updater).ok()
    }

    /// All of them, by place.
    pub(super) fn sorted(&self) -> &[Arc<UpdateHeader>] {
        self.sorted.get_or_init(|| self.headers.values().cloned().collect())
    }
}

/// The statement digests of those that are not excluded, sorted by updater.
pub(super) fn statements<'a>(
    context: &'a Context,
    entries: &'a Entries,
    is_excluded: impl Fn(&PublicSigningKey) -> bool + 'a,
) -> impl Iterator<Item = (PublicSigningKey, Digest)> + 'a {
    let announcements = entries.announcements.digest();
    entries
        .iter()
        .filter(move |header| !is_excluded(&header.updater))
        .map(move |header| (header.updater, header.statement_digest(context, &announcements)))
}

/// What is voted for.
pub(super) fn decide(
    context: &Context,
    entries: &Entries,
    is_excluded: impl Fn(&PublicSigningKey) -> bool,
) -> Decision {
    let statements = statements(context, entries, is_excluded);
    let decision = Decision::of(*context, entries.announcements.digest(), statements);
    decision.expect("entries are sorted by updater, each once")
}
