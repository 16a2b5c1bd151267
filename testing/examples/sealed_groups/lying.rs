//! A member that lies: the library's machine, over HTTP, with messages that are changed on their way, and signed anew with its
//! own keys.
//!
//! It is told on standard input how to lie from now on, a line each: `honest`, or `lie` and one of `vote`, `mask` and
//! `accuse N`; it answers `ok`. On standard output it also tells what each lie was answered, `lied ROUND LIE ANSWER`. It
//! ends with its standard input.

use std::fs::{self, File};
use std::io::{stdin, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use pet_core::crypto::{RootSeed, Seed, SigningKeyPair};
use pet_core::request::{self, Response};
use pet_core::time::Timestamp;
use pet_core::v2::member::{Event, Input, Member, Output, Settings, Snapshot};
use pet_core::v2::{Announcements, Call, Context, DecisionHash, MemberId, Pin, RoundView, SetView};

use crate::forge::{Liar, Lie};
use crate::http::{answer, Client};
use crate::seeds::{self, Ally};
use crate::{print, Failure};

/// The pin of the demo's members.
const N_MIN: u64 = 8;

struct LyingMember {
    client: Client,
    machine: Member,
    keys: SigningKeyPair,
    boot: RootSeed,
    state: PathBuf,
    allies: Vec<Ally>,
    seeds: PathBuf,
    lie: Option<Lie>,
    place: Option<MemberId>,
    seen: Seen,
}

/// What its machine was answered in this round.
#[derive(Default)]
struct Seen {
    round: Option<(u64, Context)>,
    list: Option<Announcements>,
    decision: Option<DecisionHash>,
}

/// Runs it until its standard input ends.
pub fn run(
    url: &str,
    roster: &str,
    directory: &Path,
    seeds: &Path,
    allies: &[&str],
) -> Result<(), Failure> {
    let keys = key(&directory.join("member.key"))?;
    let (root, boot) = (RootSeed::new(random()?), RootSeed::new(random()?));
    let mut settings = Settings::default();
    settings.polling.max = Duration::from_millis(200);
    let pin = Pin::new(roster.parse()?, N_MIN);
    let new = Member::new(keys.clone(), root, boot.clone(), pin, settings.clone()).snapshot();
    let ally = |text: &&str| {
        let (member, state) = text.split_once('=').ok_or("an ally is GROUP.MEMBER=STATE")?;
        Ok(Ally { member: crate::place(member)?, state: state.into() })
    };
    let mut member = LyingMember {
        client: Client::new(url)?,
        // As every new member it takes part in rounds that are opened from now on.
        machine: Member::restore(&new.to_bytes(), boot.clone(), settings)?,
        keys,
        boot,
        state: directory.join("member.state"),
        allies: allies.iter().map(ally).collect::<Result<_, Failure>>()?,
        seeds: seeds.to_owned(),
        lie: None,
        place: None,
        seen: Seen::default(),
    };
    member.store(&new)?;
    let (lines, told) = channel();
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            if line.is_err() || lines.send(line.unwrap_or_default()).is_err() {
                return;
            }
        }
    });
    print("ready", [member.keys.public()]);
    member.go_on(&told)
}

impl LyingMember {
    fn go_on(&mut self, told: &Receiver<String>) -> Result<(), Failure> {
        let mut now = now(Timestamp::ZERO);
        self.machine.handle_input(now, Input::Tick)?;
        loop {
            let input = match self.machine.poll_output() {
                Output::Request { id, call: request::Call::V2(call) } => match self.ask(call) {
                    Ok(response) => Input::Response { id, response },
                    Err(fault) => Input::Fault { id, fault },
                },
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, snapshot } => {
                    self.store(&snapshot)?;
                    Input::Persisted(id)
                }
                Output::Event(event) => {
                    if let Event::Roster { member, .. } = event {
                        self.place = Some(member);
                    }
                    eprintln!("{event:?}");
                    continue;
                }
                Output::Idle(idle) => {
                    let wait = idle.wake_at.map(|at| at.saturating_since(now));
                    match told.recv_timeout(wait.unwrap_or(Duration::from_secs(1))) {
                        Ok(line) => self.tell(&line)?,
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    }
                    Input::Tick
                }
                other => return Err(format!("unknown output {other:?}").into()),
            };
            now = self::now(now);
            // An answer that comes too late is no failure.
            let _ = self.machine.handle_input(now, input);
        }
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.lie = match &words[..] {
            ["honest"] => None,
            ["lie", rest @ ..] => Some(Lie::parse(rest).ok_or("there is no such lie")?),
            _ => return Err(format!("unknown command {line:?}").into()),
        };
        print("ok", &words);
        Ok(())
    }

    /// Sends what the machine says, or a lie in its place; first of all, when the updates are all there, its allies open their boxes.
    fn ask(&mut self, call: Call) -> Result<Response, pet_core::participant::TransportFault> {
        if matches!(call, Call::Report(_)) {
            self.open_boxes();
        }
        let lie = self.lie.filter(|lie| lie.is_about(&call));
        let forged = lie.and_then(|lie| match self.forge(lie, &call) {
            Ok(forged) => forged,
            Err(failure) => {
                eprintln!("it cannot lie about {call:?}: {failure}");
                None
            }
        });
        let response = self.client.call(forged.as_ref().unwrap_or(&call))?;
        if let (Some(lie), Some(_), Some((round, _))) = (lie, forged, self.seen.round) {
            println!("lied {round} {} {}", lie.name(), answer(&response));
        }
        self.look(&call, &response);
        Ok(response)
    }

    /// Keeps what lies are about.
    fn look(&mut self, call: &Call, response: &Response) {
        if response.status != 200 {
            return;
        }
        match call {
            Call::Round => {
                let terms = RoundView::from_bytes(&response.body).ok().and_then(|view| view.terms);
                let round = terms.map(|terms| (terms.round, terms.context()));
                if round != self.seen.round {
                    self.seen = Seen { round, ..Seen::default() };
                }
            }
            Call::Announcements => self.seen.list = Announcements::from_bytes(&response.body).ok(),
            Call::Set => {
                let set = SetView::from_bytes(&response.body).ok();
                self.seen.decision = set.map(|set| set.decision.digest());
            }
            _ => {}
        }
    }

    fn open_boxes(&self) {
        let (Some((round, context)), Some(list)) = (&self.seen.round, &self.seen.list) else {
            return;
        };
        match seeds::note(&self.client, &self.allies, (*round, context, list), &self.seeds) {
            Ok((members, boxes)) => {
                eprintln!("round {round}: {boxes} boxes of {members} members are opened");
            }
            Err(failure) => eprintln!("the seeds of round {round} are not noted: {failure}"),
        }
    }

    fn forge(&self, lie: Lie, honest: &Call) -> Result<Option<Call>, Failure> {
        let (Some((_, context)), Some(list), Some(member)) =
            (self.seen.round, &self.seen.list, self.place)
        else {
            return Err("it knows too little of the round".into());
        };
        let entries = seeds::entries(&self.client, member)?;
        let (keys, boot, decision) = (&self.keys, &self.boot, self.seen.decision);
        let liar = Liar { member, keys, boot, context, list, decision, entries: &entries };
        liar.forge(lie, honest)
    }

    /// In one step, for its owner alone.
    fn store(&self, state: &Snapshot) -> Result<(), Failure> {
        let new = self.state.with_extension("new");
        let mut file =
            File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&state.to_bytes())?;
        file.sync_all()?;
        Ok(fs::rename(new, &self.state)?)
    }
}

/// The time of day, which does not go back.
fn now(last: Timestamp) -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_duration(since).max(last)
}

/// Reads a key file, as `pet-coordinator member init` writes it.
fn key(path: &Path) -> Result<SigningKeyPair, Failure> {
    // 32 bytes in hexadecimal digits, as a context's.
    let bytes: Context = fs::read_to_string(path)?.trim().parse()?;
    Ok(SigningKeyPair::from_seed(&Seed::new(*bytes.as_bytes())))
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes)
}
