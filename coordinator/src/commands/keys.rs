//! `keys`: key files.

use pet_coordinator::keys::{create_signing_key, read_signing_key, KeyFileError};

use super::exit::{print, Exit, Failed};
use crate::cli::{Keys, KeysAction};

pub fn keys(args: &Keys) -> Result<(), Failed> {
    let pair = match &args.action {
        KeysAction::Generate { output } => create_signing_key(output),
        KeysAction::Show { file } => read_signing_key(file),
    };
    print(format!("{}\n", pair.map_err(failed)?.public()))
}

pub fn failed(error: KeyFileError) -> Failed {
    Failed::new(Exit::Failure, error)
}
