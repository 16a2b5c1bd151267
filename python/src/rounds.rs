//! What has become of rounds, as the coordinator's `/status` tells everyone, and what to do about it.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use serde::Deserialize;

use crate::participant::over_tuple;

/// From so many rounds in a row that have failed on it is told; then each time that they are twice as many.
const WORTH_A_WORD: u64 = 2;

/// The most characters of another's text that are passed on.
const MOST_TEXT: usize = 300;

/// A participant's view of the rounds that it has seen.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The number of the round that was on when the coordinator was last asked.
    current: Option<u64>,
    /// How many have failed in a row, and at how many it is told next.
    failed: u64,
    tell_at: u64,
}

/// A round that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) id: u64,
    /// Why it failed: a stable name, and a text for people.
    pub(crate) failure: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Status {
    round: Current,
    rounds: Vec<Past>,
}

#[derive(Deserialize)]
struct Current {
    id: u64,
}

#[derive(Deserialize)]
struct Past {
    id: u64,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    phase: String,
    reason: String,
    #[serde(default)]
    message: String,
}

impl Rounds {
    /// Takes in a status: which of the rounds that this participant has seen begin are over now, and what its
    /// user should be told about them. Nothing where this is no status.
    pub(crate) fn take_in(&mut self, status: &[u8]) -> (Vec<Over>, Option<String>) {
        let Ok(status) = serde_json::from_slice::<Status>(status) else {
            return Default::default();
        };
        let now = status.round.id;
        let since = match self.current.replace(now) {
            // What was before it came does not concern it; nor does what an other coordinator has done, or this one
            // before it has forgotten everything.
            Some(since) if since <= now => since,
            _ => {
                (self.failed, self.tell_at) = (0, WORTH_A_WORD);
                return Default::default();
            }
        };
        let mut over = Vec::new();
        let mut last = None;
        for past in status.rounds {
            if !(since..now).contains(&past.id) {
                continue;
            }
            match &past.failure {
                None => (self.failed, self.tell_at) = (0, WORTH_A_WORD),
                Some(_) => self.failed = self.failed.saturating_add(1),
            }
            let failure = past.failure.as_ref().map(|failure| {
                let Failure { phase, reason, message } = failure;
                let text = if message.is_empty() { reason } else { message };
                (brief(reason), format!("{} (in the {} phase)", brief(text), brief(phase)))
            });
            over.push(Over { id: past.id, failure });
            last = past.failure.map(|failure| (past.id, failure));
        }
        let advice = last.filter(|_| self.failed >= self.tell_at).map(|(id, failure)| {
            self.tell_at = self.failed.saturating_mul(2);
            let Failure { phase, reason, message } = &failure;
            format!(
                "there is no new global model: {} rounds in a row have failed, the last one (round {id}) in its {} \
                 phase: {}. {}",
                self.failed,
                brief(phase),
                brief(if message.is_empty() { reason } else { message }),
                advice(reason)
            )
        });
        (over, advice)
    }
}

/// What to do about rounds that fail for this reason.
pub(crate) fn advice(reason: &str) -> &'static str {
    match reason {
        "too_few_sum" => {
            "Too few of those who are there were drawn to sum the masks. A round needs four participants at \
             least (three who train, and one who sums; who sums does not train): start more of them, or raise the \
             coordinator's pet.sum.prob"
        }
        "too_few_update" => {
            "Too few models came in time. A round needs four participants at least (three who train, and one who \
             sums; who sums does not train): start more of them, lower the coordinator's pet.sum.prob, or raise \
             pet.update.time.max if training takes longer"
        }
        "too_few_sum2" | "no_mask" | "lone_vote" => {
            "Those who were drawn to sum have not sent the sum of the masks: were they stopped? Have participants \
             stay until the round ends, or raise the coordinator's pet.sum2.time.max"
        }
        "tied_masks" | "no_quorum" => {
            "Sum participants disagree about the masks: one of them is broken, or hostile. The coordinator's \
             operator has to find out which"
        }
        "skipped" => "The coordinator's operator has ended it",
        _ => "Ask the coordinator's operator: its status page tells more",
    }
}

/// Another's text on one line, and not too much of it.
fn brief(text: &str) -> String {
    let text: String = text.chars().take(MOST_TEXT).collect();
    text.replace(|character: char| character.is_control(), " ")
}

/// The same for those who ask the coordinator themselves.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_RoundWatch", frozen)]
pub(crate) struct RoundWatch(Mutex<Rounds>);

#[pymethods]
impl RoundWatch {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// What to ask for, to be appended to the coordinator's URL.
    #[classattr]
    const PATH: &'static str = pet_transport_blocking::Observer::STATUS;

    /// Of a status, which rounds are over, and what there is to tell about them.
    fn take_in<'py>(
        &self,
        py: Python<'py>,
        status: &[u8],
    ) -> PyResult<(Vec<Bound<'py, PyTuple>>, Option<String>)> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take_in(status);
        let over: PyResult<_> = taken.0.into_iter().map(|over| over_tuple(py, over)).collect();
        Ok((over?, taken.1))
    }
}

/// What to do about rounds that fail for this reason: the name that the status has for it.
#[pyfunction]
#[pyo3(name = "_advice")]
pub(crate) fn advice_for(reason: &str) -> &'static str {
    advice(reason)
}
