//! What the server's errors mean.

use pet_ledger::LedgerError;
use redis::{ErrorKind, RedisError};

use crate::ENGINE;

/// What it takes.
const RIGHTS: &str = "the user needs the commands that README.md of pet-store-redis lists, on the keys and the channel that begin \
                      with \"pet:\" (ACL SETUSER pet on >PASSWORD ~pet:* &pet:* +@all -@admin +config|get +info)";

/// What to do about a cluster.
const NO_CLUSTER: &str = "this is a Redis Cluster, which cannot write several keys at once: give the address of a single Redis";

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
pub(crate) fn of_call(does: Does, federation: &str, error: &RedisError) -> LedgerError {
    match of_server(federation, error) {
        Some(error) => error,
        // The connection is gone, or makes no sense any more.
        None => lost(does, error.to_string()),
    }
}

/// What an error in connecting means: nothing was done.
pub(crate) fn of_connecting(federation: &str, error: &RedisError) -> LedgerError {
    if let Some(error) = of_server(federation, error) {
        return error;
    }
    let why = error.to_string();
    if error.kind() == ErrorKind::AuthenticationFailed {
        return LedgerError::Denied { engine: ENGINE, why, rights: RIGHTS };
    }
    if why.contains("certificate") {
        let why = format!(
            "{why}. Let sslrootcert in the URL name a file with the authority that signed the server's certificate"
        );
        return LedgerError::Setting { setting: "redis.url", why };
    }
    LedgerError::Unreachable { engine: ENGINE, why }
}

/// What a server says that is there. Whatever it says is an error, nothing was done: a script is refused before it writes.
fn of_server(federation: &str, error: &RedisError) -> Option<LedgerError> {
    let code = error.code()?;
    let detail = error.detail().unwrap_or_default();
    let why = format!("{code} {detail}").trim_end().to_owned();
    let unreachable =
        |what: &str| LedgerError::Unreachable { engine: ENGINE, why: format!("{what} ({why})") };
    Some(match code {
        "NOLEDGER" => LedgerError::NotInitialized { engine: ENGINE, federation: federation.into() },
        "SCHEMA" => {
            let found = detail.split_whitespace().next().and_then(|found| found.parse().ok());
            match crate::schema::version(found.unwrap_or(0)) {
                Err(error) => error,
                Ok(()) => LedgerError::Engine { engine: ENGINE, why },
            }
        }
        "OOM" => {
            let why = format!("maxmemory is reached ({why})");
            LedgerError::NoRoom { engine: ENGINE, why }
        }
        "MISCONF" => LedgerError::NoRoom { engine: ENGINE, why },
        "READONLY" => {
            let why = format!("it is a replica of another one ({why})");
            LedgerError::ReadOnly { engine: ENGINE, why }
        }
        "LOADING" => unreachable("it has started, and reads what it holds"),
        "BUSY" => unreachable("a script runs for long"),
        "MASTERDOWN" => unreachable("it is a replica, and its primary is gone"),
        "NOREPLICAS" => unreachable("fewer of its replicas are there than min-replicas-to-write"),
        "NOSCRIPT" => unreachable("it has forgotten a script that it was given a moment ago"),
        "TRYAGAIN" => unreachable("it asks to try again"),
        "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => {
            LedgerError::Setting { setting: "redis.url", why: format!("{NO_CLUSTER} ({why})") }
        }
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => {
            LedgerError::Denied { engine: ENGINE, why, rights: RIGHTS }
        }
        // (Within scripts, as different versions say it.)
        _ if ["ACL failure", "no permissions", "The user executing the script"]
            .iter()
            .any(|says| detail.contains(says)) =>
        {
            LedgerError::Denied { engine: ENGINE, why, rights: RIGHTS }
        }
        _ if detail.contains("max number of clients") => unreachable("it has too many clients"),
        _ => LedgerError::Engine { engine: ENGINE, why },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> LedgerError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        of_call(Does::Write, "hospitals", &value.extract_error().unwrap_err())
    }

    #[test]
    fn what_passes_is_named_and_waited_for() {
        for (line, says) in [
            ("LOADING Redis is loading the dataset in memory", "reads what it holds"),
            ("BUSY Redis is busy running a script", "a script runs"),
            ("MASTERDOWN Link with MASTER is down", "its primary is gone"),
            ("NOSCRIPT No matching script", "forgotten a script"),
            ("NOREPLICAS Not enough good replicas to write", "min-replicas-to-write"),
            (
                "READONLY You can't write against a read only replica",
                "Give the address of the primary",
            ),
            ("OOM command not allowed when used memory > 'maxmemory'", "maxmemory is reached"),
            ("MISCONF Errors writing to the AOF file: No space left on device", "No space left"),
            ("ERR max number of clients reached", "too many clients"),
            ("ERR anything else", "anything else"),
        ] {
            let error = said(line);
            assert!(error.is_passing() && !error.is_unknown(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn what_must_be_mended_is_named() {
        for (line, says) in [
            ("NOAUTH Authentication required.", "Check user, password and rights"),
            ("WRONGPASS invalid username-password pair", "Check user, password and rights"),
            ("NOPERM this user has no permissions", "ACL SETUSER"),
            (
                "ERR ACL failure in script: User pet has no permissions to run the 'zadd' command",
                "zadd",
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: x",
                "ACL",
            ),
            ("DENIED Redis is running in protected mode", "protected mode"),
            ("MOVED 3999 127.0.0.1:6381", "this is a Redis Cluster"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "this is a Redis Cluster"),
            ("CLUSTERDOWN Hash slot not served", "this is a Redis Cluster"),
            ("NOLEDGER there is no pet:x:ledger", "store init"),
            ("SCHEMA 9", "version 9"),
        ] {
            let error = said(line);
            assert!(!error.is_passing(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_a_write_open() {
        let gone = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(of_call(Does::Write, "hospitals", &gone).is_unknown());
        let read = of_call(Does::Read, "hospitals", &gone);
        assert!(matches!(read, LedgerError::Unreachable { .. }), "{read}");
        let connecting = of_connecting("hospitals", &gone);
        assert!(matches!(connecting, LedgerError::Unreachable { .. }), "{connecting}");
    }
}
