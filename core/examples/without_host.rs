//! The round of `round.rs` where there is nothing but a processor and memory: no system, no clock, no randomness.
//!
//!     cargo build -p pet-core --example without_host --no-default-features --target wasm32-unknown-unknown
//!
//! makes a WebAssembly module that imports nothing. `make wasm-core` looks whether that is so, and has Node, where there is
//! Node, run the round: it must come out as it does here.

#[allow(dead_code, reason = "it is a program as well")]
mod round;

/// Runs the round: how many models the global model is the mean of, and in the lower half the bits of its first weight.
/// 0 if it fails.
#[no_mangle]
pub extern "C" fn play_round() -> u64 {
    match round::run() {
        Ok(round) => {
            let weight = round.weights.first().map_or(0, |weight| weight.to_bits());
            round.models << 32 | u64::from(weight)
        }
        Err(_) => 0,
    }
}
