//! The tables.

use pet_ledger::{LedgerError, SCHEMA};

use crate::{
    error::Does,
    server::{Lane, Server},
    ENGINE,
};

/// The earliest version of the tables that is taken as it is: that of the release before.
const LEAST: u32 = if SCHEMA > 1 { SCHEMA - 1 } else { 1 };

/// Makes the tables, if they are not there. (`STORAGE EXTERNAL`: what is sealed cannot be compressed, so that it is not tried.
/// `fillfactor`: rows that change all the time need room beside them to be changed in place.)
const TABLES: &str = r#"
CREATE SCHEMA IF NOT EXISTS $SCHEMA;
CREATE TABLE IF NOT EXISTS $SCHEMA.ledger (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema integer NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    replica bytea,
    name text,
    until timestamptz,
    position bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    first bigint NOT NULL DEFAULT 1,
    before bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    elapsed_at bigint,
    elapsed bigint,
    elapsed_said timestamptz,
    header bytea
) WITH (fillfactor = 20);
INSERT INTO $SCHEMA.ledger (schema) VALUES ($VERSION) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS $SCHEMA.inbox (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    last bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
INSERT INTO $SCHEMA.inbox DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS $SCHEMA.entries (
    position bigint PRIMARY KEY, epoch bigint NOT NULL, hash bytea NOT NULL, bytes bytea NOT NULL
);
ALTER TABLE $SCHEMA.entries ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS $SCHEMA.letters (
    id bigint PRIMARY KEY, replica bytea NOT NULL, kind smallint NOT NULL, key bytea NOT NULL, body bytea NOT NULL
);
ALTER TABLE $SCHEMA.letters ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS letters_of ON $SCHEMA.letters (replica);
CREATE UNIQUE INDEX IF NOT EXISTS letters_once ON $SCHEMA.letters (replica, kind, key) WHERE key <> '';
CREATE TABLE IF NOT EXISTS $SCHEMA.answers (
    replica bytea NOT NULL, letter bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (replica, letter)
);
CREATE TABLE IF NOT EXISTS $SCHEMA.beats (
    replica bytea PRIMARY KEY, name text NOT NULL, address text NOT NULL, info bytea NOT NULL, said timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS $SCHEMA.parts (
    name text COLLATE "C" PRIMARY KEY, length bigint NOT NULL, hash bytea NOT NULL, stored timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS $SCHEMA.slices (
    name text COLLATE "C", number integer, bytes bytea NOT NULL, PRIMARY KEY (name, number)
);
ALTER TABLE $SCHEMA.slices ALTER COLUMN bytes SET STORAGE EXTERNAL;
"#;

/// Makes the tables, if they are not there. Several may do so at once.
pub(crate) async fn initialize(server: &Server) -> Result<(), LedgerError> {
    let tables = server.of_schema(TABLES).replace("$VERSION", &SCHEMA.to_string());
    let begin = server.begin(server.deadline(0));
    let lock = format!("SELECT pg_advisory_xact_lock(hashtext('{}'))", server.schema);
    let all = format!("{begin}; {lock}; SET LOCAL client_min_messages = warning; {tables} COMMIT");
    server
        .call(Lane::Long, Does::Write, server.deadline(0), async |client| {
            Ok(client.batch_execute(&all).await?)
        })
        .await?;
    check(server).await
}

/// Refuses tables that are not there, or of a version that is not known.
pub(crate) async fn check(server: &Server) -> Result<(), LedgerError> {
    let rows =
        server.run(Lane::Quick, Does::Read, "SELECT schema FROM $SCHEMA.ledger", &[]).await?;
    let found = rows.first().map(|row| row.get::<_, i32>(0));
    let Some(found) = found else {
        return Err(LedgerError::Damaged { what: format!("the table {}.ledger", server.schema) });
    };
    version(u32::try_from(found).unwrap_or(0))
}

/// Refuses a version that is not known.
pub(crate) fn version(found: u32) -> Result<(), LedgerError> {
    let remedy = match found {
        LEAST..=SCHEMA => return Ok(()),
        _ if found > SCHEMA => "update this replica to the release that the others run",
        _ => "update to the release in between first, and let it migrate",
    };
    Err(LedgerError::Schema { engine: ENGINE, found, least: LEAST, ours: SCHEMA, remedy })
}
