//! Writing: records, their large parts, and what they supersede, all or nothing.

use std::{collections::BTreeMap, path::Path, time::Duration};

use pet_core::coordinator::{GlobalModel, Large, Record};
use pet_core::message::MessageId;
use redb::WriteTransaction;

use super::{broken_by, Database, DROPPED, FILES, LOG, META, MODEL_FILES, PARTS};
use crate::store::{
    disk::{
        files::{FileRef, MODELS, ROUND},
        vault::Place,
    },
    StoreError,
};

/// Files cost two more syncs; larger values than this make the database slow.
const LARGEST_PART: usize = 128 << 10;

/// A record on its way to the disk: its row, and its large part if that is still needed.
struct Row {
    record: Record,
    number: u64,
    part: Option<Part>,
}

enum Part {
    Inline(Vec<u8>),
    File(FileRef),
}

impl Database {
    /// Begins to write. The library's short way to commit tells whole from half written by a checksum that
    /// is not made against adversaries, and outsiders choose what is written here: the long way syncs twice.
    pub(super) fn write(&self) -> Result<WriteTransaction, StoreError> {
        let begun = self.redb.begin_write();
        let mut transaction = begun.map_err(|error| self.broken("write", error.into()))?;
        transaction.set_two_phase_commit(true);
        Ok(transaction)
    }

    /// Keeps the books about chunks: gives the numbers of the rows that are superseded.
    pub(super) fn note(&mut self, number: u64, record: &Record) -> Vec<u64> {
        let mut superseded = Vec::new();
        let mut forget = |chunks: &mut BTreeMap<_, (MessageId, Vec<u64>)>, participant| {
            if let Some((_, mut rows)) = chunks.remove(participant) {
                superseded.append(&mut rows);
            }
        };
        match record {
            Record::Chunk { participant, chunk, .. } => {
                let id = chunk.message_id;
                if self.chunks.get(participant).is_some_and(|(known, _)| *known != id) {
                    forget(&mut self.chunks, participant);
                }
                let (_, rows) = self.chunks.entry(*participant).or_insert((id, Vec::new()));
                rows.push(number);
            }
            Record::Sum { participant, .. } | Record::Sum2 { participant, .. } => {
                forget(&mut self.chunks, participant);
            }
            Record::ChunksDropped { participants } => {
                participants.iter().for_each(|participant| forget(&mut self.chunks, participant));
            }
            Record::Updates { seeds, .. } => {
                seeds.iter().for_each(|(participant, _)| forget(&mut self.chunks, participant));
            }
            record if record.begins_phase() => {
                let all = std::mem::take(&mut self.chunks);
                superseded.extend(all.into_values().flat_map(|(_, rows)| rows));
            }
            _ => {}
        }
        superseded
    }

    /// Makes these records safe, all or none, and the time that the phase has been going on. After an
    /// error nothing more may be written.
    pub fn commit(
        &mut self,
        records: Vec<Record>,
        mut clock: Option<Duration>,
    ) -> Result<(), StoreError> {
        let (rows, synced) = self.write_parts(records)?;
        let mut garbage = Vec::new();
        // Of what was removed before this it is sure now.
        let is_synced = |name: &String| synced.iter().any(|dir| name.starts_with(dir));
        let (gone, not_sure) = std::mem::take(&mut self.removed).into_iter().partition(is_synced);
        let gone: Vec<String> = gone;
        self.removed = not_sure;
        let error = |path: &Path, error| broken_by("write", path, error);
        let path = self.path.clone();
        let transaction = self.write()?;
        {
            let open = |table| transaction.open_table(table).map_err(|e| error(&path, e.into()));
            let (mut log, mut parts) = (open(LOG)?, open(PARTS)?);
            let open = |table| transaction.open_table(table).map_err(|e| error(&path, e.into()));
            let (mut files, mut models) = (open(FILES)?, open(MODEL_FILES)?);
            let mut meta = transaction.open_table(META).map_err(|e| error(&path, e.into()))?;
            for Row { record, number, part } in rows {
                if record.begins_phase() {
                    clock = clock.or(Some(Duration::ZERO));
                }
                if matches!(record, Record::RoundBegan { .. }) {
                    // What came before is over: all but its model is forgotten.
                    log.retain(|_, _| false).map_err(|e| error(&path, e.into()))?;
                    parts.retain(|_, _| false).map_err(|e| error(&path, e.into()))?;
                    files.retain(|_, _| false).map_err(|e| error(&path, e.into()))?;
                    garbage.extend(std::mem::take(&mut self.parts).into_values());
                    self.chunks.clear();
                    self.aggregate = None;
                }
                for superseded in self.note(number, &record) {
                    log.remove(superseded).map_err(|e| error(&path, e.into()))?;
                }
                if matches!(record, Record::ChunksDropped { .. }) {
                    continue;
                }
                let bytes = self.vault.close(Place::Record(number), &record.to_bytes());
                log.insert(number, &bytes[..]).map_err(|e| error(&path, e.into()))?;
                let is_aggregate = part.is_some() && matches!(record, Record::Updates { .. });
                if let Some(old) = self.aggregate.take_if(|_| is_aggregate) {
                    parts.remove(old).map_err(|e| error(&path, e.into()))?;
                    files.remove(old).map_err(|e| error(&path, e.into()))?;
                    garbage.extend(self.parts.remove(&old));
                }
                if is_aggregate {
                    self.aggregate = Some(number);
                }
                match part {
                    None => {}
                    Some(Part::Inline(bytes)) => {
                        parts.insert(number, &bytes[..]).map_err(|e| error(&path, e.into()))?;
                    }
                    Some(Part::File(file)) => {
                        let row = (&file.name[..], file.length, &file.digest[..]);
                        files.insert(number, row).map_err(|e| error(&path, e.into()))?;
                        if let Record::Model(model) = &record {
                            models
                                .insert(model.round_id, row)
                                .map_err(|e| error(&path, e.into()))?;
                            self.models.insert(model.round_id, file);
                        } else {
                            self.parts.insert(number, file.name);
                        }
                    }
                }
                while self.models.len() > self.models_kept {
                    let Some((round_id, file)) = self.models.pop_first() else { break };
                    models.remove(round_id).map_err(|e| error(&path, e.into()))?;
                    garbage.push(file.name);
                }
            }
            let mut dropped =
                transaction.open_table(DROPPED).map_err(|e| error(&path, e.into()))?;
            for name in &gone {
                dropped.remove(&name[..]).map_err(|e| error(&path, e.into()))?;
            }
            for name in &garbage {
                dropped.insert(&name[..], ()).map_err(|e| error(&path, e.into()))?;
            }
            if let Some(clock) = clock {
                let millis = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
                meta.insert("clock", &millis.to_le_bytes()[..])
                    .map_err(|e| error(&path, e.into()))?;
            }
        }
        transaction.commit().map_err(|e| error(&path, e.into()))?;
        self.files.remove(&garbage);
        self.removed.append(&mut garbage);
        Ok(())
    }

    /// Makes the model safe that the first round begins with. After an error nothing more may be written.
    pub fn begin_with(&mut self, model: &GlobalModel) -> Result<(), StoreError> {
        let name = format!("{MODELS}/{}", model.id());
        self.announce(&name)?;
        let file = self.files.write(name, &model.to_bytes())?;
        self.files.sync([MODELS])?;
        self.change(|transaction| {
            let row = (&file.name[..], file.length, &file.digest[..]);
            transaction.open_table(MODEL_FILES)?.insert(model.round_id, row)?;
            transaction.open_table(DROPPED)?.remove(&file.name[..])?;
            Ok(())
        })?;
        self.models.insert(model.round_id, file);
        Ok(())
    }

    /// Tells of a file before it is there: what a crash leaves of it is swept at the next start.
    pub(in crate::store::disk) fn announce(&mut self, name: &str) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.open_table(DROPPED)?.insert(name, ())?;
            Ok(())
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let transaction = self.write()?;
        change(&transaction).map_err(|error| self.broken("write", error))?;
        transaction.commit().map_err(|error| self.broken("write", error.into()))
    }

    /// Numbers the records, and writes the large parts that are still needed after the last of them.
    /// Gives the directories as well that were synced after that.
    fn write_parts(
        &mut self,
        records: Vec<Record>,
    ) -> Result<(Vec<Row>, Vec<&'static str>), StoreError> {
        let mut rows = Vec::with_capacity(records.len());
        let (mut models, mut parts) = (false, false);
        let is = |position: Option<usize>, index| position.is_none_or(|last| index >= last);
        let began = records.iter().rposition(|record| matches!(record, Record::RoundBegan { .. }));
        let summed = records
            .iter()
            .rposition(|record| matches!(record, Record::Updates { aggregation: Some(_), .. }));
        for (index, record) in records.into_iter().enumerate() {
            let number = self.next;
            self.next += 1;
            self.enter_round(&record);
            let part = match record.large() {
                Some(Large::Model(model)) => {
                    models = true;
                    let name = format!("{MODELS}/{}", model.id());
                    Some(Part::File(self.files.write(name, &model.to_bytes())?))
                }
                Some(large) if is(began, index) => {
                    let kind = match large {
                        Large::Aggregation(_) if !is(summed, index) => {
                            rows.push(Row { record, number, part: None });
                            continue;
                        }
                        Large::Aggregation(_) => "aggregate",
                        _ => "mask",
                    };
                    let bytes = self.vault.close_large(Place::Part(number), &large);
                    if bytes.len() <= LARGEST_PART {
                        Some(Part::Inline(bytes))
                    } else {
                        parts = true;
                        let tag = self.tag.as_deref().unwrap_or_default();
                        let name = format!("{ROUND}/{kind}-{number}-{tag}");
                        Some(Part::File(self.files.write(name, &bytes)?))
                    }
                }
                _ => None,
            };
            rows.push(Row { record, number, part });
        }
        let dirs = [(models, MODELS), (parts, ROUND)];
        let dirs = dirs.into_iter().filter_map(|(written, dir)| written.then_some(dir));
        let dirs: Vec<&'static str> = dirs.collect();
        self.files.sync(dirs.iter().copied())?;
        Ok((rows, dirs))
    }
}
