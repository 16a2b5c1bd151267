//! `audit`: the real command against the real server, and against one that lies.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
};

use super::{begin, play, server::Client};

pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

pub fn audit(url: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.arg("audit").arg(url).args(args).env_remove("PET_COORDINATOR_URL");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), out: text(stdout), error: text(stderr) }
}

/// Passes everything on but what `lie` makes something else of.
struct Liar {
    address: String,
    stop: Arc<AtomicBool>,
}

impl Liar {
    fn start(client: Client, lie: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = stream.unwrap();
                let target = target(&mut stream);
                let answer = client
                    .get_with(&target, &[("accept", "application/vnd.pet.weights, */*;q=0.1")]);
                let body = lie(&target, answer.body);
                let kind = if answer.problem.is_some() {
                    "application/problem+json"
                } else {
                    "application/octet-stream"
                };
                let head = format!(
                    "HTTP/1.1 {} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    answer.status,
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address, stop }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

fn target(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    head.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn an_audit_says_that_the_model_is_right_or_who_has_lied() {
    let (dir, cast, server) = begin(4, "");
    let client = server.client();
    play(&cast, &client, &[]);
    play(&cast, &client, &[]);
    let url = format!("http://{}", server.address);
    let hash = cast.roster.hash().to_string();
    let file = dir.path().join("roster.toml");
    for args in [
        &["--roster", &hash][..],
        &["--roster", file.to_str().unwrap(), "--round", "1"],
        &["--round", "2", "--n-min", "4"],
    ] {
        let Ran { code, out, error } = audit(&url, args);
        assert_eq!(code, Some(0), "{error}");
        assert!(out.contains("is what the masked models of 4 updates give"), "{out}");
        assert_eq!(
            out.contains("the coordinator's own word"),
            !args.contains(&"--roster"),
            "{out}"
        );
    }
    // What cannot be checked, or is not what it should be.
    let other = "00".repeat(32);
    for (args, code, expected) in [
        (&["--roster", &other][..], 1, "was agreed on"),
        (&["--n-min", "5"], 1, "only 4 updates"),
        (&["--round", "7"], 4, "there is no such thing"),
        (&["--roster", "/no/such/file"], 2, "cannot read the roster file"),
    ] {
        let ran = audit(&url, args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.error);
        assert!(ran.error.contains(expected), "{expected}: {}", ran.error);
    }
    let nobody = audit("http://127.0.0.1:1", &[]);
    assert_eq!(nobody.code, Some(3), "{}", nobody.error);

    // A coordinator that publishes something else is found out, whatever it changes.
    let flip = |mut body: Vec<u8>, at: usize| {
        if let Some(byte) = body.get_mut(at) {
            *byte ^= 1;
        }
        body
    };
    let honest = Liar::start(client.clone(), |_, body| body);
    assert_eq!(audit(&honest.address, &["--roster", &hash]).code, Some(0), "the control");
    for (path, at, expected) in [
        ("/v2/certificate", 200, "lied"),
        ("/v2/audit/statements", 120, "lied"),
        ("/v2/audit/masked", 5000, "not the one that it has signed"),
        ("/v2/audit/mask?", 5000, "not the one that a majority of it has signed"),
        ("/v2/model", 40, "is not what comes out"),
    ] {
        let lie = move |target: &str, body| match target.starts_with(path) {
            true => flip(body, at),
            false => body,
        };
        let liar = Liar::start(client.clone(), lie);
        let ran = audit(&liar.address, &["--roster", &hash]);
        assert_eq!(ran.code, Some(1), "{path}: {}{}", ran.out, ran.error);
        assert!(ran.error.contains(expected), "{path}: {}", ran.error);
        assert!(ran.error.contains("the coordinator has lied"), "{path}: {}", ran.error);
    }
}
