//! Writes the records that `tests/tests/replay.rs` replays anew: a real round over HTTP.
//!
//! ```text
//! record_trace FOLDER
//! ```

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use pet_tests::recording::{record_round, NAMES};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "tests/traces".into()));
    std::fs::create_dir_all(&folder)?;
    for (name, record) in NAMES.iter().zip(record_round().await) {
        let path = folder.join(format!("{name}.record"));
        std::fs::write(&path, &record)?;
        println!("{}: {} bytes", path.display(), record.len());
    }
    Ok(())
}
