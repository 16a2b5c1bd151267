//! How far followers are behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pet_tests::load::{post, settings, updates};
use pet_tests::process::get;
use serde_json::Value;

use crate::engines::{leader, Engines, Kind};
use crate::{Bench, Error, Load, Row};

/// The last log entry that a replica knows of.
fn position(address: &str) -> Result<u64, Error> {
    let (_, status) = get(address, "/status")?;
    let status: Value = serde_json::from_slice(&status)?;
    let position = &status["replica"]["position"];
    Ok(position.as_u64().ok_or("the status has no position")?)
}

/// How long it takes, under load, until a follower knows of what the leader has just shown.
pub fn of_followers(bench: &Bench) -> Result<(), Error> {
    let Some(engines) = Engines::start(Kind::Postgres)? else {
        bench.missing("how far followers are behind", "PostgreSQL is not installed");
        return Ok(());
    };
    let load = bench.loads[0];
    let load = Load { updates: if bench.quick { load.updates } else { 4 * load.updates }, ..load };
    let mut settings = settings(load.updates);
    settings.push(format!("model.length={}", load.weights));
    engines.init(&settings)?;
    let replicas = [engines.replica(0, &settings)?, engines.replica(1, &settings)?];
    let leads = leader(bench, &replicas)?;
    let (leads, follows) = (replicas[leads].address(), replicas[1 - leads].address());
    let messages = updates(leads, load.updates, bench.cores)?;
    let over = AtomicBool::new(false);
    let mut lags = thread::scope(|scope| -> Result<Vec<Duration>, Error> {
        let measuring = scope.spawn(|| -> Result<Vec<Duration>, Error> {
            let mut lags = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let known = position(leads)?;
                let began = Instant::now();
                while position(follows)? < known {
                    bench.watch.at(|| format!("the follower is not at {known} yet"))?;
                    thread::sleep(Duration::from_micros(500));
                }
                lags.push(began.elapsed());
                thread::sleep(Duration::from_millis(3));
            }
            Ok(lags)
        });
        let posted = post(&[leads], &messages, load.connections, |before| {
            bench.watch.at(|| format!("{before} of {} updates", load.updates))
        });
        over.store(true, Ordering::Relaxed);
        posted?;
        measuring.join().expect("nobody panics")
    })?;
    lags.sort();
    let of = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let what = format!("{} weights, {} times", load.weights, lags.len());
    bench.watch.row(Row::new(format!("{what}: half of them at most"), of(0.5), "ms"));
    bench.watch.row(Row::new(format!("{what}: 99 of 100 at most"), of(0.99), "ms").at_most(100.0));
    bench.watch.row(Row::new(format!("{what}: the longest"), of(1.0), "ms"));
    Ok(())
}
