//! Attacks on the protocol, each with its control: the same attack succeeds against version 1, or against version 2 with
//! the defence taken out. (docs/threat-model.md has them in one table.)

mod announcements;
mod certificates;
mod coalition;
mod dropouts;
mod exclusions;
mod exploration;
mod ghosts;
mod noise;
mod replicas;
mod rollback;
mod scene;
mod seeds;
