//! What the log leads to.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use pet_core::{
    coordinator::{
        EndedRound, Follower as Fold, Front, LargePiece, PartId, Phase, Record, Recovery, Shard,
    },
    crypto::{Digest, PublicSigningKey, RootSeed},
};
use pet_ledger::{Head, LedgerError, Position};

use super::{
    flaws::Flaw,
    item::{Item, PartRef, Small},
    kept::Kept,
    log::End,
    models::SharedModels,
    shared::{aside, Shared},
    SharedError,
};
use crate::status::Step;

/// Reads the log, and knows what it leads to: what is to be answered with, and all that it takes to lead.
///
/// It fetches what it needs only: aggregates, masks and parts of messages are fetched by whoever goes on to lead.
pub(super) struct Follower {
    shared: Shared,
    models: Arc<SharedModels>,
    models_kept: usize,
    end: End,
    /// The furthest that this process has ever seen, whoever followed or led then: the log must have it.
    seen: Option<End>,
    /// Nothing before the first entry.
    fold: Option<Fold>,
    root: Option<RootSeed>,
    kept: Kept,
    /// The records of incomplete messages.
    chunks: BTreeMap<PublicSigningKey, Vec<(Position, Small)>>,
    /// The entry that the phase began with.
    phase_began: Position,
    /// The latest part of each shard, and its round: of the round before, too.
    parts: Arc<Recorded>,
    /// How often something of the log was gone before it was read.
    gaps: u64,
    /// How many have voted for which mask.
    votes: BTreeMap<Digest, u64>,
    /// The mask that was taken off.
    winner: Option<Digest>,
    /// What was read of rounds, for the history; no more than there were before, at most twice.
    steps: Vec<Step>,
}

/// So many steps are remembered until somebody takes them.
const MOST_STEPS: usize = 512;

/// The latest part of each shard that was recorded, and its round.
pub(super) type Recorded = BTreeMap<Shard, (u64, PartId)>;

/// What a record tells of its round.
enum Told {
    Nothing,
    Began,
    /// The phase, with the mask that is taken off if it was the last one.
    Ended(Option<Digest>),
    Vote(Digest),
    /// So many updates are in the model.
    Completed(u64),
    Failed,
}

impl Told {
    fn of(record: &Record) -> Self {
        match record {
            Record::RoundBegan { .. } => Self::Began,
            Record::SumEnded | Record::UpdateEnded => Self::Ended(None),
            Record::Sum2Ended { digest } => Self::Ended(Some(*digest)),
            Record::Sum2 { digest, .. } => Self::Vote(*digest),
            Record::Model(model) => Self::Completed(model.models),
            Record::RoundFailed { .. } => Self::Failed,
            _ => Self::Nothing,
        }
    }
}

/// All that it takes to lead.
pub(super) struct Led {
    pub recovery: Option<Recovery>,
    pub end: End,
    pub kept: Kept,
    pub phase_began: Position,
    /// Is to be written first: the round has failed, as something of it is lost.
    pub failed: Option<Record>,
}

impl Follower {
    /// At the beginning of what is kept of the log.
    pub async fn new(
        shared: Shared,
        models: Arc<SharedModels>,
        models_kept: usize,
        seen: Option<End>,
    ) -> Result<Self, SharedError> {
        let head = shared.ledger().head().await?;
        End::in_front_of(&head).agrees(seen)?;
        Ok(Self {
            seen,
            shared,
            models,
            models_kept,
            end: End::in_front_of(&head),
            fold: None,
            root: None,
            kept: Kept::default(),
            chunks: BTreeMap::new(),
            phase_began: Position(0),
            parts: Arc::default(),
            gaps: 0,
            votes: BTreeMap::new(),
            winner: None,
            steps: Vec::new(),
        })
    }

    /// It takes the place of another one, and what that has read is not told again: so often records are gone now.
    pub fn with_gaps(self, gaps: u64) -> Self {
        Self { gaps, ..self }
    }

    /// What it reads.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// How far it has read.
    pub fn end(&self) -> End {
        self.end
    }

    /// The root of all keys, once it is known.
    pub fn root(&self) -> Option<&RootSeed> {
        self.root.as_ref()
    }

    /// How many messages the phase has accepted, and which entry it began with.
    pub fn phase(&self) -> (u64, Position) {
        (self.fold.as_ref().map_or(0, Fold::accepted), self.phase_began)
    }

    /// The latest part that was recorded of each shard, with its round, and how often records were gone before they were
    /// read.
    pub fn parts(&self) -> (Arc<Recorded>, u64) {
        (Arc::clone(&self.parts), self.gaps)
    }

    /// What the log has told of rounds since this was last asked.
    pub fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// What is to be answered with, as far as it has read; nothing before the first round.
    pub fn front(&self) -> Option<Front> {
        self.fold.as_ref().map(Fold::front)
    }

    /// Reads to the end of the log. Gives what the end was, and tells whether anything was there.
    pub async fn advance(&mut self) -> Result<(Head, bool), SharedError> {
        let head = self.shared.ledger().head().await?;
        self.end.check(&head)?;
        if self.end.position == head.position {
            return Ok((head, false));
        }
        match self.read_to(&head).await {
            Ok(()) => Ok((head, true)),
            // A round has begun meanwhile: what it did not read is needed by nobody any more.
            Err(SharedError::Ledger(LedgerError::Forgotten { .. })) => self.begin_anew().await,
            Err(SharedError::PartLost { name }) => {
                let now = self.shared.ledger().head().await?;
                match now.first > head.first {
                    true => self.begin_anew().await,
                    false => Err(SharedError::PartLost { name }),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn begin_anew(&mut self) -> Result<(Head, bool), SharedError> {
        let seen = self.seen.filter(|seen| seen.position > self.end.position).unwrap_or(self.end);
        let (shared, models) = (self.shared.clone(), Arc::clone(&self.models));
        let gaps = self.gaps + 1;
        let steps = std::mem::take(&mut self.steps);
        *self = Self::new(shared, models, self.models_kept, Some(seen)).await?;
        (self.gaps, self.steps) = (gaps, steps);
        let head = self.shared.ledger().head().await?;
        self.read_to(&head).await?;
        Ok((head, true))
    }

    async fn read_to(&mut self, head: &Head) -> Result<(), SharedError> {
        while self.end.position < head.position {
            // Only what is applied as a whole is read: whoever fails in between begins anew.
            let mut end = self.end;
            let items = end.read(&self.shared, self.seen).await?;
            if items.is_empty() {
                let (known, found) = (head.position, self.end.position);
                return Err(SharedError::WentBack { known, found });
            }
            for (position, item) in items {
                self.take(position, item).await?;
            }
            self.end = end;
            if Flaw::GoesBack.is_there() {
                break;
            }
        }
        self.models.set(self.kept.models());
        Ok(())
    }

    async fn take(&mut self, position: Position, item: Item) -> Result<(), SharedError> {
        match item {
            Item::Begin { root, models } => {
                if self.root.as_ref().is_some_and(|known| *known != root) {
                    // It was put back from a backup, and goes on with new keys.
                    self.fold = None;
                    self.chunks.clear();
                }
                if self.fold.is_none() {
                    let model = match models.last() {
                        Some(latest) => Some(self.models.read(&latest.part).await?),
                        None => None,
                    };
                    // How these came about was perhaps gone before it was read.
                    self.steps.extend(models.iter().map(|kept| {
                        let latest = model.as_ref().filter(|model| model.round_id == kept.round_id);
                        let models = latest.map(|model| model.models);
                        Step::HasModel { round: kept.round_id, models }
                    }));
                    self.fold = Some(Fold::new(root.clone(), model));
                }
                self.root = Some(root);
                self.kept.begin(models);
            }
            Item::Chunk { participant, small } => {
                self.kept.chunk(participant, small.part());
                self.chunks.entry(participant).or_default().push((position, small));
            }
            Item::Record { small, large } => {
                let record = self.record(&small, large.as_ref()).await?;
                self.settle(position, &record);
                self.kept.note(&record, small.part(), large.as_ref(), self.models_kept);
                if !matches!(record, Record::ChunksDropped { .. }) {
                    self.apply(position, record)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets parts of messages that are accepted or dropped.
    fn settle(&mut self, position: Position, record: &Record) {
        if record.begins_phase() {
            self.chunks.clear();
            self.phase_began = position;
        }
        match record {
            Record::ChunksDropped { participants } => {
                participants.iter().for_each(|one| drop(self.chunks.remove(one)));
            }
            Record::RoundBegan { .. } if !self.parts.is_empty() => {
                let round = self.fold.as_ref().and_then(Fold::round_id).unwrap_or(0);
                Arc::make_mut(&mut self.parts).retain(|_, (of, _)| *of >= round);
            }
            Record::Part { shard, part, seeds, .. } => {
                let round = self.fold.as_ref().and_then(Fold::round_id).unwrap_or(0);
                Arc::make_mut(&mut self.parts).insert(*shard, (round, *part));
                seeds.iter().for_each(|(one, _)| drop(self.chunks.remove(one)));
            }
            Record::Updates { seeds, .. } => {
                seeds.iter().for_each(|(one, _)| drop(self.chunks.remove(one)));
            }
            Record::Sum { participant, .. } | Record::Sum2 { participant, .. } => {
                self.chunks.remove(participant);
            }
            _ => {}
        }
    }

    fn apply(&mut self, position: Position, record: Record) -> Result<(), SharedError> {
        let fold = self.fold.as_mut().ok_or(SharedError::Malformed("the log's first entry"))?;
        let (phase, accepted) = (fold.phase(), fold.accepted());
        let told = Told::of(&record);
        let applied = fold.apply(record);
        applied.map_err(|source| SharedError::Records { position, source })?;
        let (round, now) = (fold.round_id().unwrap_or(0), fold.phase());
        self.note(told, round, (phase, accepted), now);
        Ok(())
    }

    /// Notes what a record tells of its round, for the history.
    fn note(&mut self, told: Told, round: u64, (phase, accepted): (Phase, u64), now: Phase) {
        match told {
            Told::Vote(digest) => *self.votes.entry(digest).or_default() += 1,
            Told::Nothing => {}
            Told::Began => {
                self.votes.clear();
                self.steps.push(Step::Began { round, phase: now });
            }
            Told::Ended(winner) => {
                self.winner = winner;
                self.steps.push(Step::Ended { round, phase, accepted });
                self.steps.push(Step::Began { round, phase: now });
            }
            Told::Completed(models) => {
                let votes = self.winner.and_then(|winner| self.votes.get(&winner));
                let votes = votes.copied().unwrap_or(0);
                self.steps.push(Step::Completed { round, models, votes });
            }
            Told::Failed => self.steps.push(Step::Failed { round, phase, accepted }),
        }
        let many = self.steps.len().saturating_sub(MOST_STEPS);
        self.steps.drain(..many);
    }

    async fn small(&self, small: &Small) -> Result<Bytes, SharedError> {
        match small {
            Small::Here(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Small::Part(part) => self.shared.get(part).await,
        }
    }

    async fn record(&self, small: &Small, large: Option<&PartRef>) -> Result<Record, SharedError> {
        if let Some(part) = large.filter(|part| part.name.kind() == MODEL) {
            // Public, and kept at hand.
            return Ok(Record::Model(self.models.read(part).await?));
        }
        let bytes = self.small(small).await?;
        Record::from_bytes(&bytes, None).map_err(|_| SharedError::Malformed("a record in the log"))
    }

    /// Fetches what was left out so far and is needed to lead.
    async fn fetch_missing(&mut self) -> Result<(), SharedError> {
        let Some(fold) = &self.fold else { return Ok(()) };
        let mut fetched = Vec::new();
        for piece in fold.missing() {
            let part = match piece {
                LargePiece::Aggregation => self.kept.aggregate(),
                LargePiece::Mask(digest) => self.kept.mask(&digest),
                _ => None,
            };
            let part = part.ok_or(SharedError::Malformed("a large piece in the log"))?;
            let bytes = self.shared.get(part).await?;
            fetched.push((piece, bytes, part.name.clone()));
        }
        let mut fold = fold.clone();
        let supply = move || {
            for (piece, bytes, name) in fetched {
                fold.supply(&piece, bytes).map_err(|_| SharedError::PartLost { name })?;
            }
            Ok::<_, SharedError>(fold)
        };
        self.fold = Some(aside(supply).await??);
        Ok(())
    }

    /// Fetches the records of incomplete messages, as they came.
    async fn fetch_chunks(&mut self) -> Result<Vec<(Position, Record)>, SharedError> {
        let mut chunks: Vec<&(Position, Small)> = self.chunks.values().flatten().collect();
        chunks.sort_by_key(|(position, _)| *position);
        let mut records = Vec::with_capacity(chunks.len());
        for (position, small) in chunks {
            let record = Record::from_bytes(&self.small(small).await?, None);
            let record = record.map_err(|_| SharedError::Malformed("a record in the log"))?;
            records.push((*position, record));
        }
        Ok(records)
    }

    /// The last round, as if it were over; which parts there are; and where the log ends.
    pub fn into_ended(self) -> (Option<EndedRound>, Kept, End) {
        (self.fold.as_ref().and_then(Fold::ended_round), self.kept, self.end)
    }

    /// Goes on to lead, from the end of the log: all that is needed is fetched. The round fails if some of it is lost.
    pub async fn lead(mut self) -> Result<Led, SharedError> {
        let fetched = match self.fetch_missing().await {
            Ok(()) => self.fetch_chunks().await,
            Err(error) => Err(error),
        };
        let (chunks, lost) = match (fetched, self.fold.as_ref().and_then(Fold::round_id)) {
            (Ok(chunks), _) => (chunks, None),
            (Err(SharedError::PartLost { name }), Some(round)) => (Vec::new(), Some((round, name))),
            (Err(error), _) => return Err(error),
        };
        let failed = lost.map(|(round_id, name)| {
            tracing::error!(round = round_id, part = %name, "a part of the round is lost: the round fails");
            Record::RoundFailed { round_id }
        });
        if let Some(record) = &failed {
            self.apply(self.end.position, record.clone())?;
        }
        let Self { fold, end, kept, phase_began, .. } = self;
        let recovery = fold.map(Fold::into_recovery).transpose();
        let mut recovery = recovery.map_err(SharedError::Inconsistent)?;
        for (position, record) in chunks {
            if let Some(recovery) = &mut recovery {
                let applied = recovery.apply(record);
                applied.map_err(|source| SharedError::Records { position, source })?;
            }
        }
        Ok(Led { recovery, end, kept, phase_began, failed })
    }
}

/// The kinds of parts with aggregates and global models.
pub(super) const AGGREGATE: &str = "aggregate";
pub(super) const MODEL: &str = "model";
