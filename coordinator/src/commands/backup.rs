//! `backup`: what a running coordinator has published, or a copy of a data directory; known to be good.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    data_dir,
    exit::{Exit, Failed},
};
use crate::cli::Backup;

pub fn backup(args: &Backup) -> Result<(), Failed> {
    match &args.data_dir {
        Some(dir) => of_directory(args, dir),
        None => super::backup_running::of_running(args),
    }
}

/// Copies the data directory of a coordinator that does not run. The copy has its name only once it is
/// complete and was opened.
fn of_directory(args: &Backup, dir: &Path) -> Result<(), Failed> {
    let failed = |path: &Path, error: io::Error| {
        let path = path.display();
        Failed::new(Exit::Failure, format!("cannot copy to {path}: {error}"))
    };
    if args.to.exists() {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "there is something already");
        return Err(failed(&args.to, error));
    }
    // Only to see that it is sound, and that no coordinator runs on it.
    drop(data_dir::open(dir, args.secret_file.as_ref())?);
    let mut unfinished = args.to.clone().into_os_string();
    unfinished.push(format!(".{}.part", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let copied = copy(dir, &unfinished)
        .map_err(|error| failed(&unfinished, error))
        .and_then(|()| data_dir::open(&unfinished, args.secret_file.as_ref()).map(drop))
        // Nor has one begun to run meanwhile.
        .and_then(|()| data_dir::open(dir, args.secret_file.as_ref()).map(drop))
        .and_then(|()| {
            let renamed = fs::rename(&unfinished, &args.to).and_then(|()| sync_parent(&args.to));
            renamed.map_err(|error| failed(&args.to, error))
        });
    if copied.is_err() {
        // What is of no use should not lie about; if that fails, so be it.
        let _ = fs::remove_dir_all(&unfinished);
    }
    copied
}

/// Copies a directory with the files and directories in it, and makes sure that it is on the disk. What is
/// made is for nobody else, from the beginning, whatever the original allows. Sockets and the like are
/// left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (entry, target) = (entry.path(), to.join(entry.file_name()));
        let data = fs::metadata(&entry)?;
        if data.is_dir() {
            copy(&entry, &target)?;
        } else if data.is_file() {
            let mut options = OpenOptions::new();
            let mut copied = options.write(true).create_new(true).mode(0o600).open(&target)?;
            io::copy(&mut File::open(&entry)?, &mut copied)?;
            copied.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

/// A name is sure to be there once its directory is on the disk.
fn sync_parent(path: &Path) -> io::Result<()> {
    match std::path::absolute(path)?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
