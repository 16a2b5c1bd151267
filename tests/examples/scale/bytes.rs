//! How many bytes the engine gets for those that participants send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;

use pet_tests::load::{post, settings, updates};

use crate::engines::{leader, Engines, Kind};
use crate::{Bench, Error, Row};

/// Counts what goes to a server through it.
struct Door {
    address: String,
    sent: Arc<AtomicU64>,
}

impl Door {
    fn to(server: String) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let Ok((answers, client_too)) =
                    server.try_clone().and_then(|server| Ok((server, client.try_clone()?)))
                else {
                    continue;
                };
                let counter = Arc::clone(&counter);
                thread::spawn(move || pass(client, server, &counter));
                thread::spawn(move || pass(answers, client_too, &AtomicU64::new(0)));
            }
        });
        Ok(Self { address, sent })
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: &AtomicU64) {
    let mut buffer = vec![0; 256 << 10];
    let _ = to.set_nodelay(true);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The bytes that the engine and the storage are sent while updates come, over those of the updates.
pub fn to_the_engine(bench: &Bench) -> Result<(), Error> {
    for load in &bench.loads {
        for kind in [Kind::Postgres, Kind::PostgresAndS3, Kind::Redis] {
            let what = format!("{} weights, {kind:?}: sent to it / received", load.weights);
            let Some(mut engines) = Engines::start(kind)? else {
                bench.missing(what, "the engine is not installed");
                continue;
            };
            let [engine, storage] = engines.addresses();
            let engine = Door::to(engine.unwrap_or_default())?;
            let storage = Door::to(storage.unwrap_or_default())?;
            engines.doors = Some([engine.address.clone(), storage.address.clone()]);
            let mut settings = settings(load.updates);
            settings.push(format!("model.length={}", load.weights));
            engines.init(&settings)?;
            let replicas = [engines.replica(0, &settings)?];
            leader(bench, &replicas)?;
            let address = replicas[0].address();
            let messages = updates(address, load.updates, bench.cores)?;
            let sent =
                || engine.sent.load(Ordering::Relaxed) + storage.sent.load(Ordering::Relaxed);
            let before = sent();
            post(&[address], &messages, load.connections, |before| {
                bench.watch.at(|| format!("{what}: {before} of {} updates", load.updates))
            })?;
            let bytes: usize = messages.iter().map(Vec::len).sum();
            let share = (sent() - before) as f64 / bytes as f64;
            bench.watch.row(Row::new(what, share, "").at_most(0.35));
        }
    }
    Ok(())
}
