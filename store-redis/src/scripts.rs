//! What is done by the server, whole: scripts.
//!
//! A script that is refused is refused before it has written anything. All of them say that they may write, so that a replica
//! refuses them also where they only read; those that make room, or keep the lease, run without room as well.

use std::sync::LazyLock;

use pet_ledger::SCHEMA;
use redis::Script;

use crate::schema::LEAST;

/// In front of each.
const PRELUDE: &str = include_str!("lua/prelude.lua");

/// What the server says if there is no room for what a script would write.
const NEEDS_ROOM: &str = "";
const WITHOUT_ROOM: &str = " flags=allow-oom";

fn with_prelude(flags: &str, script: &str) -> Script {
    let prelude = PRELUDE.replace("$SCHEMA", &SCHEMA.to_string());
    let prelude = prelude.replace("$LEAST", &LEAST.to_string());
    Script::new(&format!("#!lua{flags}\n{prelude}\n{script}"))
}

macro_rules! scripts {
    ($($name:ident: $flags:ident, $file:literal;)+) => {
        $(
            pub(crate) static $name: LazyLock<Script> =
                LazyLock::new(|| with_prelude($flags, include_str!(concat!("lua/", $file, ".lua"))));
        )+
    };
}

scripts! {
    ANSWERS: WITHOUT_ROOM, "answers";
    APPEND: NEEDS_ROOM, "append";
    BEAT: WITHOUT_ROOM, "beat";
    CLOCK: WITHOUT_ROOM, "clock";
    DROP: WITHOUT_ROOM, "drop";
    FORGET: WITHOUT_ROOM, "forget";
    HEAD: WITHOUT_ROOM, "head";
    HEADER: NEEDS_ROOM, "header";
    LEASE: WITHOUT_ROOM, "lease";
    LETTERS: WITHOUT_ROOM, "letters";
    NEWS: WITHOUT_ROOM, "news";
    PART: WITHOUT_ROOM, "part";
    POST: NEEDS_ROOM, "post";
    READ: WITHOUT_ROOM, "read";
    RELEASE: WITHOUT_ROOM, "release";
    REMOVE: WITHOUT_ROOM, "remove";
    REPLICAS: WITHOUT_ROOM, "replicas";
    RIGHTS: WITHOUT_ROOM, "rights";
    SEND: NEEDS_ROOM, "send";
    STORE: NEEDS_ROOM, "store";
    SWEEP: WITHOUT_ROOM, "sweep";
    TAKEN: WITHOUT_ROOM, "taken";
}

/// The only one without the prelude.
pub(crate) static INITIALIZE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&format!("#!lua\n{}", include_str!("lua/initialize.lua"))));
