//! What someone sees who watches a coordinator: `/status`, `/events`, `/metrics`, `/healthz` and
//! `/readyz`, with real rounds.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use pet_coordinator::{
    settings::{MinMax, Settings},
    status::{Outcome, Status},
    Coordinator,
};
use pet_core::{
    crypto::{RootSeed, Seed, SigningKeyPair, Task, TaskSignatures},
    model::Model,
    participant::Event,
    round::RoundParameters,
};
use pet_transport_tokio::{Config, Participant};
use reqwest::{Client, Response};
use tokio::{task::JoinSet, time::timeout};

/// Nothing here takes a tenth of this; what does is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

const LENGTH: u64 = 100;

/// Rounds of one sum and three update participants, without minimal times.
fn settings() -> Settings {
    let exactly = |count| MinMax { min: count, max: count };
    let time = MinMax { min: Duration::ZERO, max: DEADLINE };
    let mut settings = Settings::for_model_length(LENGTH);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.count = exactly(1);
    settings.pet.update.count = exactly(3);
    settings.pet.sum2.count = exactly(1);
    settings.pet.sum.time = time;
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    settings
}

async fn get(coordinator: &Coordinator, path: &str) -> Response {
    reqwest::get(format!("http://{}{path}", coordinator.local_addr())).await.unwrap()
}

async fn status(coordinator: &Coordinator) -> Status {
    let response = get(coordinator, "/status").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The first status for which `condition` holds, looking again and again.
async fn until(coordinator: &Coordinator, condition: impl Fn(&Status) -> bool) -> Status {
    let looked = timeout(DEADLINE, async {
        loop {
            let status = status(coordinator).await;
            if condition(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    looked.await.expect("it never came")
}

/// Brings about a round whose models consist of `weight`, and waits until it is over and the next one has begun: whoever came
/// before would be chosen for a round that is past, and never take part.
async fn round(coordinator: &Coordinator, weight: f32) {
    let response = get(coordinator, "/params").await.bytes().await.unwrap();
    let parameters = RoundParameters::from_bytes(&response).unwrap();
    let mut wanted = vec![Task::Sum, Task::Update, Task::Update, Task::Update];
    let mut participants = JoinSet::new();
    for number in 0u64.. {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let keys = SigningKeyPair::from_seed(&Seed::new(seed));
        let task =
            TaskSignatures::sign(&keys, &parameters.seed).task(parameters.sum, parameters.update);
        let Some(place) = wanted.iter().position(|wanted| *wanted == task) else {
            continue;
        };
        wanted.remove(place);
        let mut config = Config::new(&format!("http://{}", coordinator.local_addr())).unwrap();
        config.settings.polling.max = Duration::from_millis(20);
        config.settings.polling.initial = Duration::from_millis(5);
        config.settings.polling.after_progress = Duration::from_millis(1);
        let mut participant = Participant::with_keys(config, keys, RootSeed::new(seed)).unwrap();
        participants.spawn(async move {
            let handle = participant.handle();
            loop {
                match participant.next_event().await.unwrap() {
                    Event::ModelNeeded { length, .. } => {
                        handle.set_model(Model::F32(vec![weight; length as usize])).unwrap();
                    }
                    Event::Sent(tag) if task == Task::Update || tag.to_string() == "sum2" => return,
                    _ => {}
                }
            }
        });
        if wanted.is_empty() {
            break;
        }
    }
    timeout(DEADLINE, participants.join_all()).await.unwrap();
    let next = async {
        while get(coordinator, "/params").await.bytes().await.unwrap() == response {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, next).await.expect("no other round began");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_is_shown_from_its_beginning_to_its_model() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    let first = until(&coordinator, |status| status.now.round.id == 1).await;
    let phase = &first.now.phase;
    assert_eq!((phase.name.as_str(), phase.accepted), ("sum", 0));
    assert_eq!((phase.min_count, phase.max_count), (Some(1), Some(1)));
    assert_eq!((phase.min_seconds, phase.max_seconds), (Some(0.0), Some(60.0)));
    assert!(phase.left_seconds.is_some_and(|left| 0.0 < left && left <= 60.0), "{phase:?}");
    assert_eq!(phase.waits_for, "messages");
    assert_eq!((first.now.model.length, first.now.model.mask.as_str()), (100, "Prime/F32/B0/M3"));
    assert!(first.rounds.is_empty());

    round(&coordinator, 0.5).await;
    let shown = until(&coordinator, |status| {
        status.rounds.first().is_some_and(|round| round.norm.is_some())
    });
    let over = shown.await.rounds[0].clone();
    assert_eq!((over.id, over.outcome, over.failure), (1, Outcome::Completed, None));
    assert_eq!((over.models, over.votes), (Some(3), Some(1)));
    assert!(over.began >= first.now.started && over.seconds > 0.0);
    let phases = over.phases.iter().map(|phase| (phase.name.as_str(), phase.accepted));
    let expected = [("sum", Some(1)), ("update", Some(3)), ("sum2", Some(1)), ("unmask", None)];
    assert!(phases.eq(expected), "{:?}", over.phases);
    // A hundred weights of a half.
    assert!(over.norm.is_some_and(|norm| (norm - 5.0).abs() < 1e-6), "{:?}", over.norm);
    assert_eq!(over.change, None);

    round(&coordinator, -0.25).await;
    let status = until(&coordinator, |status| {
        status.rounds.get(1).is_some_and(|round| round.change.is_some())
    })
    .await;
    let over = &status.rounds[1];
    assert!(over.norm.is_some_and(|norm| (norm - 2.5).abs() < 1e-6), "{:?}", over.norm);
    assert!(over.change.is_some_and(|change| (change - 7.5).abs() < 1e-6), "{:?}", over.change);
    assert_eq!(status.now.round.id, 3);
    assert_eq!(status.now.totals.completed, 2);
    assert!(status.now.totals.last_completed.is_some());
    let accepted = &status.now.messages.accepted;
    assert_eq!((accepted["sum"], accepted["update"], accepted["sum2"]), (2, 6, 2));
    assert!(status.now.messages.received_bytes > 6 * 6 * LENGTH);
    assert!(status.now.memory.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
    assert_eq!(coordinator.status().rounds, status.rounds);
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_failed_round_is_shown_with_its_reason() {
    let mut settings = settings();
    settings.pet.sum.time.max = Duration::from_millis(50);
    let coordinator = Coordinator::start(settings).await.unwrap();
    let status = until(&coordinator, |status| status.rounds.len() >= 2).await;
    let over = &status.rounds[0];
    assert_eq!((over.id, over.outcome), (1, Outcome::Failed));
    let failure = over.failure.as_ref().unwrap();
    assert_eq!((failure.phase.as_str(), failure.reason.as_str()), ("sum", "too_few_sum"));
    assert_eq!(failure.message, "only 0 of at least 1 sum messages came in time");
    assert_eq!((over.models, over.votes, over.norm), (None, None, None));
    let phases = over.phases.iter().map(|phase| (phase.name.as_str(), phase.accepted));
    assert!(phases.eq([("sum", Some(0))]), "{:?}", over.phases);
    assert!(over.phases[0].seconds > 0.0, "{:?}", over.phases);
    assert_eq!(status.rounds[1].id, 2);

    let failed = status.now.totals.failed["too_few_sum"];
    let text = get(&coordinator, "/metrics").await.text().await.unwrap();
    let prefix = "pet_rounds_failed_total{reason=\"too_few_sum\"} ";
    let counted = text.lines().find_map(|line| line.strip_prefix(prefix)).expect(&text);
    assert!(counted.parse::<u64>().unwrap() >= failed);
    coordinator.shutdown().await.unwrap();
}

/// No more than these are kept, also if rounds go on for ever.
#[tokio::test]
async fn only_the_latest_rounds_are_kept() {
    let mut settings = settings();
    settings.pet.sum.time.max = Duration::from_millis(1);
    let coordinator = Coordinator::start(settings).await.unwrap();
    let status = until(&coordinator, |status| status.now.round.id > 60).await;
    assert_eq!(status.rounds.len(), 50);
    assert!(status.rounds.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
    coordinator.shutdown().await.unwrap();
}

/// The data of the next event of a stream of server-sent events.
async fn next_event(stream: &mut Response, buffer: &mut String) -> Option<serde_json::Value> {
    let next = timeout(DEADLINE, async {
        loop {
            if let Some(end) = buffer.find("\n\n") {
                let event: String = buffer.drain(..end + 2).collect();
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    assert!(event.contains("event: status\n"), "{event}");
                    return Some(serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let chunk = stream.chunk().await.unwrap()?;
            buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    });
    next.await.expect("no event came")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_begin_with_everything_and_go_on_with_what_changes() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    until(&coordinator, |status| status.now.round.id == 1).await;
    let mut stream = get(&coordinator, "/events").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut buffer = String::new();
    let first = next_event(&mut stream, &mut buffer).await.unwrap();
    let first: Status = serde_json::from_value(first).unwrap();
    assert_eq!(first.now.round.id, 1);

    round(&coordinator, 0.5).await;
    let mut without_rounds = 0;
    loop {
        let event = next_event(&mut stream, &mut buffer).await.expect("the stream has ended");
        assert_eq!(event["version"], env!("CARGO_PKG_VERSION"));
        let Some(rounds) = event.get("rounds") else {
            without_rounds += 1;
            continue;
        };
        assert_eq!(rounds[0]["id"], 1);
        if rounds[0]["norm"].is_f64() {
            break;
        }
    }
    // Every second an event comes, and the past does not change any more.
    while without_rounds == 0 {
        let event = next_event(&mut stream, &mut buffer).await.expect("the stream has ended");
        without_rounds += usize::from(event.get("rounds").is_none());
    }

    let (ended, ()) = tokio::join!(
        async { while next_event(&mut stream, &mut buffer).await.is_some() {} },
        async { coordinator.shutdown().await.unwrap() }
    );
    let () = ended;
}

#[tokio::test]
async fn only_so_many_may_follow_the_events() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    let url = format!("http://{}/events", coordinator.local_addr());
    let from =
        |last| Client::builder().local_address(IpAddr::from([127, 0, 0, last])).build().unwrap();
    let mut streams = Vec::new();
    // One address gets half of the places, two get all.
    for client in [from(1), from(2)] {
        for _ in 0..32 {
            let stream = client.get(&url).send().await.unwrap();
            assert_eq!(stream.status(), 200);
            streams.push(stream);
        }
        let refused = client.get(&url).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
    }
    assert_eq!(from(3).get(&url).send().await.unwrap().status(), 503);
    // Who leaves makes room.
    drop(streams.remove(0));
    let again = timeout(DEADLINE, async {
        while get(&coordinator, "/events").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    again.await.expect("no place became free");
    coordinator.shutdown().await.unwrap();
}

/// Behind a proxy that does not say for whom it asks, all come from one address.
#[tokio::test]
async fn without_halves_one_address_has_all_places_for_events() {
    let mut settings = settings();
    settings.limits.half_per_address = false;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..64 {
        let stream = get(&coordinator, "/events").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    assert_eq!(get(&coordinator, "/events").await.status(), 503);
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_happens() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    // Metrics are each coordinator's own.
    let other = Coordinator::start(settings()).await.unwrap();
    round(&coordinator, 0.5).await;
    until(&coordinator, |status| status.rounds.first().is_some_and(|round| round.norm.is_some()))
        .await;
    let response = get(&coordinator, "/metrics").await;
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in [
        "pet_messages_accepted_total{phase=\"sum\"} 1",
        "pet_messages_accepted_total{phase=\"update\"} 3",
        "pet_messages_accepted_total{phase=\"sum2\"} 1",
        "pet_rounds_completed_total 1",
        "pet_round_id 2",
        "pet_phase{phase=\"sum\"} 1",
        "pet_phase{phase=\"update\"} 0",
        "pet_phase_messages_min 1",
        "pet_phase_duration_seconds_count{phase=\"update\"} 1",
        "pet_message_bytes_count 5",
        "pet_model_updates 3",
        "pet_model_votes 1",
        "pet_ready 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(
        text.contains(
            "pet_http_request_duration_seconds_count{route=\"/message\",status=\"200\"} 5"
        ),
        "{text}"
    );
    let text = get(&other, "/metrics").await.text().await.unwrap();
    assert!(text.contains("pet_rounds_completed_total 0"), "{text}");
    coordinator.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test]
async fn health_and_request_ids() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    let alive = get(&coordinator, "/healthz").await;
    assert_eq!(alive.status(), 200);
    let ready = get(&coordinator, "/readyz").await;
    assert_eq!(ready.status(), 200);
    let [one, other] = [alive, ready].map(|response| response.headers()["x-request-id"].clone());
    assert_ne!(one, other);
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_dashboard_is_served_with_a_strict_policy_and_not_twice() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard/main.js", "text/javascript; charset=utf-8"),
        ("/dashboard/style.css", "text/css; charset=utf-8"),
    ] {
        let page = get(&coordinator, path).await;
        assert_eq!(
            (page.status().as_u16(), &page.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        let again = reqwest::Client::new()
            .get(page.url().clone())
            .header("if-none-match", page.headers()["etag"].clone());
        assert_eq!(again.send().await.unwrap().status(), 304);
    }
    assert_eq!(get(&coordinator, "/dashboard/other.js").await.status(), 404);
    coordinator.shutdown().await.unwrap();
}

/// What is between the first backticks of the rows of a table below a heading.
fn documented(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## `{heading}`\n")).unwrap();
    section.split("\n## ").next().unwrap().to_owned()
}

/// The first cells of the section's tables, without their backticks and labels.
fn first_cells(section: &str) -> BTreeSet<String> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`').split('{').next().unwrap().to_owned())
        .collect()
}

/// The names of all fields, lists marked by brackets, maps by nothing: their keys are data.
fn fields(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    const MAPS: [&str; 4] =
        ["messages.accepted", "messages.rejected", "totals.failed", "rounds[].rejected"];
    // The documentation lists these together with what they are in.
    const WHOLES: [&str; 4] =
        ["round.phases[]", "rounds[].phases[]", "rounds[].failure", "samples[]"];
    if WHOLES.contains(&path) || MAPS.contains(&path) {
        found.insert(path.to_owned());
        return;
    }
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                fields(value, &format!("{path}{dot}{name}"), found);
            }
        }
        serde_json::Value::Array(values) => {
            found.insert(format!("{path}[]"));
            for value in values {
                fields(value, &format!("{path}[]"), found);
            }
            if values.is_empty() {
                assert!(WHOLES.contains(&format!("{path}[]").as_str()), "nothing in {path}");
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Names that other programs rely on: what is documented is there, and what is there is documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_names_are_documented_and_those_that_are_used_exist() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    reqwest::Client::new()
        .post(format!("http://{}/message", coordinator.local_addr()))
        .body("rubbish")
        .send()
        .await
        .unwrap();
    round(&coordinator, 0.5).await;
    round(&coordinator, 0.25).await;
    let change = |status: &Status| status.rounds.last().is_some_and(|round| round.change.is_some());
    until(&coordinator, change).await;

    let shown = get(&coordinator, "/status").await.bytes().await.unwrap();
    let mut found = BTreeSet::new();
    fields(&serde_json::from_slice(&shown).unwrap(), "", &mut found);
    assert_eq!(found, first_cells(&documented("/status")));

    let text = get(&coordinator, "/metrics").await.text().await.unwrap();
    let (mut names, mut samples) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.insert(format!("{name}{}", if kind == "counter" { "_total" } else { "" }));
        samples.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    let section = documented("/metrics");
    let metrics: BTreeSet<String> =
        first_cells(&section).into_iter().filter(|name| name.starts_with("pet_")).collect();
    assert_eq!(names, metrics);
    // A library ends each help text with a dot of its own: once there were two.
    let helps: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    assert_eq!(helps.len(), names.len());
    for help in helps {
        let (_, sentence) = help.split_once(' ').unwrap();
        let ends = sentence.matches(['.', '!', '?']).count();
        assert!(sentence.ends_with('.') && ends == 1, "{help}");
    }
    assert_eq!(coordinator.metrics().panics, 0);

    for file in
        ["prometheus/alerts.yml", "prometheus/alerts-test.yml", "grafana/pet-coordinator.json"]
    {
        let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let used: BTreeSet<&str> = words.filter(|word| word.starts_with("pet_")).collect();
        assert!(used.len() > 5, "{file}");
        for name in used {
            assert!(samples.contains(name), "{file}: there is no {name}");
        }
    }
    // Whoever is alerted finds out what to do.
    let alerts = include_str!("../../deploy/prometheus/alerts.yml");
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(section.contains(&format!("`{name}`")), "{name} is not documented");
    }
    coordinator.shutdown().await.unwrap();
}
