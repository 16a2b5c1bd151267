//! `check-config`: are these settings good, and which hold?

use std::{
    ffi::OsString,
    io::{self, Write},
};

use pet_coordinator::{
    check_roster,
    settings::{Effective, SettingsError, Warning},
};

use super::exit::{print, Exit, Failed};
use crate::cli::CheckConfig;

/// Prints every setting with where it came from; warnings go to standard error.
pub fn check_config(
    args: &CheckConfig,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let wrong = |error: SettingsError| Failed::new(Exit::Usage, error);
    let loaded = args.settings.loader(env).load().map_err(wrong)?;
    check_roster(&loaded.settings).map_err(|error| Failed::new(Exit::Usage, error))?;
    show(&loaded.warnings, &loaded.effective)
}

/// Prints settings with where each came from, as a settings file; warnings go to standard error.
pub fn show(warnings: &[Warning], effective: &[Effective]) -> Result<(), Failed> {
    for warning in warnings {
        // If it cannot be told there is nobody to tell.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let lines: Vec<String> = effective.iter().map(ToString::to_string).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let lines = effective.iter().zip(lines);
    let lines = lines.map(|(setting, line)| format!("{line:width$}  # {}\n", setting.origin));
    print(lines.collect::<String>())
}
