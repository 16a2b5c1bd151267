//! Says with `cfg(vector_instructions)` whether the loops written for AVX2 and AVX-512 are compiled: for x86-64, with
//! Rust 1.89 or later, where these instructions are stable. `RUSTFLAGS="--cfg portable"` leaves them out.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a build script talks to cargo"
)]

use std::env::{var, var_os};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(vector_instructions)");
    let x86_64 = var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let portable = var_os("CARGO_CFG_PORTABLE").is_some();
    if x86_64 && !portable && autocfg::new().probe_rustc_version(1, 89) {
        println!("cargo:rustc-cfg=vector_instructions");
    }
}
