//! Rounds of members and updaters that know nothing of this test: the machines, driven by the blocking transport.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use pet_core::{
    crypto::RootSeed,
    model::Model,
    participant::{Event, Polling},
    v2::{Credential, Pin},
};
use pet_transport_blocking::{Config, Member, MemberConfig, Participant};

use super::{audits::audit, begin, Cast};

const FEW: usize = 1000;

/// Asks often: the test is in a hurry.
fn polling() -> Polling {
    let mut polling = Polling::default();
    polling.initial = Duration::from_millis(10);
    polling.max = Duration::from_millis(50);
    polling.after_progress = Duration::from_millis(1);
    polling
}

/// Members and updaters on threads of their own, until they are told to stop.
struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// All members but the last of each group: a majority will do.
    fn start(cast: &Cast, url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let pin = Pin::new(cast.roster.hash(), 3);
        for member in cast.members.iter().filter(|member| member.id.index < 2) {
            let mut config = MemberConfig::new(url).unwrap();
            config.settings.polling = polling();
            let (keys, stop) = (member.keys.clone(), Arc::clone(&stop));
            threads.push(thread::spawn(move || {
                let mut member = Member::new(config, keys, pin, |_: &_| Ok(())).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    member.next_event(Some(Duration::from_millis(100))).unwrap();
                }
            }));
        }
        for (number, keys) in cast.updaters.iter().enumerate() {
            let mut config = Config::new(url).unwrap();
            config.settings.polling = polling();
            config.settings.pin = Some(pin);
            config.settings.credential =
                Some(Credential::issue(&cast.authority, &keys.public(), u64::MAX));
            let seed = RootSeed::new([number as u8 + 50; 32]);
            let (keys, stop) = (keys.clone(), Arc::clone(&stop));
            threads.push(thread::spawn(move || {
                let mut updater = Participant::with_keys(config, keys, seed).unwrap();
                let handle = updater.handle();
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Event::ModelNeeded { .. }) =
                        updater.next_event(Some(Duration::from_millis(100))).unwrap()
                    {
                        handle.set_model(Model::F32(Cast::weights(number, FEW))).unwrap();
                    }
                }
            }));
        }
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn rounds(more: &str) -> (serde_json::Value, String) {
    // Members take part in rounds that are opened after they were started: the first one ends soon.
    let times = "pet.v2.announce.time = { min = 0.3, max = 5 }\npet.v2.check.time = { min = 0.3, max = 300 }\n\
                 pet.v2.agree.time = { min = 0.3, max = 300 }\npet.v2.sum2.time = { min = 0.3, max = 300 }\nmodel.length = 1000";
    let (_dir, cast, server) = begin(4, &format!("{times}\n{more}"));
    let client = server.client();
    let url = format!("http://{}", server.address);
    let running = Running::start(&cast, &url);
    client.until("two models", |view| view.completed.is_some_and(|round| round >= 3));
    let completed = client.view().completed.unwrap().to_string();
    let ran = audit(&url, &["--roster", &cast.roster.hash().to_string(), "--round", &completed]);
    let status = client.status();
    running.stop();
    assert_eq!(ran.code, Some(0), "{}", ran.error);
    assert!(!server.log().contains("panicked"));
    (status, ran.out)
}

#[test]
fn rounds_of_the_real_machines_end_with_models_that_audits_confirm() {
    let (status, audited) = rounds("");
    assert!(audited.contains("masked models of 4 updates"), "{audited}");
    assert_eq!(status["v2"]["noise"], serde_json::Value::Null);
}

#[test]
fn with_noise_too_and_what_it_has_cost_is_shown() {
    let noise = "pet.v2.noise = { multiplier = 2.0, clip = 1.0 }\nmask.group_type = \"Word64\"";
    let (status, audited) = rounds(noise);
    assert!(audited.contains("masked models of 4 updates"), "{audited}");
    let noise = &status["v2"]["noise"];
    assert_eq!((noise["multiplier"].as_f64(), noise["updaters"].as_u64()), (Some(2.0), Some(4)));
    let rounds = noise["most_rounds"].as_u64().unwrap();
    assert!(rounds >= 2, "{noise}");
    // rho = T / (2 z^2), and epsilon grows with it.
    let epsilon = noise["most_epsilon"].as_f64().unwrap();
    assert!(epsilon > 1.0 && epsilon < 4.0 * rounds as f64, "{noise}");
}
