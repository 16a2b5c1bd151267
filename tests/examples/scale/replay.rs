//! How long it takes to read a round's log, and how long until another one leads.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pet_tests::load::{post, settings_with, updates_of, Connection};
use pet_tests::process::{get, CoordinatorProcess};

use crate::engines::{leader, Engines, Kind};
use crate::{Bench, Error, Row};

/// A replica, or a coordinator with a directory, that starts in the middle of a round with many updates and sum participants.
pub fn of_a_round(bench: &Bench) -> Result<(), Error> {
    let (number, summers) = if bench.quick { (500, 10) } else { (10_000, 100) };
    for kind in [Kind::Directory, Kind::Postgres, Kind::Redis] {
        let what = format!("{number} updates x {summers} sum participants, {kind:?}: read");
        let Some(engines) = Engines::start(kind)? else {
            bench.missing(what, "the engine is not installed");
            continue;
        };
        let mut settings = settings_with(number, summers);
        settings.push("model.length=16".into());
        engines.init(&settings)?;
        let first = engines.replica(0, &settings)?;
        leader(bench, std::slice::from_ref(&first))?;
        let messages = updates_of(first.address(), summers, number, bench.cores)?;
        post(&[first.address()], &messages, 64, |before| {
            bench.watch.at(|| format!("{what}: {before} of {number} updates"))
        })?;
        // (The directory belongs to one of them at a time.)
        let first = (kind != Kind::Directory).then_some(first);
        let began = Instant::now();
        let second = engines.replica(1, &settings)?;
        let ready = || get(second.address(), "/readyz").is_ok_and(|(status, _)| status == 200);
        bench.watch.until("waiting until the round is read", ready)?;
        bench.watch.row(Row::new(what, began.elapsed().as_secs_f64(), "s").at_most(10.0));
        drop((first, second));
    }
    Ok(())
}

/// How long nothing is acknowledged when the leader is killed, is stopped, and when the database has been away.
pub fn of_leaders(bench: &Bench) -> Result<(), Error> {
    let Some(engines) = Engines::start(Kind::Postgres)? else {
        bench.missing("until another one leads", "PostgreSQL is not installed");
        return Ok(());
    };
    let turns = if bench.quick { 1 } else { 3 };
    let mut settings = settings_with(1000, 1);
    settings.push("model.length=100".into());
    engines.init(&settings)?;
    let mut replicas = vec![engines.replica(0, &settings)?, engines.replica(1, &settings)?];
    let leads = leader(bench, &replicas)?;
    let messages = updates_of(replicas[leads].address(), 1, 20, bench.cores)?;
    let mut messages = messages.into_iter();
    let mut longest = [Duration::ZERO; 3];
    let mut started = 2;
    for _ in 0..turns {
        for (case, longest) in longest.iter_mut().enumerate() {
            let leads = leader(bench, &replicas)?;
            let message = messages.next().ok_or("there are too few messages")?;
            let began = match case {
                0 => {
                    drop(replicas.remove(leads));
                    Instant::now()
                }
                1 => {
                    let leader = replicas.remove(leads);
                    let began = Instant::now();
                    terminate(&leader)?;
                    // (Until it is gone. It may say that it is not ready in the meantime.)
                    acknowledged(bench, &replicas, &message)?;
                    *longest = began.elapsed().max(*longest);
                    drop(leader);
                    replicas.push(engines.replica(started, &settings)?);
                    started += 1;
                    continue;
                }
                _ => {
                    let postgres = engines.postgres.as_ref().ok_or("there is no database")?;
                    postgres.kill();
                    sleep(Duration::from_secs(1));
                    postgres.start_again();
                    Instant::now()
                }
            };
            acknowledged(bench, &replicas, &message)?;
            *longest = began.elapsed().max(*longest);
            if case == 0 {
                replicas.push(engines.replica(started, &settings)?);
                started += 1;
            }
        }
    }
    let names = ["kill -9 of the leader", "SIGTERM of the leader", "the database is back"];
    for ((name, longest), bar) in names.into_iter().zip(longest).zip([5.0, 1.0, 3.0]) {
        let what = format!("acknowledged again, {turns} time(s): {name}");
        bench.watch.row(Row::new(what, longest.as_secs_f64(), "s").at_most(bar));
    }
    Ok(())
}

/// Waits until one of them takes a message.
fn acknowledged(
    bench: &Bench,
    replicas: &[CoordinatorProcess],
    message: &[u8],
) -> Result<(), Error> {
    bench.watch.until("waiting for an acknowledgement", || {
        replicas.iter().any(|replica| {
            let posted = Connection::open(replica.address()).and_then(|mut one| one.post(message));
            match posted {
                Ok(()) => true,
                // It was taken, and the answer was lost.
                Err(error) => error.to_string().contains("DuplicateUpdate"),
            }
        })
    })
}

fn terminate(process: &CoordinatorProcess) -> Result<(), Error> {
    match Command::new("kill").arg("-TERM").arg(process.id().to_string()).status()?.success() {
        true => Ok(()),
        false => Err("the leader cannot be stopped".into()),
    }
}
