//! What goes wrong with a server, and what is said then.

use std::{net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use pet_ledger::{
    append_surely, resolve,
    trial::{append_many, check_log, entry, lead, until_it_is_at, wait_a_little},
    verify_chain, Append, Appended, Ask, EntryHash, Ledger, LedgerError, PartName, Parts, Position,
    ReplicaId, Resolved,
};
use pet_store_redis::{testing::Redis, RedisLedger, RedisSettings};
use redis::{aio::MultiplexedConnection, Cmd};
use tokio::time::Instant;

fn settings(url: &str, federation: &str) -> RedisSettings {
    let mut settings = RedisSettings::new(url, federation);
    settings.connections = 3;
    settings
}

async fn set_up(url: &str, federation: &str) -> RedisLedger {
    let settings = settings(url, federation);
    RedisLedger::initialize(&settings).await.unwrap();
    RedisLedger::connect(&settings).await.unwrap()
}

async fn refused(settings: &RedisSettings) -> LedgerError {
    RedisLedger::connect(settings).await.unwrap_err()
}

/// Somebody else at the same server.
struct Somebody(MultiplexedConnection);

impl Somebody {
    async fn at(server: &Redis) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }

    /// Says something to the server, word by word.
    async fn says<T: redis::FromRedisValue>(&mut self, words: &str) -> T {
        let mut command = Cmd::new();
        words.split_whitespace().for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut self.0).await.unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    async fn does(&mut self, words: &str) {
        self.says::<redis::Value>(words).await;
    }

    /// Has the server listen on one more port, which this setting names. (Somebody else may take one that was free.)
    async fn has_opened(&mut self, setting: &str) -> u16 {
        let mut why = String::new();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = redis::cmd("CONFIG");
            command.arg("SET").arg(setting).arg(port);
            match command.query_async::<redis::Value>(&mut self.0).await {
                Ok(_) => return port,
                Err(error) => why = error.to_string(),
            }
        }
        panic!("{setting}: {why}")
    }
}

/// All that can be shown with one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_server_is_named() {
    let Some(server) = Redis::start() else { return };
    let mut somebody = Somebody::at(&server).await;
    nothing_is_set_up(server.url()).await;
    another_version_is_refused(server.url(), &mut somebody).await;
    a_server_that_may_lose_what_it_acknowledged_is_refused(server.url(), &mut somebody).await;
    rights_that_are_missing_are_named(&server, &mut somebody).await;
    a_full_server_is_named(server.url(), &mut somebody).await;
    a_script_that_was_forgotten_is_given_again(server.url(), &mut somebody).await;
    a_busy_server_is_waited_for(server.url(), &server, &mut somebody).await;
    much_is_read_in_pages(server.url()).await;
    a_ledger_that_is_gone_is_not_taken_for_a_new_one(server.url(), &mut somebody).await;
}

async fn nothing_is_set_up(url: &str) {
    let error = refused(&settings(url, "none")).await;
    assert!(matches!(error, LedgerError::NotInitialized { .. }), "{error}");
    assert!(error.to_string().contains("pet-coordinator store init"), "{error}");
}

async fn another_version_is_refused(url: &str, somebody: &mut Somebody) {
    let ledger = set_up(url, "versions").await;
    somebody.does("HSET pet:versions:ledger schema 2").await;
    let newer = refused(&settings(url, "versions")).await;
    assert!(matches!(newer, LedgerError::Schema { found: 2, .. }), "{newer}");
    assert!(newer.to_string().contains("update this replica"), "{newer}");
    // One that runs notices as well.
    assert_eq!(ledger.head().await.unwrap_err(), newer);
    assert_eq!(RedisLedger::initialize(&settings(url, "versions")).await.unwrap_err(), newer);
    somebody.does("HSET pet:versions:ledger schema 0").await;
    let older = refused(&settings(url, "versions")).await;
    assert!(older.to_string().contains("the release in between"), "{older}");
}

async fn a_server_that_may_lose_what_it_acknowledged_is_refused(
    url: &str,
    somebody: &mut Somebody,
) {
    let ledger = set_up(url, "safe").await;
    assert_eq!(ledger.warnings(), [] as [String; 0]);
    let mut accepting = settings(url, "safe");
    accepting.accept_loss = true;
    for (unsafe_, safe) in [
        ("appendfsync everysec", "appendfsync always"),
        ("no-appendfsync-on-rewrite yes", "no-appendfsync-on-rewrite no"),
        ("appendonly no", "appendonly yes"),
    ] {
        somebody.does(&format!("CONFIG SET {unsafe_}")).await;
        let error = refused(&settings(url, "safe")).await;
        let named = unsafe_.split(' ').next().unwrap();
        assert!(matches!(error, LedgerError::Unsafe { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
        assert!(error.to_string().contains("redis.accept_loss = true"), "{error}");
        // Who leads does not go on.
        let (replica, name, ttl) = (ReplicaId([1; 16]), "one".into(), Duration::from_secs(60));
        let lease = ledger.lease(Ask { replica, name, ttl, elapsed: None, renews: None }).await;
        assert_eq!(lease.unwrap_err(), error);
        let accepted = RedisLedger::connect(&accepting).await.unwrap();
        assert!(accepted.warnings()[0].contains(named), "{:?}", accepted.warnings());
        lead(&accepted).await;
        somebody.does(&format!("CONFIG SET {safe}")).await;
    }
    somebody.does("CONFIG SET maxmemory-policy allkeys-lru").await;
    for settings in [settings(url, "safe"), accepting] {
        let error = refused(&settings).await;
        assert!(error.to_string().contains("maxmemory-policy noeviction"), "{error}");
        let (replica, name, ttl) = (ReplicaId([1; 16]), "one".into(), Duration::from_secs(60));
        let lease = ledger.lease(Ask { replica, name, ttl, elapsed: None, renews: None }).await;
        assert_eq!(lease.unwrap_err(), error);
    }
    somebody.does("CONFIG SET maxmemory-policy noeviction").await;
    RedisLedger::connect(&settings(url, "safe")).await.unwrap();
}

async fn rights_that_are_missing_are_named(server: &Redis, somebody: &mut Somebody) {
    drop(set_up(server.url(), "rights").await);
    let rights = "~pet:* &pet:* +@all -@admin +config|get +info";
    somebody.does(&format!("ACL SETUSER pet on >hush {rights}")).await;
    let of = |user: &str| {
        let url = server.url().replace("redis://", &format!("redis://{user}@"));
        settings(&url, "rights")
    };
    let ledger = RedisLedger::connect(&of("pet:hush")).await.unwrap();
    let (epoch, head) = lead(&ledger).await;
    assert!(matches!(ledger.append(entry(epoch, &head, "x")).await, Ok(Appended::Done(_))));
    let denied = async |settings: RedisSettings| {
        let error = refused(&settings).await;
        assert!(matches!(error, LedgerError::Denied { .. }), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
        error.to_string()
    };
    assert!(denied(of("pet:wrong-hush")).await.contains("authentication failed"));
    // Nothing is half done by somebody who may only do the half of it.
    for less in ["-zadd", "-time", "-rename", "-evalsha", "resetkeys ~other:*", "-info"] {
        somebody.does(&format!("ACL SETUSER pet reset on >hush {rights} {less}")).await;
        denied(of("pet:hush")).await;
    }
    somebody.does(&format!("ACL SETUSER pet reset on >hush {rights} -config")).await;
    let error = refused(&of("pet:hush")).await;
    assert!(error.to_string().contains("CONFIG GET is refused"), "{error}");
    // Who may not publish is only slower.
    somebody.does(&format!("ACL SETUSER pet reset on >hush {rights} resetchannels")).await;
    let ledger = RedisLedger::connect(&of("pet:hush")).await.unwrap();
    let (epoch, head) = lead(&ledger).await;
    assert!(matches!(ledger.append(entry(epoch, &head, "y")).await, Ok(Appended::Done(_))));
    somebody.does("ACL DELUSER pet").await;
}

async fn a_full_server_is_named(url: &str, somebody: &mut Somebody) {
    let ledger = set_up(url, "full").await;
    let (epoch, head) = lead(&ledger).await;
    somebody.does("CONFIG SET maxmemory 1").await;
    let error = ledger.append(entry(epoch, &head, "x")).await.unwrap_err();
    assert!(matches!(error, LedgerError::NoRoom { .. }) && error.is_passing(), "{error}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
    // Who leads goes on to do so, and makes room.
    assert_eq!(lead(&ledger).await, (epoch, head.clone()));
    ledger.forget(epoch, Position(1)).await.unwrap();
    // A part that does not fit is not there, and what there is of it goes away by itself.
    let used: String = somebody.says("INFO memory").await;
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim();
    let some = used.parse::<u64>().unwrap() + (24 << 20);
    somebody.does(&format!("CONFIG SET maxmemory {some}")).await;
    let name = PartName::new("large", [1; 16]).unwrap();
    let error = ledger.parts().put(name.clone(), vec![7; 40 << 20].into()).await.unwrap_err();
    assert!(matches!(error, LedgerError::NoRoom { .. }), "{error}");
    somebody.does("CONFIG SET maxmemory 1gb").await;
    assert_eq!(ledger.parts().get(&name).await.unwrap(), None);
    let sent: Vec<String> = somebody.says("KEYS pet:full:sent:*").await;
    assert_eq!(sent.len(), 1);
    assert!(somebody.says::<i64>(&format!("TTL {}", sent[0])).await > 0);
    let too_large = ledger.parts().put(name, vec![7; (256 << 20) + 1].into()).await.unwrap_err();
    assert!(matches!(too_large, LedgerError::TooLarge { .. }), "{too_large}");
    let appended = ledger.append(entry(epoch, &head, "x")).await.unwrap();
    assert!(matches!(appended, Appended::Done(_)), "{appended:?}");
}

async fn a_script_that_was_forgotten_is_given_again(url: &str, somebody: &mut Somebody) {
    let ledger = set_up(url, "forgotten").await;
    let (epoch, head) = lead(&ledger).await;
    somebody.does("SCRIPT FLUSH").await;
    assert!(matches!(ledger.append(entry(epoch, &head, "x")).await, Ok(Appended::Done(_))));
}

async fn a_busy_server_is_waited_for(url: &str, server: &Redis, somebody: &mut Somebody) {
    let ledger = set_up(url, "busy").await;
    somebody.does("CONFIG SET busy-reply-threshold 1").await;
    let mut other = Somebody::at(server).await;
    let running = tokio::spawn(async move {
        let mut script = redis::cmd("EVAL");
        script.arg("while true do end").arg(0);
        script.query_async::<redis::Value>(&mut other.0).await.unwrap_err()
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    let error = loop {
        assert!(Instant::now() < deadline, "it is never busy");
        if let Err(error) = ledger.head().await {
            break error;
        }
    };
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("BUSY"), "{error}");
    somebody.does("SCRIPT KILL").await;
    running.await.unwrap();
    ledger.head().await.unwrap();
}

/// As much as is asked for, although the server is never asked for all of it.
async fn much_is_read_in_pages(url: &str) {
    let ledger = set_up(url, "pages").await;
    let (epoch, mut head) = lead(&ledger).await;
    for number in 0..6u8 {
        let appended = ledger.append(entry(epoch, &head, vec![number; 3 << 20])).await.unwrap();
        let Appended::Done(now) = appended else { panic!("{appended:?}") };
        head = now;
    }
    let small = vec![Bytes::from_static(b"small"); 1024];
    let mut many = entry(epoch, &head, Bytes::new());
    for _ in 0..2 {
        many = Append { after: head.position, hash: head.hash, entries: small.clone(), ..many };
        let appended = ledger.append(many.clone()).await.unwrap();
        let Appended::Done(now) = appended else { panic!("{appended:?}") };
        head = now;
    }
    let all = ledger.read(Position(0), usize::MAX, usize::MAX).await.unwrap();
    verify_chain(Position(0), EntryHash::default(), &all).unwrap();
    assert_eq!(all.len(), 6 + 2048);
    for (most, most_bytes, must) in
        [(4, usize::MAX, 4), (9, 9 << 20, 3), (9, 10 << 20, 3), (9, 1, 1)]
    {
        let some = ledger.read(Position(0), most, most_bytes).await.unwrap();
        assert_eq!(some, all[..must], "{most} {most_bytes}");
    }
    // Entries that nobody can read any more are gone.
    ledger.forget(epoch, Position(2050)).await.unwrap();
    assert_eq!(ledger.read(Position(2049), 100, 1000).await.unwrap(), all[2049..]);
}

async fn a_ledger_that_is_gone_is_not_taken_for_a_new_one(url: &str, somebody: &mut Somebody) {
    let ledger = set_up(url, "gone").await;
    let (epoch, head) = lead(&ledger).await;
    let Ok(Appended::Done(head)) = ledger.append(entry(epoch, &head, "x")).await else { panic!() };
    somebody.does("FLUSHALL").await;
    for error in [
        ledger.head().await.unwrap_err(),
        ledger.append(entry(epoch, &head, "y")).await.unwrap_err(),
    ] {
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("pet:gone:ledger in Redis"), "{error}");
    }
}

/// What the server was told before it stood still is done once it goes on, or not; never twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_has_a_deadline() {
    let Some(server) = Redis::start() else { return };
    let mut short = settings(server.url(), "late");
    RedisLedger::initialize(&short).await.unwrap();
    short.timeout = Duration::from_secs(2);
    let ledger = RedisLedger::connect(&short).await.unwrap();
    let (epoch, head) = lead(&ledger).await;
    let append = entry(epoch, &head, "x");
    // (The connection for the log is there.)
    ledger.read(Position(0), 1, 1).await.unwrap();
    server.pause();
    let error = ledger.append(append.clone()).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    let error = ledger.head().await.unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    assert!(resolve(&ledger, &append).await.is_err());
    server.go_on();
    let appended = append_surely(&ledger, append.clone(), |_| wait_a_little()).await.unwrap();
    if !matches!(appended, Appended::Done(_)) {
        let resolved = resolve(&ledger, &append).await.unwrap();
        assert!(matches!(resolved, Resolved::Done(_)), "{appended:?} {resolved:?}");
    }
    assert_eq!(ledger.read(Position(0), 10, 100).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_killed_while_appending() {
    let Some(server) = Redis::start() else { return };
    let ledger = Arc::new(set_up(server.url(), "killed").await);
    let (epoch, head) = lead(&*ledger).await;
    let appending = tokio::spawn({
        let ledger = ledger.clone();
        async move { append_many(&*ledger, epoch, head, 300).await }
    });
    until_it_is_at(&*ledger, 100).await;
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    });
    let server = server.await.unwrap();
    let error = refused(&settings(server.url(), "killed")).await;
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("check that it runs"), "{error}");
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = server.await.unwrap();
    let head = appending.await.unwrap();
    check_log(&*ledger, &head).await;
}

/// A server that has become a replica takes nothing, whoever is connected to it; once it is the primary again, all goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_nothing() {
    let (Some(server), Some(other)) = (Redis::start(), Redis::start()) else { return };
    let ledger = set_up(server.url(), "both").await;
    let (epoch, head) = lead(&ledger).await;
    let mut somebody = Somebody::at(&server).await;
    let port = |server: &Redis| server.url().rsplit(':').next().unwrap().to_owned();

    // One that follows is told of.
    let mut at_other = Somebody::at(&other).await;
    at_other.does(&format!("REPLICAOF 127.0.0.1 {}", port(&server))).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ledger = RedisLedger::connect(&settings(server.url(), "both")).await.unwrap();
        if ledger.warnings().iter().any(|warning| warning.contains("follow with a delay")) {
            break;
        }
        assert!(Instant::now() < deadline, "{:?}", ledger.warnings());
    }
    let error = refused(&settings(other.url(), "both")).await;
    assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error}");
    at_other.does("REPLICAOF NO ONE").await;

    // (Nobody is there: it keeps what it has.)
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    somebody.does(&format!("REPLICAOF 127.0.0.1 {nobody}")).await;
    for error in [
        ledger.append(entry(epoch, &head, "x")).await.unwrap_err(),
        ledger.head().await.unwrap_err(),
        refused(&settings(server.url(), "both")).await,
    ] {
        assert!(matches!(error, LedgerError::ReadOnly { .. }) && error.is_passing(), "{error}");
    }
    somebody.does("REPLICAOF NO ONE").await;
    let appended = ledger.append(entry(epoch, &head, "x")).await.unwrap();
    assert!(matches!(appended, Appended::Done(_)), "{appended:?}");
}

/// The certificate is checked against the authority in the file that the URL names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_checks_the_certificate() {
    let Some(server) = Redis::start() else { return };
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (server.folder().join("cert.pem"), server.folder().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut somebody = Somebody::at(&server).await;
    let (certificate, key) = (certificate.display(), key.display());
    let files =
        format!("tls-cert-file {certificate} tls-key-file {key} tls-ca-cert-file {certificate}");
    somebody.does(&format!("CONFIG SET {files} tls-auth-clients no")).await;
    let port = somebody.has_opened("tls-port").await;
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = settings(&format!("{url}?sslrootcert={certificate}"), "tls");
    RedisLedger::initialize(&trusting).await.unwrap();
    let ledger = RedisLedger::connect(&trusting).await.unwrap();
    assert_eq!(ledger.head().await.unwrap().position, Position(0));
    let error = refused(&settings(&url, "tls")).await;
    assert!(matches!(error, LedgerError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("sslrootcert"), "{error}");
}
