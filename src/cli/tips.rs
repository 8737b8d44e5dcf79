//! Tips for commands and arguments that other programs have, in the place of clap's guess at a similar name.

use std::ffi::OsString;

use clap::{
    Command,
    builder::StyledStr,
    error::{ContextKind, ContextValue, Error},
};

/// Returns what to use in the place of a word that the command does not have. `command` is its path below `grantd`.
fn tip(command: &str, word: &str) -> Option<String> {
    let is_flag = word.starts_with('-');
    let instead = match (command, word) {
        ("role" | "scope", "create" | "add") => "use 'set', which creates and updates",
        ("user" | "client", "add") => "use 'create'",
        ("", "start" | "run") => "use 'grantd serve'",
        ("", "login") => "use 'grantd token get'",
        ("", "version") => "use 'grantd --version'",
        ("", "backup" | "restore") => "docs/backup.md describes how to back up and restore",
        ("" | "serve", _) if word.contains(':') && !is_flag => return Some(format!("use --listen {word}")),
        ("token get", "--password") => "use --password-stdin, or enter the password at the prompt",
        ("token get" | "token logout", _) if !is_flag => return Some(format!("use --username {word}")),
        ("token explain", _) if !is_flag => {
            "the token is read from standard input: grantd token get | grantd token explain"
        }
        _ => return None,
    };
    Some(instead.to_owned())
}

/// Adds the tip for the unknown word of an error. Other errors stay as they are.
pub(super) fn with_tip(error: Error, command: &Command, arguments: &[OsString]) -> Error {
    let word = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].into_iter().find_map(|kind| error.get(kind));
    let Some(ContextValue::String(word)) = word else { return error };
    let Some(tip) = tip(&path(command, arguments), word) else { return error };
    let mut better = Error::new(error.kind()).with_cmd(command);
    let guesses = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::Suggested];
    for (kind, value) in error.context().filter(|(kind, _)| !guesses.contains(kind)) {
        better.insert(kind, value.clone());
    }
    better.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    better
}

/// Returns the names of the subcommands among the arguments, such as `token get`.
fn path(command: &Command, arguments: &[OsString]) -> String {
    let (mut at, mut names) = (command, Vec::new());
    for argument in arguments.iter().skip(1) {
        if let Some(below) = at.find_subcommand(argument) {
            names.push(below.get_name());
            at = below;
        }
    }
    names.join(" ")
}
