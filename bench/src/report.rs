//! The table, and the file that the one of docs/performance.md is made from.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::limits;
use crate::machine::Machine;
use crate::runner::{Kind, Limit, Measured, Runner, Target};

/// All that was found out.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    /// A short run: its numbers show only that it works.
    quick: bool,
    /// The limits: key streams in bytes a second, by library, and memcpy, by the copied bytes.
    key_streams: Vec<Rate>,
    memcpy: Vec<Rate>,
    /// How many times as fast all cores make key stream as one does: no job can gain more.
    gain_of_threads: Option<f64>,
    rows: Vec<Line>,
    /// What was reached for comparison only: the old crate.
    old: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Rate {
    name: String,
    bytes_per_second: f64,
}

/// A row of the table.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    step: &'static str,
    what: String,
    weights: usize,
    threads: usize,
    /// The median.
    ns_per_weight: f64,
    /// Its 95% confidence interval.
    ns_per_weight_interval: (f64, f64),
    /// The fastest sample.
    ns_per_weight_fastest: f64,
    old_ns_per_weight: Option<f64>,
    times_old: Option<f64>,
    limit: Option<&'static str>,
    limit_ns_per_weight: Option<f64>,
    of_limit: Option<f64>,
    /// Above what there was before the step; its output included.
    peak_bytes: u64,
    /// Of inputs that stay meanwhile.
    input_bytes: u64,
    targets: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    /// What is to be reached, as text.
    target: String,
    /// What was.
    reached: f64,
    met: bool,
}

impl Report {
    /// Puts together what was measured.
    pub fn new(runner: Runner, machine: Machine) -> Self {
        let quick = runner.is_quick();
        let measured = &runner.measured;
        let rates = |step: &str| {
            let rows = measured.iter().filter(|m| m.row.step == step);
            rows.map(|m| Rate {
                name: if m.row.what.is_empty() {
                    format!("{} bytes", m.row.weights)
                } else {
                    m.row.what.clone()
                },
                bytes_per_second: 1e9 / m.per_weight(),
            })
            .collect()
        };
        let lines = |kind: Kind| {
            let rows = measured.iter().filter(|m| m.row.kind == kind);
            rows.map(|m| line(m, measured)).collect()
        };
        Report {
            quick,
            key_streams: rates(limits::KEY_STREAM),
            memcpy: rates(limits::MEMCPY),
            gain_of_threads: limits::gain_of_threads(measured),
            rows: lines(Kind::Ours),
            old: lines(Kind::Old),
            machine,
        }
    }

    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
    }

    /// As text of fixed width.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let heads = [
            "step",
            "weights",
            "thr",
            "ns/weight",
            "old",
            "x old",
            "limit",
            "of limit",
            "peak MB",
            "target",
            "",
        ];
        let mut rows = vec![heads.map(String::from)];
        for line in &self.rows {
            let optional = |value: Option<f64>, digits| {
                value.map_or(String::new(), |value| number(value, digits))
            };
            let first = line.targets.first();
            rows.push([
                format!("{}: {}", line.step, line.what),
                scientific(line.weights),
                line.threads.to_string(),
                number(line.ns_per_weight, 3),
                optional(line.old_ns_per_weight, 3),
                optional(line.times_old, 3),
                optional(line.limit_ns_per_weight, 3),
                optional(line.of_limit, 2),
                number(line.peak_bytes as f64 / 1e6, 3),
                first.map_or(String::new(), |outcome| outcome.text()),
                first.map_or(String::new(), |outcome| outcome.verdict()),
            ]);
            for outcome in line.targets.iter().skip(1) {
                let mut more = [const { String::new() }; 11];
                more[9] = outcome.text();
                more[10] = outcome.verdict();
                rows.push(more);
            }
        }
        let mut widths = [0; 11];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in rows {
            let mut text = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Text to the left, numbers to the right.
                if matches!(column, 0 | 9 | 10) {
                    let _ = write!(text, "{cell:<width$}  ");
                } else {
                    let _ = write!(text, "{cell:>width$}  ");
                }
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out.push('\n');
        for (name, rates) in [("key stream", &self.key_streams), ("memcpy", &self.memcpy)] {
            let all: Vec<_> = rates
                .iter()
                .map(|rate| format!("{} {:.2} GB/s", rate.name, rate.bytes_per_second / 1e9))
                .collect();
            let _ = writeln!(out, "{name}: {}", all.join(", "));
        }
        if let Some(gain) = self.gain_of_threads {
            let _ = writeln!(out, "all cores make key stream {gain:.2} times as fast as one");
        }
        let Machine { processor, cores, instructions, date, rustc, revision, old } = &self.machine;
        let _ = writeln!(
            out,
            "{processor}, {cores} cores ({}), {date}, {rustc}, revision {revision}, against {old}{}",
            instructions.join(" "),
            if self.quick { "; a short run, whose numbers show only that it works" } else { "" },
        );
        out
    }
}

impl Outcome {
    fn text(&self) -> String {
        format!("{}: {}", self.target, number(self.reached, 3))
    }

    fn verdict(&self) -> String {
        if self.met { "met" } else { "missed" }.into()
    }
}

fn line(m: &Measured, all: &[Measured]) -> Line {
    let weights = m.row.weights as f64;
    let find = |id: &str| all.iter().find(|other| other.row.id() == id);
    let ns = m.per_weight();
    let old = m.row.old.as_deref().and_then(find).map(Measured::per_weight);
    let (limit, limit_ns) = match m.row.limit {
        Some(Limit::KeyStream(bytes)) => {
            (Some("key stream"), limits::fastest_key_stream(all).map(|(_, ns)| ns * bytes))
        }
        Some(Limit::Memory(bytes)) => {
            (Some("memcpy"), limits::memory(all, m.row.weights).map(|ns| ns * bytes))
        }
        None => (None, None),
    };
    let times_old = old.map(|old| old / ns);
    let of_limit = limit_ns.map(|limit| limit / ns);
    let outcome = |target: &Target| -> Option<Outcome> {
        let at_least = |text: String, reached: f64, wanted: f64| Outcome {
            target: text,
            reached,
            met: reached >= wanted,
        };
        let at_most = |text: String, reached: f64, wanted: f64| Outcome {
            target: text,
            reached,
            met: reached <= wanted,
        };
        Some(match target {
            Target::OfLimit(wanted) => {
                at_least(format!("{wanted} of the limit"), of_limit?, *wanted)
            }
            Target::TimesOld(wanted) => at_least(format!("{wanted} x old"), times_old?, *wanted),
            Target::Nanoseconds(wanted) => at_most(format!("{wanted} ns"), ns, *wanted),
            Target::Rate { wanted, per_weight } => {
                at_least(format!("{} GB/s", wanted / 1e9), per_weight / ns, wanted / 1e9)
            }
            Target::TimesRow { wanted, id, count } => {
                let other = find(id)?;
                at_most(
                    format!("{wanted} x {}", other.row.step),
                    ns / (count * other.per_weight()),
                    *wanted,
                )
            }
            Target::FasterThan { wanted, id } => {
                at_least(format!("{wanted} x one thread"), find(id)?.per_weight() / ns, *wanted)
            }
            Target::Memory { wanted, of, bytes } => {
                let peak = (m.peak + m.row.input_bytes) as f64 / *bytes as f64;
                Outcome {
                    target: format!("under {wanted} x {of}"),
                    reached: peak,
                    met: peak < *wanted,
                }
            }
        })
    };
    Line {
        id: m.row.id(),
        step: m.row.step,
        what: m.row.what.clone(),
        weights: m.row.weights,
        threads: m.row.threads,
        ns_per_weight: ns,
        ns_per_weight_interval: (m.interval.0 / weights, m.interval.1 / weights),
        ns_per_weight_fastest: m.fastest / weights,
        old_ns_per_weight: old,
        times_old,
        limit: limit.filter(|_| limit_ns.is_some()),
        limit_ns_per_weight: limit_ns,
        of_limit,
        peak_bytes: m.peak,
        input_bytes: m.row.input_bytes,
        targets: m.row.targets.iter().filter_map(outcome).collect(),
    }
}

/// With so many significant digits, and no exponent.
fn number(value: f64, digits: i32) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = (digits - 1 - magnitude).max(0) as usize;
    format!("{value:.decimals$}")
}

/// 25e6 for 25,000,000.
fn scientific(count: usize) -> String {
    let exponent = (0..).take_while(|zeros| count.is_multiple_of(10usize.pow(zeros + 1))).count();
    let mantissa = count / 10usize.pow(exponent as u32);
    if exponent < 3 {
        return count.to_string();
    }
    format!("{mantissa}e{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [number(0.0, 3), number(0.01234, 3), number(5.0, 3), number(4321.0, 3)],
            ["0.00", "0.0123", "5.00", "4321"]
        );
        assert_eq!([100_000, 25_000_000, 2048, 7].map(scientific), ["1e5", "25e6", "2048", "7"]);
    }
}
