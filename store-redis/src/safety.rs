//! Whether the server keeps what it acknowledges.

use std::collections::HashMap;

use pet_ledger::LedgerError;
use redis::{cmd, RedisError, RedisResult};

use crate::{connection::Connection, error::of_connecting, ENGINE};

/// The oldest version.
const OLDEST: u32 = 7;

/// What `CONFIG GET` is asked for.
const SETTINGS: [&str; 4] =
    ["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"];

const REMEDY: &str = "Set appendonly yes, appendfsync always and no-appendfsync-on-rewrite no (in redis.conf, so that they hold after \
                      a restart), or say redis.accept_loss = true if rounds may be lost";

/// Settings of the server by name; none if it does not tell them.
pub(crate) type Settings = Option<HashMap<String, String>>;

/// Refuses a server that cannot be used, or may lose what it has acknowledged; tells what else there is to know.
pub(crate) async fn check(
    connection: &mut Connection,
    federation: &str,
    accept_loss: bool,
) -> Result<Vec<String>, LedgerError> {
    let failed = |error: RedisError| of_connecting(federation, &error);
    let info: String = cmd("INFO").query_async(&mut connection.redis).await.map_err(failed)?;
    refuse_unfit(&info)?;
    let settings = settings(connection).await.map_err(failed)?;
    let mut warnings = Vec::new();
    match refuse_loss(settings.as_ref()) {
        Err(LedgerError::Unsafe { why, .. }) if accept_loss => {
            warnings.push(format!("{why}; redis.accept_loss says that this is accepted"));
        }
        other => other?,
    }
    let standbys = field(&info, "connected_slaves").parse().unwrap_or(0u32);
    if standbys > 0 {
        warnings.push(format!(
            "it has {standbys} replica(s), which follow with a delay: when one of them is promoted, whatever was acknowledged in the \
             last moments is lost, and coordinators that have seen it end"
        ));
    }
    if field(&info, "maxmemory") == "0" {
        warnings.push(
            "maxmemory is not set: if it takes all memory, the system kills it. Set maxmemory, so that it says that it is full"
                .into(),
        );
    }
    Ok(warnings)
}

/// What `INFO` says under a name; nothing, if it says nothing.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).unwrap_or_default().trim()
}

fn refuse_unfit(info: &str) -> Result<(), LedgerError> {
    let wrong = |why| Err(LedgerError::Setting { setting: "redis.url", why });
    let version = field(info, "redis_version");
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < OLDEST {
        return wrong(format!("Redis {version} is too old: {OLDEST}.0 or later is needed"));
    }
    match field(info, "redis_mode") {
        "cluster" => return wrong(
            "this is a Redis Cluster, which cannot write several keys at once: give the address of a single Redis".into(),
        ),
        "sentinel" => return wrong(
            "this is a Sentinel: give the address of the Redis that it watches, such as a name or a proxy that leads to the primary".into(),
        ),
        _ => {}
    }
    if field(info, "loading") == "1" {
        let why = "it has started, and reads what it holds (LOADING)".into();
        return Err(LedgerError::Unreachable { engine: ENGINE, why });
    }
    if field(info, "role") == "slave" {
        let why = "it is a replica of another one".into();
        return Err(LedgerError::ReadOnly { engine: ENGINE, why });
    }
    refuse_eviction(field(info, "maxmemory_policy"))
}

/// Refuses a server that has been set up otherwise since it was connected to.
pub(crate) fn refuse_change(settings: &Settings, accept_loss: bool) -> Result<(), LedgerError> {
    if let Some(policy) = settings.as_ref().and_then(|settings| settings.get(SETTINGS[3])) {
        refuse_eviction(policy)?;
    }
    if accept_loss {
        return Ok(());
    }
    refuse_loss(settings.as_ref())
}

fn refuse_eviction(policy: &str) -> Result<(), LedgerError> {
    if policy != "noeviction" {
        return Err(LedgerError::Unsafe {
            engine: ENGINE,
            why: format!("maxmemory-policy is {policy:?}, so that it removes what it holds when it is full"),
            remedy: "Set maxmemory-policy noeviction; redis.accept_loss does not help, since rounds would fail at any moment",
        });
    }
    Ok(())
}

/// What the server says about its log of writes.
pub(crate) async fn settings(connection: &mut Connection) -> RedisResult<Settings> {
    let told = cmd("CONFIG").arg("GET").arg(&SETTINGS).query_async(&mut connection.redis).await;
    match told {
        Ok(settings) => Ok(Some(settings)),
        // Some providers do not let anybody ask.
        Err(error) if error.code().is_some() => {
            tracing::debug!("CONFIG GET: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Refuses a server that acknowledges what is not on its disk.
pub(crate) fn refuse_loss(settings: Option<&HashMap<String, String>>) -> Result<(), LedgerError> {
    let unsafe_ = |why: String| Err(LedgerError::Unsafe { engine: ENGINE, why, remedy: REMEDY });
    let Some(settings) = settings else {
        return unsafe_(
            "it does not tell whether it waits for its disk (CONFIG GET is refused)".into(),
        );
    };
    let of = |name| settings.get(name).map_or("", String::as_str);
    match (of(SETTINGS[0]), of(SETTINGS[1]), of(SETTINGS[2])) {
        ("yes", "always", "no") => Ok(()),
        ("yes", "always", other) => unsafe_(format!(
            "{} is {other:?}, so that it does not wait for its disk while it rewrites its log",
            SETTINGS[2]
        )),
        ("yes", other, _) => unsafe_(format!(
            "appendfsync is {other:?}, so that a crash of the machine loses what was acknowledged"
        )),
        (other, ..) => unsafe_(format!(
            "appendonly is {other:?}, so that a restart loses what was acknowledged"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Persistence\r\nloading:0\r\n\
                       role:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";

    #[test]
    fn what_is_not_fit_is_named() {
        refuse_unfit(FIT).unwrap();
        for (from, to, says) in [
            ("7.0.15", "6.2.14", "Redis 6.2.14 is too old: 7.0 or later"),
            ("standalone", "cluster", "this is a Redis Cluster"),
            ("standalone", "sentinel", "this is a Sentinel"),
            ("loading:0", "loading:1", "LOADING"),
            ("role:master", "role:slave", "it is a replica"),
            ("noeviction", "allkeys-lru", "Set maxmemory-policy noeviction"),
            ("maxmemory_policy", "other", "Set maxmemory-policy noeviction"),
        ] {
            let error = refuse_unfit(&FIT.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_may_lose_is_named() {
        let all = |a: &str, b: &str, c: &str| {
            let values = [a, b, c, "noeviction"].map(str::to_owned);
            Some(SETTINGS.map(str::to_owned).into_iter().zip(values).collect::<HashMap<_, _>>())
        };
        refuse_loss(all("yes", "always", "no").as_ref()).unwrap();
        for (settings, says) in [
            (all("no", "always", "no"), "appendonly is \"no\""),
            (all("yes", "everysec", "no"), "appendfsync is \"everysec\""),
            (all("yes", "always", "yes"), "no-appendfsync-on-rewrite is \"yes\""),
            (Some(HashMap::new()), "appendonly is \"\""),
            (None, "CONFIG GET is refused"),
        ] {
            let error = refuse_loss(settings.as_ref()).unwrap_err();
            assert!(matches!(error, LedgerError::Unsafe { .. }) && !error.is_passing());
            let error = error.to_string();
            assert!(error.contains(says) && error.contains("redis.accept_loss = true"), "{error}");
        }
    }
}
