//! The log, at its most talkative, holds no keys, seeds or models, and not who has sent what: all that is secret or
//! belongs to somebody is known here, and searched for in every usual way of writing bytes.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{prelude::BASE64_STANDARD_NO_PAD, Engine};
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_core::{
    crypto::{RootSeed, Seed, SigningKeyPair},
    model::Model,
    participant::Event,
};
use pet_transport_tokio::{Config, Participant};
use tokio::{task::JoinSet, time::sleep};

const DEADLINE: Duration = Duration::from_secs(240);
const WEIGHT: f32 = 0.123_454_32;

/// Bytes as they do not come about by chance.
fn secret(kind: u8, who: u8) -> [u8; 32] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(89).wrapping_add(kind * 31) ^ who)
}

/// How a part of some bytes can be written: hexadecimal, base64, as numbers, as escapes. Eight of them are enough to be
/// no accident.
fn traces(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = BASE64_STANDARD_NO_PAD.encode(&bytes[..9]);
    // In a query.
    let escaped = base64.replace('+', "%2B").replace('/', "%2F");
    let for_urls = base64.replace('+', "-").replace('/', "_");
    let numbers: Vec<_> = bytes[..8].iter().map(u8::to_string).collect();
    let escapes: String = bytes[..8].iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let upper = hex.to_uppercase();
    vec![upper, hex, base64, escaped, for_urls, numbers.join(", "), numbers.join(","), escapes]
}

fn found<'a>(log: &str, secrets: &'a [(String, Vec<String>)]) -> Vec<&'a str> {
    let is_there = |traces: &[String]| traces.iter().any(|trace| log.contains(trace.as_str()));
    let found = secrets.iter().filter(|(_, traces)| is_there(traces));
    found.map(|(what, _)| what.as_str()).collect()
}

#[test]
fn what_is_written_is_found() {
    let bytes = secret(1, 2);
    let secrets = vec![("it".to_owned(), traces(&bytes))];
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for log in [
        format!("key={hex}"),
        format!("key={}", hex.to_uppercase()),
        format!("key={bytes:?}"),
        format!("?pk={}", base64::prelude::BASE64_STANDARD.encode(bytes)),
        format!("?pk={}", base64::prelude::BASE64_URL_SAFE.encode(bytes)),
        serde_json::to_string(&bytes).unwrap(),
    ] {
        assert_eq!(found(&log, &secrets), ["it"], "{log}");
    }
    assert!(found("nothing", &secrets).is_empty());
}

/// It does not outlive its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn take_part(who: u8, address: SocketAddr) {
    let mut config = Config::new(&format!("http://{address}")).unwrap();
    config.settings.polling.max = Duration::from_millis(40);
    config.settings.polling.initial = Duration::from_millis(10);
    config.settings.polling.after_progress = Duration::from_millis(1);
    let keys = SigningKeyPair::from_seed(&Seed::new(secret(2, who)));
    let seed = RootSeed::new(secret(3, who));
    let mut participant = Participant::with_keys(config, keys, seed).unwrap();
    let handle = participant.handle();
    loop {
        if let Event::ModelNeeded { length, .. } = participant.next_event().await.unwrap() {
            handle.set_model(Model::F32(vec![WEIGHT; length as usize])).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_holds_no_secrets_and_not_who_has_sent_what() {
    let dir = tempfile::tempdir().unwrap();
    let [seed, port, log] = ["seed", "port", "log"].map(|name| dir.path().join(name));
    fs::write(&seed, secret(1, 0)).unwrap();
    let mut secrets = vec![
        ("the coordinator's root seed".to_owned(), traces(&secret(1, 0))),
        ("a weight".to_owned(), vec![WEIGHT.to_string()]),
    ];
    for who in 0..10 {
        let keys = SigningKeyPair::from_seed(&Seed::new(secret(2, who)));
        secrets.push((format!("the public key of {who}"), traces(keys.public().as_bytes())));
        secrets.push((format!("the secret key of {who}"), traces(&secret(2, who))));
        secrets.push((format!("the root seed of {who}"), traces(&secret(3, who))));
    }

    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.args(["serve", "--ephemeral", "--bind", "127.0.0.1:0", "--model-length", "100"]);
    command.args(["--log", "trace", "--seed-file"]).arg(&seed).arg("--port-file").arg(&port);
    let tokens = [("right", "OperatorsTokenOfThisTest"), ("wrong", "SomebodyElsesTokenOfThisTest")];
    for (name, token) in tokens {
        let path = dir.path().join(name);
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        secrets.push((format!("the {name} token"), vec![token.to_owned()]));
    }
    let socket = dir.path().join("socket");
    command.arg("--set").arg(format!("admin.socket={}", socket.display()));
    command.arg("--set").arg(format!("admin.token_file={}", dir.path().join("right").display()));
    for setting in [
        "pet.sum.prob=0.3",
        "pet.sum.time.min=0.05",
        "pet.sum.time.max=8",
        "pet.update.time.min=0.1",
        "pet.update.time.max=20",
        "pet.sum2.time.min=0.05",
        "pet.sum2.time.max=20",
    ] {
        command.args(["--set", setting]);
    }
    let child = command.stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn();
    let mut server = Server(child.unwrap());
    let read = || fs::read_to_string(&log).unwrap();
    let end = Instant::now() + DEADLINE;
    let address = loop {
        if let Some(address) = fs::read_to_string(&port).ok().and_then(|text| text.parse().ok()) {
            break address;
        }
        assert!(Instant::now() < end, "it does not start: {}", read());
        sleep(Duration::from_millis(5)).await;
    };
    let client = reqwest::Client::new();
    let rubbish = client.post(format!("http://{address}/message")).body(vec![7; 500]);
    assert_eq!(rubbish.send().await.unwrap().status(), 200);

    for (name, _) in tokens {
        let mut admin = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        admin.arg("admin").arg("--socket").arg(&socket).arg("--token-file");
        let output = admin.arg(dir.path().join(name)).arg("skip").output().unwrap();
        assert_eq!(output.status.success(), name == "right", "{output:?}");
    }

    let mut participants = JoinSet::new();
    for who in 0..10 {
        participants.spawn(take_part(who, address));
    }
    while !read().contains("round completed: new global model") {
        assert!(Instant::now() < end, "no round ends: {}", read());
        sleep(Duration::from_millis(10)).await;
    }
    // Nor do those learn it who watch.
    for path in ["/status", "/metrics", "/models"] {
        let shown = client.get(format!("http://{address}{path}")).send().await.unwrap();
        let shown = shown.text().await.unwrap();
        assert_eq!(found(&shown, &secrets), Vec::<&str>::new(), "{path}: {shown}");
    }
    participants.shutdown().await;
    kill(Pid::from_raw(server.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(server.0.wait().unwrap().success());

    let log = read();
    // It was talkative.
    assert!(log.contains("DEBUG") && log.contains("does_not_open"), "{log}");
    // What the operator does is there, and who tries to.
    for line in ["an action of the operator", "an admin action with a wrong token"] {
        assert!(log.contains(line), "{line} is missing in {log}");
    }
    assert_eq!(found(&log, &secrets), Vec::<&str>::new(), "{log}");
}
