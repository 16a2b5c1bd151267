//! The log.

use bytes::Bytes;
use pet_ledger::{Append, Appended, Elapsed, Entry, EntryHash, Epoch, Head, LedgerError, Position};
use tokio_postgres::{types::Type, Row};

use super::{fixed, micros, of_micros, signed, unsigned, BYTES, INT};
use crate::{
    error::Does,
    schema,
    server::{Lane, Server},
};

/// What a head is made of.
macro_rules! head {
    () => {
        "epoch, position, hash, first, before, schema, elapsed_at, \
         elapsed + greatest(0, (extract(epoch FROM clock_timestamp() - elapsed_said) * 1000000)::bigint)"
    };
}

const HEAD: &str = concat!("SELECT ", head!(), " FROM $SCHEMA.ledger");

/// One statement, and so one transaction: nothing of it is done if the row is not as it must be. Who else would change the row
/// waits; who had to wait sees it as it is then.
const APPEND: &str = concat!(
    "
WITH head AS (
    UPDATE $SCHEMA.ledger SET
        position = $4,
        hash = $5,
        elapsed_at = CASE WHEN $6 IS NULL THEN elapsed_at ELSE $4 END,
        elapsed = COALESCE($6, elapsed),
        elapsed_said = CASE WHEN $6 IS NULL THEN elapsed_said ELSE clock_timestamp() END
    WHERE epoch = $1 AND position = $2 AND hash = $3
    RETURNING ",
    head!(),
    "
), entered AS (
    INSERT INTO $SCHEMA.entries (position, epoch, hash, bytes)
    SELECT e.position, $1, e.hash, e.bytes
    FROM head, unnest($7, $8, $9) AS e(position, hash, bytes)
), answered AS (
    DELETE FROM $SCHEMA.letters USING unnest($10, $11) AS a(id, body)
    WHERE letters.id = a.id AND EXISTS (SELECT FROM head)
    RETURNING letters.replica, letters.id, a.body
), told AS (
    INSERT INTO $SCHEMA.answers (replica, letter, body) SELECT replica, id, body FROM answered
)
SELECT head.*,
    CASE WHEN $4 > $2 THEN pg_notify('$SCHEMA', 'log ' || $1 || ' ' || $4)::text END,
    (SELECT count(pg_notify('$SCHEMA', 'answers ' || encode(whose.replica, 'hex'))::text)
        FROM (SELECT DISTINCT replica FROM answered) AS whose)
FROM head"
);

/// Lengths are known without reading what is long.
const READ: &str = "
WITH few AS (
    SELECT position, epoch, hash, bytes, sum(octet_length(bytes)) OVER (ORDER BY position) AS total
    FROM (SELECT * FROM $SCHEMA.entries WHERE position > $1 ORDER BY position LIMIT $2) AS entries
)
SELECT ledger.first, few.position, few.epoch, few.hash, few.bytes
FROM $SCHEMA.ledger LEFT JOIN few ON few.total <= $3 OR few.position = $1 + 1
ORDER BY few.position
";

const LOCK: &str = "SELECT FROM $SCHEMA.ledger FOR UPDATE";

/// Only says where the log begins now: whoever appends or renews the lease waits for this.
const FORGET: &str = "
WITH until AS (
    SELECT least($2, position + 1) AS position FROM $SCHEMA.ledger WHERE epoch = $1 AND first < $2
), hash AS (
    SELECT entries.hash FROM $SCHEMA.entries, until WHERE entries.position = until.position - 1
), moved AS (
    UPDATE $SCHEMA.ledger SET
        first = until.position,
        before = COALESCE((SELECT hash.hash FROM hash), ledger.before)
    FROM until
)
SELECT epoch FROM $SCHEMA.ledger
";

/// Entries that nobody can read any more, some at a time: a round's may take longer to delete than a lease lasts.
const SWEEP: &str = "
DELETE FROM $SCHEMA.entries WHERE position IN (
    SELECT entries.position FROM $SCHEMA.entries, $SCHEMA.ledger
    WHERE entries.position < ledger.first ORDER BY entries.position LIMIT $1
) RETURNING position
";

/// How many entries are deleted at a time.
const SWEPT: i64 = 1000;

/// What a row says that has [`HEAD`].
fn of_row(row: &Row) -> Result<Head, LedgerError> {
    schema::version(u32::try_from(row.get::<_, i32>(5)).unwrap_or(0))?;
    let elapsed = match (row.get::<_, Option<i64>>(6), row.get::<_, Option<i64>>(7)) {
        (Some(at), Some(time)) => {
            Some(Elapsed { at: Position(unsigned(at)), time: of_micros(time) })
        }
        _ => None,
    };
    Ok(Head {
        epoch: Epoch(unsigned(row.get(0))),
        position: Position(unsigned(row.get(1))),
        hash: EntryHash(fixed(row.get(2), "the hash of the last entry")?),
        first: Position(unsigned(row.get(3))),
        before: EntryHash(fixed(row.get(4), "the hash before the first entry")?),
        elapsed,
        schema: row.get::<_, i32>(5).unsigned_abs(),
    })
}

pub(super) async fn head(server: &Server) -> Result<Head, LedgerError> {
    let rows = server.run(Lane::Quick, Does::Read, HEAD, &[]).await?;
    match rows.first() {
        Some(row) => of_row(row),
        None => Err(LedgerError::Damaged { what: "the table of the ledger".into() }),
    }
}

pub(super) async fn append(server: &Server, append: Append) -> Result<Appended, LedgerError> {
    append.check()?;
    let entries = append.to_entries();
    let (end, end_hash) =
        entries.last().map_or((append.after, append.hash), |last| (last.position, last.hash));
    let positions: Vec<_> = entries.iter().map(|entry| signed(entry.position.0)).collect();
    let hashes: Vec<_> = entries.iter().map(|entry| &entry.hash.0[..]).collect();
    let bytes: Vec<_> = entries.iter().map(|entry| &entry.bytes[..]).collect();
    let letters: Vec<_> = append.answers.iter().map(|(id, _)| signed(id.0)).collect();
    let answers: Vec<_> = append.answers.iter().map(|(_, bytes)| &bytes[..]).collect();
    let (epoch, after, end) = (signed(append.epoch.0), signed(append.after.0), signed(end.0));
    let (hash, end_hash) = (&append.hash.0[..], &end_hash.0[..]);
    let elapsed = append.elapsed.map(micros);
    let values = [
        (&epoch as _, INT),
        (&after as _, INT),
        (&hash as _, BYTES),
        (&end as _, INT),
        (&end_hash as _, BYTES),
        (&elapsed as _, INT),
        (&positions as _, Type::INT8_ARRAY),
        (&hashes as _, Type::BYTEA_ARRAY),
        (&bytes as _, Type::BYTEA_ARRAY),
        (&letters as _, Type::INT8_ARRAY),
        (&answers as _, Type::BYTEA_ARRAY),
    ];
    let rows = server.run(Lane::Long, Does::Write, APPEND, &values).await?;
    if let Some(row) = rows.first() {
        server.mail.removed(server, letters.len());
        return Ok(Appended::Done(of_row(row)?));
    }
    let head = head(server).await?;
    Ok(match head.epoch {
        epoch if epoch == append.epoch => Appended::Conflict(head),
        epoch => Appended::Fenced { epoch },
    })
}

pub(super) async fn read(
    server: &Server,
    after: Position,
    most: usize,
    most_bytes: usize,
) -> Result<Vec<Entry>, LedgerError> {
    let next = after.later(1);
    let (after, most, most_bytes) =
        (signed(after.0).min(i64::MAX - 1), signed(most as u64), signed(most_bytes as u64));
    // (A sum is of the type numeric, which is compared with it.)
    let values = [(&after as _, INT), (&most as _, INT), (&most_bytes as _, INT)];
    let rows = server.run(Lane::Long, Does::Read, READ, &values).await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let first = Position(unsigned(row.get(0)));
        if next < first {
            return Err(LedgerError::Forgotten { first });
        }
        let Some(position) = row.get::<_, Option<i64>>(1) else { break };
        let entry = Entry {
            position: Position(unsigned(position)),
            epoch: Epoch(unsigned(row.get(2))),
            hash: EntryHash(fixed(row.get(3), "the hash of an entry")?),
            bytes: Bytes::from(row.get::<_, Vec<u8>>(4)),
        };
        let must = next.later(entries.len());
        if entry.position != must {
            return Err(LedgerError::Damaged { what: format!("entry {must} of the log") });
        }
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) async fn forget(
    server: &Server,
    epoch: Epoch,
    before: Position,
) -> Result<(), LedgerError> {
    let (ours, before) = (signed(epoch.0), signed(before.0));
    let values = [(&ours as _, INT), (&before as _, INT)];
    let rows = server.run_locked(LOCK, FORGET, &values).await?;
    match rows.first().map(|row| Epoch(unsigned(row.get(0)))) {
        Some(now) if now != epoch => return Err(LedgerError::Fenced { epoch: now }),
        _ => {}
    }
    loop {
        let swept = server.run(Lane::Long, Does::Write, SWEEP, &[(&SWEPT as _, INT)]).await?;
        if (swept.len() as i64) < SWEPT {
            server.log.removed(server, 1);
            return Ok(());
        }
    }
}
