//! What became of rounds, from the coordinator's public `/status`, and what to do about it.

use serde::Deserialize;

/// The number of failed rounds in a row that is reported first, and again each time that it doubles.
const WORTH_A_WORD: u64 = 2;

/// The most characters of another's text that are passed on.
const MOST_TEXT: usize = 300;

/// A participant's view of the rounds that it has seen.
#[derive(Debug, Default)]
pub struct Rounds {
    /// The number of the round that was on when the coordinator was last asked.
    current: Option<u64>,
    /// How many have failed in a row, and at how many it is told next.
    failed: u64,
    tell_at: u64,
}

/// A round that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Over {
    /// Its number, as the coordinator counts.
    pub id: u64,
    /// Why it failed: a stable name, and a text for people.
    pub failure: Option<(String, String)>,
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
    pub fn take_in(&mut self, status: &[u8]) -> (Vec<Over>, Option<String>) {
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
pub fn advice(reason: &str) -> &'static str {
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
        "optimizer" => {
            "The coordinator's optimizer cannot make a step: its learning rate is too large, or updates are packed otherwise \
             than it is told (pet.optimizer). The coordinator's operator has to look into it"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn status(now: u64, past: &[(u64, Option<&str>)]) -> Vec<u8> {
        let rounds = past.iter().map(|(id, reason)| match reason {
            None => format!(r#"{{"id":{id},"failure":null}}"#),
            Some(reason) => format!(
                r#"{{"id":{id},"failure":{{"phase":"update","reason":"{reason}","message":"too\nfew"}}}}"#
            ),
        });
        let rounds = rounds.collect::<Vec<_>>().join(",");
        format!(r#"{{"round":{{"id":{now}}},"rounds":[{rounds}]}}"#).into_bytes()
    }

    fn ids(over: &[Over]) -> Vec<u64> {
        over.iter().map(|over| over.id).collect()
    }

    #[test]
    fn only_rounds_that_were_seen_to_begin_are_told_of() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.take_in(&status(3, &[(1, None), (2, None)])), (vec![], None));
        let (over, advice) = rounds.take_in(&status(5, &[(2, None), (3, None), (4, Some("x"))]));
        assert_eq!((ids(&over), advice), (vec![3, 4], None));
        let failure = over[1].failure.clone().unwrap();
        assert_eq!(failure, ("x".into(), "too few (in the update phase)".into()));
        // The same again: nothing is told twice.
        assert_eq!(rounds.take_in(&status(5, &[(3, None), (4, Some("x"))])), (vec![], None));
    }

    #[test]
    fn advice_comes_at_two_four_and_eight_failures_in_a_row() {
        let mut rounds = Rounds::default();
        rounds.take_in(&status(1, &[]));
        let failed = Some("too_few_update");
        let told =
            (1..=9).filter(|id| rounds.take_in(&status(id + 1, &[(*id, failed)])).1.is_some());
        assert_eq!(told.collect::<Vec<_>>(), [2, 4, 8]);
        rounds.take_in(&status(11, &[(10, None)]));
        let told =
            (11..14).filter(|id| rounds.take_in(&status(id + 1, &[(*id, failed)])).1.is_some());
        assert_eq!(told.collect::<Vec<_>>(), [12]);
    }

    #[test]
    fn a_coordinator_that_counts_anew_is_another_one() {
        let mut rounds = Rounds::default();
        rounds.take_in(&status(7, &[]));
        assert_eq!(rounds.take_in(&status(2, &[(1, Some("no_mask"))])), (vec![], None));
        assert_eq!(ids(&rounds.take_in(&status(3, &[(1, None), (2, None)])).0), [2]);
    }

    #[test]
    fn what_is_no_status_is_nothing() {
        let mut rounds = Rounds::default();
        for nonsense in ["", "[]", "{}", r#"{"round":{"id":-1},"rounds":[]}"#] {
            assert_eq!(rounds.take_in(nonsense.as_bytes()), (vec![], None));
        }
    }

    #[test]
    fn every_failure_of_our_coordinator_has_advice_of_its_own() {
        let otherwise = advice("of a later coordinator");
        for reason in [
            "too_few_sum",
            "too_few_update",
            "too_few_sum2",
            "no_mask",
            "lone_vote",
            "tied_masks",
            "no_quorum",
            "optimizer",
            "skipped",
        ] {
            assert_ne!(advice(reason), otherwise, "{reason}");
        }
    }
}
