//! Writes what Kotlin and Swift programs include: `make mobile` runs it.

fn main() {
    uniffi::uniffi_bindgen_main();
}
