//! A coordinator that lies as it likes: it shows each member whatever a test says, and hears what the member makes of it.

use bytes::Bytes;
use pet_core::crypto::PublicSigningKey;
use pet_core::participant::TransportFault;
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;
use pet_core::v2::member::{Event, Input, Member, Output, Settings};
use pet_core::v2::{
    self, Announcement, Announcements, EntriesPage, Entry, GroupMaskHeader, MemberId, Phase, Pin,
    Report, RoundView, SetView, Terms, Vote, Votes,
};

use super::by_hand::{root, Committee, HandUpdate, Round, OPENED_AT};

/// What one member is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// How the round stands.
    pub view: RoundView,
    /// The roster's bytes.
    pub roster: Vec<u8>,
    /// The list of announcements.
    pub list: Option<Announcements>,
    /// The updates, all on one page.
    pub entries: Vec<Entry>,
    /// The set to vote for.
    pub set: Option<SetView>,
    /// The votes for it.
    pub votes: Votes,
}

impl Shown {
    /// A round that has begun.
    pub fn announce(committee: &Committee, terms: &Terms) -> Self {
        let mut view = RoundView::idle();
        view.phase = Phase::Announce;
        view.terms = Some(terms.clone());
        Self {
            view,
            roster: committee.roster.to_bytes(),
            list: None,
            entries: Vec::new(),
            set: None,
            votes: Votes::default(),
        }
    }

    /// The check phase, with these updates.
    pub fn check(round: &Round<'_>, member: MemberId, updates: &[&HandUpdate]) -> Self {
        let mut shown = Self::announce(round.committee, round.terms);
        shown.view.phase = Phase::Check;
        shown.view.announcements = Some(round.list.digest());
        shown.view.entries = updates.len() as u64;
        shown.list = Some(round.list.clone());
        shown.entries = round.entries(member, updates);
        shown
    }

    /// The agree phase: all of these updates but the excluded ones.
    ///
    /// # Panics
    /// If the updates are not sorted.
    pub fn agree(
        round: &Round<'_>,
        member: MemberId,
        updates: &[&HandUpdate],
        excluded: &[PublicSigningKey],
    ) -> Self {
        let mut shown = Self::check(round, member, updates);
        let left: Vec<_> =
            updates.iter().copied().filter(|update| !excluded.contains(&update.key())).collect();
        let decision = round.decision(&left).expect("sorted");
        let mut excluded = excluded.to_vec();
        excluded.sort_unstable();
        shown.view.phase = Phase::Agree;
        shown.view.excluded = excluded.len() as u64;
        shown.view.decision = Some(decision.digest());
        shown.set = Some(SetView { decision, excluded, reports: Vec::new() });
        shown
    }

    /// The same set in the sum2 phase, with these votes; the member's mask is wanted.
    ///
    /// # Panics
    /// If a member has two votes.
    #[must_use]
    pub fn sum2(mut self, mut votes: Vec<Vote>, member: MemberId) -> Self {
        votes.sort_by_key(|vote| vote.member);
        self.view.phase = Phase::Sum2;
        self.view.certified = true;
        self.view.voted = votes.iter().map(|vote| vote.member).collect();
        self.view.wanted = vec![member];
        self.votes = Votes::new(votes).expect("each once");
        self
    }

    /// The reports that the set gives as the reason for its exclusions.
    #[must_use]
    pub fn with_reports(mut self, mut reports: Vec<Report>) -> Self {
        reports.sort_by_key(|report| report.member);
        if let Some(set) = &mut self.set {
            set.reports = reports;
        }
        self
    }

    /// What it answers to a call that asks for something; nothing where it has none.
    pub fn answer(&self, call: &v2::Call) -> Option<Vec<u8>> {
        Some(match call {
            v2::Call::Round => self.view.to_bytes(),
            v2::Call::Roster => self.roster.clone(),
            v2::Call::Announcements => self.list.as_ref()?.to_bytes(),
            v2::Call::Entries { from, .. } => EntriesPage {
                context: self.view.terms.as_ref()?.context(),
                total: self.entries.len() as u64,
                from: *from,
                entries: self.entries.get(usize::try_from(*from).ok()?..)?.to_vec(),
            }
            .to_bytes(),
            v2::Call::Set => self.set.as_ref()?.to_bytes(),
            v2::Call::Votes => self.votes.to_bytes(),
            _ => return None,
        })
    }
}

/// What a member has said.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// That it takes part.
    Announcement(Announcement),
    /// What it has against updates.
    Report(Report),
    /// What it votes for; for what, its signature tells.
    Vote(Vote),
    /// Its group's mask.
    Mask(GroupMaskHeader),
    /// A part of it.
    Chunk(Bytes),
}

/// A member's machine, and what it has said to its coordinator.
#[derive(Debug)]
pub struct Player {
    /// The machine.
    pub machine: Member,
    /// Who it is.
    pub id: MemberId,
    /// The time, in milliseconds since the Unix epoch.
    pub now: Timestamp,
    /// All that it has said, in order.
    pub said: Vec<Said>,
    /// All its events, in order.
    pub events: Vec<Event>,
    /// All states that it has stored, in order; the first is the one before its first start.
    pub stored: Vec<Vec<u8>>,
}

/// When members are started: a minute before the rounds by hand are opened.
pub const STARTED: Timestamp = Timestamp::from_millis((OPENED_AT - 60) * 1000);

/// After how many looks at a round that does not change a member has said all that it will say.
const LOOKS: usize = 6;

impl Player {
    /// A member that was never started before.
    pub fn new(committee: &Committee, id: MemberId) -> Self {
        Self::with_pin(committee, id, committee.pin())
    }

    /// The same with another pin.
    pub fn with_pin(committee: &Committee, id: MemberId, pin: Pin) -> Self {
        let number = u64::from(id.group) * 100 + u64::from(id.index);
        let keys = committee.member(id).clone();
        let machine = Member::new(keys, root(20, number), root(21, number), pin, settings());
        let stored = vec![machine.snapshot().to_bytes().to_vec()];
        let mut player =
            Self { machine, id, now: STARTED, said: Vec::new(), events: Vec::new(), stored };
        player.tick();
        player.now = Timestamp::from_millis(OPENED_AT * 1000 + 1000);
        player
    }

    fn tick(&mut self) {
        self.machine.handle_input(self.now, Input::Tick).expect("not stopped");
    }

    /// Shows something, until the member has looked a few times more and said nothing; gives what it has newly said.
    ///
    /// # Panics
    /// If it waits for something else than the time.
    pub fn show(&mut self, shown: &Shown) -> Vec<Said> {
        let before = self.said.len();
        let mut looks = 0;
        self.tick();
        loop {
            let input = match self.machine.poll_output() {
                Output::Request { id, call } => {
                    let Call::V2(call) = call else { panic!("a member speaks version 2 only") };
                    looks += usize::from(matches!(call, v2::Call::Round));
                    let is_said = self.hear(&call);
                    if is_said {
                        looks = 0;
                    }
                    match is_said {
                        true => Input::Response { id, response: Response::ok("") },
                        false => match shown.answer(&call) {
                            Some(body) => Input::Response { id, response: Response::ok(body) },
                            None => Input::Fault { id, fault: TransportFault::TimedOut },
                        },
                    }
                }
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, snapshot } => {
                    self.stored.push(snapshot.to_bytes().to_vec());
                    Input::Persisted(id)
                }
                Output::Event(event) => {
                    self.events.push(event);
                    continue;
                }
                Output::Idle(idle) => {
                    if looks >= LOOKS {
                        return self.said[before..].to_vec();
                    }
                    self.now = self.now.max(idle.wake_at.expect("it waits for the time only"));
                    Input::Tick
                }
                other => panic!("unknown output {other:?}"),
            };
            // What is released comes back after its time.
            let _ = self.machine.handle_input(self.now, input);
        }
    }

    fn hear(&mut self, call: &v2::Call) -> bool {
        let said = match call {
            v2::Call::Announce(post) => {
                Said::Announcement(Announcement::from_bytes(&post.body).expect("well-formed"))
            }
            v2::Call::Report(post) => {
                Said::Report(Report::from_bytes(&post.body).expect("well-formed"))
            }
            v2::Call::Vote(post) => Said::Vote(Vote::from_bytes(&post.body).expect("well-formed")),
            v2::Call::Mask(post) => {
                Said::Mask(GroupMaskHeader::from_bytes(&post.body).expect("well-formed"))
            }
            v2::Call::MaskChunk { post, .. } => Said::Chunk(post.body.clone()),
            _ => return false,
        };
        self.said.push(said);
        true
    }

    /// Ends the program, and starts it again from a stored state, by default the last one, at `boot`: what it draws then.
    ///
    /// # Panics
    /// If there is no such state.
    pub fn restart(&mut self, stored: Option<usize>, boot: u64) {
        let stored = &self.stored[stored.unwrap_or(self.stored.len() - 1)];
        self.now = Timestamp::from_millis(self.now.as_millis() + 1000);
        self.machine = Member::restore(stored, root(22, boot), settings()).expect("a good state");
        self.tick();
    }

    /// A second member in the same state.
    ///
    /// # Panics
    /// If it is not at rest.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            machine: self.machine.fork().expect("at rest"),
            id: self.id,
            now: self.now,
            said: self.said.clone(),
            events: self.events.clone(),
            stored: self.stored.clone(),
        }
    }

    /// Its announcement.
    pub fn announcement(&self) -> Option<Announcement> {
        self.said.iter().rev().find_map(|said| match said {
            Said::Announcement(announcement) => Some(*announcement),
            _ => None,
        })
    }

    /// Its votes.
    pub fn votes(&self) -> Vec<Vote> {
        let vote = |said: &Said| match said {
            Said::Vote(vote) => Some(*vote),
            _ => None,
        };
        self.said.iter().filter_map(vote).collect()
    }

    /// Its masks: each header with all chunks that followed it.
    pub fn masks(&self) -> Vec<(GroupMaskHeader, Vec<u8>)> {
        let mut masks: Vec<(GroupMaskHeader, Vec<u8>)> = Vec::new();
        for said in &self.said {
            match said {
                Said::Mask(header) => masks.push((header.clone(), Vec::new())),
                Said::Chunk(bytes) => masks.last_mut().expect("a header before").1.extend(bytes),
                _ => {}
            }
        }
        masks
    }
}

fn settings() -> Settings {
    Settings::default()
}
