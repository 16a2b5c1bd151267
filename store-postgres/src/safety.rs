//! Whether the server keeps what it acknowledges.

use pet_ledger::LedgerError;

use crate::{
    error::Does,
    server::{Lane, Server},
    ENGINE,
};

/// The oldest version, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

const LOOK: &str = "
SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
       current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)
";

/// Refuses a server that may lose what it has acknowledged, or is too old; tells what else there is to know.
pub(crate) async fn check(server: &Server) -> Result<Vec<String>, LedgerError> {
    let rows = server.run(Lane::Quick, Does::Read, LOOK, &[]).await?;
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    let (number, version): (i32, String) = (row.get(0), row.get(1));
    if number < OLDEST {
        return Err(LedgerError::Setting {
            setting: "postgres.url",
            why: format!("PostgreSQL {version} is too old: 15 or later is needed"),
        });
    }
    let (synchronous, fsync, pages): (String, String, String) =
        (row.get(2), row.get(3), row.get(4));
    refuse("synchronous_commit", &synchronous, SYNCHRONOUS)?;
    refuse("fsync", &fsync, "Set it to on, and restart the server")?;
    refuse("full_page_writes", &pages, "Set it to on, and reload the server's settings")?;
    let (names, standbys): (String, i64) = (row.get(5), row.get(6));
    let mut warnings = Vec::new();
    if standbys > 0 && (names.is_empty() || synchronous == "local") {
        warnings.push(format!(
            "PostgreSQL has {standbys} standby(s), and none is synchronous: whatever was acknowledged in the last moments before \
             one is promoted may be lost, and the round with it. Set synchronous_standby_names (and synchronous_commit = on) so that \
             nothing is"
        ));
    }
    Ok(warnings)
}

const SYNCHRONOUS: &str =
    "Set it to on for this user: ALTER ROLE ... SET synchronous_commit = on, and start again";

/// Refuses a server whose sessions do not wait for the disk.
pub(crate) fn check_commits(synchronous: &str) -> Result<(), LedgerError> {
    refuse("synchronous_commit", synchronous, SYNCHRONOUS)
}

fn refuse(setting: &str, value: &str, remedy: &'static str) -> Result<(), LedgerError> {
    if value == "off" {
        let why = format!("{setting} is off, so that a crash loses what was acknowledged");
        return Err(LedgerError::Unsafe { engine: ENGINE, why, remedy });
    }
    Ok(())
}
