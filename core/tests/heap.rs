//! Secrets are wiped before their memory is given back: each block is searched for them, byte by byte, when it is freed.

#![allow(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "an allocator knows by its thread whose block it frees"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use curve25519_dalek::scalar::{clamp_integer, Scalar};
use pet_core::coordinator::{
    self, Coordinator, CountRange, Front, Sum2Settings, SumSettings, TimeRange, UpdateSettings,
};
use pet_core::crypto::{
    EncryptKeyPair, Purpose, RootSeed, RoundSeed, Seed, SigningKeyPair, SnapshotKey, TaskSignatures,
};
use pet_core::mask::{derive_mask, MaskConfig, MaskConfigPair, MaskSeed};
use pet_core::message::EncryptedMaskSeed;
use pet_core::participant::{Participant, Settings};
use pet_core::time::Timestamp;
use sha2::{Digest, Sha512};

/// A secret as no code has it in memory.
type Needle = [u8; 32];

const VEIL: u8 = 0xa5;

std::thread_local! {
    /// What this thread's blocks are searched for, and in how many it was.
    static WATCH: Cell<Option<Needle>> = const { Cell::new(None) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

/// Searches what is freed. (Blocks that grow are freed, too: `realloc` is that of the trait.)
struct Searching;

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s rules.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(needle) = WATCH.get() {
            // SAFETY: the block has so many bytes, and is nobody else's any more.
            let byte = |at: usize| unsafe { pointer.add(at).read_volatile() } ^ VEIL;
            let half = needle.len() / 2;
            let is_found = (0..(layout.size() + 1).saturating_sub(half)).any(|start| {
                let is_there = |part: &[u8]| (0..half).all(|i| byte(start + i) == part[i]);
                is_there(&needle[..half]) || is_there(&needle[half..])
            });
            FOUND.set(FOUND.get() + usize::from(is_found));
        }
        // SAFETY: the caller keeps `dealloc`'s rules.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// In how many blocks that `work` frees a secret, or a half of it, still is.
fn found(secret: &[u8], work: impl FnOnce()) -> usize {
    let mut needle: Needle = secret.try_into().expect("32 bytes");
    needle.iter_mut().for_each(|byte| *byte ^= VEIL);
    FOUND.set(0);
    WATCH.set(Some(needle));
    work();
    WATCH.set(None);
    FOUND.get()
}

fn root() -> RootSeed {
    RootSeed::new(std::array::from_fn(|i| (37 * i + 11) as u8))
}

fn seed(purpose: Purpose) -> Seed {
    root().derive(purpose, &[b"context"])
}

#[test]
fn what_is_not_wiped_is_found() {
    let secret = *seed(Purpose::MaskSeed).as_bytes();
    assert_eq!(found(&secret, || drop(black_box(Box::new(secret)))), 1);
    assert_eq!(found(&secret, || drop(black_box(secret[16..].to_vec()))), 1);
    // A block that has grown was elsewhere before.
    let grow = || {
        let mut bytes = secret.to_vec();
        bytes.reserve(1 << 20);
        bytes.fill(0);
        drop(black_box(bytes));
    };
    assert_eq!(found(&secret, grow), 1);
    assert_eq!(found(&secret, || drop(black_box(vec![7; 1000]))), 0);
}

#[test]
fn seeds_and_keys_are_wiped_when_they_are_dropped() {
    for purpose in [Purpose::Identity, Purpose::EphemeralKey, Purpose::MaskSeed, Purpose::RoundKey]
    {
        let secret = *seed(purpose).as_bytes();
        assert_eq!(found(&secret, || drop(black_box(seed(purpose).clone()))), 0, "{purpose:?}");
    }
    assert_eq!(found(root().as_bytes(), || drop(black_box(root().clone()))), 0, "root");

    let pair = || EncryptKeyPair::from_seed(&seed(Purpose::EphemeralKey));
    let work = || {
        let pair = black_box(pair());
        let sealed = pair.public().seal(b"content", &pair).expect("a good key");
        assert_eq!(pair.open(&sealed).expect("its own"), b"content");
        drop(black_box(EncryptKeyPair::from_secret(pair.secret().clone())));
    };
    assert_eq!(found(pair().secret().as_bytes(), work), 0, "ephemeral key");

    let keys = || SigningKeyPair::from_seed(&seed(Purpose::Identity));
    let work = || {
        let keys = black_box(keys());
        black_box(TaskSignatures::sign(&keys, &RoundSeed::new([3; 32])));
        drop(black_box(SigningKeyPair::from_secret(keys.secret().clone())));
    };
    assert_eq!(found(&keys().secret().as_bytes()[..32], work), 0, "signing key");

    let key = *seed(Purpose::SeedSeal).as_bytes();
    let work = || {
        let key = SnapshotKey::new(key);
        let sealed = key.seal(b"state");
        assert_eq!(key.open(&sealed).expect("its own"), b"state");
    };
    assert_eq!(found(&key, work), 0, "snapshot key");
}

#[test]
fn mask_seeds_are_wiped_when_they_are_dropped() {
    let secret = *seed(Purpose::MaskSeed).as_bytes();
    let work = || {
        let recipient = EncryptKeyPair::from_seed(&seed(Purpose::EphemeralKey));
        let ephemeral = EncryptKeyPair::from_seed(&seed(Purpose::SeedSeal));
        let mask_seed = MaskSeed::new(secret);
        let sealed = EncryptedMaskSeed::seal(&mask_seed, &recipient.public(), &ephemeral);
        drop(black_box(sealed.expect("a good key").open(&recipient).expect("its own")));
        for config in ["Prime/F32/B0/M3", "Word32/F32/B0/M3", "Integer/F64/Bmax/M3"] {
            let config: MaskConfig = config.parse().expect("known");
            drop(black_box(derive_mask(&mask_seed, config.into(), 300)));
        }
    };
    assert_eq!(found(&secret, work), 0);
}

/// A mask tells a masked model, as its seed does.
#[test]
fn masks_are_wiped_when_they_are_dropped() {
    let config: MaskConfig = "Word32/F32/B0/M3".parse().expect("known");
    let mask = || derive_mask(&MaskSeed::new([5; 32]), config.into(), 300);
    // These numbers have in memory the form that they have in messages.
    let bytes = mask().to_bytes().expect("it is short");
    let numbers = &bytes[8..40];
    assert_eq!(found(numbers, || drop(black_box(mask().to_bytes().expect("it is short")))), 1);
    assert_eq!(found(numbers, || drop(black_box(mask()))), 0);
}

/// Also what a snapshot holds, and what is restored from it.
#[test]
fn a_participants_secrets_are_wiped_when_it_is_dropped() {
    let keys = || SigningKeyPair::from_seed(&seed(Purpose::Identity));
    let life = || {
        let mut machine = Participant::new(keys(), root(), Settings::default());
        machine.handle_input(Timestamp::ZERO, pet_core::participant::Input::Tick).expect("time");
        let snapshot = machine.snapshot();
        let key = SnapshotKey::new([1; 32]);
        let sealed = snapshot.seal(&key);
        drop(black_box((machine, snapshot)));
        let restored = Participant::restore_sealed(&sealed, &key, Settings::default());
        let restored = restored.expect("its own");
        let bytes = restored.snapshot().to_bytes();
        drop(black_box(Participant::restore(&bytes, Settings::default()).expect("its own")));
        drop(black_box((restored, bytes)));
    };
    assert_eq!(found(root().as_bytes(), life), 0, "root seed");
    assert_eq!(found(&keys().secret().as_bytes()[..32], life), 0, "signing key");
}

/// What a signature is computed of, of the secret key, which neither has as it is: the scalar, and what nonces are hashed with.
fn expanded(keys: &SigningKeyPair) -> [Needle; 2] {
    let hash: [u8; 64] = Sha512::digest(&keys.secret().as_bytes()[..32]).into();
    let (scalar, prefix) = hash.split_at(32);
    let scalar: Needle = scalar.try_into().expect("32 bytes");
    let scalar = Scalar::from_bytes_mod_order(clamp_integer(scalar)).to_bytes();
    [scalar, prefix.try_into().expect("32 bytes")]
}

/// A participant signs its message in steps: when it has done all of them, and when it is given up after so many.
fn sign_in_steps(front: &Front, steps: usize) {
    use pet_core::participant::{Input, Output};
    let keys = SigningKeyPair::from_seed(&seed(Purpose::Identity));
    let mut machine = Participant::new(keys, root(), Settings::default());
    machine.handle_input(Timestamp::ZERO, Input::Tick).expect("time");
    loop {
        match machine.poll_output() {
            Output::Request { id, call } => {
                let response = front.answer(&call).expect("nothing is sent yet");
                let input = Input::Response { id, response };
                machine.handle_input(Timestamp::ZERO, input).expect("it was asked for");
            }
            Output::Job(mut job) => {
                for _ in 0..steps {
                    job.step();
                }
                return drop(black_box(job));
            }
            Output::Idle(idle) => panic!("nothing is to be signed: {idle:?}"),
            _ => {}
        }
    }
}

/// What a new coordinator answers with.
fn first_front(settings: coordinator::Settings) -> Front {
    use pet_core::coordinator::{Input, Output};
    let mut machine = Coordinator::new(settings, RootSeed::new([9; 32]), Timestamp::ZERO)
        .expect("settings that fit together");
    let mut answers = None;
    loop {
        let input = match machine.poll_output() {
            Output::Front(front) => {
                answers = Some(front);
                continue;
            }
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Persist { id, .. } => Input::Persisted(id),
            Output::Idle(_) => return answers.expect("a round has begun"),
            _ => continue,
        };
        machine.handle_input(Timestamp::ZERO, input).expect("it is due");
    }
}

#[test]
fn what_signatures_are_made_of_is_wiped() {
    let (count, minute) = (CountRange { min: 1, max: 100 }, Duration::from_secs(60));
    let time = TimeRange { min: minute, max: minute };
    let config: MaskConfig = "Prime/F32/B0/M3".parse().expect("known");
    let settings = coordinator::Settings::new(
        SumSettings::new(0.999, count, time),
        UpdateSettings::new(0.9, CountRange { min: 3, max: 100 }, time),
        Sum2Settings::new(count, time),
        MaskConfigPair::from(config),
        4,
    );
    let front = first_front(settings);
    let keys = SigningKeyPair::from_seed(&seed(Purpose::Identity));
    for (what, needle) in ["scalar", "prefix"].into_iter().zip(expanded(&keys)) {
        // (It can be found.)
        assert_eq!(found(&needle, || drop(black_box(Box::new(needle)))), 1);
        for steps in 0..8 {
            let found = found(&needle, || sign_in_steps(&front, steps));
            assert_eq!(found, 0, "{what} after {steps} steps");
        }
    }
}
