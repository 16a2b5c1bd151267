//! `rounds`: a table of the latest rounds.

use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};

use comfy_table::{presets::NOTHING, CellAlignment, Table};
use pet_coordinator::status::{Outcome, PastRound};

use super::{
    client::Client,
    exit::{output_failed, print, Failed},
    status::{counts, duration},
};
use crate::cli::Rounds;

pub fn rounds(args: &Rounds) -> Result<(), Failed> {
    let (_, status) = Client::new(&args.coordinator)?.status()?;
    let past = status.rounds.iter().rev().take(args.last.unwrap_or(usize::MAX));
    let text = if args.json {
        let past: Vec<&PastRound> = past.collect();
        serde_json::to_string_pretty(&past)
            .map_err(|error| output_failed(io::Error::other(error)))?
    } else if status.rounds.is_empty() {
        "no round is over yet".to_owned()
    } else {
        table(past).to_string()
    };
    print(format!("{text}\n"))
}

fn table<'a>(rounds: impl Iterator<Item = &'a PastRound>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "round", "outcome", "began", "took", "sum", "update", "sum2", "models", "norm", "change",
        "rejected",
    ]);
    for round in rounds {
        let accepted = |name: &str| {
            let phase = round.phases.iter().find(|phase| phase.name == name);
            phase.and_then(|phase| phase.accepted).map_or("-".to_owned(), |count| count.to_string())
        };
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |x| format!("{x:.4}"));
        let outcome = match (&round.failure, round.outcome) {
            (Some(failure), _) => failure.reason.clone(),
            (None, Outcome::Completed) => "completed".to_owned(),
            (None, Outcome::Failed) => "failed".to_owned(),
        };
        table.add_row([
            round.id.to_string(),
            outcome,
            moment(round.began),
            duration(round.seconds),
            accepted("sum"),
            accepted("update"),
            accepted("sum2"),
            round.models.map_or("-".to_owned(), |models| models.to_string()),
            number(round.norm),
            number(round.change),
            counts(&round.rejected),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index == 0 || (3..10).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A Unix time in UTC.
fn moment(seconds: f64) -> String {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
