//! What can be seen of rounds of version 2: all of it is documented, and nothing is documented that is not there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{begin, play, Fault};

/// The section of the documentation.
fn documented() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split_once("\n## Rounds of version 2\n").unwrap().1;
    section.split("\n## ").next().unwrap().to_owned()
}

/// The names in the first cells of its tables.
fn first_cells(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = rows.flat_map(|cell| cell.split("`, `"));
    names.map(|name| name.trim_matches('`').split('{').next().unwrap().to_owned()).collect()
}

fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    // The documentation lists these together with what they are in.
    const WHOLES: [&str; 4] = ["v2.excluded[]", "v2.notes[]", "v2.strange", "rounds[].certificate"];
    if WHOLES.contains(&path) {
        found.insert(path.to_owned());
        return;
    }
    match value {
        Value::Object(members) => {
            if path == "v2.noise" {
                found.insert(path.to_owned());
            }
            members
                .iter()
                .for_each(|(name, value)| fields(value, &format!("{path}.{name}"), found));
        }
        Value::Array(values) => {
            let path = format!("{path}[]");
            found.insert(path.clone());
            if WHOLES.contains(&path.as_str()) {
                return;
            }
            assert!(!values.is_empty(), "nothing in {path}");
            values.iter().for_each(|value| fields(value, &path, found));
        }
        _ => _ = found.insert(path.to_owned()),
    }
}

#[test]
fn all_names_of_rounds_of_v2_are_documented() {
    let (_dir, cast, server) = begin(4, "");
    let client = server.client();
    play(&cast, &client, &[Fault::OtherSeed]);
    let status = client.status();
    let mut found = BTreeSet::new();
    fields(&status["v2"], "v2", &mut found);
    let certificate = &status["rounds"][0]["certificate"];
    assert_eq!(certificate["count"], 3);
    assert_eq!(certificate["excluded"], 1);
    assert_eq!(certificate["signers"].as_array().unwrap().len(), 9);
    fields(certificate, "rounds[].certificate", &mut found);
    let text = String::from_utf8(client.get("/metrics").body).unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let metrics = types.map(|line| line.split_once(' ').unwrap());
    let name = |(name, kind): (&str, &str)| {
        format!("{name}{}", if kind == "counter" { "_total" } else { "" })
    };
    found.extend(metrics.map(name).filter(|name| name.starts_with("pet_v2_")));
    // What there is with noise only.
    let with_noise = [
        "v2.noise.multiplier",
        "v2.noise.clip",
        "v2.noise.updaters",
        "v2.noise.most_rounds",
        "v2.noise.most_epsilon",
        "pet_v2_noise_multiplier",
        "pet_v2_epsilon",
    ];
    found.extend(with_noise.map(str::to_owned));
    assert_eq!(found, first_cells(&documented()));
    for expected in [
        "pet_phase{phase=\"announce\"}",
        "pet_messages_accepted_total{phase=\"vote\"} 9",
        "pet_rounds_failed_total{reason=\"mask_not_sent\"} 0",
        "pet_v2_members{group=\"group 0\",state=\"announced\"}",
        "pet_v2_strange_total{name=\"updaters_excluded\"} 1",
        "pet_v2_majority 2",
    ] {
        // The labels may be in any order.
        let (name, labels) = expected.split_once('{').unwrap_or((expected, ""));
        let labels = labels.trim_end_matches(|c: char| c != '"');
        let is_there = |line: &&str| {
            line.starts_with(name) && labels.split(',').all(|label| line.contains(label))
        };
        assert!(text.lines().any(|line| is_there(&line)), "{expected}: {text}");
    }
    assert!(text.contains("pet_v2_strange_total{name=\"updaters_excluded\"} 1"), "{text}");
    // The same for people.
    let page = String::from_utf8(client.get("/").body).unwrap();
    assert!(page.contains("id=\"federation\""));
    assert_eq!(client.get("/dashboard/federation.js").status, 200);
}
