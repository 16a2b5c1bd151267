//! Replays a record: tells a machine what another one was told.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::machine::Machine;
use super::{Entry, Recordable, Said, MAGIC, VERSION};
use crate::crypto::Digest;
use crate::job::{Job, JobId};
use crate::time::Timestamp;

/// No machine has so much to say about one input: a record that claims it is damaged.
const MOST_POLLS: u32 = 1 << 17;

/// Jobs that were given out and whose result has not come.
pub(crate) type Jobs<M> = BTreeMap<JobId, Job<<M as Machine>::Outcome>>;

/// A record that was replayed: everything was said again, word for word.
#[derive(Debug)]
pub struct Replay<M> {
    /// The machine, as it was at the end.
    pub machine: M,
    /// How many inputs there were.
    pub inputs: u64,
    /// How many outputs there were.
    pub outputs: u64,
    /// The hash of all outputs, and of the machine's state at the end.
    pub said: Digest,
}

/// Why a record cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The bytes are something else, or of another kind of machine.
    #[error("these bytes are not a record of such a machine")]
    NotARecord,
    /// Another version of this program wrote it.
    #[error("the record has version {found}, this program reads version {known}: record it again")]
    Version {
        /// The record's version.
        found: u16,
        /// The version that is known.
        known: u16,
    },
    /// The machine cannot begin like this.
    #[error("the recorded machine cannot begin: {0}")]
    Beginning(String),
    /// The machine says something else than it did.
    #[error("between input {input} and the next, at {now:?}, the machine says something else than when it was recorded")]
    Diverged {
        /// After how many inputs.
        input: u64,
        /// When it was told the latest of them.
        now: Timestamp,
    },
    /// A job is finished that was never given out.
    #[error("input {input} is the result of a job that was not given out")]
    UnknownJob {
        /// Which input, from 1.
        input: u64,
    },
    /// The record has no end, as that of a process that was killed, or is damaged. Up to there everything
    /// was said again, but for what the machine has said last.
    #[error("the record breaks off, or is damaged, after input {input}")]
    BrokenOff {
        /// The last input that could be read, from 1.
        input: u64,
    },
}

/// Tells a new machine all that a recorded one was told, and compares what it says. `watch` sees each
/// input, output and rejection.
///
/// # Errors
/// If the bytes are not a whole record of such a machine, or the machine says something else.
///
/// # Panics
/// If a coordinator's record is damaged where it holds a message: messages are not verified again.
pub fn replay<M: Recordable>(
    record: &[u8],
    mut watch: impl FnMut(Timestamp, &dyn fmt::Debug),
) -> Result<Replay<M>, ReplayError> {
    let (mut machine, mut rest) = begin::<M>(record)?;
    let (mut inputs, mut outputs, mut now) = (0, 0, Timestamp::ZERO);
    let (mut jobs, mut said) = (Jobs::<M>::new(), Said::NOTHING);
    while let Some(entry) = read::<Entry<M::Written>>(&mut rest) {
        if entry.polls > MOST_POLLS {
            break;
        }
        for _ in 0..entry.polls {
            let output = machine.ask();
            outputs += 1;
            said.add(&output, &M::content(&output));
            watch(now, &output);
            if let Some(job) = M::into_job(output) {
                jobs.insert(job.id(), job);
            }
        }
        if entry.input.is_none() {
            said.add_end(&machine);
        }
        if entry.said != said.0 {
            return Err(ReplayError::Diverged { input: inputs, now });
        }
        let Some(written) = entry.input else {
            if !rest.is_empty() {
                break;
            }
            return Ok(Replay { machine, inputs, outputs, said: said.0 });
        };
        now = entry.now;
        inputs += 1;
        watch(now, &written);
        let input = M::read(written, &mut jobs).ok_or(ReplayError::UnknownJob { input: inputs })?;
        if let Err(reject) = machine.tell(now, input) {
            said.add(&reject, &[]);
            watch(now, &reject);
        }
    }
    Err(ReplayError::BrokenOff { input: inputs })
}

/// The machine as it was at first, and the entries.
fn begin<M: Machine>(record: &[u8]) -> Result<(M, &[u8]), ReplayError> {
    let rest = record.strip_prefix(&MAGIC).ok_or(ReplayError::NotARecord)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(ReplayError::NotARecord)?;
    let found = u16::from_le_bytes(*version);
    if found != VERSION {
        return Err(ReplayError::Version { found, known: VERSION });
    }
    let mut rest = rest.strip_prefix(&[M::KIND]).ok_or(ReplayError::NotARecord)?;
    let beginning = read(&mut rest).ok_or(ReplayError::NotARecord)?;
    let machine = M::begin(beginning).map_err(ReplayError::Beginning)?;
    Ok((machine, rest))
}

/// Reads a value off the bytes; nothing if they end before, or are damaged.
fn read<T: DeserializeOwned>(bytes: &mut &[u8]) -> Option<T> {
    use bincode::Options;
    // The limit keeps lying lengths from allocating more than there is.
    let options =
        bincode::DefaultOptions::new().with_fixint_encoding().with_limit(bytes.len() as u64);
    options.allow_trailing_bytes().deserialize_from(bytes).ok()
}
