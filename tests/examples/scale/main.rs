//! What it costs that several coordinators share an engine, and what is gained by several: the bars of `make bench-scale`.
//!
//! ```text
//! cargo build --release -p pet-coordinator
//! cargo run --release -p pet-tests --example scale -- [--quick] [--json FILE] [PART]...
//! ```
//!
//! PostgreSQL and Redis are started on a disk, S3-compatible storage where it is installed, all on this machine: what they take is
//! taken from the coordinators and from whoever posts. Each part has so much time and no more; one that fails says why, and the
//! others go on. The last thing that is shown is a table of all bars. Linux only.
#![allow(clippy::print_stdout)]

mod bytes;
mod engines;
mod lag;
mod quota;
mod rates;
mod replay;
mod size;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{json, Map, Value};

use crate::watch::Watch;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A load: so many updates of so many weights, over so many connections.
#[derive(Clone, Copy)]
struct Load {
    weights: usize,
    updates: usize,
    connections: usize,
}

/// What is measured, and against what.
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    /// What it should be, and whether that is the least or the most.
    bar: Option<(f64, Side)>,
    /// Why it was not measured, if it was not.
    why: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Least,
    Most,
}

impl Row {
    fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, bar: None, why: None }
    }

    fn missing(what: impl Into<String>, why: &str) -> Self {
        Self { why: Some(why.to_owned()), ..Self::new(what, f64::NAN, "") }
    }

    fn at_least(mut self, bar: f64) -> Self {
        self.bar = Some((bar, Side::Least));
        self
    }

    fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some((bar, Side::Most));
        self
    }

    /// Whether it is as it should be.
    fn holds(&self) -> Option<bool> {
        self.bar.map(|(bar, side)| match side {
            Side::Least => self.value >= bar,
            Side::Most => self.value <= bar,
        })
    }

    fn print(&self) {
        let Self { what, value, unit, .. } = self;
        if let Some(why) = &self.why {
            println!("  {what:70}  NOT MEASURED: {why}");
            return;
        }
        let bar = match (self.bar, self.holds()) {
            (Some((bar, side)), Some(holds)) => {
                let side = if side == Side::Least { "at least" } else { "at most" };
                format!("  ({side} {bar}: {})", if holds { "holds" } else { "MISSED" })
            }
            _ => String::new(),
        };
        println!("  {what:70} {value:10.3} {unit}{bar}");
    }

    fn json(&self) -> Value {
        let Self { what, value, unit, .. } = self;
        let bar = self.bar.map(|(bar, _)| bar);
        let value = value.is_finite().then_some(value);
        let (holds, why) = (self.holds(), &self.why);
        json!({ "what": what, "value": value, "unit": unit, "bar": bar, "holds": holds, "not_measured": why })
    }
}

/// What a part is given.
struct Bench {
    loads: Vec<Load>,
    quick: bool,
    cores: usize,
    watch: Watch,
}

impl Bench {
    /// Says what could not be measured, and why.
    fn missing(&self, what: impl Into<String>, why: &str) {
        self.watch.row(Row::missing(what, why));
    }

    fn note(&self, what: &str) {
        println!("  {what}");
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// What can be asked for: its name, how many seconds it may take, and how it is measured.
type Part = (&'static str, u64, fn(&Bench) -> Result<(), Error>);

const PARTS: [Part; 8] = [
    ("shared", 900, rates::one_replica),
    ("bytes", 600, bytes::to_the_engine),
    ("replicas", 1800, rates::four_replicas),
    ("lag", 300, lag::of_followers),
    ("failover", 300, replay::of_leaders),
    ("replay", 600, replay::of_a_round),
    ("large", 900, rates::large_models),
    ("size", 600, size::of_rounds),
];

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (mut quick, mut file, mut asked) = (false, None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => file = Some(PathBuf::from(arguments.next().ok_or("--json needs a file")?)),
            part if PARTS.iter().any(|(name, ..)| *name == part) => asked.push(argument),
            _ => {
                let parts = PARTS.map(|(name, ..)| name).join("|");
                return Err(format!("usage: scale [--quick] [--json FILE] [{parts}]...").into());
            }
        }
    }
    let loads = match quick {
        true => vec![Load { weights: 1000, updates: 200, connections: 8 }],
        false => vec![
            Load { weights: 10_000, updates: 4000, connections: 64 },
            Load { weights: 1_000_000, updates: 128, connections: 32 },
        ],
    };
    let cores = std::thread::available_parallelism()?.get();
    println!("{cores} cores, shared by all that runs here");
    let mut results = Vec::new();
    for (name, seconds, measure) in PARTS {
        if !asked.is_empty() && !asked.iter().any(|asked| asked == name) {
            continue;
        }
        println!("{name} (at most {seconds} s)");
        let watch = Watch::new(name, Duration::from_secs(seconds));
        let bench = Bench { loads: loads.clone(), quick, cores, watch };
        if let Err(error) = measure(&bench) {
            bench.missing(format!("the rest of {name}"), &error.to_string());
        }
        results.push((name, bench.watch.into_rows()));
        if let Some(file) = &file {
            write(file, cores, &results)?;
        }
    }
    println!("all bars");
    for (name, rows) in &results {
        for row in rows.iter().filter(|row| row.bar.is_some() || row.why.is_some()) {
            print!("{name:10}");
            row.print();
        }
    }
    if let Some(file) = file {
        println!("written to {}", file.display());
    }
    Ok(())
}

/// Writes what there is so far.
fn write(file: &std::path::Path, cores: usize, results: &[(&str, Vec<Row>)]) -> Result<(), Error> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let results: Map<String, Value> = results
        .iter()
        .map(|(name, rows)| ((*name).to_owned(), rows.iter().map(Row::json).collect()))
        .collect();
    let report = json!({ "cores": cores, "results": results });
    std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    Ok(())
}
