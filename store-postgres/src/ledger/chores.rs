//! Beats, sweeping, waiting, header and clock.

use std::time::Duration;

use bytes::Bytes;
use pet_ledger::{
    hints::Hints, Beat, Epoch, Known, LedgerError, LetterId, Limits, Position, ReplicaId, Seen,
};

use super::{fixed, micros, of_micros, signed, unsigned, BYTES, INT, TEXT};
use crate::{
    error::Does,
    server::{Lane, Server},
};

const BEAT: &str = "
INSERT INTO $SCHEMA.beats (replica, name, address, info, said)
SELECT $1, $2, $3, $4, clock_timestamp()
WHERE EXISTS (SELECT FROM $SCHEMA.beats WHERE replica = $1) OR (SELECT count(*) FROM $SCHEMA.beats) < $5
ON CONFLICT (replica) DO UPDATE
SET name = excluded.name, address = excluded.address, info = excluded.info, said = excluded.said
RETURNING true
";

const REPLICAS: &str = "
SELECT replica, name, address, info, (extract(epoch FROM clock_timestamp() - said) * 1000000)::bigint
FROM $SCHEMA.beats ORDER BY replica
";

const LOCK: &str = "SELECT FROM $SCHEMA.ledger FOR UPDATE";

const SWEEP: &str = "
WITH silent AS (
    SELECT replica FROM (
        SELECT replica FROM $SCHEMA.beats
        UNION SELECT replica FROM $SCHEMA.letters
        UNION SELECT replica FROM $SCHEMA.answers
    ) AS known
    WHERE EXISTS (SELECT FROM $SCHEMA.ledger WHERE epoch = $1)
    AND NOT EXISTS (
        SELECT FROM $SCHEMA.beats WHERE beats.replica = known.replica
        AND said >= clock_timestamp() - $2 * interval '1 microsecond'
    )
), beats_ AS (
    DELETE FROM $SCHEMA.beats USING silent WHERE beats.replica = silent.replica
), letters_ AS (
    DELETE FROM $SCHEMA.letters USING silent WHERE letters.replica = silent.replica
), answers_ AS (
    DELETE FROM $SCHEMA.answers USING silent WHERE answers.replica = silent.replica
)
SELECT ledger.epoch, silent.replica FROM $SCHEMA.ledger LEFT JOIN silent ON true ORDER BY silent.replica
";

const NEWS: &str = "
SELECT epoch, position, (SELECT max(id) FROM $SCHEMA.letters),
    EXISTS (SELECT FROM $SCHEMA.answers WHERE replica = $1)
FROM $SCHEMA.ledger
";

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

const HEADER: &str = "SELECT header FROM $SCHEMA.ledger";

const FIRST_HEADER: &str =
    "UPDATE $SCHEMA.ledger SET header = COALESCE(header, $1) RETURNING header";

pub(super) async fn beat(server: &Server, beat: Beat) -> Result<(), LedgerError> {
    beat.check()?;
    let (replica, info) = (&beat.replica.0[..], &beat.info[..]);
    let most = Limits::ALL.replicas as i64;
    let values = [
        (&replica as _, BYTES),
        (&beat.name as _, TEXT),
        (&beat.address as _, TEXT),
        (&info as _, BYTES),
        (&most as _, INT),
    ];
    let rows = server.run(Lane::Quick, Does::Write, BEAT, &values).await?;
    if rows.is_empty() {
        let most = Limits::ALL.replicas;
        return Err(LedgerError::TooLarge {
            what: "the number of replicas",
            number: most + 1,
            most,
        });
    }
    Ok(())
}

pub(super) async fn replicas(server: &Server) -> Result<Vec<Seen>, LedgerError> {
    let rows = server.run(Lane::Quick, Does::Read, REPLICAS, &[]).await?;
    let seen = rows.into_iter().map(|row| {
        let replica = ReplicaId(fixed(row.get(0), "the table of replicas")?);
        let (name, address) = (row.get(1), row.get(2));
        let info = Bytes::from(row.get::<_, Vec<u8>>(3));
        Ok(Seen { beat: Beat { replica, name, address, info }, age: of_micros(row.get(4)) })
    });
    seen.collect()
}

pub(super) async fn sweep(
    server: &Server,
    epoch: Epoch,
    silent_for: Duration,
) -> Result<Vec<ReplicaId>, LedgerError> {
    let (ours, time) = (signed(epoch.0), micros(silent_for));
    let values = [(&ours as _, INT), (&time as _, INT)];
    let rows = server.run_locked(LOCK, SWEEP, &values).await?;
    let mut silent = Vec::new();
    for row in rows {
        let now = Epoch(unsigned(row.get(0)));
        if now != epoch {
            return Err(LedgerError::Fenced { epoch: now });
        }
        if let Some(replica) = row.get::<_, Option<&[u8]>>(1) {
            silent.push(ReplicaId(fixed(replica, "the table of replicas")?));
        }
    }
    Ok(silent)
}

pub(super) async fn changed(
    server: &Server,
    hints: &Hints,
    poll: Duration,
    known: Known,
    at_most: Duration,
) -> Result<bool, LedgerError> {
    hints.wait(poll, (known, at_most), || has_news(server, &known)).await
}

async fn has_news(server: &Server, known: &Known) -> Result<bool, LedgerError> {
    let to = known.answers.map(|replica| replica.0.to_vec());
    let rows = server.run(Lane::Quick, Does::Read, NEWS, &[(&to as _, BYTES)]).await?;
    let Some(row) = rows.first() else { return Ok(true) };
    let letter = row.get::<_, Option<i64>>(2).map(|id| LetterId(unsigned(id)));
    Ok(Epoch(unsigned(row.get(0))) != known.epoch
        || Position(unsigned(row.get(1))) > known.position
        || known.letters.is_some_and(|last| letter.is_some_and(|id| id > last))
        || row.get(3))
}

pub(super) async fn now(server: &Server) -> Result<Duration, LedgerError> {
    let rows = server.run(Lane::Quick, Does::Read, NOW, &[]).await?;
    Ok(rows.first().map(|row| of_micros(row.get(0))).unwrap_or_default())
}

pub(super) async fn header(server: &Server, new: Bytes) -> Result<Bytes, LedgerError> {
    if new.len() > Limits::ALL.header {
        let (what, number, most) = ("the header's length", new.len(), Limits::ALL.header);
        return Err(LedgerError::TooLarge { what, number, most });
    }
    let rows = server.run(Lane::Quick, Does::Read, HEADER, &[]).await?;
    if let Some(there) = rows.first().and_then(|row| row.get::<_, Option<Vec<u8>>>(0)) {
        return Ok(there.into());
    }
    let new = &new[..];
    let rows = server.run(Lane::Quick, Does::Write, FIRST_HEADER, &[(&new as _, BYTES)]).await?;
    let there = rows.first().and_then(|row| row.get::<_, Option<Vec<u8>>>(0));
    there.map(Bytes::from).ok_or_else(|| LedgerError::Damaged { what: "the header".into() })
}
