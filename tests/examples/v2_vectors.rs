//! Writes the vectors of version 2 anew: `cargo run -p pet-tests --example v2_vectors`.
//!
//! They may change only with the protocol, in a version of its own. What is written is checked by
//! `tests/vectors/v2/check.py`, which shares no code with this.

#[path = "../../core/tests/vectors/v2_made.rs"]
mod v2_made;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/v2");
    std::fs::create_dir_all(&folder)?;
    for (name, value) in v2_made::files() {
        let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
        std::fs::write(folder.join(name), text + "\n")?;
    }
    Ok(())
}
