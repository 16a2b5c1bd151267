//! Secrets leave no copies on the stack: it is searched for them, byte by byte, after they were used.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "each search has a stack of its own"
)]

use std::hint::black_box;
use std::sync::Arc;

use pet_core::crypto::{
    EncryptKeyPair, Purpose, RootSeed, Seed, SigningKeyPair, SnapshotKey, TaskSignatures,
};
use pet_core::mask::{derive_mask, MaskConfig, MaskSeed};
use pet_core::message::EncryptedMaskSeed;

/// How much of a thread's stack is searched, and how much it has.
const SEARCHED: usize = 512 << 10;
const STACK: usize = 4 << 20;

/// A secret as no code has it in memory.
#[derive(Clone)]
struct Needle(Arc<Vec<u8>>);

const VEIL: u8 = 0xa5;

impl Needle {
    fn of(secret: &[u8]) -> Self {
        Self(Arc::new(secret.iter().map(|byte| byte ^ VEIL).collect()))
    }

    /// A thread of its own makes it, so that what it leaves behind is gone.
    fn made(make: impl FnOnce() -> Vec<u8> + Send + 'static) -> Self {
        std::thread::spawn(move || Self::of(&make())).join().expect("it can be made")
    }
}

/// How often a needle, or a half of it, is on the stack of a thread that has done something.
fn copies(needle: &Needle, work: impl FnOnce() + Send + 'static) -> usize {
    let needle = needle.clone();
    let thread = std::thread::Builder::new().stack_size(STACK);
    let search = move || {
        let top = black_box(&needle as *const Needle).addr();
        // What was prepared elsewhere is moved in, and lies above.
        above(work);
        count(&needle, top)
    };
    thread.spawn(search).expect("a thread").join().expect("it works")
}

/// Works further down, so that what searches afterwards does not overwrite what it looks for.
#[inline(never)]
fn above(work: impl FnOnce()) {
    let mut room = [0u8; 4096];
    black_box(&mut room);
    work();
    black_box(&mut room);
}

/// Searches the stack from `top` downwards.
#[inline(never)]
#[allow(unsafe_code)]
fn count(needle: &Needle, top: usize) -> usize {
    let half = needle.0.len() / 2;
    let from = (top - SEARCHED) & !7;
    let mut found = 0;
    for start in from..top - half {
        let matches = |part: &[u8]| {
            part.iter().enumerate().all(|(i, veiled)| {
                let byte = std::ptr::with_exposed_provenance::<u8>(start + i);
                // SAFETY: the address is within this thread's own stack, of which there is eight times as much as is
                // searched; whatever is there is read as a byte, and nobody else writes to it.
                let byte = unsafe { byte.read_volatile() };
                byte ^ VEIL == *veiled
            })
        };
        if matches(&needle.0[..half]) || matches(&needle.0[half..2 * half]) {
            found += 1;
        }
    }
    found
}

fn root() -> RootSeed {
    RootSeed::try_fill(|bytes| {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (37 * i + 11) as u8;
        }
        Ok::<_, ()>(())
    })
    .expect("nothing fails")
}

fn seed(purpose: Purpose) -> Seed {
    root().derive(purpose, &[b"context"])
}

#[track_caller]
fn assert_wiped(what: &str, needle: &Needle, work: impl FnOnce() + Send + 'static) {
    let found = copies(needle, work);
    assert_eq!(found, 0, "{what}: so many copies are left on the stack");
}

/// The search finds what is left behind.
#[test]
fn what_is_left_behind_is_found() {
    #[inline(never)]
    fn careless() {
        let mut copy = *seed(Purpose::MaskSeed).as_bytes();
        black_box(&mut copy);
    }
    let needle = Needle::made(|| seed(Purpose::MaskSeed).as_bytes().to_vec());
    assert!(copies(&needle, careless) > 0);
}

#[test]
fn derived_seeds_are_wiped() {
    for purpose in [
        Purpose::Identity,
        Purpose::EphemeralKey,
        Purpose::MaskSeed,
        Purpose::SeedSeal,
        Purpose::MessageSeal,
        Purpose::RoundKey,
    ] {
        let needle = Needle::made(move || seed(purpose).as_bytes().to_vec());
        assert_wiped("derived seed", &needle, move || {
            black_box(seed(purpose));
        });
    }
    let needle = Needle::made(|| root().as_bytes().to_vec());
    // It is computed there, byte by byte; what derives from it must not add to that.
    assert_wiped("root seed", &needle, || {
        black_box(seed(Purpose::MaskSeed).clone());
    });
}

#[test]
fn secret_keys_are_wiped() {
    let pair = || EncryptKeyPair::from_seed(&seed(Purpose::EphemeralKey));
    let needle = Needle::made(move || pair().secret().as_bytes().to_vec());
    assert_wiped("ephemeral key", &needle, move || {
        let pair = black_box(pair());
        let sealed = pair.public().seal(b"content", &pair).expect("a good key");
        assert_eq!(pair.open(&sealed).expect("its own"), b"content");
        black_box(EncryptKeyPair::from_secret(pair.secret().clone()));
    });
    let keys = || SigningKeyPair::from_seed(&seed(Purpose::Identity));
    for half in [0..32, 32..64] {
        if half.start == 32 {
            // The public key.
            continue;
        }
        let needle = Needle::made(move || keys().secret().as_bytes()[half].to_vec());
        assert_wiped("signing key", &needle, move || {
            let keys = black_box(keys());
            black_box(TaskSignatures::sign(&keys, &pet_core::crypto::RoundSeed::new([3; 32])));
            black_box(SigningKeyPair::from_secret(keys.secret().clone()));
        });
    }
}

#[test]
fn mask_seeds_are_wiped() {
    let mask_seed = || {
        MaskSeed::try_fill(|to| {
            to.copy_from_slice(seed(Purpose::MaskSeed).as_bytes());
            Ok::<_, ()>(())
        })
        .expect("nothing fails")
    };
    let needle = Needle::made(move || mask_seed().as_bytes().to_vec());
    assert_wiped("sealed mask seed", &needle, move || {
        let recipient = EncryptKeyPair::from_seed(&seed(Purpose::EphemeralKey));
        let ephemeral = EncryptKeyPair::from_seed(&seed(Purpose::SeedSeal));
        let sealed = EncryptedMaskSeed::seal(&mask_seed(), &recipient.public(), &ephemeral);
        black_box(sealed.expect("a good key").open(&recipient).expect("its own"));
    });
    for config in ["Prime/F32/B0/M3", "Word32/F32/B0/M3", "Integer/F64/Bmax/M3"] {
        assert_wiped(config, &needle, move || {
            let config: MaskConfig = config.parse().expect("known");
            black_box(derive_mask(&mask_seed(), config.into(), 300));
        });
    }
}

#[test]
fn keys_of_snapshots_are_wiped() {
    let key = || {
        SnapshotKey::try_fill(|to| {
            to.copy_from_slice(seed(Purpose::Identity).as_bytes());
            Ok::<_, ()>(())
        })
        .expect("nothing fails")
    };
    let needle = Needle::made(move || key().as_bytes().to_vec());
    assert_wiped("snapshot key", &needle, move || {
        let key = key();
        let sealed = key.seal(b"state");
        assert_eq!(key.open(&sealed).expect("its own"), b"state");
        assert!(SnapshotKey::new([1; 32]).open(&sealed).is_err());
    });
}
