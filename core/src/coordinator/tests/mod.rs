//! The machine, message by message.

mod any_inputs;
mod assembling;
mod chunks;
mod control;
mod ended;
mod failures;
mod fixture;
mod followers;
mod front;
mod handed_over;
mod lost_jobs;
mod merging;
mod messages;
mod optimizer;
mod records;
mod relays;
mod repeated;
mod replay;
mod replica;
mod rounds;
mod sender;
mod shards;
mod shards_any;
mod snapshots;
