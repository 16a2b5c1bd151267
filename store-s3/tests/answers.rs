//! What storage may answer, with something in its place that says just that.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use pet_ledger::{LedgerError, PartName, Parts};
use pet_store_s3::{S3Archive, S3Parts, S3Settings};

/// What is asked: the method, the name of the object, and whether it is there.
type Answer = dyn Fn(&str, &str, bool) -> Option<(u16, String)> + Send + Sync;

/// A name, and what is there.
type Object = (String, Vec<u8>);

/// Storage in memory, which answers otherwise where it is told to.
#[derive(Clone)]
struct Storage {
    address: String,
    objects: Arc<Mutex<Vec<Object>>>,
    /// All that was asked.
    asked: Arc<Mutex<Vec<String>>>,
    otherwise: Arc<Mutex<Arc<Answer>>>,
}

fn error(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>no</Message></Error>")
}

impl Storage {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            objects: Arc::default(),
            asked: Arc::default(),
            otherwise: Arc::new(Mutex::new(Arc::new(|_: &str, _: &str, _| None))),
        };
        let answering = storage.clone();
        // (It ends with the process.)
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answering.answer(stream.unwrap());
            }
        });
        storage
    }

    fn answers(
        &self,
        otherwise: impl Fn(&str, &str, bool) -> Option<(u16, String)> + Send + Sync + 'static,
    ) {
        *self.otherwise.lock().unwrap() = Arc::new(otherwise);
    }

    fn settings(&self) -> S3Settings {
        let keys = ["access", "secret"];
        let mut settings = S3Settings::new(["local", &self.address], "pet", keys, "f");
        settings.timeout = Duration::from_secs(20);
        settings
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let key = path.split('?').next().unwrap().strip_prefix("/pet").unwrap().trim_matches('/');
        self.asked.lock().unwrap().push(format!("{method} {key}"));
        let mut objects = self.objects.lock().unwrap();
        let at = objects.iter().position(|(name, _)| name == key);
        let otherwise = self.otherwise.lock().unwrap().clone();
        let (status, body) = match otherwise(method, key, at.is_some()) {
            Some((status, text)) => (status, text.into_bytes()),
            None => match (method, at) {
                ("PUT", at) => {
                    at.map(|at| objects.remove(at));
                    objects.push((key.to_owned(), body));
                    (200, Vec::new())
                }
                ("DELETE", at) => {
                    at.map(|at| objects.remove(at));
                    (204, Vec::new())
                }
                ("GET", _) if key.is_empty() => {
                    (200, b"<ListBucketResult></ListBucketResult>".to_vec())
                }
                (_, Some(at)) => (200, objects[at].1.clone()),
                (_, None) => (404, error("NoSuchKey").into_bytes()),
            },
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        let stream = reader.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        if method != "HEAD" {
            stream.write_all(&body).unwrap();
        }
    }
}

/// Amazon says 403 instead of 404 to who may not list: no model could be stored.
#[tokio::test]
async fn who_is_not_told_that_there_is_none_is_told_at_the_start() {
    let storage = Storage::start();
    S3Archive::connect(&storage.settings()).await.unwrap();
    storage.answers(|method, _, is_there| {
        (method == "HEAD" && !is_there).then(|| (403, String::new()))
    });
    let error = S3Archive::connect(&storage.settings()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("s3:ListBucket"), "{error}");
}

/// Whoever may not remove leaves one object there, and not one for each start; whoever may never meets others that start.
#[tokio::test]
async fn what_is_written_at_the_start_is_in_nobodys_way() {
    let storage = Storage::start();
    for _ in 0..2 {
        S3Archive::connect(&storage.settings()).await.unwrap();
        S3Parts::connect(&storage.settings()).await.unwrap();
    }
    let left: Vec<_> = storage.objects.lock().unwrap().iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(left, ["pet_f/probe"]);
    let asked = storage.asked.lock().unwrap().clone();
    let mut removed: Vec<_> = asked.iter().filter(|asked| asked.starts_with("DELETE")).collect();
    removed.dedup();
    assert_eq!(removed.len(), 2, "{removed:?}");
}

/// A proxy without its storage, or a bucket that is made anew: nothing is lost for that.
#[tokio::test]
async fn not_every_404_says_that_an_object_is_gone() {
    let storage = Storage::start();
    let name = PartName::new("model", [1; 16]).unwrap();
    let parts = S3Parts::connect(&storage.settings()).await.unwrap();
    let mut settings = storage.settings();
    settings.timeout = Duration::from_secs(1);
    let hasty = S3Parts::connect(&settings).await.unwrap();
    assert_eq!(parts.get(&name).await.unwrap(), None);
    parts.put(name.clone(), Bytes::from_static(b"model")).await.unwrap();
    for said in ["<html>no such route</html>".to_owned(), String::new(), error("NoSuchBucket")] {
        storage.answers(move |_, _, _| Some((404, said.clone())));
        let error = hasty.get(&name).await.unwrap_err();
        assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
        let error = hasty.list().await.unwrap_err();
        assert!(error.is_passing(), "{error}");
    }
    storage.answers(|_, _, _| None);
    assert_eq!(parts.get(&name).await.unwrap(), Some(Bytes::from_static(b"model")));
    // At the start it is the settings that are wrong.
    storage.answers(|_, _, _| Some((404, error("NoSuchBucket"))));
    let error = S3Parts::connect(&storage.settings()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Setting { .. }), "{error}");
}
