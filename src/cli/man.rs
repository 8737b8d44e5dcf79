//! `grantd man`: the manual pages, for packages.

use std::{fs, io, path::Path};

use clap::Command;
use clap_mangen::Man;

/// Writes a page for a command and each below it, without those that are hidden.
pub(super) fn write(command: Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    write_below(command, directory)
}

fn write_below(command: Command, directory: &Path) -> io::Result<()> {
    let has_help = command.find_subcommand("help").is_some();
    // It would have a page for every other command once more.
    let command = if has_help { command.mut_subcommand("help", |help| help.hide(true)) } else { command };
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_below(below.clone(), directory)?;
    }
    Man::new(command).manual("grantd").generate_to(directory).map(drop)
}
