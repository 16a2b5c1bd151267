//! The feed of changes, and what is measured at regular times.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::{
    sync::{watch, OwnedSemaphorePermit},
    time::{interval, sleep, Instant, MissedTickBehavior},
};

use super::{
    history::unix,
    view::{resident_bytes, View},
    Now, PastRound, Sample, Status, Throughput,
};

/// So many may follow the feed.
pub(crate) const SUBSCRIBERS: usize = 64;

/// Changes are not shown more often than this.
const PAUSE: Duration = Duration::from_millis(250);

/// How often the throughput is measured, and how many of the latest measurements make its mean.
const TICK: Duration = Duration::from_secs(1);
const WINDOW: usize = 10;

/// A sample is kept after so many ticks, and so many samples.
const TICKS_PER_SAMPLE: u64 = 5;
const SAMPLES: usize = 120;

/// Publishes the status when it has changed, and every second; without end.
pub(super) async fn keep(view: View) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => view.measure(),
            () = view.shared.changed.notified() => {}
        }
        if view.feed.receiver_count() > 0 {
            view.feed.send_replace(Some(Arc::new(Published::new(view.status()))));
        }
        sleep(PAUSE).await;
    }
}

impl View {
    fn measure(&self) {
        let metrics = self.shared.counters.read();
        let messages = metrics.messages_accepted + metrics.rejections.total();
        let reading = Reading { at: Instant::now(), messages, bytes: metrics.received_bytes };
        self.gauges().add(reading);
    }
}

/// What the counters said at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    messages: u64,
    bytes: u64,
}

impl Reading {
    fn since(&self, before: &Self) -> Throughput {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let rate = |now: u64, before: u64| match seconds > 0.0 {
            true => ((now.saturating_sub(before)) as f64 / seconds * 100.0).round() / 100.0,
            false => 0.0,
        };
        Throughput {
            messages_per_second: rate(self.messages, before.messages),
            bytes_per_second: rate(self.bytes, before.bytes),
        }
    }
}

/// The latest measurements.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    ticks: u64,
    window: VecDeque<Reading>,
    sampled: Option<Reading>,
    samples: Arc<Vec<Sample>>,
}

impl Gauges {
    fn add(&mut self, reading: Reading) {
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(reading);
        if self.ticks.is_multiple_of(TICKS_PER_SAMPLE) {
            if let Some(before) = self.sampled.replace(reading) {
                let rate = reading.since(&before);
                let samples = Arc::make_mut(&mut self.samples);
                if samples.len() == SAMPLES {
                    samples.remove(0);
                }
                samples.push(Sample {
                    time: unix(SystemTime::now()),
                    messages_per_second: rate.messages_per_second,
                    bytes_per_second: rate.bytes_per_second,
                    resident_bytes: resident_bytes(),
                });
            }
        }
        self.ticks += 1;
    }

    pub fn throughput(&self) -> Throughput {
        match (self.window.front(), self.window.back()) {
            (Some(first), Some(last)) => last.since(first),
            _ => Throughput::default(),
        }
    }

    pub fn samples(&self) -> Arc<Vec<Sample>> {
        Arc::clone(&self.samples)
    }
}

/// A status on its way to all subscribers, written as JSON at most once for those who need the same
/// of it.
#[derive(Debug)]
pub(crate) struct Published {
    status: Status,
    /// With rounds and samples, or not.
    texts: [[OnceLock<String>; 2]; 2],
}

/// A status without what has not changed.
#[derive(Serialize)]
struct Change<'a> {
    #[serde(flatten)]
    now: &'a Now,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<&'a [PastRound]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<&'a [Sample]>,
}

impl Published {
    fn new(status: Status) -> Self {
        Self { status, texts: Default::default() }
    }

    fn text(&self, rounds: bool, samples: bool) -> &str {
        self.texts[usize::from(rounds)][usize::from(samples)].get_or_init(|| {
            let change = Change {
                now: &self.status.now,
                rounds: rounds.then_some(&self.status.rounds),
                samples: samples.then_some(&self.status.samples),
            };
            // There is nothing in it that could fail: the names are strings, and no number is too large.
            serde_json::to_string(&change).unwrap_or_default()
        })
    }
}

type Past = (Arc<Vec<PastRound>>, Arc<Vec<Sample>>);

/// A subscriber's place.
#[derive(Debug)]
pub(crate) struct Subscription {
    view: View,
    changes: watch::Receiver<Option<Arc<Published>>>,
    stopped: watch::Receiver<bool>,
    /// What the subscriber knows. Held, so that another list never has the same address.
    known: Option<Past>,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    pub(super) fn new(view: View, place: OwnedSemaphorePermit) -> Self {
        let (changes, stopped) = (view.feed.subscribe(), view.stopped.clone());
        Self { view, changes, stopped, known: None, _place: place }
    }

    /// The whole status as JSON at first, then what has changed of it; `None` once the coordinator
    /// stops.
    pub async fn next(&mut self) -> Option<String> {
        if *self.stopped.borrow() {
            return None;
        }
        let Some((rounds, samples)) = self.known.clone() else {
            // What was published before is older than this.
            self.changes.mark_unchanged();
            return Some(self.tell(&Published::new(self.view.status()), true, true));
        };
        let published = tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => return None,
            changed = self.changes.changed() => {
                changed.ok()?;
                self.changes.borrow_and_update().clone()?
            }
        };
        let new_rounds = !Arc::ptr_eq(&rounds, &published.status.rounds);
        let new_samples = !Arc::ptr_eq(&samples, &published.status.samples);
        Some(self.tell(&published, new_rounds, new_samples))
    }

    fn tell(&mut self, published: &Published, rounds: bool, samples: bool) -> String {
        let Status { rounds: known_rounds, samples: known_samples, .. } = &published.status;
        self.known = Some((Arc::clone(known_rounds), Arc::clone(known_samples)));
        published.text(rounds, samples).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use pet_core::coordinator::{Event, Phase};
    use tokio::{
        sync::watch,
        task::yield_now,
        time::{advance, timeout},
    };

    use super::*;
    use crate::{metrics::Counters, status::channel};

    /// However much happens, a subscriber hears a few times a second of it, and of the last state. (Time
    /// is virtual.)
    #[tokio::test(start_paused = true)]
    async fn subscribers_hear_of_everything_but_not_of_each_thing() {
        let (stop, stopped) = watch::channel(false);
        let (observer, view, keepers) = channel(Arc::<Counters>::default(), stopped);
        let keepers = tokio::spawn(keepers.run());
        let mut subscription = view.subscribe().unwrap();
        let first = subscription.next().await.unwrap();
        assert!(first.contains("\"rounds\":[]") && first.contains("\"samples\":[]"), "{first}");

        let hearing = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Some(text) = subscription.next().await {
                heard.push(text);
            }
            heard
        });
        for round_id in 1..=2000 {
            observer.event(&Event::PhaseBegan { round_id, phase: Phase::Sum }, None);
            observer.event(&Event::RoundCompleted { round_id, models: 3, votes: 1 }, None);
            advance(Duration::from_millis(1)).await;
            yield_now().await;
        }
        advance(PAUSE).await;
        yield_now().await;
        stop.send_replace(true);
        let heard = timeout(Duration::from_secs(1), hearing).await.expect("it ends").unwrap();
        assert!((6..=10).contains(&heard.len()), "{}", heard.len());
        assert!(heard.iter().any(|text| text.contains("\"id\":2000,")));
        timeout(Duration::from_secs(1), keepers).await.expect("they end").unwrap();
    }

    /// Whenever something happens or does not, the next event comes within a second. (Time is virtual.)
    #[tokio::test(start_paused = true)]
    async fn subscribers_hear_something_each_second() {
        let (stop, stopped) = watch::channel(false);
        let (observer, view, keepers) = channel(Arc::<Counters>::default(), stopped);
        let keepers = tokio::spawn(keepers.run());
        let mut subscription = view.subscribe().unwrap();
        subscription.next().await.unwrap();
        for turn in 0..100 {
            if turn % 3 != 0 {
                sleep(Duration::from_millis(37 * (turn % 27))).await;
                observer.event(&Event::PhaseBegan { round_id: turn, phase: Phase::Sum }, None);
            }
            let began = Instant::now();
            subscription.next().await.unwrap();
            let waited = began.elapsed();
            assert!(waited <= TICK + Duration::from_millis(5), "{waited:?} in turn {turn}");
        }
        stop.send_replace(true);
        timeout(Duration::from_secs(1), keepers).await.expect("they end").unwrap();
    }

    #[test]
    fn throughput_is_a_mean_and_samples_are_bounded() {
        let mut gauges = Gauges::default();
        assert_eq!(gauges.throughput(), Throughput::default());
        let begin = Instant::now();
        // Ten messages of a hundred bytes each second, twice as many in the last five.
        let (mut messages, last) = (0, 5 * 130);
        for second in 0..=last {
            gauges.add(Reading {
                at: begin + Duration::from_secs(second),
                messages,
                bytes: messages * 100,
            });
            messages += if second < last - 5 { 10 } else { 20 };
        }
        let throughput = gauges.throughput();
        assert_eq!(throughput.messages_per_second, 15.0);
        assert_eq!(throughput.bytes_per_second, 1500.0);
        let samples = gauges.samples();
        assert_eq!(samples.len(), SAMPLES);
        assert_eq!(samples[0].messages_per_second, 10.0);
        assert_eq!(samples.last().unwrap().messages_per_second, 20.0);
    }
}
