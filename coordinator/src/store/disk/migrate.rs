//! Stores of the first version: what is sealed in them is sealed anew.

use std::path::Path;

use pet_core::coordinator::Record;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{
    database::{broken_by, file_of, DROPPED, FILES, LOG, PARTS},
    files::{Files, MODELS, ROUND},
    vault::{Place, Vault},
};
use crate::store::StoreError;

/// A table of sealed rows, and the places that they are at.
type Sealed = (TableDefinition<'static, u64, &'static [u8]>, fn(u64) -> Place);

/// Seals records and their large parts as the second version does. All of it becomes true with the
/// transaction, or nothing: files get new names, and the old ones are removed after it.
pub(super) fn seal_anew(
    transaction: &WriteTransaction,
    vault: &Vault,
    files: &Files,
    path: &Path,
) -> Result<(), StoreError> {
    let told = |error: redb::Error| broken_by("write", path, error);
    let damaged =
        |problem: &str| StoreError::Damaged { path: path.to_owned(), problem: problem.to_owned() };
    let anew = |place: Place, bytes: &[u8]| {
        let opened = vault.open_first(bytes).map_err(|_| damaged("a record does not open"))?;
        Ok::<_, StoreError>((vault.close(place, &opened), opened))
    };
    let mut round = None;
    let places: [Sealed; 2] = [(LOG, Place::Record), (PARTS, Place::Part)];
    for (table, place) in places {
        let is_log = round.is_none();
        let mut table = transaction.open_table(table).map_err(|e| told(e.into()))?;
        let mut rows = Vec::new();
        for row in table.iter().map_err(|e| told(e.into()))? {
            let (number, bytes) = row.map_err(|e| told(e.into()))?;
            rows.push((number.value(), bytes.value().to_vec()));
        }
        for (number, bytes) in rows {
            let (sealed, opened) = anew(place(number), &bytes)?;
            table.insert(number, &sealed[..]).map_err(|e| told(e.into()))?;
            if is_log && round.is_none() {
                if let Ok(Record::RoundBegan { round_id, parameters, .. }) =
                    Record::from_bytes(&opened, None)
                {
                    round = Some(format!("{round_id}_{}", parameters.seed));
                }
            }
        }
    }
    let mut table = transaction.open_table(FILES).map_err(|e| told(e.into()))?;
    let mut dropped = transaction.open_table(DROPPED).map_err(|e| told(e.into()))?;
    let mut rows = Vec::new();
    for row in table.iter().map_err(|e| told(e.into()))? {
        let (number, row) = row.map_err(|e| told(e.into()))?;
        rows.push((number.value(), file_of(row.value(), path)?));
    }
    // Models are public.
    rows.retain(|(_, file)| !file.name.starts_with(MODELS));
    for (number, old) in &rows {
        let (sealed, _) = anew(Place::Part(*number), &files.read(old)?)?;
        let kind = if old.name.contains("mask") { "mask" } else { "aggregate" };
        let round = round.as_deref().ok_or_else(|| damaged("a part is of no round"))?;
        // The zero sets it apart from what will be written.
        let new = files.write(format!("{ROUND}/{kind}-0{number}-{round}"), &sealed)?;
        let row = (&new.name[..], new.length, &new.digest[..]);
        table.insert(*number, row).map_err(|e| told(e.into()))?;
        dropped.insert(&old.name[..], ()).map_err(|e| told(e.into()))?;
    }
    if !rows.is_empty() {
        files.sync([ROUND])?;
    }
    Ok(())
}
