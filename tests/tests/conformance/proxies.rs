//! Proxies, redirections, and the wrong scheme: what lies between a participant and its coordinator.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::time::Duration;

use pet_core::crypto::{EncryptKeyPair, PublicSigningKey, Seed};
use pet_core::message::Tag;
use pet_core::model::Model;
use pet_core::participant::{Event, Trouble, TroubleReason};
use pet_core::request::CoordinatorUrl;
use pet_core::round::{RoundParameters, SumDict};
use pet_network::Environment;
use pet_tests::fake::{Action, FakeServer};
use serde_json::Value;

use crate::conformance;
use crate::driver::{Driver, Failure, Start, DEADLINE};
use crate::faults::parameters;

conformance!(
    the_environment_leads_where_the_table_says,
    plain_http_goes_through_a_proxy_that_is_told_the_whole_url,
    a_proxy_that_wants_a_password_is_told,
    a_proxy_that_does_not_let_through_is_told,
    what_is_no_proxy_is_refused_at_once,
    redirections_are_told_and_not_followed,
    a_server_without_tls_is_told,
    a_server_with_tls_is_told,
    a_wrong_path_is_told,
    a_message_that_is_too_long_for_a_proxy_is_split,
    urls_that_no_library_reads_are_refused_at_once,
);

/// What a participant says when it cannot reach its coordinator.
fn trouble<D: Driver>(start: &Start) -> String {
    let mut driver = D::start(start).unwrap();
    driver.wait_for(|event| match event {
        Event::Trouble(trouble) => Some(trouble.to_string()),
        _ => None,
    })
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// Tells who was connected to, and how the request begins.
fn listen(
    address: SocketAddr,
    name: &'static str,
    told: Sender<(&'static str, String)>,
) -> Option<u16> {
    let listener = TcpListener::bind(address).ok()?;
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(DEADLINE));
            // A line, which may come in pieces, or something that is none.
            let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
            while !bytes.contains(&b'\n') && bytes.first() != Some(&0x16) {
                match stream.read(&mut piece) {
                    Ok(length @ 1..) => bytes.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            // The test is over.
            if told.send((name, line)).is_err() {
                return;
            }
        }
    });
    Some(port)
}

/// The same table that `pet-network` and curl are tried with.
fn the_environment_leads_where_the_table_says<D: Driver>() {
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("../../../network/tests/proxies.json")).unwrap();
    let mut tried = 0;
    for row in rows {
        let (sender, asked) = channel();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let proxy = listen(any, "proxy", sender.clone()).unwrap();
        let port = listen(any, "server", sender.clone()).unwrap();
        let fill = |value: &Value| {
            let text = value.as_str().unwrap().replace("{port}", &port.to_string());
            text.replace("{proxy}", &format!("127.0.0.1:{proxy}"))
        };
        let start = Start {
            environment: Environment::of(
                row["env"].as_object().unwrap().iter().map(|(name, value)| (name, fill(value))),
            ),
            ..Start::new(&fill(&row["url"]))
        };
        let url = CoordinatorUrl::parse(&start.url).unwrap();
        let expected = row["asks"].as_str().unwrap();
        if expected == "server" {
            // Where there is nothing that could answer, a name is looked up in vain.
            let is_here = match url.host() {
                "127.0.0.1" | "localhost" | "LOCALHOST" => true,
                "[::1]" => listen((Ipv6Addr::LOCALHOST, port).into(), "server", sender).is_some(),
                _ => false,
            };
            if !is_here {
                continue;
            }
        }
        tried += 1;
        let driver = D::start(&start).unwrap();
        let (who, line) = asked.recv_timeout(DEADLINE).expect("somebody is asked");
        assert_eq!(who, expected, "{row}");
        let host = format!("{}:{}", url.host(), url.port());
        let (line, host) = (line.to_lowercase(), host.to_lowercase());
        match (expected, url.is_https()) {
            ("proxy", true) => assert_eq!(line, format!("connect {host} http/1.1"), "{row}"),
            ("proxy", false) => {
                assert_eq!(line, format!("get http://{host}/params http/1.1"), "{row}");
            }
            (_, false) => assert_eq!(line, "get /params http/1.1", "{row}"),
            (_, true) => {}
        }
        driver.stop();
    }
    assert!(tried > 50, "{tried}");
}

fn through(proxy: &FakeServer, user: &str, url: &str) -> Start {
    let value = proxy.url().replace("http://", &format!("http://{user}"));
    let environment = Environment::of([("http_proxy", value.as_str()), ("https_proxy", &value)]);
    Start { environment, ..Start::new(url) }
}

/// The server is the proxy, and answers in the coordinator's place. Several requests go over one connection.
fn plain_http_goes_through_a_proxy_that_is_told_the_whole_url<D: Driver>() {
    let proxy = FakeServer::start(|request| {
        assert_eq!(request.header("proxy-authorization"), Some("Basic bWVAaG9tZTpwOncl"));
        assert_eq!(request.header("host"), Some("coordinator.example:8081"));
        match (&*request.method, &*request.path) {
            ("GET", "http://coordinator.example:8081/pet/params") => {
                Action::Answer(200, parameters(1.0, 0.0).to_bytes())
            }
            ("POST", "http://coordinator.example:8081/pet/message") => {
                assert_eq!(request.body.len(), 280);
                Action::Answer(200, Vec::new())
            }
            ("GET", path) if path.starts_with("http://coordinator.example:8081/pet/seeds?pk=") => {
                Action::Answer(204, Vec::new())
            }
            _ => Action::Answer(500, Vec::new()),
        }
    });
    let start = through(&proxy, "me%40home:p%3Aw%25@", "http://coordinator.example:8081/pet");
    let mut driver = D::start(&start).unwrap();
    driver.wait_for(|event| match event {
        Event::Sent(Tag::Sum) => Some(()),
        Event::Trouble(trouble) => panic!("{trouble}"),
        _ => None,
    });
}

fn a_proxy_that_wants_a_password_is_told<D: Driver>() {
    let proxy = FakeServer::start(|_| Action::Answer(407, Vec::new()));
    for scheme in ["http", "https"] {
        let start = through(&proxy, "", &format!("{scheme}://coordinator.example"));
        let text = trouble::<D>(&start);
        contains(&text, &["wants a user name and a password", &proxy.url(), "_proxy)"]);
    }
}

fn a_proxy_that_does_not_let_through_is_told<D: Driver>() {
    let proxy = FakeServer::start(|_| Action::Answer(403, Vec::new()));
    let text = trouble::<D>(&through(&proxy, "me:secret@", "https://coordinator.example"));
    contains(&text, &[&proxy.url(), "https_proxy", "NO_PROXY"]);
    assert!(!text.contains("secret"), "{text}");
    let text = trouble::<D>(&through(&proxy, "", "http://coordinator.example"));
    contains(&text, &["403", "does not let this participant in"]);
    // One that is not there.
    let environment = Environment::of([("http_proxy", "http://127.0.0.1:1")]);
    let start = Start { environment, ..Start::new("http://coordinator.example") };
    contains(&trouble::<D>(&start), &["http://127.0.0.1:1", "http_proxy", "NO_PROXY"]);
}

fn what_is_no_proxy_is_refused_at_once<D: Driver>() {
    for value in ["socks5://127.0.0.1:1", "http://[::1", "http://"] {
        let environment = Environment::of([("http_proxy", value)]);
        let start = Start { environment, ..Start::new("http://127.0.0.1:1") };
        match D::start(&start).err() {
            Some(Failure::Other(text)) => contains(&text, &["http_proxy"]),
            other => panic!("{value}: {other:?}"),
        }
    }
}

fn redirections_are_told_and_not_followed<D: Driver>() {
    for status in [301, 302, 303, 307, 308] {
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = asked.clone();
        let server = FakeServer::start(move |request| match request.path.as_str() {
            "/params" => Action::Redirect(status, "https://coordinator.example/params"),
            _ => {
                seen.fetch_add(1, Ordering::Relaxed);
                Action::Answer(200, Vec::new())
            }
        });
        let text = trouble::<D>(&Start::new(&server.url()));
        let words =
            ["give https://coordinator.example as the coordinator's URL", &status.to_string()];
        contains(&text, &words);
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        // Within the same server.
        let server = FakeServer::start(move |request| match request.path.as_str() {
            "/params" => Action::Redirect(status, "/pet/params"),
            path => panic!("{path} is asked for"),
        });
        contains(
            &trouble::<D>(&Start::new(&server.url())),
            &[&format!("give {}/pet as", server.url())],
        );
    }
}

/// Answers whatever comes.
fn answering(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    port
}

fn a_server_without_tls_is_told<D: Driver>() {
    let port =
        answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let text = trouble::<D>(&Start::new(&format!("https://localhost:{port}/a")));
    contains(&text, &["does not speak TLS", &format!("http://localhost:{port}/a")]);
}

fn a_server_with_tls_is_told<D: Driver>() {
    // The alert that a TLS server answers plain HTTP with.
    let port = answering(b"\x15\x03\x03\x00\x02\x02\x46");
    let text = trouble::<D>(&Start::new(&format!("http://localhost:{port}/a")));
    contains(&text, &["TLS", &format!("https://localhost:{port}/a")]);
}

fn a_wrong_path_is_told<D: Driver>() {
    let server = FakeServer::start(|_| Action::Answer(404, b"<html>".to_vec()));
    let text = trouble::<D>(&Start::new(&server.url()));
    contains(&text, &["404", "no coordinator under this URL", "path"]);
}

/// As nginx has it by default.
fn a_message_that_is_too_long_for_a_proxy_is_split<D: Driver>() {
    const WEIGHTS: usize = 200_000;
    let refused = Arc::new(AtomicUsize::new(0));
    let seen = refused.clone();
    let key = |byte| EncryptKeyPair::from_seed(&Seed::new([byte; 32])).public();
    let sums: SumDict = [(PublicSigningKey::new([7; 32]), key(7))].into_iter().collect();
    let round =
        RoundParameters { pk: key(9), model_length: WEIGHTS as u64, ..parameters(0.0, 1.0) };
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/params" => Action::Answer(200, round.to_bytes()),
        "/sums" => Action::Answer(200, sums.to_bytes()),
        "/message" if request.body.len() > 1 << 20 => {
            seen.fetch_add(1, Ordering::Relaxed);
            Action::Answer(413, b"<html>413 Request Entity Too Large</html>".to_vec())
        }
        _ => Action::Answer(200, Vec::new()),
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    driver.set_model(Model::F32(vec![0.5; WEIGHTS])).unwrap();
    let mut told = Vec::new();
    driver.wait_for(|event| match event {
        Event::Trouble(Trouble { reason, .. }) => {
            told.push(reason.clone());
            None
        }
        Event::Sent(Tag::Update) => Some(()),
        _ => None,
    });
    assert!(
        matches!(told[..], [TroubleReason::NotLetThrough { parts: 0x10_0000, .. }]),
        "{told:?}"
    );
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}

fn urls_that_no_library_reads_are_refused_at_once<D: Driver>() {
    for url in
        ["http://[::1", "http://::1", "http://[::1]x", "http://h:0", "http://h%", "http://h:+1"]
    {
        assert_eq!(D::start(&Start::new(url)).err(), Some(Failure::Url), "{url}");
    }
}
