//! What goes wrong.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::{link::Traffic, site::Site, storage::Spoiled, until, wires::Cable, REPLICAS};
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillLeader,
    KillFollower,
    /// It stands still for longer than its lease, and goes on.
    PauseLeader,
    PauseFollower,
    EndLeader,
    EndFollower,
    /// Its connections to the engine end, and there are no new ones for a while.
    CutLeader,
    CutFollower,
    /// What it sends to the engine, and is sent, arrives only later: an old leader's records, too.
    HoldLeader,
    HoldFollower,
    /// Its cables are pulled: that to its clients, and that to the engines.
    PullLeader,
    PullFollower,
    /// Its clients reach it, and it reaches no engine.
    StrandLeader,
    KillEngine,
    StopEngine,
    /// Nobody can reach the engine.
    CutEngine,
    /// The engine answers nobody for a while, and then all.
    HoldEngine,
    /// Nothing can be confirmed.
    KillStandby,
    /// The standby takes the primary's place.
    FailOver,
    /// The engine's disk is full: it takes nothing, or ends.
    FullEngine,
    /// The engine takes nothing.
    ReadOnlyEngine,
    KillStorage,
    /// The storage of large parts stands still.
    PauseStorage,
    /// Large parts are gone that the round needs, and so is the leader, which knows what was in them: the round fails by name.
    LoseParts,
    DamageParts,
    ReloadProxy,
}

impl Fault {
    pub const ALL: [Self; 26] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::PauseLeader,
        Self::PauseFollower,
        Self::EndLeader,
        Self::EndFollower,
        Self::CutLeader,
        Self::CutFollower,
        Self::HoldLeader,
        Self::HoldFollower,
        Self::PullLeader,
        Self::PullFollower,
        Self::StrandLeader,
        Self::KillEngine,
        Self::StopEngine,
        Self::CutEngine,
        Self::HoldEngine,
        Self::KillStandby,
        Self::FailOver,
        Self::FullEngine,
        Self::ReadOnlyEngine,
        Self::KillStorage,
        Self::PauseStorage,
        Self::LoseParts,
        Self::DamageParts,
        Self::ReloadProxy,
    ];

    fn is_of_leader(self) -> bool {
        use Fault::*;
        matches!(
            self,
            KillLeader
                | PauseLeader
                | EndLeader
                | CutLeader
                | HoldLeader
                | PullLeader
                | StrandLeader
        )
    }

    fn is_of_replica(self) -> bool {
        use Fault::*;
        let is_of_follower = matches!(
            self,
            KillFollower | PauseFollower | EndFollower | CutFollower | HoldFollower | PullFollower
        );
        is_of_follower || self.is_of_leader()
    }

    /// Whether it is much like another one, so that it waits for the long run.
    pub fn is_for_the_long_run(self) -> bool {
        use Fault::*;
        matches!(
            self,
            EndFollower
                | PauseFollower
                | CutLeader
                | CutFollower
                | HoldFollower
                | PullFollower
                | StopEngine
                | HoldEngine
                | DamageParts
        )
    }

    /// Whether it is about the storage of large parts.
    fn is_of_storage(self) -> bool {
        use Fault::*;
        matches!(self, KillStorage | PauseStorage | LoseParts | DamageParts)
    }
}

/// For how long nothing was acknowledged: from the fault on; of the engine's faults, from when it was back.
#[derive(Default)]
pub struct Pauses(BTreeMap<Fault, Vec<Duration>>);

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "for so many seconds nothing was acknowledged (half of the times, at most):")?;
        for (fault, times) in &self.0 {
            let mut times = times.clone();
            times.sort();
            let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
            let of = times.len();
            write!(f, "\n  {fault:?} {:.2} {:.2} ({of})", half.as_secs_f64(), most.as_secs_f64())?;
        }
        Ok(())
    }
}

/// After a fault there is no news for at least so long, if it stops anything at all.
const SOON: Duration = Duration::from_millis(300);
/// So often it is tried to spoil parts in the moment in which the round needs them.
const TRIES: usize = 20;

impl Site {
    /// Those that can happen here.
    pub fn faults(&self) -> Vec<Fault> {
        use Fault::*;
        let mut faults = Fault::ALL.to_vec();
        faults.retain(|fault| match fault {
            PullLeader | PullFollower | StrandLeader => self.replicas[0].wires.is_some(),
            FullEngine => self.engine.has_small_disks(),
            fault => !fault.is_of_storage() || self.storage.is_some(),
        });
        faults
    }

    /// Lets something go wrong, waits until messages are acknowledged again, and mends it. `beside`: another replica is in trouble
    /// at the same time.
    pub async fn strike(
        &mut self,
        fault: Fault,
        beside: bool,
        random: &mut Random,
        pauses: &mut Pauses,
    ) {
        // At any moment, and often just when somebody was told that an update is safe; or in the phase that `TORTURE_PHASE` names.
        if let Ok(phase) = std::env::var("TORTURE_PHASE") {
            self.until_phase(&phase).await;
        } else if random.below(2) == 0 {
            sleep(random.millis(0, 800)).await;
        } else {
            let books = std::sync::Arc::clone(&self.books);
            let _ = timeout(Duration::from_secs(2), books.news.notified()).await;
            sleep(Duration::from_micros(random.below(5000))).await;
        }
        let leader = self.leader().await;
        let followers: Vec<usize> = (0..REPLICAS).filter(|index| *index != leader).collect();
        let victim = followers[random.below(followers.len() as u64) as usize];
        let other = followers.into_iter().find(|index| *index != victim);
        let other = other.filter(|_| beside);
        let how = random.below(3);
        if let Some(other) = other {
            self.hurt(other, how);
        }
        let paused = if fault.is_of_replica() {
            let victim = if fault.is_of_leader() { leader } else { victim };
            self.strike_replica(fault, victim, random).await
        } else if matches!(fault, Fault::LoseParts | Fault::DamageParts) {
            self.spoil(fault).await
        } else {
            self.strike_engine(fault, random).await
        };
        if let Some(other) = other {
            self.mend(other, how).await;
            self.pause(Instant::now(), SOON).await;
        } else {
            pauses.0.entry(fault).or_default().push(paused);
        }
    }

    fn hurt(&mut self, replica: usize, how: u64) {
        match how {
            0 => self.replicas[replica].kill(),
            1 => self.replicas[replica].signal(Signal::SIGSTOP),
            _ => self.replicas[replica].traffic(Traffic::Held),
        }
    }

    async fn mend(&mut self, replica: usize, how: u64) {
        match how {
            0 => self.replicas[replica].start().await,
            1 => self.replicas[replica].signal(Signal::SIGCONT),
            _ => self.replicas[replica].traffic(Traffic::Flows),
        }
    }

    async fn strike_replica(
        &mut self,
        fault: Fault,
        index: usize,
        random: &mut Random,
    ) -> Duration {
        use Fault::*;
        let beyond_lease = self.plan.lease * 3 / 2;
        let replica = &mut self.replicas[index];
        let began = Instant::now();
        match fault {
            KillLeader | KillFollower => {
                replica.kill();
                let paused = self.pause(began, SOON).await;
                sleep(random.millis(0, 1000)).await;
                self.replicas[index].start().await;
                paused
            }
            EndLeader | EndFollower => {
                replica.signal(Signal::SIGTERM);
                let status = replica.wait().await;
                assert_eq!(status, Some(0), "replica {index} was ended: {}", self.trouble());
                let paused = self.pause(began, Duration::from_secs(1)).await;
                self.replicas[index].start().await;
                paused
            }
            PauseLeader | PauseFollower => {
                replica.signal(Signal::SIGSTOP);
                let paused = self.pause(began, SOON).await;
                let more = if fault == PauseLeader { beyond_lease } else { SOON };
                sleep(more.saturating_sub(began.elapsed())).await;
                self.replicas[index].signal(Signal::SIGCONT);
                self.pause(Instant::now(), SOON).await;
                paused
            }
            PullLeader | PullFollower | StrandLeader => {
                let wires = replica.wires.clone().unwrap();
                let cables: &[Cable] =
                    if fault == StrandLeader { &[Cable::Engines] } else { &Cable::BOTH };
                wires.pull(index, cables);
                let paused = self.pause(began, SOON).await;
                let more = if fault.is_of_leader() { beyond_lease } else { SOON };
                sleep(more.saturating_sub(began.elapsed())).await;
                wires.plug_in(index, cables);
                self.pause(Instant::now(), SOON).await;
                paused
            }
            _ => {
                let is_held = matches!(fault, HoldLeader | HoldFollower);
                replica.traffic(if is_held { Traffic::Held } else { Traffic::Refused });
                let paused = self.pause(began, SOON).await;
                let more = if fault.is_of_leader() { beyond_lease } else { SOON };
                sleep(more.saturating_sub(began.elapsed())).await;
                self.replicas[index].traffic(Traffic::Flows);
                self.pause(Instant::now(), SOON).await;
                paused
            }
        }
    }

    /// Spoils all large parts of a round, and kills the leader. Whoever leads next needs them, if the round was not about to end:
    /// then it fails, and a log says so.
    async fn spoil(&mut self, fault: Fault) -> Duration {
        let how = if fault == Fault::LoseParts { Spoiled::Removed } else { Spoiled::Damaged };
        for _ in 0..TRIES {
            let books = std::sync::Arc::clone(&self.books);
            let _ = timeout(Duration::from_secs(10), books.news.notified()).await;
            let leader = self.leader().await;
            let began = Instant::now();
            self.replicas[leader].signal(Signal::SIGSTOP);
            // Not before: a round that ends while logs are read would be taken for the one whose parts are spoiled.
            let before = self.logs();
            let parts = self.storage.as_ref().unwrap().spoil(how).await;
            self.replicas[leader].kill();
            until("somebody leads again", async || {
                let led = self.logs();
                let last = led.leaders.values().next_back();
                last.is_some_and(|(replica, _)| *replica != leader)
            })
            .await;
            let paused = self.pause(began, SOON).await;
            self.replicas[leader].start().await;
            // At once, or once the parts of all replicas are added up.
            until("the round ends", async || self.logs().ended() > before.ended()).await;
            if self.logs().lost.len() > before.lost.len() {
                assert!(parts > 0);
                self.spoiled += 1;
                return paused;
            }
        }
        panic!("rounds go on without their parts: {}", self.trouble());
    }

    async fn strike_engine(&mut self, fault: Fault, random: &mut Random) -> Duration {
        use Fault::*;
        let back = match fault {
            KillEngine | StopEngine => {
                if fault == KillEngine {
                    self.engine.kill();
                } else {
                    self.engine.stop();
                }
                sleep(random.millis(0, 2000)).await;
                self.engine.start_again()
            }
            CutEngine | HoldEngine => {
                let traffic = if fault == CutEngine { Traffic::Refused } else { Traffic::Held };
                self.replicas.iter().for_each(|replica| replica.traffic(traffic));
                sleep(random.millis(200, 4000)).await;
                self.replicas.iter().for_each(|replica| replica.traffic(Traffic::Flows));
                Instant::now()
            }
            KillStandby => {
                self.engine.kill_standby();
                sleep(random.millis(0, 1000)).await;
                self.engine.start_standby();
                Instant::now()
            }
            FailOver => {
                self.engine.fail_over().await;
                Instant::now()
            }
            FullEngine => {
                self.engine.fill_disk();
                sleep(random.millis(500, 4000)).await;
                self.engine.clear_disk().await
            }
            ReadOnlyEngine => {
                self.engine.set_read_only(true).await;
                sleep(random.millis(200, 4000)).await;
                self.engine.set_read_only(false).await;
                Instant::now()
            }
            KillStorage => {
                let storage = self.storage.as_ref().unwrap();
                storage.kill();
                sleep(random.millis(0, 2000)).await;
                storage.start_again();
                Instant::now()
            }
            PauseStorage => {
                let storage = self.storage.as_ref().unwrap();
                storage.pause();
                sleep(random.millis(200, 4000)).await;
                storage.go_on();
                Instant::now()
            }
            _ => {
                self.proxy.reload();
                Instant::now()
            }
        };
        let paused = self.pause(back, SOON).await;
        if fault == FailOver {
            self.engine.replace_standby().await;
            for (place, server) in self.engine.addresses().into_iter().enumerate() {
                self.links[place].lead_to(server);
                for replica in &self.replicas {
                    replica.links[place].lead_to(server);
                }
            }
        } else if fault != ReloadProxy {
            self.engine.wait_for_standby().await;
        }
        paused
    }
}
