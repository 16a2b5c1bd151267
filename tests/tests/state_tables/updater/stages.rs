//! One updater, driven through a whole round, and put into each state from there.

use std::collections::BTreeMap;

use pet_core::participant::Input;
use pet_core::v2::Call;

use super::answers::comes_in;
use super::bench::{model, Bench};
use super::looks::Shown;
use super::observe::told;
use super::world::World;
use super::{Cell, Doing, Stage, State};

/// An updater in each of the stages, at a look.
pub struct Updaters {
    pub(super) world: World,
    looking: BTreeMap<Stage, Bench>,
}

impl Updaters {
    /// Drives one updater through a whole round.
    pub fn new() -> Self {
        let mut world = World::new();
        let mut looking = BTreeMap::new();
        let mut keep = |stage: Stage, bench: &Bench| {
            looking.insert(stage, bench.fork());
        };
        let failed = |bench: &mut Bench, world: &World, shown: Shown, until: &str| {
            bench.run(world, world.shown(shown), &[until]);
            bench.fault();
            bench.pause();
        };
        let passed = |bench: &mut Bench, world: &World, shown: Shown| {
            bench.run(world, world.shown(shown), &[]);
            bench.pause();
        };
        let mut bench = Bench::new(&world);
        keep(Stage::First, &bench);
        passed(&mut bench, &world, Shown::Nothing);
        keep(Stage::NoRound, &bench);
        failed(&mut bench, &world, Shown::Announce, "get certificate");
        keep(Stage::Begun, &bench);
        failed(&mut bench, &world, Shown::Announce, "get model");
        keep(Stage::Proven, &bench);
        passed(&mut bench, &world, Shown::Announce);
        keep(Stage::Training, &bench);
        bench.act(Input::SetModel(model())).expect("it fits");
        keep(Stage::Ready, &bench);
        bench.run(&world, world.shown(Shown::Update), &["store"]);
        let id = bench.store.expect("it stores its promise");
        let reason = "no space left".to_owned();
        bench.act(Input::NotPersisted { id, reason }).expect("awaited");
        bench.pause();
        keep(Stage::Made, &bench);
        bench.run(&world, world.shown(Shown::Update), &["post update"]);
        if let Some((_, Call::Update(post))) = &bench.request {
            world.sent(post);
        }
        bench.fault();
        bench.pause();
        keep(Stage::Sending, &bench);
        failed(&mut bench, &world, Shown::Update, "post chunk");
        keep(Stage::Halfway, &bench);
        passed(&mut bench, &world, Shown::Update);
        keep(Stage::Sent, &bench);
        let mut done = bench.fork();
        passed(&mut done, &world, Shown::Failed);
        keep(Stage::Done, &done);
        failed(&mut bench, &world, Shown::Completed, "get proof");
        keep(Stage::Certified, &bench);
        for (stage, bench) in &looking {
            assert_eq!(bench.stage(&world), *stage, "the bench does not go where it should");
        }
        Self { world, looking }
    }

    pub(super) fn looking(&self, stage: Stage) -> Bench {
        self.looking.get(&stage).expect("each stage is come by").fork()
    }

    /// An updater in this state.
    pub(super) fn at(&self, state: State) -> Bench {
        let State::At(stage, doing) = state else {
            let mut bench = self.looking(Stage::Training);
            bench.act(Input::Stop).expect("it runs");
            return bench;
        };
        let world = &self.world;
        if stage == Stage::Masking {
            let mut bench = self.looking(Stage::Ready);
            bench.run(world, world.shown(Shown::Update), &["check mask"]);
            return bench;
        }
        let mut bench = self.looking(stage);
        let shown = world.shown(comes_in(stage));
        match doing {
            Doing::Look => bench.view = shown,
            Doing::Trouble => bench.fault(),
            Doing::Pause => {
                let shown = match stage {
                    Stage::NoRound => Shown::Nothing,
                    Stage::Ready => Shown::Announce,
                    Stage::Sent => Shown::Check,
                    stage => comes_in(stage),
                };
                bench.look(world, world.shown(shown));
            }
            Doing::Get | Doing::Post | Doing::Store => bench.look(world, shown),
            Doing::Job => {
                bench.look(world, shown);
                bench.good(world);
            }
        }
        bench
    }

    pub(super) fn cell(&self, bench: &Bench, events: usize) -> Cell {
        Cell { says: told(&bench.events[events..]), then: bench.then(&self.world) }
    }
}
