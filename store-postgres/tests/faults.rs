//! What goes wrong with a server, and what is said then.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use pet_ledger::{
    append_surely, resolve,
    trial::{append_many, check_log, entry, lead, until_it_is_at, wait_a_little},
    Appended, Ledger, LedgerError, PartName, Parts, Position, Resolved,
};
use pet_store_postgres::{testing::Postgres, PostgresLedger, PostgresSettings};
use tokio_postgres::{Client, NoTls};

fn settings(url: &str, federation: &str) -> PostgresSettings {
    let mut settings = PostgresSettings::new(url, federation);
    settings.connections = 2;
    settings
}

async fn set_up(url: &str, federation: &str) -> PostgresLedger {
    let settings = settings(url, federation);
    PostgresLedger::initialize(&settings).await.unwrap();
    PostgresLedger::connect(&settings).await.unwrap()
}

/// Somebody else at the same server.
async fn somebody(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// All that can be shown with one server, which is killed in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_a_server_are_named_and_pass() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let somebody = somebody(url).await;
    nothing_is_set_up(url).await;
    another_version_is_refused(url, &somebody).await;
    a_server_that_may_lose_what_it_acknowledged_is_refused(url, &somebody).await;
    a_full_disk_is_named(url, &somebody).await;
    a_call_has_a_deadline(url, &somebody).await;
    a_part_is_not_waited_for_in_silence(url, &somebody).await;
    a_call_that_is_given_up_leaves_nothing_open(url, &somebody).await;
    drop(somebody);
    it_is_killed_while_appending(server).await;
}

async fn nothing_is_set_up(url: &str) {
    let error = PostgresLedger::connect(&settings(url, "none")).await.unwrap_err();
    assert!(error.to_string().contains("pet-coordinator store init"), "{error}");
    let nowhere = format!("{}/nowhere", url.rsplit_once('/').unwrap().0);
    let error = PostgresLedger::connect(&settings(&nowhere, "none")).await.unwrap_err();
    assert!(matches!(error, LedgerError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

async fn another_version_is_refused(url: &str, somebody: &Client) {
    let ledger = set_up(url, "versions").await;
    somebody.batch_execute("UPDATE pet_versions.ledger SET schema = 2").await.unwrap();
    let newer = PostgresLedger::connect(&settings(url, "versions")).await.unwrap_err();
    assert!(matches!(newer, LedgerError::Schema { found: 2, .. }), "{newer}");
    assert!(newer.to_string().contains("update this replica"), "{newer}");
    // One that runs notices as well.
    let running = ledger.head().await.unwrap_err();
    assert_eq!(running, newer);
    let again = PostgresLedger::initialize(&settings(url, "versions")).await.unwrap_err();
    assert_eq!(again, newer);
    somebody.batch_execute("UPDATE pet_versions.ledger SET schema = 0").await.unwrap();
    let older = PostgresLedger::connect(&settings(url, "versions")).await.unwrap_err();
    assert!(older.to_string().contains("the release in between"), "{older}");
}

async fn a_server_that_may_lose_what_it_acknowledged_is_refused(url: &str, somebody: &Client) {
    let ledger = set_up(url, "safe").await;
    assert_eq!(ledger.warnings(), [] as [String; 0]);
    somebody.batch_execute("ALTER ROLE pet SET synchronous_commit = off").await.unwrap();
    let error = PostgresLedger::connect(&settings(url, "safe")).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unsafe { .. }), "{error}");
    assert!(error.to_string().contains("ALTER ROLE"), "{error}");
    somebody.batch_execute("ALTER ROLE pet RESET synchronous_commit").await.unwrap();
    PostgresLedger::connect(&settings(url, "safe")).await.unwrap();
}

/// The error of a full disk, which a trigger raises.
async fn a_full_disk_is_named(url: &str, somebody: &Client) {
    let ledger = set_up(url, "full").await;
    let (epoch, head) = lead(&ledger).await;
    let full = "CREATE FUNCTION pet_full.full() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_ BEFORE INSERT ON pet_full.entries EXECUTE FUNCTION pet_full.full()";
    somebody.batch_execute(full).await.unwrap();
    let error = ledger.append(entry(epoch, &head, "x")).await.unwrap_err();
    assert!(matches!(error, LedgerError::NoRoom { .. }) && error.is_passing(), "{error}");
    assert_eq!(ledger.head().await.unwrap().position, head.position);
    somebody.batch_execute("DROP TRIGGER full_ ON pet_full.entries").await.unwrap();
    let appended = ledger.append(entry(epoch, &head, "x")).await.unwrap();
    assert!(matches!(appended, Appended::Done(_)), "{appended:?}");
}

async fn a_call_has_a_deadline(url: &str, somebody: &Client) {
    let mut short = settings(url, "late");
    PostgresLedger::initialize(&short).await.unwrap();
    let patient = PostgresLedger::connect(&short).await.unwrap();
    short.timeout = Duration::from_secs(2);
    let ledger = PostgresLedger::connect(&short).await.unwrap();
    let (epoch, head) = lead(&patient).await;
    somebody.batch_execute("BEGIN; SELECT FROM pet_late.ledger FOR UPDATE").await.unwrap();
    let append = entry(epoch, &head, "x");
    let error = ledger.append(append.clone()).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    let resolved = resolve(&ledger, &append).await.unwrap();
    assert!(matches!(resolved, Resolved::NotDone(_)), "{resolved:?}");
    somebody.batch_execute("COMMIT").await.unwrap();
    // It is done once, by the first try that still waited or by this one.
    let appended = append_surely(&patient, append.clone(), |_| wait_a_little()).await;
    match appended.unwrap() {
        Appended::Done(_) => {}
        Appended::Conflict(_) => {
            let resolved = resolve(&patient, &append).await.unwrap();
            assert!(matches!(resolved, Resolved::Done(_)), "{resolved:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(ledger.read(Position(0), 10, 100).await.unwrap().len(), 1);
}

/// A server that falls silent in the middle of a part is not waited for as long as the largest part may take.
async fn a_part_is_not_waited_for_in_silence(url: &str, somebody: &Client) {
    let mut short = settings(url, "silent");
    PostgresLedger::initialize(&short).await.unwrap();
    short.timeout = Duration::from_secs(2);
    let ledger = PostgresLedger::connect(&short).await.unwrap();
    let (parts, name) = (ledger.parts(), PartName::new("mask", [1; 16]).unwrap());
    let bytes = Bytes::from(vec![7; 3 << 20]);
    parts.put(name.clone(), bytes.clone()).await.unwrap();
    let lock = "BEGIN; LOCK TABLE pet_silent.slices IN ACCESS EXCLUSIVE MODE";
    somebody.batch_execute(lock).await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(60), parts.get(&name)).await;
    let error = got.expect("it gives up by itself").unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("nothing came"), "{error}");
    somebody.batch_execute("COMMIT").await.unwrap();
    assert_eq!(parts.get(&name).await.unwrap(), Some(bytes));
}

/// Whoever gives a call up leaves no transaction to the next one on the same connection: that would take an append for done which
/// is rolled back, and commit half of a part.
async fn a_call_that_is_given_up_leaves_nothing_open(url: &str, somebody: &Client) {
    let ledger = set_up(url, "given_up").await;
    let (epoch, mut head) = lead(&ledger).await;
    let parts = ledger.parts();
    let bytes = Bytes::from(vec![7; 8 << 20]);
    let mut given_up = 0;
    for number in 0..24u8 {
        let name = PartName::new("mask", [number; 16]).unwrap();
        // Later and later in the middle of it.
        let time = Duration::from_millis(2 + 3 * u64::from(number));
        let put = tokio::time::timeout(time, parts.put(name.clone(), bytes.clone())).await;
        given_up += u32::from(put.is_err());
        let append = entry(epoch, &head, "x");
        let Appended::Done(next) = ledger.append(append).await.unwrap() else {
            panic!("nobody else appends");
        };
        head = next;
        // Somebody else sees it at once, and all of the part or nothing.
        let row = somebody.query_one("SELECT max(position) FROM pet_given_up.entries", &[]);
        assert_eq!(row.await.unwrap().get::<_, i64>(0), i64::from(number) + 1);
        let slices = "SELECT count(*) FROM pet_given_up.slices WHERE name = $1";
        let row = somebody.query_one(slices, &[&name.as_str()]).await.unwrap();
        assert!([0, 8].contains(&row.get::<_, i64>(0)), "{row:?}");
        parts.put(name.clone(), bytes.clone()).await.unwrap();
        assert_eq!(parts.get(&name).await.unwrap(), Some(bytes.clone()));
        parts.remove(&[name]).await.unwrap();
    }
    assert!(given_up > 2, "{given_up}");
}

async fn it_is_killed_while_appending(server: Postgres) {
    let ledger = Arc::new(set_up(server.url(), "killed").await);
    let (epoch, head) = lead(&*ledger).await;
    let appending = tokio::spawn({
        let ledger = ledger.clone();
        async move { append_many(&*ledger, epoch, head, 120).await }
    });
    until_it_is_at(&*ledger, 30).await;
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    });
    let server = server.await.unwrap();
    let refused = PostgresLedger::connect(&settings(server.url(), "killed")).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Unreachable { .. }), "{refused}");
    assert!(refused.to_string().contains("check that it runs"), "{refused}");
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = server.await.unwrap();
    let head = appending.await.unwrap();
    check_log(&*ledger, &head).await;
}

/// A standby is refused, one that is not synchronous is named; one that is has all that was acknowledged once it is promoted,
/// and whoever knows both addresses goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_goes_on() {
    let Some(server) = Postgres::start() else { return };
    let standby = server.standby();
    set_up(server.url(), "both").await;
    let refused = PostgresLedger::connect(&settings(standby.url(), "both")).await.unwrap_err();
    assert!(matches!(refused, LedgerError::ReadOnly { .. }), "{refused}");
    let port = |url: &str| url.rsplit(':').next().unwrap().split('/').next().unwrap().to_string();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", port(standby.url()), port(server.url()));
    let both = settings(&format!("postgres://pet@{hosts}/postgres"), "both");
    let somebody = somebody(server.url()).await;
    let ledger = loop {
        // (The standby has to have said that it is there.)
        let ledger = PostgresLedger::connect(&both).await.unwrap();
        if !ledger.warnings().is_empty() {
            break ledger;
        }
    };
    assert!(ledger.warnings()[0].contains("synchronous_standby_names"), "{:?}", ledger.warnings());
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]
    {
        somebody.batch_execute(statement).await.unwrap();
    }
    while somebody
        .query_one("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {}
    assert_eq!(PostgresLedger::connect(&both).await.unwrap().warnings(), [] as [String; 0]);
    drop(somebody);

    let ledger = Arc::new(ledger);
    let (epoch, head) = lead(&*ledger).await;
    let appending = tokio::spawn({
        let ledger = ledger.clone();
        async move { append_many(&*ledger, epoch, head, 60).await }
    });
    until_it_is_at(&*ledger, 20).await;
    let servers = tokio::task::spawn_blocking(move || {
        server.kill();
        standby.promote();
        (server, standby)
    });
    let _servers = servers.await.unwrap();
    let head = appending.await.unwrap();
    check_log(&*ledger, &head).await;
}

/// The certificate is checked against the authority in the file that the URL names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_checks_the_certificate() {
    let Some(server) = Postgres::start() else { return };
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (server.folder().join("cert.pem"), server.folder().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    // A key that root gives to the server's group may be read by that.
    let data = std::fs::metadata(server.folder().join("data")).unwrap();
    std::os::unix::fs::chown(&key, None, Some(data.gid())).unwrap();
    let ours = std::fs::metadata(&key).unwrap().uid() == data.uid();
    std::fs::set_permissions(&key, Permissions::from_mode(if ours { 0o600 } else { 0o640 }))
        .unwrap();
    let somebody = somebody(server.url()).await;
    for statement in [
        format!("ALTER SYSTEM SET ssl_cert_file = '{}'", certificate.display()),
        format!("ALTER SYSTEM SET ssl_key_file = '{}'", key.display()),
        "ALTER SYSTEM SET ssl = on".into(),
        "SELECT pg_reload_conf()".into(),
    ] {
        somebody.batch_execute(&statement).await.unwrap();
    }
    let trusting =
        format!("{}?sslmode=verify-full&sslrootcert={}", server.url(), certificate.display());
    let trusting = settings(&trusting, "tls");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    // (The server reads its settings again when it gets to it.)
    while let Err(error) = PostgresLedger::initialize(&trusting).await {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ledger = PostgresLedger::connect(&trusting).await.unwrap();
    assert_eq!(ledger.head().await.unwrap().position, Position(0));
    let count = "SELECT count(*) FROM pg_stat_ssl WHERE ssl";
    assert!(somebody.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 0);
    let distrusting = settings(&format!("{}?sslmode=require", server.url()), "tls");
    let error = PostgresLedger::connect(&distrusting).await.unwrap_err();
    assert!(matches!(error, LedgerError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("sslrootcert"), "{error}");
}
