//! Replacing a file.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes a file in one step. One that was there keeps its mode.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}.part", std::process::id()));
    let written = (|| {
        let mut file = File::create(&unfinished)?;
        if let Ok(before) = fs::metadata(path) {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    })();
    if written.is_err() {
        // What is of no use should not lie about; if that fails, so be it.
        let _ = fs::remove_file(&unfinished);
    }
    written
}
