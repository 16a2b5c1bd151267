//! Parts, in slices.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{future::try_join_all, TryStreamExt};
use pet_ledger::{LedgerError, Limits, PartName, Parts, Pending, StoredPart};
use tokio::time::timeout;
use tokio_postgres::types::Type;

use crate::{
    error::{Does, Failed},
    server::{Lane, Server},
    ENGINE,
};

/// The length of a slice: what the server reads and writes at once.
const SLICE: usize = 1 << 20;
/// How many slices are sent at once.
const AT_ONCE: usize = 4;
/// How many names are listed.
const MOST_NAMES: i64 = 1_000_000;

const ANNOUNCE: &str = "
INSERT INTO $SCHEMA.parts (name, length, hash, stored) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT DO NOTHING
";

const THERE: &str = "SELECT length, hash FROM $SCHEMA.parts WHERE name = $1";

const WRITE: &str = "INSERT INTO $SCHEMA.slices (name, number, bytes) VALUES ($1, $2, $3)";

const READ: &str = "
SELECT parts.length, parts.hash, slices.number, slices.bytes
FROM $SCHEMA.parts LEFT JOIN $SCHEMA.slices ON slices.name = parts.name
WHERE parts.name = $1 ORDER BY slices.number
";

const LIST: &str = "
SELECT name, (extract(epoch FROM clock_timestamp() - stored) * 1000000)::bigint
FROM $SCHEMA.parts ORDER BY name LIMIT $1
";

const REMOVE: &str = "
WITH slices_ AS (DELETE FROM $SCHEMA.slices WHERE name = ANY($1))
DELETE FROM $SCHEMA.parts WHERE name = ANY($1)
";

/// Parts in the ledger's database. Clones share their connections.
#[derive(Clone, Debug)]
pub struct PostgresParts {
    server: Server,
}

impl PostgresParts {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }

    async fn put_part(&self, name: PartName, bytes: Bytes) -> Result<(), LedgerError> {
        if bytes.len() > Limits::ALL.part {
            let (what, number, most) = ("a part's length", bytes.len(), Limits::ALL.part);
            return Err(LedgerError::TooLarge { what, number, most });
        }
        let (hash, length) = (*blake3::hash(&bytes).as_bytes(), bytes.len() as i64);
        let deadline = self.server.deadline(bytes.len());
        let begin = self.server.begin(deadline);
        let [announce, there, write] =
            [ANNOUNCE, THERE, WRITE].map(|statement| self.server.of_schema(statement));
        let (hash, name_text) = (&hash[..], name.as_str());
        let same = self
            .server
            .call(Lane::Long, Does::Write, deadline, async |client| {
                client.batch_execute(&begin).await?;
                let part = [
                    (&name_text as _, Type::TEXT),
                    (&length as _, Type::INT8),
                    (&hash as _, Type::BYTEA),
                ];
                // Who stores the same at the same time waits here until the other one is done.
                if client.execute_typed(&announce, &part).await? == 0 {
                    let rows = client.query_typed(&there, &part[..1]).await?;
                    client.batch_execute("COMMIT").await?;
                    return Ok(rows.first().is_some_and(|row| {
                        (row.get::<_, i64>(0), row.get::<_, &[u8]>(1)) == (length, hash)
                    }));
                }
                let slices: Vec<_> = (0i32..).zip(bytes.chunks(SLICE)).collect();
                for slices in slices.chunks(AT_ONCE) {
                    let sent = slices.iter().map(|(number, bytes)| {
                        let write = &write;
                        async move {
                            let slice = [
                                (&name_text as _, Type::TEXT),
                                (number as _, Type::INT4),
                                (bytes as _, Type::BYTEA),
                            ];
                            client.execute_typed(write, &slice).await
                        }
                    });
                    try_join_all(sent).await?;
                }
                client.batch_execute("COMMIT").await?;
                Ok(true)
            })
            .await?;
        if same {
            Ok(())
        } else {
            Err(LedgerError::PartDiffers { name })
        }
    }

    async fn get_part(&self, name: &PartName) -> Result<Option<Bytes>, LedgerError> {
        let (read, text) = (self.server.of_schema(READ), name.as_str());
        let deadline = self.server.deadline(Limits::ALL.part);
        // How long all of it may take is known once its length is; a server that has gone silent is not waited for so long.
        let silence = self.server.deadline(SLICE);
        let read = self.server.call(Lane::Long, Does::Read, deadline, async |client| {
            let query = client.query_typed_raw(
                &read,
                [(&text as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT)],
            );
            let rows = timeout(silence, query).await.map_err(|_| Failed::Late(silence))??;
            let mut rows = pin!(rows);
            let mut found = None;
            let mut bytes = BytesMut::new();
            while let Some(row) =
                timeout(silence, rows.try_next()).await.map_err(|_| Failed::Late(silence))??
            {
                if found.is_none() {
                    let length = usize::try_from(row.get::<_, i64>(0)).unwrap_or(0);
                    bytes.reserve(length.min(Limits::ALL.part));
                    found = Some((length, row.get::<_, Vec<u8>>(1)));
                }
                bytes.extend_from_slice(row.get::<_, Option<&[u8]>>(3).unwrap_or_default());
            }
            Ok(found.map(|(length, hash)| (length, hash, bytes.freeze())))
        });
        let Some((length, hash, bytes)) = read.await? else { return Ok(None) };
        if bytes.len() != length || blake3::hash(&bytes).as_bytes() != &hash[..] {
            return Err(LedgerError::Damaged { what: format!("the part {name}") });
        }
        Ok(Some(bytes))
    }
}

impl Parts for PostgresParts {
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()> {
        Box::pin(self.put_part(name, bytes))
    }

    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>> {
        Box::pin(self.get_part(name))
    }

    fn list(&self) -> Pending<'_, Vec<StoredPart>> {
        Box::pin(async {
            let values = [(&MOST_NAMES as _, Type::INT8)];
            let rows = self.server.run(Lane::Long, Does::Read, LIST, &values).await?;
            let parts = rows.into_iter().map(|row| {
                let name: &str = row.get(0);
                let name = name.parse().map_err(|error| {
                    let why = format!("the name of a part is {name:?}: {error}");
                    LedgerError::Engine { engine: ENGINE, why }
                })?;
                let age = u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
                Ok(StoredPart { name, age: Duration::from_micros(age) })
            });
            parts.collect()
        })
    }

    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()> {
        Box::pin(async move {
            let names: Vec<_> = names.iter().map(PartName::as_str).collect();
            let values = [(&names as _, Type::TEXT_ARRAY)];
            self.server.run(Lane::Long, Does::Write, REMOVE, &values).await?;
            self.server.parts.removed(&self.server, 1);
            self.server.room.removed(&self.server, 1);
            Ok(())
        })
    }
}
