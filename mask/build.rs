//! Says with `cfg(vector_instructions)` whether loops written for vector instructions are compiled, and with one more for
//! which: `cfg(avx)` for AVX2 and AVX-512 (x86-64), `cfg(neon)` for Neon (AArch64). That takes Rust 1.89 or later, where
//! these instructions are stable and can be used without `unsafe`. `RUSTFLAGS="--cfg portable"` leaves them out.
//!
//! WebAssembly has one `cfg(simd128)` instead: a module has these instructions from the beginning to the end or not at all
//! (`-C target-feature=+simd128`), so its loops are no level of their own and take the place of those in plain Rust.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a build script talks to cargo"
)]

use std::env::{var, var_os};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(vector_instructions, avx, neon, simd128)");
    let portable = var_os("CARGO_CFG_PORTABLE").is_some();
    if !portable && is("CARGO_CFG_TARGET_ARCH", "wasm32") && has("simd128") {
        println!("cargo:rustc-cfg=simd128");
        return;
    }
    if portable || !autocfg::new().probe_rustc_version(1, 89) {
        return;
    }
    if let Some(instructions) = instructions() {
        println!("cargo:rustc-cfg=vector_instructions");
        println!("cargo:rustc-cfg={instructions}");
    }
}

fn is(name: &str, value: &str) -> bool {
    var(name).is_ok_and(|found| found == value)
}

/// Whether a program may take this for granted. (Kernels do without Neon, say.)
fn has(feature: &str) -> bool {
    let features = var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    features.split(',').any(|found| found == feature)
}

/// Those that there are loops for, of the processors that are compiled for.
fn instructions() -> Option<&'static str> {
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        Some("avx")
    } else if is("CARGO_CFG_TARGET_ARCH", "aarch64")
        && is("CARGO_CFG_TARGET_ENDIAN", "little")
        && has("neon")
    {
        Some("neon")
    } else {
        None
    }
}
