//! Writing: records, chunks, completed rounds, and what is not needed any more, all or nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use pet_core::{
    mask::accounting::Ledger,
    v2::coordinator::{Completed, Large, Object, ObjectKind, Record},
};

use super::{write_chunk, RoundsDatabase, CHUNKS, COMPLETED, SPENT};
use redb::ReadableTable;

use crate::store::{
    disk::{
        database::{broken_by, DROPPED, LOG, META},
        files::{FileRef, MODELS, ROUND},
        rounds::Location,
        vault::Place,
    },
    StoreError,
};

/// A record on its way to the disk, and its large part if it has one.
struct Row {
    record: Record,
    number: u64,
    part: Option<Part>,
}

enum Part {
    Chunk { object: Object, offset: u64, location: Location },
    Completed(FileRef),
}

/// What changes for whoever reads.
#[derive(Default)]
struct Changes {
    added: BTreeMap<Object, BTreeMap<u64, Location>>,
    removed: BTreeSet<Object>,
    completed: BTreeMap<u64, FileRef>,
    forgotten: BTreeSet<u64>,
}

impl RoundsDatabase {
    /// Makes these records safe, all or none, and the time that the phase has been going on. After an error nothing
    /// more may be written.
    pub fn commit(
        &mut self,
        records: Vec<Record>,
        mut clock: Option<Duration>,
    ) -> Result<(), StoreError> {
        let (rows, synced) = self.write_parts(records)?;
        // Of what was removed before this it is sure now.
        let is_synced = |name: &String| synced.iter().any(|dir| name.starts_with(dir));
        let removed = std::mem::take(&mut self.base.removed);
        let (gone, not_sure): (Vec<String>, _) = removed.into_iter().partition(is_synced);
        self.base.removed = not_sure;
        let path = self.base.path.clone();
        let (mut garbage, mut changes) = (Vec::new(), Changes::default());
        let transaction = self.base.write()?;
        macro_rules! told {
            ($result:expr) => {
                $result.map_err(|error| broken_by("write", &path, error.into()))?
            };
        }
        {
            let mut log = told!(transaction.open_table(LOG));
            let mut chunks = told!(transaction.open_table(CHUNKS));
            let mut completed = told!(transaction.open_table(COMPLETED));
            let mut spent = told!(transaction.open_table(SPENT));
            let mut meta = told!(transaction.open_table(META));
            for Row { record, number, part } in rows {
                if record.begins_phase() {
                    clock = clock.or(Some(Duration::ZERO));
                }
                let superseded = match &record {
                    Record::RoundBegan { terms, .. } => {
                        // What came before is over: its records are forgotten.
                        told!(log.retain(|_, _| false));
                        let (numbers, files) = self.leave_rounds(terms.round, &mut changes);
                        garbage.extend(files);
                        numbers
                    }
                    Record::UploadDropped { updater } => {
                        let kind = ObjectKind::Update(*updater);
                        self.drop_object(Object { round: self.round, kind }, &mut changes)
                    }
                    _ => Vec::new(),
                };
                for number in superseded {
                    told!(chunks.remove(number));
                }
                let bytes = self.base.vault.close(Place::Record(number), &record.to_bytes());
                told!(log.insert(number, &bytes[..]));
                match part {
                    None => {}
                    Some(Part::Chunk { object, offset, location }) => {
                        let bytes = write_chunk(&object, offset, &location);
                        let bytes = self.base.vault.close(Place::Chunk(number), &bytes);
                        told!(chunks.insert(number, &bytes[..]));
                        self.files.insert(Arc::clone(&location.file), object.round);
                        changes.added.entry(object).or_default().insert(offset, location);
                    }
                    Some(Part::Completed(file)) => {
                        let Record::Completed(done) = &record else { continue };
                        let round = done.round();
                        told!(meta.insert("completed", &number.to_le_bytes()[..]));
                        let noise = done.certificate.terms.noise;
                        for header in done.headers().filter(|_| noise.is_some()) {
                            let updater = &header.updater.as_bytes()[..];
                            let before = told!(spent.get(updater)).map(|parts| parts.value());
                            let (units, rounds) = before.unwrap_or_default();
                            let mut ledger = Ledger::from_parts(units, rounds);
                            ledger.charge(noise.map_or(0, |terms| terms.multiplier_thousandths));
                            told!(spent.insert(updater, ledger.to_parts()));
                        }
                        let row = (&file.name[..], file.length, &file.digest[..]);
                        told!(completed.insert(round, row));
                        changes.completed.insert(round, file);
                        for (round, file) in self.forget_completed(&mut changes) {
                            told!(completed.remove(round));
                            garbage.push(file.name);
                        }
                    }
                }
            }
            let mut dropped = told!(transaction.open_table(DROPPED));
            for name in &gone {
                told!(dropped.remove(&name[..]));
            }
            for name in &garbage {
                told!(dropped.insert(&name[..], ()));
            }
            if let Some(clock) = clock {
                let millis = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
                told!(meta.insert("clock", &millis.to_le_bytes()[..]));
            }
        }
        told!(transaction.commit());
        self.publish(changes);
        self.base.files.remove(&garbage);
        self.base.removed.append(&mut garbage);
        Ok(())
    }

    /// Has everyone read what is there now.
    fn publish(&self, changes: Changes) {
        let Changes { added, removed, completed, forgotten } = changes;
        let mut index = self.index.lock();
        // One by one: there are many objects, and few that leave in the middle of a round.
        for object in &removed {
            index.objects.remove(object);
        }
        for (object, chunks) in added {
            index.objects.entry(object).or_default().extend(chunks);
        }
        index.completed.extend(completed);
        for round in &forgotten {
            index.completed.remove(round);
        }
    }

    /// A round begins: of those before it only the latest completed ones keep their objects. Gives the numbers of the
    /// chunks that are not needed any more, and the files.
    fn leave_rounds(&mut self, begins: u64, changes: &mut Changes) -> (Vec<u64>, Vec<String>) {
        let mut stay: BTreeSet<u64> =
            self.completed(changes).keys().rev().take(self.kept.audited).copied().collect();
        stay.insert(begins);
        let index = self.index.lock();
        let objects = index.objects.keys().chain(changes.added.keys());
        let gone: BTreeSet<Object> =
            objects.filter(|object| !stay.contains(&object.round)).copied().collect();
        drop(index);
        let numbers =
            gone.into_iter().flat_map(|object| self.drop_object(object, changes)).collect();
        let mut files = Vec::new();
        self.files.retain(|name, round| {
            let stays = stay.contains(round);
            if !stays {
                files.push(name.to_string());
            }
            stays
        });
        (numbers, files)
    }

    /// The completed rounds, those of this transaction included.
    fn completed(&self, changes: &Changes) -> BTreeMap<u64, FileRef> {
        let mut completed = self.index.lock().completed.clone();
        completed.extend(changes.completed.clone());
        completed.retain(|round, _| !changes.forgotten.contains(round));
        completed
    }

    /// Forgets the earliest completed rounds if there are too many.
    fn forget_completed(&self, changes: &mut Changes) -> Vec<(u64, FileRef)> {
        let mut completed = self.completed(changes);
        let most = self.kept.rounds.max(self.kept.audited).max(1);
        let mut forgotten = Vec::new();
        while completed.len() > most {
            forgotten.extend(completed.pop_first());
        }
        changes.forgotten.extend(forgotten.iter().map(|(round, _)| *round));
        forgotten
    }

    /// The numbers of an object's chunks, which are no longer there.
    fn drop_object(&self, object: Object, changes: &mut Changes) -> Vec<u64> {
        let added = changes.added.remove(&object).unwrap_or_default();
        let stored = match changes.removed.insert(object) {
            true => self.index.lock().objects.get(&object).cloned().unwrap_or_default(),
            false => BTreeMap::new(),
        };
        stored.into_values().chain(added.into_values()).map(|location| location.number).collect()
    }

    /// Numbers the records, and writes their large parts. Gives the directories as well that were synced after that.
    fn write_parts(
        &mut self,
        records: Vec<Record>,
    ) -> Result<(Vec<Row>, Vec<&'static str>), StoreError> {
        let mut rows = Vec::with_capacity(records.len());
        let (mut models, mut chunks) = (false, false);
        let mut open: Option<(Arc<str>, Vec<u8>)> = None;
        for record in records {
            let number = self.base.next;
            self.base.next += 1;
            if matches!(record, Record::RoundBegan { .. }) {
                self.close_file(open.take())?;
            }
            self.enter_round(&record);
            let part = match record.large(self.round) {
                Some(Large::Chunk { object, offset, data }) => {
                    chunks = true;
                    let tag = self.base.tag.as_deref().unwrap_or_default();
                    let name = || (format!("{ROUND}/chunks-{number}-{tag}").into(), Vec::new());
                    let (name, bytes) = open.get_or_insert_with(name);
                    let closed = self.base.vault.close(Place::Part(number), &data);
                    let (file, position) = (Arc::clone(name), bytes.len() as u64);
                    bytes.extend_from_slice(&closed);
                    let length = closed.len() as u64;
                    let location = Location { number, file, position, length };
                    Some(Part::Chunk { object, offset, location })
                }
                Some(Large::Completed(completed)) => {
                    models = true;
                    Some(Part::Completed(self.write_completed(&completed)?))
                }
                None => None,
            };
            rows.push(Row { record, number, part });
        }
        self.close_file(open)?;
        let dirs = [(models, MODELS), (chunks, ROUND)];
        let dirs = dirs.into_iter().filter_map(|(written, dir)| written.then_some(dir));
        let dirs: Vec<&'static str> = dirs.collect();
        self.base.files.sync(dirs.iter().copied())?;
        Ok((rows, dirs))
    }

    fn close_file(&self, file: Option<(Arc<str>, Vec<u8>)>) -> Result<(), StoreError> {
        match file {
            Some((name, bytes)) => self.base.files.write_unchecked(&name, &bytes),
            None => Ok(()),
        }
    }

    fn write_completed(&self, completed: &Completed) -> Result<FileRef, StoreError> {
        let context = completed.certificate.terms.context();
        let name = format!("{MODELS}/{}_{context}", completed.round());
        self.base.files.write(name, &completed.to_bytes())
    }
}
