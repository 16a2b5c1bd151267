//! Log output that never blocks.
//!
//! Whoever logs puts lines into a queue with a bound in bytes; a thread of its own writes them. A
//! reader that is slow or gone, a full disk, a terminal that was closed: lines are dropped then, and
//! counted, and the service goes on.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    collections::VecDeque,
    fmt,
    io::{self, Write},
    panic,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{dispatcher, error, warn, Dispatch};

/// How many bytes of lines may wait.
const WAITING: usize = 1 << 20;
/// How long a writer that is not ready (`EAGAIN`) is left alone.
const NOT_READY: Duration = Duration::from_millis(20);

/// A counter of lost log lines. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Arc<AtomicU64>);

impl DroppedLines {
    /// The number of lost lines so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

/// A writer for log lines that never blocks and never fails. Each call of [`write`](Write::write)
/// is a line, written as a whole or dropped as a whole.
#[derive(Clone)]
pub struct LogWriter {
    queue: Arc<Queue>,
}

impl LogWriter {
    /// Starts a thread that writes to `sink`, which may block and fail.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = Self { queue: Arc::clone(&queue) };
        thread::Builder::new().name("log".into()).spawn(move || queue.write_to(sink))?;
        Ok(writer)
    }

    /// The counter of lost lines.
    pub fn dropped(&self) -> DroppedLines {
        self.queue.dropped.clone()
    }

    /// Waits until all that was logged so far is written or lost, at most for `most`. Tells whether it
    /// is.
    pub fn flush_within(&self, most: Duration) -> bool {
        let end = Instant::now() + most;
        let mut waiting = self.queue.lock();
        while waiting.writing || !waiting.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.queue.changed.wait_timeout(waiting, left);
            (waiting, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.add(line);
        Ok(line.len())
    }

    /// Does nothing: see [`LogWriter::flush_within`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows no line.
impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("dropped", &self.queue.dropped).finish_non_exhaustive()
    }
}

/// Reports panics as events to `log`, whatever the rest of the program logs to. What the standard library
/// does instead is to write to standard error, where it may wait for ever.
pub fn tell_panics(log: Dispatch) {
    panic::set_hook(Box::new(move |panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        dispatcher::with_default(&log, || {
            error!(
                thread = thread::current().name().unwrap_or("unnamed"),
                backtrace = backtrace.map(tracing::field::display),
                "internal error, please report this: {panic}",
            );
        });
    }));
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: DroppedLines,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line is on its way.
    writing: bool,
    /// Lines that were dropped since the log last told so.
    untold: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes.saturating_add(line.len()) > WAITING {
            waiting.untold += 1;
            self.dropped.add(1);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.changed.notify_all();
    }

    fn write_to(&self, mut sink: impl Write) {
        loop {
            let line = self.next();
            let written = write_line(&mut sink, &line);
            let mut waiting = self.lock();
            waiting.writing = false;
            if written.is_err() {
                waiting.untold += 1;
                self.dropped.add(1);
            }
            // Once there is somebody to tell, and room.
            let caught_up = written.is_ok() && waiting.lines.is_empty();
            let untold = if caught_up { std::mem::take(&mut waiting.untold) } else { 0 };
            drop(waiting);
            self.changed.notify_all();
            if untold > 0 {
                warn!(lines = untold, "lines of the log were dropped: nobody took them in time");
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// As `write_all`, but whoever shares the file may have set it not to block.
fn write_line(sink: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => line = line.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NOT_READY),
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver, Sender};

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// Writes one call for each permit: fails, or tells what was written.
    struct Gate {
        permits: Receiver<io::Result<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().unwrap_or(Ok(()))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (LogWriter, Sender<io::Result<()>>, Receiver<Vec<u8>>) {
        let ((permit, permits), (written, lines)) = (channel(), channel());
        (LogWriter::start(Gate { permits, written }).unwrap(), permit, lines)
    }

    /// However much is logged: nobody waits, memory is bounded, what is lost is counted.
    #[test]
    fn a_writer_that_is_stuck_holds_nobody_up_and_lines_are_dropped_and_counted() {
        let (mut log, permit, lines) = gated();
        let line = [b'x'; 1024];
        for _ in 0..10_000 {
            log.write_all(&line).unwrap();
        }
        // One is on its way, perhaps.
        let dropped = log.dropped().count();
        assert!((10_000 - 1025..=10_000 - 1024).contains(&dropped), "{dropped}");
        assert!(log.queue.lock().bytes <= WAITING);
        assert!(!log.flush_within(Duration::from_millis(1)));
        drop(permit);
        assert!(log.flush_within(SOON));
        assert_eq!(lines.try_iter().count() as u64, 10_000 - dropped);
        // It goes on.
        log.write_all(b"again").unwrap();
        assert!(log.flush_within(SOON));
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [b"again"]);
        assert_eq!(log.dropped().count(), dropped);
    }

    #[test]
    fn a_writer_that_fails_is_tried_again_with_the_next_line() {
        let (mut log, permit, lines) = gated();
        let kinds = [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::StorageFull,
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::Other,
        ];
        for kind in kinds {
            permit.send(Err(kind.into())).unwrap();
            log.write_all(b"lost\n").unwrap();
        }
        // These are no failures.
        for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock] {
            permit.send(Err(kind.into())).unwrap();
        }
        permit.send(Ok(())).unwrap();
        log.write_all(b"kept\n").unwrap();
        assert!(log.flush_within(SOON));
        assert_eq!(log.dropped().count(), kinds.len() as u64);
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [b"kept\n"]);
    }
}
