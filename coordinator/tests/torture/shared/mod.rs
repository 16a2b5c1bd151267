//! Three replicas behind HAProxy, which share PostgreSQL with a synchronous standby, and S3-compatible storage. Each of them is killed,
//! stopped, ended, cut off, filled, spoiled; meanwhile participants work, and others look at all that is answered.

mod disk;
mod end;
mod engine;
mod faults;
mod haproxy;
mod link;
mod old;
mod ports;
mod replica;
mod seen;
mod site;
mod storage;
mod told;
mod verdict;
mod watch;
mod wires;

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use self::{faults::Pauses, site::Site};
use crate::{number, random::Random, report, DEADLINE};

const FEDERATION: &str = "torture";
const REPLICAS: usize = 3;
/// So many that hardly ever a round has nobody who adds up masks, or too few updates.
const PARTICIPANTS: usize = 14;
/// Beside them, those of the published package of old.
const OLD: usize = 3;

/// What is the same for all replicas.
#[derive(Clone, Copy)]
struct Plan {
    lease: Duration,
    /// How many weights a model has.
    length: usize,
}

impl Plan {
    /// What users have, or what is sooner done.
    fn of(seconds: u64) -> Self {
        let lease = Duration::from_millis(if seconds == 0 { 1500 } else { 3000 });
        // So long that whatever is as long as a model is large enough for S3.
        Self { lease, length: 45_000 }
    }
}

/// Waits until `condition` holds, looking again and again.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let looked = timeout(DEADLINE, async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    looked.await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// Most faults once (of those that `TORTURE_FAULTS` names: `KillLeader,FailOver`); or for `TORTURE_SECONDS` in any order, also two at a time.
/// (`TORTURE_PHASE=sum2`: all in that phase of a round.)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_their_engine_and_their_proxy_may_fail_at_any_moment() {
    let (seconds, seed) = (number("TORTURE_SECONDS", 0), number("TORTURE_SEED", 1));
    let Some(mut site) = Site::start(Plan::of(seconds)).await else { return };
    let mut random = Random::new(seed);
    let began = Instant::now();
    let mut pauses = Pauses::default();
    let mut faults = site.faults();
    match std::env::var("TORTURE_FAULTS") {
        Ok(only) => faults.retain(|fault| only.split(',').any(|name| name == format!("{fault:?}"))),
        Err(_) if seconds == 0 => faults.retain(|fault| !fault.is_for_the_long_run()),
        Err(_) => {}
    }
    if seconds == 0 {
        for index in (1..faults.len()).rev() {
            faults.swap(index, random.below(index as u64 + 1) as usize);
        }
    }
    site.until_a_model().await;
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(seconds) || (seconds == 0 && number < faults.len())
    {
        let fault = match seconds {
            0 => faults[number],
            _ => faults[random.below(faults.len() as u64) as usize],
        };
        let beside = seconds > 0 && random.below(3) == 0;
        number += 1;
        report(&format!(
            "TORTURE_SEED={seed}, {:6.1} s: {fault:?}{}",
            began.elapsed().as_secs_f64(),
            if beside { ", and one beside it" } else { "" }
        ));
        site.strike(fault, beside, &mut random, &mut pauses).await;
        site.check();
    }
    report(&pauses.to_string());
    let end = site.end().await;
    if old::are_there() {
        assert!(end.old > 0, "nothing of what participants of old have sent counts: {end}");
    }
    report(&format!(
        "TORTURE_SEED={seed}: {number} faults in {:.0} s, {end}",
        began.elapsed().as_secs_f64()
    ));
}
