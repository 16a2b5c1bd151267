//! What is for one user's eyes: directories and files of this program, and secrets that it is given.
//!
//! Files are made for their owner alone, whatever the umask. What is there already is looked at before
//! anything is written to it or believed: if others may read or change it, it is refused, with the
//! command that mends it.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{geteuid, User};
use zeroize::Zeroizing;

/// What others may not do with a directory or file of ours: anything.
const OTHERS: u32 = 0o077;
/// Secrets that somebody else hands in may be for a group, if they are root's.
const EVERYONE: u32 = 0o007;
const GROUP: u32 = 0o070;
const GROUP_WRITES: u32 = 0o020;
/// No secret is as long as this.
const LONGEST_SECRET: u64 = 64 << 10;

/// Whose something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Of the user that this process runs as.
    Us,
    /// The same, unless that is root, who may look after others' data.
    OrAnyoneForRoot,
}

/// Makes a directory for nobody but us, with its parents, so that it is there after a power loss. One that
/// is there already stays as it is.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Any of the parents may be new.
    let absolute = std::path::absolute(path)?;
    for parent in absolute.ancestors().skip(1) {
        match sync_dir(parent) {
            // We need not own, or be able to read, what is further up.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(())
}

/// Makes sure that names in a directory are on the disk.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Options that make a new file for nobody but us.
pub(crate) fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Makes a file for nobody but us, in the place of whatever has that name: nothing is written through a link that lies there.
#[cfg(feature = "replicas")]
pub(crate) fn anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    new_file().create_new(true).open(path)
}

/// Collects what is too open, to say at once how all of it is mended.
#[derive(Debug)]
pub(crate) struct Audit {
    owner: Owner,
    dirs: Vec<PathBuf>,
    files: Vec<PathBuf>,
    foreign: Vec<PathBuf>,
}

impl Audit {
    pub fn new(owner: Owner) -> Self {
        Self { owner, dirs: Vec::new(), files: Vec::new(), foreign: Vec::new() }
    }

    /// Looks at a directory or file, if it is there.
    pub fn look(&mut self, path: &Path) -> io::Result<()> {
        match fs::metadata(path) {
            Ok(data) => self.judge(path, &data),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks at a directory and the files in it, if it is there.
    pub fn look_into(&mut self, dir: &Path) -> io::Result<()> {
        self.look(dir)?;
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            self.look(&entry?.path())?;
        }
        Ok(())
    }

    fn judge(&mut self, path: &Path, data: &Metadata) {
        let us = geteuid();
        let may_be_anyones = self.owner == Owner::OrAnyoneForRoot && us.is_root();
        if data.uid() != us.as_raw() && !may_be_anyones {
            self.foreign.push(path.to_owned());
        }
        if data.mode() & OTHERS != 0 {
            let list = if data.is_dir() { &mut self.dirs } else { &mut self.files };
            list.push(path.to_owned());
        }
    }

    /// The first that is too open, and the command that mends all.
    pub fn finding(&self) -> Option<(&Path, String)> {
        let us = geteuid();
        let name = User::from_uid(us).ok().flatten().map_or(us.to_string(), |user| user.name);
        let commands: Vec<String> = [
            (format!("chown {}", quoted(&name)), &self.foreign),
            ("chmod 700".to_owned(), &self.dirs),
            ("chmod 600".to_owned(), &self.files),
        ]
        .into_iter()
        .filter(|(_, paths)| !paths.is_empty())
        .map(|(command, paths)| {
            let paths = paths.iter().map(|path| quoted(&path.to_string_lossy()));
            paths.fold(command, |command, path| format!("{command} {path}"))
        })
        .collect();
        let first = self.foreign.iter().chain(&self.dirs).chain(&self.files).next()?;
        Some((first, commands.join(" && ")))
    }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Reads a secret from a file: its owner must be this process's user or root, and nobody else may read
/// or change it, but for root's group, as orchestrators hand in secrets (a mount with mode 0440,
/// systemd's credentials).
///
/// # Errors
/// If it cannot be read, is longer than 64 KiB, or is open to others: then the message has the command
/// that mends it.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let data = file.metadata()?;
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let shown = quoted(&path.to_string_lossy());
    let (mode, owner) = (data.mode(), data.uid());
    if owner != 0 && owner != geteuid().as_raw() {
        return refused(format!("it belongs to another user: run `chown root {shown}`"));
    }
    // Of what is no file, such as a pipe from a shell, others hold no copy.
    let lax = mode & (EVERYONE | GROUP_WRITES) != 0 || (mode & GROUP != 0 && owner != 0);
    if data.is_file() && lax {
        return refused(format!(
            "others may read or change it (mode {:04o}): run `chmod 600 {shown}`",
            mode & 0o7777
        ));
    }
    let mut secret =
        Zeroizing::new(Vec::with_capacity(data.len().min(LONGEST_SECRET) as usize + 1));
    (&mut file).take(LONGEST_SECRET + 1).read_to_end(&mut secret)?;
    if secret.len() as u64 > LONGEST_SECRET {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long for a secret"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{symlink, PermissionsExt};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn new_directories_and_files_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        create_dir(&deep).unwrap();
        new_file().open(deep.join("file")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&dir.path().join("a")), mode(&deep), mode(&deep.join("file"))),
            (0o700, 0o700, 0o600)
        );
    }

    #[test]
    fn what_is_too_open_is_found_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's here");
        create_dir(&path).unwrap();
        let audit = |path: &Path| {
            let mut audit = Audit::new(Owner::Us);
            audit.look_into(path).unwrap();
            audit.finding().map(|(_, command)| command)
        };
        for name in ["b c", "d"] {
            fs::write(path.join(name), b"x").unwrap();
            mode(&path.join(name), 0o600);
        }
        assert_eq!(audit(&path), None);
        for (dir_mode, file_mode) in
            [(0o755, 0o600), (0o701, 0o600), (0o700, 0o644), (0o700, 0o660), (0o777, 0o602)]
        {
            mode(&path, dir_mode);
            mode(&path.join("b c"), file_mode);
            let command = audit(&path).unwrap();
            // It says what it does, and does what it says.
            let ran = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
            assert!(ran.success(), "{command}");
            assert_eq!(audit(&path), None, "{command}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, b"hush").unwrap();
        // As Kubernetes mounts it.
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        for lax in [0o644, 0o604, 0o602, 0o620, 0o660, 0o444] {
            mode(&path, lax);
            let error = read_secret(&link).unwrap_err().to_string();
            assert!(error.contains("run `chmod 600 "), "{lax:o}: {error}");
        }
        for good in [0o600, 0o400] {
            mode(&path, good);
            assert_eq!(&read_secret(&link).unwrap()[..], b"hush");
        }
        // Its group may read what is root's.
        mode(&path, 0o440);
        assert_eq!(read_secret(&path).is_ok(), geteuid().is_root());
        let zeros = read_secret(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(zeros.contains("too long"), "{zeros}");
    }
}
