//! Looks after a measurement: says how far it is, and ends it in time.

use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Error, Row};

/// How often it is said how far a part is.
const OFTEN: Duration = Duration::from_secs(5);

/// A part that is being measured.
pub struct Watch {
    part: &'static str,
    began: Instant,
    limit: Duration,
    said: Mutex<Instant>,
    rows: Mutex<Vec<Row>>,
}

impl Watch {
    /// Of a part that may take so long.
    pub fn new(part: &'static str, limit: Duration) -> Self {
        let began = Instant::now();
        Self { part, began, limit, said: Mutex::new(began), rows: Mutex::default() }
    }

    /// Takes what was measured, and shows it.
    pub fn row(&self, row: Row) {
        row.print();
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
    }

    /// What was measured.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says, not too often, what goes on.
    ///
    /// # Errors
    /// If the part's time is over.
    #[allow(clippy::print_stderr)]
    pub fn at(&self, what: impl FnOnce() -> String) -> Result<(), Error> {
        let took = self.began.elapsed();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if took > self.limit {
            let (seconds, what) = (self.limit.as_secs(), what());
            return Err(format!("not done within {seconds} s: {what}").into());
        }
        if said.elapsed() >= OFTEN {
            *said = Instant::now();
            eprintln!("  ... {}, {} s: {}", self.part, took.as_secs(), what());
        }
        Ok(())
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// If it never is.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            self.at(|| what.to_owned())?;
            if Instant::now() > deadline {
                return Err(format!("a minute was not enough: {what}").into());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
