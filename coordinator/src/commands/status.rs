//! `status`: what a coordinator is doing, once or all the time.

use std::{collections::BTreeMap, time::Duration};

use pet_coordinator::status::{
    CurrentPhase, MemberStatus, Now, PastRound, ReplicaStatus, Status, V2Status,
};

use super::{
    client::Client,
    exit::{print, Failed},
    watch::watch,
};
use crate::cli;

pub fn status(args: &cli::Status) -> Result<(), Failed> {
    let client = Client::new(&args.coordinator)?;
    if args.watch {
        return watch(&client, args.json);
    }
    let (json, status) = client.status()?;
    let text = if args.json { json } else { describe(client.url(), &status) };
    print(format!("{}\n", text.trim_end()))
}

/// The state in a few lines.
fn describe(url: &str, status: &Status) -> String {
    let Now { round, phase, model, messages, totals, throughput, memory, .. } = &status.now;
    let up = duration(status.now.time - status.now.started);
    let memory = memory.resident_bytes.map_or(String::new(), |bytes| {
        format!(", {:.0} MiB of memory", bytes as f64 / f64::from(1 << 20))
    });
    let failed: u64 = totals.failed.values().sum();
    [
        ("coordinator", format!("{url}, version {}, up for {up}{memory}", status.now.version)),
        ("models", format!("{} weights, {}", model.length, model.mask)),
        ("round", format!("{}, for {}", round.id, duration(round.seconds))),
        ("phase", format!("{}, for {}", phase.name, duration(phase.seconds))),
        ("accepted", progress(phase)),
        ("messages", format!("accepted: {}", counts(&messages.accepted))),
        ("", format!("rejected: {}", counts(&messages.rejected))),
        (
            "",
            format!(
                "now {:.1} a second, {:.2} MB/s",
                throughput.messages_per_second,
                throughput.bytes_per_second / 1e6
            ),
        ),
        ("rounds", format!("{} completed, {failed} failed", totals.completed)),
        ("", format!("failures: {}", counts(&totals.failed))),
    ]
    .map(|(name, text)| format!("{name:12} {text}\n"))
    .concat()
        + &status.now.replica.as_ref().map_or(String::new(), replicas)
        + &status.now.v2.as_ref().map_or(String::new(), |v2| federation(v2, &status.rounds))
}

/// Several coordinators that are one, each in a line.
fn replicas(replica: &ReplicaStatus) -> String {
    let ReplicaStatus { name, role, epoch, position, lag_seconds, .. } = replica;
    let lag = duration(*lag_seconds);
    let mut lines = vec![(
        "replica",
        format!("{name}, {role}, epoch {epoch}, log entry {position}, {lag} behind"),
    )];
    let ReplicaStatus { held, reserved, letters, .. } = replica;
    let under_way =
        format!("{held} updates held, {reserved} reserved, {letters} letters without an answer");
    lines.push(("under way", under_way));
    lines.extend(replica.trouble.iter().map(|trouble| ("trouble", trouble.clone())));
    let alive = replica.replicas.iter();
    lines.extend(alive.map(|one| {
        let text =
            format!("{} at {}, {}, version {}", one.name, one.address, one.role, one.version);
        ("alive", text)
    }));
    lines.into_iter().map(|(name, text)| format!("{name:12} {text}\n")).collect()
}

/// A federation in a few lines more.
fn federation(v2: &V2Status, rounds: &[PastRound]) -> String {
    let mut lines = vec![("roster", format!("{}, at least {} updates", v2.roster, v2.n_min))];
    for group in &v2.groups {
        let count = |is_so: fn(&MemberStatus) -> bool| {
            group.members.iter().filter(|member| is_so(member)).count()
        };
        let text = format!(
            "{} members, {} are a majority: {} announced, {} reported, {} voted, {} masks, {} disregarded",
            group.members.len(),
            group.majority,
            count(|member| member.announced),
            count(|member| member.reported),
            count(|member| member.voted),
            count(|member| member.mask),
            count(|member| member.disregarded)
        );
        lines.push(("group", format!("{}: {text}", group.name)));
    }
    for excluded in &v2.excluded {
        let text = format!(
            "{} (member {} reports {})",
            excluded.updater, excluded.by, excluded.accusation
        );
        lines.push(("excluded", text));
    }
    if let Some(noise) = &v2.noise {
        let text = format!(
            "multiplier {}, clip {}; of {} updaters the one in most rounds ({}) has spent epsilon {:.2} at delta 1e-5",
            noise.multiplier, noise.clip, noise.updaters, noise.most_rounds, noise.most_epsilon
        );
        lines.push(("noise", text));
    }
    let certified =
        rounds.iter().rev().find_map(|round| Some((round.id, round.certificate.as_ref()?)));
    if let Some((round, certificate)) = certified {
        let text = format!(
            "round {round}: {} over {} updates, signed by {} members",
            certificate.decision,
            certificate.count,
            certificate.signers.len()
        );
        lines.push(("certificate", text));
    }
    lines.extend(
        v2.notes
            .iter()
            .rev()
            .take(5)
            .map(|note| ("note", format!("round {}: {}", note.round, note.message))),
    );
    lines.into_iter().map(|(name, text)| format!("{name:12} {text}\n")).collect()
}

/// How far a phase is.
pub fn progress(phase: &CurrentPhase) -> String {
    let mut text = phase.accepted.to_string();
    if let (Some(min), Some(max)) = (phase.min_count, phase.max_count) {
        text = format!("{text} of at least {min} and at most {max}");
    }
    if let Some(left) = phase.left_seconds {
        text = format!("{text}; {} left", duration(left));
    }
    match phase.waits_for.as_str() {
        "nothing" => text,
        "min_time" => format!("{text}; waits for its minimal time to pass"),
        what => format!("{text}; waits for {what}"),
    }
}

/// Numbers by name.
pub fn counts(counts: &BTreeMap<String, u64>) -> String {
    let texts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.join(", ")
}

/// A number of seconds for people: tenths below a minute, none above.
pub fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    let whole = Duration::try_from_secs_f64(seconds.floor()).unwrap_or(Duration::MAX);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (0.0, "0.0s"),
            (-1.0, "0.0s"),
            (59.94, "59.9s"),
            (61.7, "1m 1s"),
            (90_061.0, "1day 1h 1m 1s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn counts_that_are_zero_are_left_out() {
        let map = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 0), ("c".to_owned(), 1)]);
        assert_eq!(counts(&map), "a 2, c 1");
        assert_eq!(counts(&BTreeMap::new()), "none");
    }
}
