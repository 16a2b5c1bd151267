//! What the server's errors mean.

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

/// What an error of a call means.
pub(crate) fn of_call(does: Does, federation: &str, error: &Error) -> LedgerError {
    let Some(db) = error.as_db_error() else {
        // The connection is gone, or makes no sense any more.
        return lost(does, with_sources(error));
    };
    let code = db.code();
    let why = format!("{} ({})", db.message(), code.code());
    match code {
        // The server ends while something is under way, perhaps in the very moment that it was done.
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
            lost(does, why)
        }
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
