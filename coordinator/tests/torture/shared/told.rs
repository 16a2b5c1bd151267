//! What replicas have logged.

use std::collections::{BTreeMap, BTreeSet};

/// A process of a replica: each is started again and again.
pub type Process = (usize, usize);

const LISTENS: &str = "the coordinator listens";
const LEADS: &str = "this replica leads";
const FAILED: &str = "round failed";
const LOST: &str = "a part of the round is lost: the round fails";
const COMPLETED: &str = "round completed: new global model";

#[derive(Debug, Default)]
pub struct Told {
    /// Who has led in an epoch. (Each process may lead in the same epoch again, if nobody has led meanwhile.)
    pub leaders: BTreeMap<u64, Process>,
    /// Rounds that have failed, and why.
    pub failed: BTreeMap<u64, String>,
    /// Rounds of which a part was lost.
    pub lost: BTreeSet<u64>,
    /// Of how many models a global model was made.
    pub models: BTreeMap<u64, u64>,
}

impl Told {
    /// How many rounds have ended.
    pub fn ended(&self) -> usize {
        self.failed.len() + self.models.len()
    }

    /// Reads the log of all processes of a replica. Refuses what nobody may say.
    pub fn read(&mut self, replica: usize, log: &str) -> Result<(), String> {
        let mut process = 0;
        for line in log.lines() {
            if line.contains("report this") || line.contains("panicked") {
                return Err(format!("replica {replica}: {line}"));
            }
            // Most lines say nothing of this, and a log is read often.
            if ![LISTENS, LEADS, FAILED, LOST, COMPLETED].iter().any(|told| line.contains(told)) {
                continue;
            }
            // (The last line of a process that was killed.)
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let number = |field: &str| line[field].as_u64().ok_or(format!("{line} has no {field}"));
            match line["message"].as_str() {
                Some(LISTENS) => process += 1,
                Some(LEADS) => {
                    let (epoch, of) = (number("epoch")?, (replica, process));
                    let first = *self.leaders.entry(epoch).or_insert(of);
                    if first != of {
                        return Err(format!("two have led in epoch {epoch}: {first:?} and {of:?}"));
                    }
                }
                Some(FAILED) => {
                    let (round, why) = (number("round")?, line["reason"].as_str().unwrap_or(""));
                    if why.contains("of the aggregate is lost") {
                        self.lost.insert(round);
                    }
                    self.failed.insert(round, format!("{}: {why}", line["phase"]));
                }
                Some(LOST) => {
                    let round = number("round")?;
                    self.failed.insert(round, format!("the part {} is lost", line["part"]));
                    self.lost.insert(round);
                }
                Some(COMPLETED) => {
                    let (round, models) = (number("round")?, number("models")?);
                    let first = *self.models.entry(round).or_insert(models);
                    if first != models {
                        return Err(format!(
                            "round {round} is of {first} models, and then of {models}"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENS: &str = r#"{"message":"the coordinator listens"}"#;
    const LEADS: &str = r#"{"message":"this replica leads","epoch":7}"#;

    fn read(logs: &[&[&str]]) -> Result<Told, String> {
        let mut told = Told::default();
        for (replica, lines) in logs.iter().enumerate() {
            told.read(replica, &lines.join("\n"))?;
        }
        Ok(told)
    }

    #[test]
    fn two_leaders_in_one_epoch_are_found() {
        assert_eq!(read(&[&[LISTENS, LEADS, LEADS], &[LISTENS]]).unwrap().leaders[&7], (0, 1));
        assert!(read(&[&[LISTENS, LEADS], &[LISTENS, LEADS]])
            .unwrap_err()
            .contains("two have led"));
        // Two processes of the same replica.
        assert!(read(&[&[LISTENS, LEADS, LISTENS, LEADS]]).is_err());
    }

    #[test]
    fn rounds_are_told_with_why_they_have_failed() {
        let told = read(&[&[
            r#"{"message":"round failed","round":3,"phase":"sum","reason":"nobody came"}"#,
            r#"{"message":"a part of the round is lost: the round fails","round":4,"part":"aggregate-00"}"#,
            r#"{"message":"round failed","round":6,"phase":"sum2","reason":"part 00 of the aggregate is lost (missing)"}"#,
            r#"{"message":"round completed: new global model","round":5,"models":9}"#,
            r#"{"message":"round comp"#,
        ]])
        .unwrap();
        assert!(
            told.failed[&3].contains("nobody came") && told.failed[&4].contains("aggregate-00")
        );
        assert_eq!((told.lost, told.models[&5]), (BTreeSet::from([4, 6]), 9));
    }

    #[test]
    fn what_nobody_may_say_is_found() {
        let other = r#"{"message":"round completed: new global model","round":5,"models":8}"#;
        let first = other.replace('8', "9");
        assert!(read(&[&[&first], &[other]]).unwrap_err().contains("of 9 models"));
        assert!(read(&[&["thread 'main' panicked at"]]).is_err());
        assert!(read(&[&[r#"{"message":"an error: please report this"}"#]]).is_err());
    }
}
