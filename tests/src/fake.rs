//! An HTTP server that behaves as badly as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer with a status and a body.
    Answer(u16, Vec<u8>),
    /// Answer with status 200, a body, and its media type.
    Typed(&'static str, Vec<u8>),
    /// Answer that it is to be asked again in so many seconds.
    Later(u64),
    /// Send the client to another path of this server.
    Redirect(u16, &'static str),
    /// Announce a body of that many bytes, and send endless zeros.
    Flood(u64),
    /// Answer with something that is not HTTP.
    Garbage,
    /// Close the connection without an answer.
    Close,
    /// Never answer.
    Hang,
}

/// A server on a free port of this machine; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: AtomicBool,
    /// Requests that hang wait here.
    end: (Mutex<bool>, Condvar),
}

impl FakeServer {
    /// Starts a server that asks `script` what to do with each request.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(script: impl FnMut(Request) -> Action + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::<State>::default();
        let (script, shared) = (Arc::new(Mutex::new(script)), state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Acquire) {
                    return;
                }
                let (script, shared) = (script.clone(), shared.clone());
                // A connection that breaks is the client's affair.
                std::thread::spawn(move || stream.and_then(|s| serve(s, &script, &shared)));
            }
        });
        Self { address, state }
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Release);
        *self.state.end.0.lock().unwrap() = true;
        self.state.end.1.notify_all();
        // Wakes the listener up, so that it sees the end.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve<S: FnMut(Request) -> Action>(
    stream: TcpStream,
    script: &Mutex<S>,
    state: &State,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        let action = (script.lock().unwrap())(request);
        match action {
            Action::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                // A 204 has neither a length nor a body.
                let head = if status == 204 { "HTTP/1.1 204 X\r\n\r\n" } else { head.as_str() };
                writer.write_all(head.as_bytes())?;
                writer.write_all(&body)?;
            }
            Action::Typed(media_type, body) => {
                let length = body.len();
                write!(
                    writer,
                    "HTTP/1.1 200 X\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
                )?;
                writer.write_all(&body)?;
            }
            Action::Later(seconds) => write!(
                writer,
                "HTTP/1.1 503 X\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n"
            )?,
            Action::Redirect(status, path) => write!(
                writer,
                "HTTP/1.1 {status} X\r\nlocation: {path}\r\ncontent-length: 0\r\n\r\n"
            )?,
            Action::Flood(length) => {
                write!(writer, "HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n")?;
                loop {
                    writer.write_all(&[0; 1 << 16])?;
                }
            }
            Action::Garbage => return writer.write_all(b"what?\r\n\r\n"),
            Action::Close => return Ok(()),
            Action::Hang => {
                let mut ended = state.end.0.lock().unwrap();
                while !*ended {
                    ended = state.end.1.wait(ended).unwrap();
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or("").into(), words.next().unwrap_or("").into());
    let (mut length, mut headers) = (0, Vec::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) => {
                let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
                if name == "content-length" {
                    length = value.parse().unwrap_or(0);
                }
                headers.push((name, value));
            }
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body }))
}
