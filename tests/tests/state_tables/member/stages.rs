//! One member, driven through a whole round, and put into each state from there.

use std::collections::BTreeMap;
use std::time::Duration;

use pet_core::v2::member::{Input, Settings};
use pet_core::v2::{Announcement, Call, Phase, Terms, Vote};
use pet_testing::v2::stage;

use super::answers::{comes_in, Flaw};
use super::bench::Bench;
use super::looks::Shown;
use super::observe::told;
use super::world::{me, World, ROUND};
use super::{Cell, Doing, Stage, State};

/// A member in each of the stages, at a look.
pub struct Members {
    pub(super) world: World,
    looking: BTreeMap<Stage, Bench>,
}

impl Members {
    /// Drives one member through a whole round.
    pub fn new() -> Self {
        let mut world = World::new();
        let mut looking = BTreeMap::new();
        let keys = world.committee.member(me()).clone();
        let mut keep = |stage: Stage, bench: &Bench| {
            looking.insert(stage, bench.fork());
        };
        let mut bench = Bench::new(&world, &keys, Settings::default());
        keep(Stage::First, &bench);
        // It has come too late for the round before.
        let mut idle = bench.fork();
        let before = Terms { round: ROUND - 1, ..world.terms.clone() };
        let mut late = stage::Shown::announce(&world.committee, &before);
        late.view.phase = Phase::Update;
        idle.run(late, "pause");
        idle.pause();
        keep(Stage::Idle, &idle);

        bench.run(world.shown(Shown::Announce), "post announcement");
        if let Some((_, Call::Announce(post))) = &bench.request {
            world.announced(Announcement::from_bytes(&post.body).expect("well-formed"));
        }
        let failed = |bench: &mut Bench, shown: Shown, until: &str, world: &World| {
            bench.run(world.shown(shown), until);
            bench.fault();
            bench.pause();
        };
        let passed = |bench: &mut Bench, shown: Shown, world: &World| {
            bench.run(world.shown(shown), "pause");
            bench.pause();
        };
        bench.fault();
        bench.pause();
        keep(Stage::Promised, &bench);
        passed(&mut bench, Shown::Announce, &world);
        keep(Stage::Announced, &bench);

        let mut restarted = bench.fork();
        restarted.restart();
        passed(&mut restarted, Shown::Announce, &world);
        keep(Stage::Restarted, &restarted);
        passed(&mut restarted, Shown::Check, &world);
        passed(&mut restarted, Shown::Agree, &world);
        keep(Stage::Voteless, &restarted);
        let mut out = bench.fork();
        out.look(world.flawed_view(Flaw::ListWithoutMe, world.shown(Shown::Update)));
        out.respond(world.flawed(Flaw::ListWithoutMe)).expect("awaited");
        out.job_done();
        out.pause();
        keep(Stage::Out, &out);

        passed(&mut bench, Shown::Update, &world);
        keep(Stage::Listed, &bench);
        failed(&mut bench, Shown::Check, "post report", &world);
        keep(Stage::Checked, &bench);
        passed(&mut bench, Shown::Check, &world);
        keep(Stage::Reported, &bench);
        // It comes to the set only when the votes are there already.
        let mut agreed = bench.fork();
        failed(&mut agreed, Shown::Sum2, "get votes", &world);
        keep(Stage::Agreed, &agreed);
        bench.run(world.shown(Shown::Agree), "post vote");
        if let Some((_, Call::Vote(post))) = &bench.request {
            world.own_vote = Some(Vote::from_bytes(&post.body).expect("well-formed"));
        }
        bench.fault();
        bench.pause();
        keep(Stage::Pledged, &bench);
        passed(&mut bench, Shown::Agree, &world);
        keep(Stage::Voted, &bench);
        // The job takes so long that the round is looked at again.
        bench.run(world.shown(Shown::Sum2), "check votes");
        bench.now = bench.now + Duration::from_secs(1);
        bench.job_done();
        keep(Stage::Certified, &bench);
        failed(&mut bench, Shown::Sum2, "post mask", &world);
        keep(Stage::Summed, &bench);
        failed(&mut bench, Shown::Sum2, "post mask_chunk", &world);
        keep(Stage::Signed, &bench);
        passed(&mut bench, Shown::Sum2, &world);
        keep(Stage::Sent, &bench);
        for (stage, bench) in &looking {
            assert_eq!(bench.stage(&world), *stage, "the bench does not go where it should");
        }
        Self { world, looking }
    }

    pub(super) fn looking(&self, stage: Stage) -> Bench {
        self.looking.get(&stage).expect("each stage is come by").fork()
    }

    /// A member in this state.
    pub(super) fn at(&self, state: State) -> Bench {
        let State::At(stage, doing) = state else {
            let mut bench = self.looking(Stage::Announced);
            bench.act(Input::Stop).expect("it runs");
            return bench;
        };
        if stage == Stage::Over {
            let mut bench = self.looking(Stage::Announced);
            bench.look(self.world.shown(Shown::Failed));
            return bench;
        }
        let from = match (stage, doing) {
            (Stage::Promised, Doing::Store) => Stage::Idle,
            _ => stage,
        };
        let mut bench = self.looking(from);
        let show = |bench: &mut Bench, shown| bench.look(self.world.shown(shown));
        match doing {
            Doing::Look => bench.shown = self.world.shown(comes_in(stage)),
            Doing::Pause => bench.fault(),
            Doing::Get => show(&mut bench, got_in(stage)),
            Doing::Job => {
                show(&mut bench, got_in(stage));
                if stage != Stage::Certified {
                    bench.good();
                }
            }
            Doing::Store if stage == Stage::Agreed => show(&mut bench, Shown::Agree),
            Doing::Post | Doing::Store => show(&mut bench, comes_in(stage)),
        }
        bench
    }

    pub(super) fn cell(&self, bench: &Bench, events: usize) -> Cell {
        Cell { says: told(&bench.events[events..]), then: bench.then(&self.world) }
    }
}

/// What is to be seen for a member to get what it gets in this stage.
pub(super) fn got_in(stage: Stage) -> Shown {
    match stage {
        Stage::Promised | Stage::Announced | Stage::Restarted => Shown::Update,
        Stage::Checked | Stage::Reported => Shown::Agree,
        Stage::Agreed | Stage::Pledged | Stage::Voted => Shown::Sum2,
        _ => comes_in(stage),
    }
}
