//! Measuring rows: criterion times them, and what it has found is read from the files that it writes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};

use crate::memory;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// To show that it works: a fraction of a second for each row, and no long models.
    Quick,
    /// For numbers worth keeping.
    Full,
}

/// What the machine could do at best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many bytes of key stream a weight, at the rate of the fastest library.
    KeyStream(f64),
    /// So many bytes read and written a weight, at the rate of memcpy.
    Memory(f64),
}

/// What is to be reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// At least so much of the limit.
    OfLimit(f64),
    /// At least so many times as fast as the old crate.
    TimesOld(f64),
    /// At most so many nanoseconds a weight.
    Nanoseconds(f64),
    /// At least so many bytes a second, of so many a weight.
    Rate {
        /// Bytes a second.
        wanted: f64,
        /// Bytes a weight.
        per_weight: f64,
    },
    /// At most so many times what another row takes for a weight, times `count`.
    TimesRow {
        /// At most.
        wanted: f64,
        /// The other row's id.
        id: String,
        /// How many of the other.
        count: f64,
    },
    /// At least so many times as fast as another row.
    FasterThan {
        /// At least.
        wanted: f64,
        /// The other row's id.
        id: String,
    },
    /// Less than so many times `bytes`, inputs included.
    Memory {
        /// Less than.
        wanted: f64,
        /// Of what.
        of: &'static str,
        /// How many bytes that has.
        bytes: u64,
    },
}

/// Whose time a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours: shown.
    Ours,
    /// The old crate's.
    Old,
    /// The machine's, a byte at a time.
    Limit,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is done.
    pub step: &'static str,
    /// With which mask config, or whatever else distinguishes rows of one step.
    pub what: String,
    /// How many weights.
    pub weights: usize,
    /// On how many threads.
    pub threads: usize,
    /// The row of the old crate to compare with.
    pub old: Option<String>,
    /// The limit to compare with.
    pub limit: Option<Limit>,
    /// What is to be reached.
    pub targets: Vec<Target>,
    /// How large the inputs are that stay in memory meanwhile.
    pub input_bytes: u64,
    /// Whose it is.
    pub kind: Kind,
}

impl Row {
    /// A row on one thread, compared with nothing.
    pub fn new(step: &'static str, what: impl Into<String>, weights: usize) -> Self {
        Row {
            step,
            what: what.into(),
            weights,
            threads: 1,
            old: None,
            limit: None,
            targets: Vec::new(),
            input_bytes: 0,
            kind: Kind::Ours,
        }
    }

    /// Sets the number of threads.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Compares with a row of the old crate.
    pub fn old(mut self, id: impl Into<String>) -> Self {
        self.old = Some(id.into());
        self
    }

    /// Compares with a limit.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds something to be reached.
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Tells how large the inputs are.
    pub fn inputs(mut self, bytes: usize) -> Self {
        self.input_bytes = bytes as u64;
        self
    }

    /// Tells whose it is, if not ours.
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Its name, for files and for other rows.
    pub fn id(&self) -> String {
        id(self.step, &self.what, self.weights, self.threads)
    }
}

/// The name of a row.
pub fn id(step: &str, what: &str, weights: usize, threads: usize) -> String {
    format!("{step} {what} {weights} {threads}").replace(['/', ' ', ',', ':'], "-").to_lowercase()
}

/// A row and what was measured. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The row.
    pub row: Row,
    /// The median, of the whole step.
    pub median: f64,
    /// The bounds of the median's confidence interval (95%).
    pub interval: (f64, f64),
    /// The fastest sample.
    pub fastest: f64,
    /// The most bytes that were allocated at a time.
    pub peak: u64,
}

impl Measured {
    /// Nanoseconds a weight.
    pub fn per_weight(&self) -> f64 {
        self.median / self.row.weights as f64
    }
}

/// Measures row after row.
pub struct Runner {
    criterion: Criterion,
    folder: PathBuf,
    effort: Effort,
    words: Vec<String>,
    /// What is measured so far.
    pub measured: Vec<Measured>,
}

impl Runner {
    /// Criterion's files go into `folder`, which is emptied before: nothing is compared with an earlier run.
    pub fn new(folder: &Path, effort: Effort, words: Vec<String>) -> std::io::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        // Bootstrapping costs more time than it is worth with criterion's 100,000 resamples.
        let criterion =
            Criterion::default().output_directory(folder).without_plots().nresamples(2000);
        let words = words.iter().map(|word| word.to_lowercase()).collect();
        Ok(Runner { criterion, folder: folder.into(), effort, words, measured: Vec::new() })
    }

    /// Is this a short run?
    pub fn is_quick(&self) -> bool {
        self.effort == Effort::Quick
    }

    /// Is the row wanted? Limits always are, the old crate's are if a row before is compared with them.
    fn wants(&self, row: &Row) -> bool {
        let id = row.id();
        match row.kind {
            Kind::Ours => self.words.is_empty() || self.words.iter().any(|word| id.contains(word)),
            Kind::Limit => true,
            Kind::Old => self.measured.iter().any(|m| m.row.old.as_ref() == Some(&id)),
        }
    }

    /// Takes a row of something too long for criterion: `work` tells what it took, and the least of a few runs counts.
    pub fn once(&mut self, row: Row, runs: usize, mut work: impl FnMut() -> Duration) {
        if !self.wants(&row) {
            return;
        }
        let (first, peak) = memory::peak(&mut work);
        let mut times: Vec<_> = std::iter::once(first).chain((1..runs).map(|_| work())).collect();
        times.sort_unstable();
        let nanos = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e9);
        let (least, most) = (nanos(times.first()), nanos(times.last()));
        let interval = (least, most);
        self.measured.push(Measured { row, median: least, interval, fastest: least, peak });
    }

    /// Measures a row: `setup` makes the input of each run of `work`, and is not timed, nor is dropping what `work`
    /// returns. The first run is not timed either: it tells how much memory is needed.
    pub fn measure<I, O>(
        &mut self,
        row: Row,
        mut setup: impl FnMut() -> I,
        mut work: impl FnMut(I) -> O,
    ) {
        if !self.wants(&row) {
            return;
        }
        let begin = Instant::now();
        let input = setup();
        let prepared = Instant::now();
        let (output, peak) = memory::peak(|| work(input));
        let (preparing, took) =
            (prepared - begin, prepared.elapsed().max(Duration::from_nanos(100)));
        drop(output);

        let (budget, warm_up, samples) = match self.effort {
            Effort::Quick => (0.25, 0.02, 10),
            Effort::Full => (1.5, 0.2, 20),
        };
        // Criterion plans with the work's time alone, and runs ten samples at least.
        let share = took.as_secs_f64() / (took + preparing).as_secs_f64();
        let slow = took.as_secs_f64() > budget * share / 20.0;
        let time = Duration::from_secs_f64(budget * share).max(Duration::from_millis(1));
        let time = if slow { time.max(took.mul_f64(10.5)) } else { time };
        let id = row.id();
        let mut group = self.criterion.benchmark_group("masking");
        group
            .sample_size(if slow { 10 } else { samples })
            .sampling_mode(if slow { SamplingMode::Flat } else { SamplingMode::Auto })
            .warm_up_time(Duration::from_secs_f64(warm_up * share).max(Duration::from_millis(1)))
            .measurement_time(time)
            .throughput(Throughput::Elements(row.weights as u64));
        group.bench_function(&id, |bencher| {
            bencher.iter_batched(&mut setup, &mut work, BatchSize::PerIteration);
        });
        group.finish();
        match read(&self.folder.join("masking").join(&id).join("new")) {
            Some((median, interval, fastest)) => {
                self.measured.push(Measured { row, median, interval, fastest, peak });
            }
            None => {
                // The rows go on, whether this can be told or not.
                let _ = writeln!(io::stderr(), "criterion has left no estimates of {id}");
            }
        }
    }
}

type Estimates = (f64, (f64, f64), f64);

fn read(folder: &Path) -> Option<Estimates> {
    let json = |name: &str| -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(folder.join(name)).ok()?).ok()
    };
    let (estimates, sample) = (json("estimates.json")?, json("sample.json")?);
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    let numbers =
        |name: &str| Some(sample[name].as_array()?.iter().filter_map(|n| n.as_f64()).collect());
    let (times, iterations): (Vec<f64>, Vec<f64>) = (numbers("times")?, numbers("iters")?);
    let fastest =
        times.iter().zip(&iterations).map(|(time, count)| time / count).reduce(f64::min)?;
    Some((
        median["point_estimate"].as_f64()?,
        (interval["lower_bound"].as_f64()?, interval["upper_bound"].as_f64()?),
        fastest,
    ))
}
