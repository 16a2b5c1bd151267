//! How large the database is after some rounds, and after many.

use std::time::{Duration, Instant};

use pet_core::crypto::{RootSeed, Seed, SigningKeyPair};
use pet_core::model::Model;
use pet_core::participant::Event;
use pet_tests::process::get;
use pet_transport_tokio::{Config, Participant};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::engines::{leader, Engines, Kind};
use crate::{Bench, Error, Row};

const WEIGHTS: usize = 100_000;
const PARTICIPANTS: u8 = 12;

/// Takes part in round after round.
async fn take_part(number: u8, url: String) -> Result<(), Error> {
    let mut config = Config::new(&url)?;
    config.settings.polling.max = Duration::from_millis(40);
    config.settings.polling.initial = Duration::from_millis(10);
    config.settings.polling.after_progress = Duration::from_millis(1);
    let keys = SigningKeyPair::from_seed(&Seed::new([number + 1; 32]));
    let mut participant = Participant::with_keys(config, keys, RootSeed::new([number + 101; 32]))?;
    let handle = participant.handle();
    loop {
        if let Event::ModelNeeded { length, .. } = participant.next_event().await? {
            handle.set_model(Model::F32(vec![0.5; length as usize]))?;
        }
    }
}

/// Bytes of all tables with all that is beside them, and of the whole database.
const SIZE: &str = "
SELECT sum(pg_total_relation_size(c.oid))::bigint, pg_database_size(current_database())
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname LIKE 'pet\\_%'";

/// The largest of them, and their bytes.
const LARGEST: &str = "
SELECT c.relname, pg_total_relation_size(c.oid)::bigint AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname LIKE 'pet\\_%'
ORDER BY bytes DESC LIMIT 3";

/// What is measured has not changed for so long: nothing is on its way out any more.
const SETTLED: Duration = Duration::from_secs(2);

/// After two rounds and after fifty, each when nobody takes part any more and it has settled; then tidied up by VACUUM.
pub fn of_rounds(bench: &Bench) -> Result<(), Error> {
    let Some(engines) = Engines::start(Kind::Postgres)? else {
        bench.missing("the database after fifty rounds / after two", "PostgreSQL is not installed");
        return Ok(());
    };
    // (Nearly all of those who do not sum send updates. A round that too few take part in ends soon, and does not count.)
    let settings: Vec<String> = [
        "log.filter=error",
        "storage.models_kept=2",
        "limits.requests_per_second=0",
        "pet.sum.prob=0.4",
        "pet.sum.time.min=0.05",
        "pet.sum.time.max=2",
        "pet.update.prob=1.0",
        "pet.update.time.min=0.1",
        "pet.update.time.max=5",
        "pet.sum2.time.min=0.05",
        "pet.sum2.time.max=5",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("model.length={WEIGHTS}")])
    .collect();
    engines.init(&settings)?;
    let replicas = [engines.replica(0, &settings)?];
    leader(bench, &replicas)?;
    let address = replicas[0].address().to_owned();
    let url =
        engines.postgres.as_ref().map(|postgres| postgres.url().to_owned()).unwrap_or_default();
    let rounds: u64 = if bench.quick { 6 } else { 50 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        let mut sizes = Vec::new();
        for wanted in [2, rounds] {
            let mut participants = JoinSet::new();
            for number in 0..PARTICIPANTS {
                participants.spawn(take_part(number, format!("http://{address}")));
            }
            until_models(bench, &address, wanted, &mut participants).await?;
            let (busy, _) = size(&client).await?;
            participants.shutdown().await;
            let (tables, database) = settled(bench, &client).await?;
            sizes.push(tables as f64);
            let mib = |bytes: i64| bytes as f64 / 1048576.0;
            let what = format!("{WEIGHTS} weights, after {wanted} rounds");
            bench.watch.row(Row::new(format!("{what}, at work: tables"), mib(busy), "MiB"));
            bench.watch.row(Row::new(format!("{what}: tables"), mib(tables), "MiB"));
            bench.watch.row(Row::new(format!("{what}: database"), mib(database), "MiB"));
            for row in client.query(LARGEST, &[]).await? {
                let (table, bytes): (&str, i64) = (row.get(0), row.get(1));
                bench.watch.row(Row::new(format!("{what}: table {table}"), mib(bytes), "MiB"));
            }
        }
        let of = format!("tables after {rounds} rounds / after two");
        bench.watch.row(Row::new(of.clone(), sizes[1] / sizes[0], "").at_most(1.0));
        client.batch_execute("VACUUM").await?;
        let (tables, _) = size(&client).await?;
        bench.watch.row(Row::new(format!("{of}, with VACUUM"), tables as f64 / sizes[0], ""));
        Ok(())
    });
    // Somebody may still wait for an answer.
    runtime.shutdown_background();
    measured
}

/// Bytes of all tables, and of the database.
async fn size(client: &Client) -> Result<(i64, i64), Error> {
    let row = client.query_one(SIZE, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// These, once they do not change any more.
async fn settled(bench: &Bench, client: &Client) -> Result<(i64, i64), Error> {
    let (mut sizes, mut since) = (size(client).await?, Instant::now());
    while since.elapsed() < SETTLED {
        bench.watch.at(|| format!("{} bytes of tables, when nobody takes part", sizes.0))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = size(client).await?;
        if now.0 != sizes.0 {
            since = Instant::now();
        }
        sizes = now;
    }
    Ok(sizes)
}

/// Waits until so many rounds have given models.
async fn until_models(
    bench: &Bench,
    address: &str,
    rounds: u64,
    participants: &mut JoinSet<Result<(), Error>>,
) -> Result<(), Error> {
    loop {
        let address = address.to_owned();
        let got = tokio::task::spawn_blocking(move || get(&address, "/models")).await?;
        let list: Value = serde_json::from_slice(&got?.1)?;
        let last = list["models"][0]["round_id"].as_u64().unwrap_or(0);
        if last >= rounds {
            return Ok(());
        }
        if let Some(ended) = participants.try_join_next() {
            ended??;
            return Err("a participant has ended".into());
        }
        bench.watch.at(|| format!("round {last} of {rounds} is the last with a model"))?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
