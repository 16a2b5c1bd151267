//! The whole: a server, its participants, what is on its way between them; and what can happen next.

use std::fmt;

use super::cast::{Cast, Plan};
use super::clients::{self, ClientId, Clients, Waits};
use super::ledger::End;
use super::letters::{LetterId, Letters};
use super::server::{self, is_entered, Effects, ServerId, Servers};

/// The most participants.
pub(super) const MEMBERS: usize = 6;
const FLYING: usize = 3;
const ACKNOWLEDGED: usize = 8;
const NONE: u16 = u16::MAX;

/// A state of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    server: ServerId,
    clients: [ClientId; MEMBERS],
    /// Whose message has arrived and has no answer yet: a bit for each.
    arrived: u8,
    /// Copies of messages on their way, sorted.
    copies: [LetterId; FLYING],
    /// Opened messages on their way to the machine, and who waits for the answer.
    opened: [(u16, u8); 1],
    /// What was acknowledged in this round, sorted.
    acknowledged: [LetterId; ACKNOWLEDGED],
    /// Of which masks the sum was sent in this round.
    masks: u16,
    /// How many rounds are over.
    over: u8,
    losses: u8,
    duplicates: u8,
    slow: u8,
    server_crashes: u8,
    client_crashes: u8,
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A participant's GET is answered.
    Answer(u8),
    /// A participant's message arrives.
    Arrive(u8),
    /// A participant gets no answer.
    Lose(u8),
    /// A participant gets no answer, and its message is still on its way.
    Delay(u8),
    /// A participant's message is copied on its way.
    Duplicate(u8),
    /// The copy of a message arrives.
    Copy(u8),
    /// A participant's message is opened, and has to wait.
    Open(u8),
    /// The opened message is handed to the machine.
    HandOver,
    /// A participant crashes: its latest snapshot is restored.
    Crash(u8),
    /// A participant crashes: its first snapshot is restored.
    CrashToStart(u8),
    /// The server does something of its own.
    Server(server::Step),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(who) => write!(f, "participant {who} gets an answer"),
            Self::Arrive(who) => write!(f, "the message of participant {who} arrives"),
            Self::Lose(who) => write!(f, "participant {who} gets no answer"),
            Self::Delay(who) => {
                write!(f, "participant {who} gets no answer, and its message comes later")
            }
            Self::Duplicate(who) => write!(f, "the message of participant {who} is copied"),
            Self::Copy(index) => write!(f, "the copy of a message arrives (number {index})"),
            Self::Open(who) => write!(f, "the message of participant {who} is opened"),
            Self::HandOver => write!(f, "the opened message is handed over"),
            Self::Crash(who) => write!(f, "participant {who} crashes and goes on"),
            Self::CrashToStart(who) => write!(f, "participant {who} crashes and begins anew"),
            Self::Server(step) => write!(f, "coordinator: {step:?}"),
        }
    }
}

impl Event {
    /// Whether it can be counted on.
    pub fn is_fair(self) -> bool {
        match self {
            Self::Answer(_) | Self::Arrive(_) | Self::Copy(_) | Self::HandOver => true,
            Self::Server(step) => step != server::Step::Crash,
            Self::Lose(_) | Self::Delay(_) | Self::Duplicate(_) | Self::Open(_) => false,
            Self::Crash(_) | Self::CrashToStart(_) => false,
        }
    }
}

/// The machines and messages that worlds are numbers of.
pub(super) struct Universe {
    pub plan: Plan,
    pub cast: Cast,
    pub letters: Letters,
    pub clients: Clients,
    pub servers: Servers,
}

impl Universe {
    pub fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            cast: Cast::new(plan),
            letters: Letters::default(),
            clients: Clients::default(),
            servers: Servers::new(plan),
        }
    }

    /// How it begins.
    pub fn start(&mut self) -> Result<World, String> {
        let mut clients = [NONE; MEMBERS];
        let begun = self.clients.start(&self.cast, &mut self.letters)?;
        clients[..begun.len()].copy_from_slice(&begun);
        let plan = &self.plan;
        Ok(World {
            server: self.servers.start(&self.cast, &self.letters)?,
            clients,
            arrived: 0,
            copies: [NONE; FLYING],
            opened: [(NONE, 0)],
            acknowledged: [NONE; ACKNOWLEDGED],
            masks: NONE,
            over: 0,
            losses: plan.losses,
            duplicates: plan.duplicates,
            slow: plan.slow,
            server_crashes: plan.server_crashes,
            client_crashes: plan.client_crashes,
        })
    }

    /// Whether the last round that is looked at is over.
    pub fn is_end(&self, world: &World) -> bool {
        u64::from(world.over) >= self.plan.rounds
    }

    /// All that can happen next.
    pub fn events(&self, world: &World) -> Vec<Event> {
        let mut events = Vec::new();
        for who in 0..self.cast.members.len() {
            let bit = who as u8;
            let has_copy_room = world.copies.contains(&NONE);
            match self.clients.waits(world.clients[who]) {
                Waits::Get(_) => {
                    events.push(Event::Answer(bit));
                    if world.losses > 0 {
                        events.push(Event::Lose(bit));
                    }
                }
                Waits::Post(_) => {
                    let arrived = world.arrived >> who & 1 == 1;
                    if !arrived {
                        events.push(Event::Arrive(bit));
                        if world.duplicates > 0 && has_copy_room {
                            events.push(Event::Duplicate(bit));
                            if world.losses > 0 {
                                events.push(Event::Delay(bit));
                            }
                        }
                        if world.slow > 0 && world.opened[0].0 == NONE {
                            events.push(Event::Open(bit));
                        }
                    }
                    if world.losses > 0 {
                        events.push(Event::Lose(bit));
                    }
                }
            }
            if world.client_crashes > 0 {
                events.push(Event::Crash(bit));
                events.push(Event::CrashToStart(bit));
            }
        }
        let copies = world.copies.iter().filter(|letter| **letter != NONE).count();
        events.extend((0..copies as u8).map(Event::Copy));
        if world.opened[0].0 != NONE {
            events.push(Event::HandOver);
        }
        use server::Step;
        let server = world.server;
        events.extend((0..self.servers.jobs(server)).map(|job| Event::Server(Step::Job(job))));
        if self.servers.is_storing(server) {
            events.push(Event::Server(Step::Stored));
        }
        if self.plan.min_time && self.servers.can_wait(server, Step::MinTime) {
            events.push(Event::Server(Step::MinTime));
        }
        if self.plan.timeouts && self.servers.can_wait(server, Step::MaxTime) {
            events.push(Event::Server(Step::MaxTime));
        }
        if world.server_crashes > 0 {
            events.push(Event::Server(Step::Crash));
        }
        events
    }

    /// What an event leads to, and how rounds have ended by it.
    pub fn next(&mut self, world: &World, event: Event) -> Result<(World, Vec<End>), String> {
        let mut next = *world;
        let effects = match event {
            Event::Answer(who) => {
                let Waits::Get(call) = self.clients.waits(next.clients[usize::from(who)]) else {
                    return Err("nothing is asked".into());
                };
                let body = self.servers.answer(next.server, &call.clone());
                self.client(&mut next, who, clients::Step::Answer(body))?;
                Effects::default()
            }
            Event::Arrive(who) => {
                let letter = self.letter(world, who)?;
                next.arrived |= 1 << who;
                self.see(&mut next, letter)?;
                self.server(&mut next, server::Step::Letter(letter, Some(who)))?
            }
            Event::Duplicate(who) => {
                next.duplicates -= 1;
                insert(&mut next.copies, self.letter(world, who)?)?;
                Effects::default()
            }
            Event::Delay(who) => {
                next.duplicates -= 1;
                next.losses -= 1;
                insert(&mut next.copies, self.letter(world, who)?)?;
                self.client(&mut next, who, clients::Step::Fault)?;
                Effects::default()
            }
            Event::Copy(index) => {
                let letter = next.copies[usize::from(index)];
                next.copies[usize::from(index)] = NONE;
                next.copies.sort_unstable();
                self.see(&mut next, letter)?;
                self.server(&mut next, server::Step::Letter(letter, None))?
            }
            Event::Open(who) => {
                next.slow -= 1;
                let letter = self.letter(world, who)?;
                self.see(&mut next, letter)?;
                next.arrived |= 1 << who;
                match self.servers.open(next.server, letter, &self.letters) {
                    Some(opened) => {
                        next.opened = [(opened, who)];
                        Effects::default()
                    }
                    None => {
                        let replies = vec![(Some(who), letter, false)];
                        Effects { replies, ..Effects::default() }
                    }
                }
            }
            Event::HandOver => {
                let [(opened, who)] = std::mem::replace(&mut next.opened, [(NONE, 0)]);
                let sender = (usize::from(who) < MEMBERS).then_some(who);
                self.server(&mut next, server::Step::Opened(opened, sender))?
            }
            Event::Lose(who) => {
                next.losses -= 1;
                self.interrupt(&mut next, who, clients::Step::Fault)?
            }
            Event::Crash(who) => {
                next.client_crashes -= 1;
                self.interrupt(&mut next, who, clients::Step::Crash)?
            }
            Event::CrashToStart(who) => {
                next.client_crashes -= 1;
                self.interrupt(&mut next, who, clients::Step::CrashToStart)?
            }
            Event::Server(step) => {
                if step == server::Step::Crash {
                    next.server_crashes -= 1;
                    next.opened = [(NONE, 0)];
                    for who in 0..self.cast.members.len() as u8 {
                        if next.arrived >> who & 1 == 1 {
                            next.arrived &= !(1 << who);
                            self.client(&mut next, who, clients::Step::Fault)?;
                        }
                    }
                }
                self.server(&mut next, step)?
            }
        };
        self.settle(world, &mut next, &effects)?;
        Ok((next, effects.ends))
    }

    fn letter(&self, world: &World, who: u8) -> Result<LetterId, String> {
        match self.clients.waits(world.clients[usize::from(who)]) {
            Waits::Post(letter) => Ok(*letter),
            Waits::Get(_) => Err("no message is sent".into()),
        }
    }

    fn client(&mut self, world: &mut World, who: u8, step: clients::Step) -> Result<(), String> {
        let client = &mut world.clients[usize::from(who)];
        *client = self.clients.step(&self.cast, &mut self.letters, *client, step)?;
        Ok(())
    }

    fn server(&mut self, world: &mut World, step: server::Step) -> Result<Effects, String> {
        let (to, effects) = self.servers.step(&self.cast, &self.letters, world.server, step)?;
        world.server = to;
        Ok(effects)
    }

    /// A participant stops waiting for the answer to what it has sent.
    fn interrupt(
        &mut self,
        world: &mut World,
        who: u8,
        step: clients::Step,
    ) -> Result<Effects, String> {
        if world.arrived >> who & 1 == 1 {
            world.arrived &= !(1 << who);
            if world.opened[0].0 != NONE && world.opened[0].1 == who {
                world.opened[0].1 = MEMBERS as u8;
            }
            self.server(world, server::Step::HangUp(who))?;
        }
        self.client(world, who, step)?;
        Ok(Effects::default())
    }

    /// The coordinator sees a message: what it has the sum of masks of must not help it.
    fn see(&self, world: &mut World, letter: LetterId) -> Result<(), String> {
        let letter = self.letters.get(letter);
        let Some(masks) = letter.masks else { return Ok(()) };
        // What comes from the round before says nothing about this one.
        if letter.round != self.servers.ledger(world.server).round {
            return Ok(());
        }
        if world.masks != NONE && world.masks != masks {
            return Err("sums of two different sets of masks: their difference unmasks".into());
        }
        world.masks = masks;
        Ok(())
    }

    /// Answers reach their senders; and nothing that was acknowledged is forgotten.
    fn settle(
        &mut self,
        before: &World,
        next: &mut World,
        effects: &Effects,
    ) -> Result<(), String> {
        let round = self.servers.ledger(next.server).round;
        if round != self.servers.ledger(before.server).round {
            next.acknowledged = [NONE; ACKNOWLEDGED];
            next.masks = NONE;
        }
        for (sender, letter, accepted) in &effects.replies {
            if *accepted && self.letters.get(*letter).round == round {
                insert(&mut next.acknowledged, *letter)?;
            }
            if let Some(who) = sender {
                next.arrived &= !(1 << who);
                self.client(next, *who, clients::Step::Done)?;
            }
        }
        next.over = next.over.saturating_add(effects.ends.len() as u8);
        let ledger = self.servers.ledger(next.server);
        let acknowledged = next.acknowledged.iter().filter(|letter| **letter != NONE);
        for letter in acknowledged {
            if !is_entered(ledger, &self.letters, *letter) {
                let tag = self.letters.get(*letter).tag;
                return Err(format!("an acknowledged {tag} message is forgotten"));
            }
        }
        Ok(())
    }

    /// A state in words.
    pub fn describe(&self, world: &World) -> String {
        let ledger = self.servers.ledger(world.server);
        format!(
            "round {}, {} phase, sum {:?}, updates {:?}, masks {:?}",
            ledger.round,
            self.servers.phase(world.server),
            ledger.summers,
            ledger.updates.keys().collect::<Vec<_>>(),
            ledger.voters,
        )
    }
}

/// Puts a number where there is room, in order; once is enough.
fn insert<const N: usize>(numbers: &mut [u16; N], number: u16) -> Result<(), String> {
    if numbers[N - 1] != NONE {
        return Err("the explorer has no room for that many messages".into());
    }
    numbers[N - 1] = number;
    numbers.sort_unstable();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The difference of two sums of masks unmasks whoever is in one of them only.
    #[test]
    fn sums_of_different_sets_of_masks_in_one_round_are_found() {
        let mut universe = Universe::new(&Plan::default());
        let mut world = universe.start().unwrap();
        for set in 0..2 {
            universe.letters.add_sum2(1, set);
        }
        assert_eq!(universe.see(&mut world, 0), Ok(()));
        assert_eq!(universe.see(&mut world, 0), Ok(()), "the same once more");
        assert!(universe.see(&mut world, 1).unwrap_err().contains("two different sets"));
    }
}
