//! `man-pages`: manual pages of what `--help` says.

use clap::CommandFactory;

use super::exit::{Exit, Failed};
use crate::cli::{Cli, ManPages};

pub fn man_pages(args: &ManPages) -> Result<(), Failed> {
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(|error| {
        let folder = args.folder.display();
        Failed::new(Exit::Failure, format!("cannot write manual pages into {folder}: {error}"))
    })
}
