//! What the server's errors mean.

use std::time::Duration;

use pet_ledger::LedgerError;
use tokio_postgres::{error::SqlState, Error};

use crate::{settings::with_sources, ENGINE};

/// What it takes to write.
const RIGHTS: &str = "the user has to own the schema, or to have all rights on it and its tables";

/// Whether a call may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Read,
    Write,
}

/// What was lost: for a read nothing, for a write it is unknown.
pub(crate) fn lost(does: Does, why: String) -> LedgerError {
    match does {
        Does::Read => LedgerError::Unreachable { engine: ENGINE, why },
        Does::Write => LedgerError::Unknown { engine: ENGINE, why },
    }
}

/// Why a call was not done.
#[derive(Debug)]
pub(crate) enum Failed {
    /// For what the server, or the connection, says.
    By(Error),
    /// Nothing came for so long.
    Late(Duration),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::By(error)
    }
}

/// What an error of a call means.
pub(crate) fn of_call(does: Does, federation: &str, error: &Error) -> LedgerError {
    let Some(db) = error.as_db_error() else {
        // The connection is gone, or makes no sense any more.
        return lost(does, with_sources(error));
    };
    let code = db.code();
    of_code_in_call(does, federation, code, format!("{} ({})", db.message(), code.code()))
}

fn of_code_in_call(does: Does, federation: &str, code: &SqlState, why: String) -> LedgerError {
    match code {
        // The server ends while something is under way, perhaps in the very moment that it was done.
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
            lost(does, why)
        }
        // Whoever stands between (PgBouncer: 08P01) has lost the server, perhaps in that moment, too.
        code if code.code().starts_with("08") => lost(does, why),
        &SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME => {
            LedgerError::NotInitialized { engine: ENGINE, federation: federation.into() }
        }
        _ => of_code(code, why),
    }
}

/// What an error in connecting means: nothing was done.
pub(crate) fn of_connecting(error: &Error) -> LedgerError {
    if let Some(db) = error.as_db_error() {
        return of_code(db.code(), format!("{} ({})", db.message(), db.code().code()));
    }
    let why = with_sources(error);
    if why.contains("does not allow writes") {
        let why = "each host that was reached is a standby, or read-only".into();
        return LedgerError::ReadOnly { engine: ENGINE, why };
    }
    if why.contains("certificate") || why.contains("server does not support TLS") {
        let why = format!(
            "{why}. Let sslrootcert in the URL name a file with the authority that signed the server's certificate, or take \
             sslmode=disable where nobody else can be on the network"
        );
        return LedgerError::Setting { setting: "postgres.url", why };
    }
    LedgerError::Unreachable { engine: ENGINE, why }
}

fn of_code(code: &SqlState, why: String) -> LedgerError {
    let class = &code.code()[..2];
    match code {
        &SqlState::DISK_FULL | &SqlState::OUT_OF_MEMORY => {
            LedgerError::NoRoom { engine: ENGINE, why }
        }
        // A file that cannot be written is how a full quota shows itself.
        &SqlState::IO_ERROR | &SqlState::SYSTEM_ERROR => {
            LedgerError::NoRoom { engine: ENGINE, why }
        }
        // No time mends that.
        &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => {
            LedgerError::Damaged { what: format!("what {ENGINE} stores ({why})") }
        }
        &SqlState::READ_ONLY_SQL_TRANSACTION => LedgerError::ReadOnly { engine: ENGINE, why },
        &SqlState::INSUFFICIENT_PRIVILEGE => {
            LedgerError::Denied { engine: ENGINE, why, rights: RIGHTS }
        }
        _ if class == "28" || class == "3D" => LedgerError::Denied {
            engine: ENGINE,
            why,
            rights: "the database has to be there, and pg_hba.conf to let the user in",
        },
        // Too many connections, the server starts or stops, or took too long: as if it were not there.
        _ if class == "53"
            || class == "57"
            || class == "08"
            || class == "40"
            || class == "55"
            || class == "25" =>
        {
            LedgerError::Unreachable { engine: ENGINE, why }
        }
        _ => LedgerError::Engine { engine: ENGINE, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_call(does: Does, code: &str) -> LedgerError {
        of_code_in_call(does, "default", &SqlState::from_code(code), format!("a reason ({code})"))
    }

    /// The connection may have been lost in the very moment that a write was done.
    #[test]
    fn of_a_write_whose_connection_is_lost_nobody_knows_whether_it_was_done() {
        for code in ["08000", "08003", "08006", "08007", "08P01", "57P01", "57P02"] {
            let (write, read) = (in_call(Does::Write, code), in_call(Does::Read, code));
            assert!(write.is_unknown() && write.is_passing(), "{code}: {write}");
            assert!(matches!(read, LedgerError::Unreachable { .. }), "{code}: {read}");
        }
        // Where there was no connection yet nothing was done.
        let connecting = of_code(&SqlState::from_code("08006"), "a reason".into());
        assert!(matches!(connecting, LedgerError::Unreachable { .. }));
    }

    /// Trying again does not mend it: whoever waited for that would wait for ever.
    #[test]
    fn damage_is_named_and_does_not_pass() {
        for code in ["XX001", "XX002"] {
            let error = in_call(Does::Write, code);
            assert!(matches!(error, LedgerError::Damaged { .. }) && !error.is_passing(), "{error}");
            assert!(error.to_string().contains(code), "{error}");
        }
        assert!(in_call(Does::Write, "XX000").is_passing());
    }
}
