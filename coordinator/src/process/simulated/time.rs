//! A process's own clock: it runs at another rate than others, and may jump ahead.
//!
//! The same names as in [`tokio::time`], which this is where no process is simulated.

use std::{
    future::Future,
    ops::{Add, Sub},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time as real;
pub(crate) use tokio::time::{Duration, MissedTickBehavior};

use super::Process;

/// How a process's clock runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What it showed, and when that was.
    shown: real::Instant,
    since: real::Instant,
    /// How many milliseconds of its own it counts in a second.
    rate: u32,
}

/// The rate of a clock that is right.
const RIGHT: u32 = 1000;
/// No clock tells shorter times apart.
const SHORTEST: Duration = Duration::from_micros(1);

impl Pace {
    pub fn right() -> Self {
        let now = real::Instant::now();
        Self { shown: now, since: now, rate: RIGHT }
    }

    fn now(&self) -> real::Instant {
        self.shown + self.since.elapsed() * self.rate / RIGHT
    }

    /// Has it run at another rate from now on, so much ahead.
    pub fn change(&mut self, rate: u32, ahead: Duration) {
        let (shown, since) = (self.now() + ahead, real::Instant::now());
        *self = Self { shown, since, rate };
    }

    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// When it will show this.
    fn when(&self, shown: real::Instant) -> real::Instant {
        let left = shown.saturating_duration_since(self.now());
        real::Instant::now() + (left * RIGHT / self.rate).max(SHORTEST)
    }
}

/// A point in time, by the clock of the process that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(real::Instant);

impl Instant {
    pub fn now() -> Self {
        let process = Process::current();
        Self(process.map_or_else(real::Instant::now, |process| process.pace().now()))
    }

    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    pub fn checked_add(self, time: Duration) -> Option<Self> {
        self.0.checked_add(time).map(Self)
    }

    pub fn checked_sub(self, time: Duration) -> Option<Self> {
        self.0.checked_sub(time).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0 - time)
    }
}

/// See [`sleep_until`].
pub(crate) struct Sleep {
    until: Instant,
    inner: Pin<Box<real::Sleep>>,
}

pub(crate) fn sleep(time: Duration) -> Sleep {
    sleep_until(Instant::now() + time)
}

/// Waits until the process's clock shows this. (Whoever changes the clock wakes all tasks of the process.)
pub(crate) fn sleep_until(until: Instant) -> Sleep {
    Sleep { until, inner: Box::pin(real::sleep_until(until.0)) }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if Instant::now() >= self.until {
                return Poll::Ready(());
            }
            let process = Process::current();
            let when = process.map_or(self.until.0, |process| process.pace().when(self.until.0));
            if self.inner.deadline() != when {
                self.inner.as_mut().reset(when);
            }
            if self.inner.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// It took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

pub(crate) async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(Instant::now() + time, future).await
}

pub(crate) async fn timeout_at<F: Future>(until: Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        done = future => Ok(done),
        () = sleep_until(until) => Err(Elapsed),
    }
}

/// See [`interval`].
pub(crate) struct Interval {
    next: Instant,
    period: Duration,
}

/// Ticks at once, and then once in each period; the next one is a period after one that came late.
pub(crate) fn interval(period: Duration) -> Interval {
    Interval { next: Instant::now(), period }
}

impl Interval {
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        assert_eq!(behavior, MissedTickBehavior::Delay, "no other one is simulated");
    }

    pub async fn tick(&mut self) -> Instant {
        sleep_until(self.next).await;
        let (due, now) = (self.next, Instant::now());
        let is_late = now.saturating_duration_since(due) > Duration::from_millis(5);
        self.next = self.period + if is_late { now } else { due };
        due
    }
}

impl Add<Instant> for Duration {
    type Output = Instant;

    fn add(self, at: Instant) -> Instant {
        at + self
    }
}

#[cfg(test)]
mod tests {
    use pet_testing::sim::random::Random;
    use tokio::time::Instant as Real;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_processs_clock_runs_at_its_rate_and_jumps_ahead() {
        let process = Process::new(Random::new(1));
        process.set_clock(500, Duration::ZERO);
        let (began, inside) = (Real::now(), process.clone());
        let running = process.run(async move {
            let began = Instant::now();
            sleep(Duration::from_secs(2)).await;
            assert_eq!(began.elapsed(), Duration::from_secs(2));
            let mut ticks = interval(Duration::from_secs(1));
            assert_eq!(ticks.tick().await, Instant::now());
            ticks.tick().await;
            assert_eq!(began.elapsed(), Duration::from_secs(3));
            let never = std::future::pending::<()>();
            assert_eq!(timeout(Duration::from_secs(10), never).await, Err(Elapsed));
            began.elapsed()
        });
        let running = tokio::spawn(running);
        real::sleep(Duration::from_secs(7)).await;
        // In the middle of its longest wait.
        inside.set_clock(2000, Duration::from_secs(5));
        assert!(running.await.unwrap() >= Duration::from_secs(13));
        // 3 s at half its speed, a half at that, 5 s of the rest are skipped, and the others take half their time.
        let took = began.elapsed().as_secs_f64();
        assert!((9.24..9.26).contains(&took), "{took}");
        // Where there is no process the clock is tokio's.
        let began = Instant::now();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
