//! Leaving no secrets behind on the stack.
//!
//! Whoever computes with a secret has the compiler and libsodium copy it: into arguments, results, registers that are
//! saved, and buffers on the stack, of which none is wiped when a function returns. So secrets lie on the heap
//! ([`secret_bytes`](super::secret_bytes)), where moving them moves a pointer, and what computes with them runs deeper
//! on the stack than its caller, who then wipes what lies below.

use zeroize::Zeroize;

/// How far below the caller the stack is wiped: more than anything here needs, as a test of the whole (`tests`,
/// *wiping*) shows.
const DEPTH: usize = 24 << 10;

/// Does something with secrets, and wipes the stack that it has used. The result is not wiped: it must not hold secrets
/// in itself, only on the heap.
pub(crate) fn wiping_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = apart(work);
    wipe_below();
    result
}

/// Has frames of its own, below those of the caller.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Its array lies where the frames of the work were.
#[inline(never)]
fn wipe_below() {
    let mut frames = [0u64; DEPTH / 8];
    frames.zeroize();
    std::hint::black_box(&frames);
}
