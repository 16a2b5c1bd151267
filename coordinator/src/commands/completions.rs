//! `completions`: a script that lets a shell complete the command line.

use clap::CommandFactory;

use super::exit::{print, Failed};
use crate::cli::{Cli, Completions};

pub fn completions(args: &Completions) -> Result<(), Failed> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&script)
}
