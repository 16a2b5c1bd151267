//! A panic is told by the log, and waits for nobody. A process of its own: the hook is the process's.

use std::{
    io::{self, Write},
    sync::mpsc::{channel, Receiver, Sender},
    thread,
    time::Duration,
};

use pet_coordinator::log::{tell_panics, LogWriter};

const SOON: Duration = Duration::from_secs(60);

/// Waits with each line until its permit comes.
struct Gate(Receiver<()>, Sender<Vec<u8>>);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        let _ = self.1.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_does_not_wait_for_a_log_that_nobody_reads_and_is_told() {
    let ((permit, permits), (written, lines)) = (channel(), channel());
    let log = LogWriter::start(Gate(permits, written)).unwrap();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    tell_panics(subscriber.into());
    let (done, ended) = channel();
    thread::Builder::new()
        .name("unlucky".into())
        .spawn(move || {
            let caught = std::panic::catch_unwind(|| panic!("of all things"));
            done.send(caught.is_err()).unwrap();
        })
        .unwrap();
    assert!(ended.recv_timeout(SOON).unwrap(), "the log is stuck, and so is the panic");
    permit.send(()).unwrap();
    let line = String::from_utf8(lines.recv_timeout(SOON).unwrap()).unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["level"], "ERROR", "{line}");
    assert_eq!(event["fields"]["thread"], "unlucky", "{line}");
    assert!(line.contains("of all things") && line.contains("please report this"), "{line}");
    assert_eq!(log.dropped().count(), 0);
}
