//! Updates a second.

use std::thread;
use std::time::{Duration, Instant};

use pet_tests::load::{post, post_dealt, settings, updates};
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

/// The leader, which has to lead as well, gets one message of so many: see docs/shared-storage.md.
fn of_leader(weights: usize) -> usize {
    if weights >= 1_000_000 {
        5
    } else {
        8
    }
}

/// Replicas that share an engine, and the updates that they will be sent.
struct Party<'a> {
    engines: &'a Engines,
    what: String,
    weights: usize,
    running: Vec<CoordinatorProcess>,
    leads: usize,
    messages: Vec<Vec<u8>>,
    /// Removed after the processes have ended, also if something fails: a struct drops its fields in their order.
    quotas: Vec<Quota>,
}

impl<'a> Party<'a> {
    /// Starts them, each within a quota if `within`, and makes the updates.
    fn start(
        bench: &Bench,
        engines: &'a Engines,
        load: Load,
        replicas: usize,
        within: bool,
    ) -> Result<Self, Error> {
        let what = format!("{} weights, {:?}, {replicas} replica(s)", load.weights, engines.kind);
        let mut settings = settings(load.updates);
        settings.push(format!("model.length={}", load.weights));
        engines.init(&settings)?;
        let mut running = Vec::new();
        for number in 0..replicas {
            running.push(engines.replica(number, &settings)?);
        }
        let leads = leader(bench, &running)?;
        bench.watch.at(|| format!("{what}: making {} updates", load.updates))?;
        let messages = updates(running[leads].address(), load.updates, bench.cores)?;
        let mut quotas = Vec::new();
        for replica in running.iter().filter(|_| within) {
            let quota = Quota::new(&replica.id().to_string())?;
            quota.take(replica.id())?;
            quotas.push(quota);
        }
        let weights = load.weights;
        Ok(Self { engines, what, weights, running, leads, messages, quotas })
    }

    /// Seconds of processor time: of all coordinators, of the leader, of the engine.
    fn used(&self) -> Result<[f64; 3], Error> {
        let of = |replica: &CoordinatorProcess| {
            Ok::<_, Error>(Usage::of(&replica.id().to_string())?.processor())
        };
        let all = self.running.iter().map(of).sum::<Result<f64, Error>>()?;
        Ok([all, of(&self.running[self.leads])?, self.engines.processor()])
    }

    /// Has them take the load, over so many connections for each replica.
    fn take(&self, bench: &Bench, connections: usize) -> Result<Taken, Error> {
        let Self { what, weights, running, leads, messages, quotas, .. } = self;
        let mut addresses: Vec<&str> = running.iter().map(CoordinatorProcess::address).collect();
        let leader = addresses.remove(*leads);
        let accepted =
            |before| bench.watch.at(|| format!("{what}: {before} of {} updates", messages.len()));
        let (before, began) = (self.used()?, Instant::now());
        let connections = connections * running.len();
        match addresses.is_empty() {
            true => post(&[leader], messages, connections, accepted)?,
            false => post_dealt(
                (leader, &addresses),
                of_leader(*weights),
                messages,
                connections,
                accepted,
            )?,
        }
        let took = began.elapsed().as_secs_f64();
        let after = self.used()?;
        if took > 2.0 && !quotas.is_empty() {
            let throttled =
                quotas.iter().map(Quota::throttled).collect::<Result<Vec<u64>, Error>>()?;
            if throttled.iter().all(|periods| *periods == 0) {
                return Err(
                    "the quota of a processor had no effect: this machine does not emulate others"
                        .into(),
                );
            }
            // Who never was has had less to do than its share.
            let whose: Vec<String> = throttled
                .iter()
                .enumerate()
                .map(|(number, periods)| match number == *leads {
                    true => format!("leader {periods}"),
                    false => periods.to_string(),
                })
                .collect();
            bench.note(&format!(
                "{what}: stopped by their quotas in so many tenths of a second: {}",
                whose.join(", ")
            ));
        }
        let count = messages.len() as f64;
        let each = |index: usize| (after[index] - before[index]) * 1000.0 / count;
        Ok(Taken { rate: count / took, coordinators: each(0), leader: each(1), engine: each(2) })
    }
}

/// Starts them, and has them take a load.
fn take(
    bench: &Bench,
    engines: &Engines,
    load: Load,
    replicas: usize,
    within: bool,
) -> Result<Taken, Error> {
    Party::start(bench, engines, load, replicas, within)?.take(bench, load.connections)
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

/// Four replicas of one federation against one replica, each within a quota.
///
/// The one is measured as one of four that have nothing to do with each other, each with an engine of its own. One alone would have
/// this machine's cores, its caches and its engine's processor nearly to itself, which four machines of their own would have as well,
/// but four processes here have not.
pub fn four_replicas(bench: &Bench) -> Result<(), Error> {
    bench.note(&format!(
        "each replica has {SHARE} hundredths of a core: that emulates machines of their own, on this one"
    ));
    for load in &bench.loads {
        let weights = load.weights;
        // So many that their beginning and their end, when not all have something to do, weigh little: half a minute.
        let times = if bench.quick { 1 } else { 2 };
        let one = Load { updates: load.updates * times, ..*load };
        let all = Load { updates: one.updates * 4, ..*load };
        let turns = if bench.quick { 1 } else { 3 };
        let mut taken: [Vec<Taken>; 3] = Default::default();
        for _ in 0..turns {
            let started = || Engines::start(Kind::Postgres);
            let Some(engines) = started()? else {
                bench.missing("four replicas / one", "PostgreSQL is not installed");
                return Ok(());
            };
            taken[0].push(take(bench, &engines, one, 1, true)?);
            drop(engines);
            let engines: Vec<Engines> =
                (0..4).filter_map(|_| started().transpose()).collect::<Result<_, _>>()?;
            let parties = engines.iter().map(|engines| Party::start(bench, engines, one, 1, true));
            let parties: Vec<Party> = parties.collect::<Result<_, _>>()?;
            taken[1].push(at_once(bench, &parties, load.connections)?);
            drop(parties);
            drop(engines);
            let engines = started()?.ok_or("PostgreSQL is gone")?;
            taken[2].push(take(bench, &engines, all, 4, true)?);
        }
        let [alone, apart, four] = taken;
        show(bench, &format!("{weights} weights, one alone on this machine"), &alone);
        show(bench, &format!("{weights} weights, one of four apart"), &apart);
        show(bench, &format!("{weights} weights, four replicas"), &four);
        let row = |what: &str, ones: &[Taken]| {
            let ratios = four.iter().zip(ones).map(|(four, one)| four.rate / one.rate).collect();
            Row::new(format!("{weights} weights, {what}"), median(ratios), "")
        };
        bench.watch.row(row("four / one of four apart", &apart).at_least(3.2));
        bench.watch.row(row("four / one alone", &alone));
    }
    Ok(())
}

/// Has all of them take their loads at the same time, and gives what is the mean of each.
fn at_once(bench: &Bench, parties: &[Party], connections: usize) -> Result<Taken, Error> {
    let taken: Vec<Taken> = thread::scope(|scope| {
        let run = |party| scope.spawn(move || Party::take(party, bench, connections));
        let runs: Vec<_> = parties.iter().map(run).collect();
        runs.into_iter().map(|run| run.join().expect("nobody panics")).collect::<Result<_, _>>()
    })?;
    let mean =
        |of: fn(&Taken) -> f64| taken.iter().map(of).sum::<f64>() / taken.len().max(1) as f64;
    Ok(Taken {
        rate: mean(|taken| taken.rate),
        coordinators: mean(|taken| taken.coordinators),
        leader: mean(|taken| taken.leader),
        engine: mean(|taken| taken.engine),
    })
}

/// Shows the medians.
fn show(bench: &Bench, what: &str, turns: &[Taken]) {
    let row = |what: String, of: fn(&Taken) -> f64, unit| {
        bench.watch.row(Row::new(what, median(turns.iter().map(of).collect()), unit));
    };
    row(what.to_owned(), |taken| taken.rate, "updates/s");
    row(format!("{what}: of all coordinators"), |taken| taken.coordinators, "CPU ms/update");
    row(format!("{what}: of the leader"), |taken| taken.leader, "CPU ms/update");
    row(format!("{what}: of the engine"), |taken| taken.engine, "CPU ms/update");
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
