//! Letters and their answers.

use std::collections::HashMap;

use bytes::Bytes;
use pet_ledger::{Epoch, LedgerError, Letter, LetterId, Limits, Posted, ReplicaId};
use tokio_postgres::types::Type;

use super::{fixed, signed, unsigned, BYTES, INT};
use crate::{
    error::Does,
    server::{Lane, Server},
};

/// Who posts waits here for who has begun before, until that is done: so ids grow in the order in which letters are seen.
const LOCK: &str = "SELECT FROM $SCHEMA.inbox FOR UPDATE";

/// Letters are counted only where there may be too many: ids follow one another, so that no more wait than there are from the first
/// one on. (To count them means to read all that was answered since the server last cleaned up.)
const POST: &str = "
WITH new AS (
    SELECT * FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS new(replica, kind, key, body, number)
), there AS (
    SELECT new.number, letters.id FROM new JOIN $SCHEMA.letters
    ON letters.replica = new.replica AND letters.kind = new.kind AND letters.key = new.key AND letters.key <> ''
), fresh AS (
    SELECT new.*, (SELECT last FROM $SCHEMA.inbox) + row_number() OVER (ORDER BY number) AS id
    FROM new WHERE number NOT IN (SELECT number FROM there)
), of_one AS (
    SELECT fresh.replica, count(*)
        + (SELECT count(*) FROM $SCHEMA.letters WHERE letters.replica = fresh.replica) AS waiting
    FROM fresh GROUP BY fresh.replica
), full_ AS (
    SELECT CASE
        WHEN (SELECT count(*) FROM fresh) = 0 THEN false
        WHEN COALESCE((SELECT last FROM $SCHEMA.inbox) + 1 - (SELECT min(id) FROM $SCHEMA.letters), 0)
            + (SELECT count(*) FROM fresh) <= least($5, $6) THEN false
        ELSE (SELECT count(*) FROM $SCHEMA.letters) + (SELECT count(*) FROM fresh) > $5
            OR EXISTS (SELECT FROM of_one WHERE waiting > $6)
    END AS now
), posted AS (
    INSERT INTO $SCHEMA.letters (id, replica, kind, key, body)
    SELECT id, replica, kind, key, body FROM fresh WHERE NOT (SELECT now FROM full_)
), counted AS (
    UPDATE $SCHEMA.inbox SET last = last + (SELECT count(*) FROM fresh) WHERE NOT (SELECT now FROM full_)
)
SELECT number, id, (SELECT now FROM full_),
    CASE WHEN (SELECT now FROM full_) THEN (SELECT count(*) FROM $SCHEMA.letters) ELSE 0 END,
    pg_notify('$SCHEMA', 'letters ' || (SELECT last FROM $SCHEMA.inbox) + (SELECT count(*) FROM fresh))::text
FROM (SELECT number, id FROM there UNION ALL SELECT number, id FROM fresh) AS ids
ORDER BY number
";

const LETTERS: &str = "
WITH few AS (
    SELECT id, replica, kind, key, body,
        sum(octet_length(key) + octet_length(body)) OVER (ORDER BY id) AS total,
        row_number() OVER (ORDER BY id) AS number
    FROM (SELECT * FROM $SCHEMA.letters WHERE id > $1 ORDER BY id LIMIT $2) AS letters
)
SELECT ledger.epoch, few.id, few.replica, few.kind, few.key, few.body
FROM $SCHEMA.ledger LEFT JOIN few ON few.total <= $3 OR few.number = 1
ORDER BY few.id
";

const ANSWERS: &str =
    "SELECT letter, body FROM $SCHEMA.answers WHERE replica = $1 ORDER BY letter LIMIT $2";

const TAKEN: &str = "DELETE FROM $SCHEMA.answers WHERE replica = $1 AND letter = ANY($2)";

pub(super) async fn post(
    server: &Server,
    letters: Vec<Letter>,
) -> Result<Vec<LetterId>, LedgerError> {
    Letter::check(&letters)?;
    if letters.is_empty() {
        return Ok(Vec::new());
    }
    // A letter that is there twice is sent once.
    let mut first = HashMap::new();
    let mut once: Vec<&Letter> = Vec::new();
    let which: Vec<_> = letters
        .iter()
        .map(|letter| {
            let next = once.len();
            let name = (letter.from, letter.kind, &letter.key);
            let at = if letter.key.is_empty() { next } else { *first.entry(name).or_insert(next) };
            if at == next {
                once.push(letter);
            }
            at
        })
        .collect();
    let replicas: Vec<_> = once.iter().map(|letter| &letter.from.0[..]).collect();
    let kinds: Vec<_> = once.iter().map(|letter| i16::from(letter.kind)).collect();
    let keys: Vec<_> = once.iter().map(|letter| &letter.key[..]).collect();
    let bodies: Vec<_> = once.iter().map(|letter| &letter.body[..]).collect();
    let (of_all, of_one) = (Limits::ALL.waiting as i64, Limits::ALL.waiting_of_one as i64);
    let values = [
        (&replicas as _, Type::BYTEA_ARRAY),
        (&kinds as _, Type::INT2_ARRAY),
        (&keys as _, Type::BYTEA_ARRAY),
        (&bodies as _, Type::BYTEA_ARRAY),
        (&of_all as _, INT),
        (&of_one as _, INT),
    ];
    let rows = server.run_locked(LOCK, POST, &values).await?;
    if let Some(row) = rows.iter().find(|row| row.get::<_, bool>(2)) {
        let waiting = usize::try_from(row.get::<_, i64>(3)).unwrap_or(0);
        let most = Limits::ALL.waiting;
        return Err(LedgerError::Full { waiting, most });
    }
    let ids: Vec<_> = rows.iter().map(|row| LetterId(unsigned(row.get(1)))).collect();
    let id = |at: usize| ids.get(at).copied();
    which
        .into_iter()
        .map(id)
        .collect::<Option<_>>()
        .ok_or_else(|| LedgerError::Damaged { what: "the table of letters".into() })
}

pub(super) async fn letters(
    server: &Server,
    epoch: Epoch,
    after: LetterId,
    most: usize,
    most_bytes: usize,
) -> Result<Vec<Posted>, LedgerError> {
    let (after, most, most_bytes) =
        (signed(after.0), signed(most as u64), signed(most_bytes as u64));
    let values = [(&after as _, INT), (&most as _, INT), (&most_bytes as _, INT)];
    let rows = server.run(Lane::Long, Does::Read, LETTERS, &values).await?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in rows {
        let now = Epoch(unsigned(row.get(0)));
        if now != epoch {
            return Err(LedgerError::Fenced { epoch: now });
        }
        let Some(id) = row.get::<_, Option<i64>>(1) else { break };
        let letter = Letter {
            from: ReplicaId(fixed(row.get(2), "the sender of a letter")?),
            kind: u8::try_from(row.get::<_, i16>(3)).unwrap_or(u8::MAX),
            key: Bytes::from(row.get::<_, Vec<u8>>(4)),
            body: Bytes::from(row.get::<_, Vec<u8>>(5)),
        };
        letters.push(Posted { id: LetterId(unsigned(id)), letter });
    }
    Ok(letters)
}

pub(super) async fn answers(
    server: &Server,
    to: ReplicaId,
    most: usize,
) -> Result<Vec<(LetterId, Bytes)>, LedgerError> {
    let (to, most) = (&to.0[..], signed(most.min(Limits::ALL.letters) as u64));
    let values = [(&to as _, BYTES), (&most as _, INT)];
    let rows = server.run(Lane::Long, Does::Read, ANSWERS, &values).await?;
    let answer = |row: tokio_postgres::Row| {
        (LetterId(unsigned(row.get(0))), Bytes::from(row.get::<_, Vec<u8>>(1)))
    };
    Ok(rows.into_iter().map(answer).collect())
}

pub(super) async fn taken(
    server: &Server,
    to: ReplicaId,
    letters: Vec<LetterId>,
) -> Result<(), LedgerError> {
    let letters: Vec<_> = letters.iter().map(|id| signed(id.0)).collect();
    let to = &to.0[..];
    let values = [(&to as _, BYTES), (&letters as _, Type::INT8_ARRAY)];
    server.run(Lane::Long, Does::Write, TAKEN, &values).await.map(drop)
}
