//! Directories whose coordinator was moved to another place.

use std::{fs, io, path::Path};

#[cfg(feature = "replicas")]
use std::io::Write;

#[cfg(feature = "replicas")]
use crate::private;
use crate::store::StoreError;

/// The file that tells where it went: the federation's name, and the number of what keeps it.
const MOVED: &str = "MOVED";

/// Where a coordinator goes.
#[cfg(feature = "replicas")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    pub federation: &'a str,
    /// What tells it from all others of that name: each database may have one.
    pub number: [u8; 16],
}

#[cfg(feature = "replicas")]
impl Destination<'_> {
    fn text(&self) -> String {
        let number: String = self.number.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}\n{number}\n", self.federation)
    }
}

/// Has no coordinator begin in a directory any more, since its rounds go on there. May be called again.
///
/// # Errors
/// If it went to another place before, or that cannot be written.
#[cfg(feature = "replicas")]
pub(crate) fn mark_moved(dir: &Path, to: Destination<'_>) -> Result<(), StoreError> {
    refuse_moved_elsewhere(dir, to)?;
    let (path, unfinished) = (dir.join(MOVED), dir.join(format!("{MOVED}.new")));
    let write = || {
        let mut file = private::anew(&unfinished)?;
        file.write_all(to.text().as_bytes())?;
        file.sync_all()
    };
    let written =
        write().and_then(|()| fs::rename(&unfinished, &path)).and_then(|()| private::sync_dir(dir));
    written.map_err(|error| StoreError::io("write", path, error))
}

/// Refuses a directory whose coordinator was moved to any other place than this one.
#[cfg(feature = "replicas")]
pub(crate) fn refuse_moved_elsewhere(dir: &Path, to: Destination<'_>) -> Result<(), StoreError> {
    let path = dir.join(MOVED);
    match fs::read_to_string(&path) {
        Ok(text) if text == to.text() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Whatever it says: it is there.
        read => {
            let text = read.unwrap_or_default();
            Err(StoreError::MovedElsewhere { federation: federation_of(&text), path })
        }
    }
}

/// Refuses a directory whose coordinator was moved.
pub(super) fn refuse_moved(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(MOVED);
    match fs::read_to_string(&path) {
        Ok(text) => Err(StoreError::Moved { federation: federation_of(&text), path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Whatever it says: it is there.
        Err(_) if path.exists() => Err(StoreError::Moved { federation: String::new(), path }),
        // Opening the store tells what is wrong with the directory.
        Err(_) => Ok(()),
    }
}

fn federation_of(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(all(test, feature = "replicas"))]
mod tests {
    use super::*;

    #[test]
    fn a_directory_moves_to_one_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let to = |federation, number| Destination { federation, number: [number; 16] };
        refuse_moved(dir).unwrap();
        refuse_moved_elsewhere(dir, to("a", 1)).unwrap();
        for _ in 0..2 {
            mark_moved(dir, to("a", 1)).unwrap();
        }
        let error = refuse_moved(dir).unwrap_err();
        assert!(
            matches!(&error, StoreError::Moved { federation, .. } if federation == "a"),
            "{error}"
        );
        let written = fs::read_to_string(dir.join(MOVED)).unwrap();
        // Another name; and a federation of the same name in another database.
        for other in [to("b", 1), to("a", 2)] {
            let error = mark_moved(dir, other).unwrap_err();
            assert!(matches!(error, StoreError::MovedElsewhere { .. }), "{error}");
            assert_eq!(fs::read_to_string(dir.join(MOVED)).unwrap(), written);
        }
        // One that does not say to which database is none of ours for sure.
        fs::write(dir.join(MOVED), "a\n").unwrap();
        assert!(mark_moved(dir, to("a", 1)).is_err());
    }

    #[test]
    fn what_lies_in_the_way_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "as it was").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("MOVED.new")).unwrap();
        mark_moved(dir.path(), Destination { federation: "a", number: [1; 16] }).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "as it was");
        assert!(refuse_moved(dir.path()).is_err());
    }
}
