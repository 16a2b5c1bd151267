//! `status --watch`: progress bars that follow the coordinator's events.

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pet_coordinator::status::{Now, Outcome, PastRound};
use serde::Deserialize;

use super::{
    client::Client,
    exit::{output_failed, print, Exit, Failed},
    status::{counts, duration, progress},
};

/// The pause before a lost coordinator is looked for again.
const RETRY: Duration = Duration::from_secs(2);

/// How finely the bar of a phase's time is drawn.
const TICKS: f64 = 1000.0;

/// An event: what has not changed may be missing.
#[derive(Deserialize)]
struct Update {
    #[serde(flatten)]
    now: Now,
    rounds: Option<Vec<PastRound>>,
}

/// Follows a coordinator until it stops; comes back when it does.
pub fn watch(client: &Client, json: bool) -> Result<(), Failed> {
    let mut display = match (json, io::stdout().is_terminal()) {
        (true, _) => Display::Json,
        (false, true) => Display::Bars(Bars::new()),
        (false, false) => Display::Lines { last: String::new() },
    };
    let mut seen = None;
    // Only if it was never there is this an error.
    let mut events = Some(client.events()?);
    loop {
        for event in events.take().into_iter().flatten() {
            let Ok(event) = event else { break };
            let update: Update = serde_json::from_str(&event).map_err(|error| {
                let why = format!("an event is not as this version knows it: {error}");
                Failed::new(Exit::Unreachable, why)
            })?;
            for round in update.rounds.iter().flatten() {
                // What was over before is for the command `rounds` to show.
                if seen.is_some_and(|seen| round.id > seen) {
                    display.round(round)?;
                }
            }
            let newest = update.rounds.iter().flatten().map(|round| round.id).max();
            seen = newest.max(seen).or(Some(0));
            display.now(&event, &update.now)?;
        }
        display.lost(client.url());
        thread::sleep(RETRY);
        events = client.events().ok();
    }
}

enum Display {
    /// Every event as it comes.
    Json,
    /// For files and pipes: a line for every change that is not only of time.
    Lines {
        last: String,
    },
    Bars(Bars),
}

impl Display {
    fn now(&mut self, event: &str, now: &Now) -> Result<(), Failed> {
        match self {
            Self::Json => print(format!("{event}\n")),
            Self::Lines { last } => {
                let Now { round, phase, .. } = now;
                let line =
                    format!("round {} {}: {} accepted", round.id, phase.name, phase.accepted);
                if line != *last {
                    print(format!("{line}\n"))?;
                    *last = line;
                }
                Ok(())
            }
            Self::Bars(bars) => {
                bars.now(now);
                Ok(())
            }
        }
    }

    fn round(&mut self, round: &PastRound) -> Result<(), Failed> {
        let line = over(round);
        match self {
            Self::Json => Ok(()),
            Self::Lines { .. } => print(format!("{line}\n")),
            Self::Bars(bars) => bars.all.println(line).map_err(output_failed),
        }
    }

    fn lost(&mut self, url: &str) {
        let line = format!("the coordinator at {url} is gone: looking for it again");
        match self {
            Self::Bars(bars) => {
                bars.title.set_message(line);
            }
            _ => {
                // It goes on being looked for, whether this can be told or not.
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }
}

/// A line about a round that is over.
fn over(round: &PastRound) -> String {
    let took = duration(round.seconds);
    match (&round.failure, round.outcome) {
        (Some(failure), _) => {
            format!(
                "round {} failed after {took} ({}): {}",
                round.id, failure.phase, failure.message
            )
        }
        (None, Outcome::Failed) => format!("round {} failed after {took}", round.id),
        (None, Outcome::Completed) => format!(
            "round {} completed in {took}: a global model of {} models",
            round.id,
            round.models.unwrap_or(0)
        ),
    }
}

struct Bars {
    all: MultiProgress,
    title: ProgressBar,
    accepted: ProgressBar,
    time: ProgressBar,
    footer: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let style = |template: &str| {
            // The templates are ours; with a wrong one the bar would look plain.
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let add = |template: &str, length: u64| {
            let bar = all.add(ProgressBar::new(length));
            bar.set_style(style(template));
            bar
        };
        Self {
            title: add("{msg}", 0),
            accepted: add("{prefix:9} [{bar:40}] {msg}", 0),
            time: add("{prefix:9} [{bar:40}] {msg}", TICKS as u64),
            footer: add("{msg}", 0),
            all,
        }
    }

    fn now(&self, now: &Now) {
        let Now { round, phase, messages, totals, .. } = now;
        self.title.set_message(format!("round {}, {} phase", round.id, phase.name));
        self.accepted.set_prefix("accepted");
        self.accepted.set_length(phase.min_count.unwrap_or(0).max(1));
        self.accepted.set_position(phase.accepted.min(phase.min_count.unwrap_or(0)));
        self.accepted.set_message(progress(phase));
        self.time.set_prefix("time");
        let share = phase.max_seconds.map_or(0.0, |max| phase.seconds / max.max(f64::MIN_POSITIVE));
        self.time.set_position((share.clamp(0.0, 1.0) * TICKS) as u64);
        self.time.set_message(match phase.max_seconds {
            Some(max) => format!("{} of {}", duration(phase.seconds), duration(max)),
            None => duration(phase.seconds),
        });
        let failed: u64 = totals.failed.values().sum();
        self.footer.set_message(format!(
            "{} rounds completed, {failed} failed; rejected: {}",
            totals.completed,
            counts(&messages.rejected)
        ));
    }
}
