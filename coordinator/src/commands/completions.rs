//! `completions`: a script that lets a shell complete the command line.

use std::io;

use clap::CommandFactory;

use super::exit::{output_failed, Failed};
use crate::cli::{Cli, Completions};

pub fn completions(args: &Completions) -> Result<(), Failed> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    io::Write::write_all(&mut io::stdout(), &script).map_err(output_failed)
}
