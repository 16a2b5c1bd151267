//! Who leads.

use pet_ledger::{Ask, Epoch, Lease, LedgerError, ReplicaId};

use super::{fixed, micros, of_micros, signed, unsigned, BYTES, INT, TEXT};
use crate::{
    error::{lost, Does},
    safety,
    server::{Lane, Server},
};

/// Waits for whoever changes the row, and looks at it as it is then. Nobody has to hear of a renewal.
const TAKE: &str = "
UPDATE $SCHEMA.ledger SET
    epoch = CASE WHEN replica IS NOT DISTINCT FROM $1 THEN epoch ELSE epoch + 1 END,
    replica = $1,
    name = $2,
    until = clock_timestamp() + $3 * interval '1 microsecond',
    elapsed_at = COALESCE($4, elapsed_at),
    elapsed = COALESCE($5, elapsed),
    elapsed_said = CASE WHEN $4 IS NULL THEN elapsed_said ELSE clock_timestamp() END
WHERE CASE
    WHEN $6 IS NULL THEN replica IS NULL OR replica = $1 OR until <= clock_timestamp()
    ELSE replica = $1 AND epoch = $6
END
RETURNING epoch, CASE WHEN $6 IS NULL THEN pg_notify('$SCHEMA', '')::text END, current_setting('synchronous_commit')
";

const WHO: &str = "
SELECT replica, name, epoch, (extract(epoch FROM until - clock_timestamp()) * 1000000)::bigint
FROM $SCHEMA.ledger
";

const RELEASE: &str = "
UPDATE $SCHEMA.ledger SET epoch = epoch + 1, replica = NULL, name = NULL, until = NULL
WHERE replica = $1 AND epoch = $2
RETURNING pg_notify('$SCHEMA', '')::text
";

pub(super) async fn lease(server: &Server, ask: Ask) -> Result<Lease, LedgerError> {
    let (at, elapsed) = match ask.elapsed {
        Some(elapsed) => (Some(signed(elapsed.at.0)), Some(micros(elapsed.time))),
        None => (None, None),
    };
    let (replica, ttl) = (&ask.replica.0[..], micros(ask.ttl));
    let renews = ask.renews.map(|epoch| signed(epoch.0));
    let values = [
        (&replica as _, BYTES),
        (&ask.name as _, TEXT),
        (&ttl as _, INT),
        (&at as _, INT),
        (&elapsed as _, INT),
        (&renews as _, INT),
    ];
    // (Should it become free between the two looks, then it is asked for again.)
    for _ in 0..3 {
        let rows = server.run(Lane::Quick, Does::Write, TAKE, &values).await?;
        if let Some(row) = rows.first() {
            safety::check_commits(row.get(2))?;
            return Ok(Lease::Held { epoch: Epoch(unsigned(row.get(0))), left: ask.ttl });
        }
        let rows = server.run(Lane::Quick, Does::Read, WHO, &[]).await?;
        let Some(row) = rows.first() else { break };
        if let (Some(replica), Some(name)) = (row.get::<_, Option<&[u8]>>(0), row.get(1)) {
            return Ok(Lease::HeldBy {
                replica: ReplicaId(fixed(replica, "the lease")?),
                name,
                epoch: Epoch(unsigned(row.get(2))),
                left: of_micros(row.get::<_, Option<i64>>(3).unwrap_or(0)),
            });
        }
        if ask.renews.is_some() {
            return Err(LedgerError::Fenced { epoch: Epoch(unsigned(row.get(2))) });
        }
    }
    Err(lost(Does::Read, "the lease changes hands all the time".into()))
}

pub(super) async fn release(
    server: &Server,
    replica: ReplicaId,
    epoch: Epoch,
) -> Result<(), LedgerError> {
    let (replica, epoch) = (&replica.0[..], signed(epoch.0));
    let values = [(&replica as _, BYTES), (&epoch as _, INT)];
    server.run(Lane::Quick, Does::Write, RELEASE, &values).await.map(drop)
}
