//! Updates a second.

use std::time::{Duration, Instant};

use pet_tests::load::{post, settings, updates};
use pet_tests::process::{CoordinatorProcess, Usage};

use crate::engines::{leader, Engines, Kind};
use crate::quota::{Quota, SHARE};
use crate::{median, Bench, Error, Load, Row};

/// What a load has taken.
struct Taken {
    /// Updates a second.
    rate: f64,
    /// Milliseconds of processor time of an update: all coordinators, which of it is the leader's, and all of the engine.
    coordinators: f64,
    leader: f64,
    engine: f64,
}

/// How many connections a follower gets for each of the leader's, which has to lead as well: as deploy/haproxy/haproxy.cfg has it.
const OF_FOLLOWER: usize = 3;

/// Has them take a load; each within a quota, if `within`. So many connections for each replica, of which the followers have
/// more than the leader.
fn take(
    bench: &Bench,
    engines: &Engines,
    load: Load,
    replicas: usize,
    within: bool,
) -> Result<Taken, Error> {
    let what = format!("{} weights, {:?}, {replicas} replica(s)", load.weights, engines.kind);
    let mut settings = settings(load.updates);
    settings.push(format!("model.length={}", load.weights));
    engines.init(&settings)?;
    // Before the processes, so that it is removed after they have ended, also if something fails.
    let quotas: Vec<Quota> = match within {
        true => {
            (0..replicas).map(|number| Quota::new(&number.to_string())).collect::<Result<_, _>>()?
        }
        false => Vec::new(),
    };
    let mut running = Vec::new();
    for number in 0..replicas {
        running.push(engines.replica(number, &settings)?);
    }
    let leads = leader(bench, &running)?;
    bench.watch.at(|| format!("{what}: making {} updates", load.updates))?;
    let messages = updates(running[leads].address(), load.updates, bench.cores)?;
    for (quota, replica) in quotas.iter().zip(&running) {
        quota.take(replica.id())?;
    }
    let used = || -> Result<[f64; 3], Error> {
        let of = |replica: &CoordinatorProcess| {
            Ok::<_, Error>(Usage::of(&replica.id().to_string())?.processor())
        };
        let all = running.iter().map(of).sum::<Result<f64, Error>>()?;
        Ok([all, of(&running[leads])?, engines.processor()])
    };
    let mut addresses: Vec<&str> = running.iter().map(CoordinatorProcess::address).collect();
    let leader = addresses.remove(leads);
    addresses = addresses.repeat(OF_FOLLOWER);
    addresses.push(leader);
    let (before, began) = (used()?, Instant::now());
    post(&addresses, &messages, load.connections * replicas, |before| {
        bench.watch.at(|| format!("{what}: {before} of {} updates", load.updates))
    })?;
    let took = began.elapsed().as_secs_f64();
    let after = used()?;
    if took > 2.0 && !quotas.is_empty() {
        let throttled = quotas.iter().map(Quota::throttled).collect::<Result<Vec<u64>, Error>>()?;
        if throttled.iter().all(|periods| *periods == 0) {
            return Err(
                "the quota of a processor had no effect: this machine does not emulate others"
                    .into(),
            );
        }
        // Who never was has had less to do than its share.
        let periods: Vec<String> = throttled.iter().map(u64::to_string).collect();
        let whose: Vec<String> = periods
            .iter()
            .enumerate()
            .map(|(number, periods)| match number == leads {
                true => format!("leader {periods}"),
                false => periods.clone(),
            })
            .collect();
        bench.note(&format!(
            "{what}: stopped by their quotas in so many tenths of a second: {}",
            whose.join(", ")
        ));
    }
    drop(running);
    let count = messages.len() as f64;
    let each = |index: usize| (after[index] - before[index]) * 1000.0 / count;
    Ok(Taken { rate: count / took, coordinators: each(0), leader: each(1), engine: each(2) })
}

/// A replica that shares its engine with nobody, against a coordinator with a directory: in turns, as other programs may take
/// more of the machine at one time than at another.
pub fn one_replica(bench: &Bench) -> Result<(), Error> {
    let turns = if bench.quick { 1 } else { 3 };
    let kinds = [Kind::Directory, Kind::Postgres, Kind::PostgresAndS3, Kind::Redis];
    for load in &bench.loads {
        let weights = load.weights;
        let mut taken: Vec<Vec<Taken>> = kinds.iter().map(|_| Vec::new()).collect();
        for _ in 0..turns {
            for (kind, taken) in kinds.iter().zip(&mut taken) {
                let Some(engines) = Engines::start(*kind)? else { continue };
                taken.push(take(bench, &engines, *load, 1, false)?);
            }
        }
        let of =
            |turns: &[Taken], what: fn(&Taken) -> f64| median(turns.iter().map(what).collect());
        for (kind, turns) in kinds.iter().zip(&taken) {
            if turns.is_empty() {
                bench
                    .missing(format!("{weights} weights, {kind:?}"), "the engine is not installed");
                continue;
            }
            let row = |what: &str, value, unit| {
                bench.watch.row(Row::new(
                    format!("{weights} weights, {kind:?}{what}"),
                    value,
                    unit,
                ));
            };
            row("", of(turns, |taken| taken.rate), "updates/s");
            row(": of the coordinator", of(turns, |taken| taken.coordinators), "CPU ms/update");
            if *kind == Kind::Directory {
                continue;
            }
            row(": of the engine", of(turns, |taken| taken.engine), "CPU ms/update");
            // Each against the one of its own turn. (The second tells more where other programs use the machine as well.)
            let ratio = |of: fn(&Taken, &Taken) -> f64| {
                median(turns.iter().zip(&taken[0]).map(|(this, one)| of(this, one)).collect())
            };
            let bar = if weights >= 1_000_000 { 0.7 } else { 0.5 };
            let what = format!("{weights} weights, {kind:?} / directory");
            let rate = ratio(|this, one| this.rate / one.rate);
            bench.watch.row(Row::new(what.clone(), rate, "").at_least(bar));
            let processor = ratio(|this, one| one.coordinators / (this.coordinators + this.engine));
            bench.watch.row(Row::new(format!("{what}, by processor time"), processor, ""));
        }
    }
    Ok(())
}

/// Four replicas against one, each within a quota.
pub fn four_replicas(bench: &Bench) -> Result<(), Error> {
    bench.note(&format!(
        "each replica has {SHARE} hundredths of a core: that emulates machines of their own, on this one"
    ));
    for load in &bench.loads {
        let weights = load.weights;
        // (A fifth of a core takes its time.)
        let divisor = if bench.quick { 1 } else { 4 };
        let mut rates = Vec::new();
        for replicas in [1, 4] {
            let Some(engines) = Engines::start(Kind::Postgres)? else {
                bench.missing("four replicas / one", "PostgreSQL is not installed");
                return Ok(());
            };
            let load = Load { updates: load.updates * replicas / divisor, ..*load };
            let taken = take(bench, &engines, load, replicas, true)?;
            let what = format!("{weights} weights, {replicas} replicas");
            let row = |what: String, value, unit| bench.watch.row(Row::new(what, value, unit));
            row(what.clone(), taken.rate, "updates/s");
            row(format!("{what}: of all coordinators"), taken.coordinators, "CPU ms/update");
            row(format!("{what}: of the leader"), taken.leader, "CPU ms/update");
            row(format!("{what}: of the engine"), taken.engine, "CPU ms/update");
            rates.push(taken.rate);
        }
        let row = Row::new(format!("{weights} weights, four / one"), rates[1] / rates[0], "");
        bench.watch.row(row.at_least(3.2));
    }
    Ok(())
}

/// A model of 25,000,000 weights: with a directory, and with an engine. (Each message has 175 MB.)
pub fn large_models(bench: &Bench) -> Result<(), Error> {
    let weights = if bench.quick { 2_000_000 } else { 25_000_000 };
    let load = Load { weights, updates: 4, connections: 2 };
    for kind in [Kind::Directory, Kind::Postgres, Kind::PostgresAndS3] {
        let Some(engines) = Engines::start(kind)? else {
            bench.missing(format!("{weights} weights, {kind:?}"), "the engine is not installed");
            continue;
        };
        let mut settings = settings(load.updates);
        settings.push(format!("model.length={weights}"));
        engines.init(&settings)?;
        let replicas = [engines.replica(0, &settings)?];
        leader(bench, &replicas)?;
        let what = format!("{weights} weights, {kind:?}");
        bench.watch.at(|| format!("{what}: making {} updates", load.updates))?;
        let messages = updates(replicas[0].address(), load.updates, bench.cores)?;
        let began = Instant::now();
        post(&[replicas[0].address()], &messages, load.connections, |before| {
            bench.watch.at(|| format!("{what}: {before} of {} updates", load.updates))
        })?;
        let took = began.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        let usage = Usage::of(&replicas[0].id().to_string())?;
        bench.watch.row(Row::new(what.clone(), load.updates as f64 / took, "updates/s"));
        let messages = messages[0].len() as f64 / 1048576.0;
        bench.watch.row(Row::new(
            format!("{what}: the coordinator's memory, over a message's"),
            usage.peak / 1024.0 / messages,
            "",
        ));
    }
    Ok(())
}
