//! The generated documentation of the settings: `.env.example`, and the table of `docs/settings.md`.

use std::fmt::Write as _;

use clap::Arg;
use grantd::config::settings;

fn variable(arg: &Arg) -> Option<String> {
    Some(arg.get_env()?.to_str()?.to_owned())
}

fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    // The first paragraph is the short help, without a full stop.
    help.trim_end_matches('.').replace("\n\n", ". ").replace('\n', " ")
}

fn default(arg: &Arg) -> Option<String> {
    Some(arg.get_default_values().first()?.to_str()?.to_owned())
}

/// Returns the settings without their `…_FILE` forms, and whether each has one.
fn with_file_forms() -> Vec<(String, Arg, bool)> {
    let all: Vec<String> = settings().iter().filter_map(variable).collect();
    settings()
        .into_iter()
        .filter_map(|arg| Some((variable(&arg)?, arg)))
        .filter(|(name, _)| !name.strip_suffix("_FILE").is_some_and(|of| all.iter().any(|known| known == of)))
        .map(|(name, arg)| {
            let has_file = all.contains(&format!("{name}_FILE"));
            (name, arg, has_file)
        })
        .collect()
}

/// Returns the text of `.env.example`.
pub(crate) fn env_example() -> String {
    let mut text = String::from(
        "# The settings of grantd. Copy to .env and change what you need: each line is a default, or empty.\n\
         # Every setting is also an environment variable, which overrides this file, and a flag, which overrides both.\n",
    );
    for (name, arg, has_file) in with_file_forms() {
        let file = if has_file { format!(" Also {name}_FILE: a file that holds it.") } else { String::new() };
        let value = default(&arg).unwrap_or_default();
        let _ = write!(text, "\n# {}.{file}\n# {name}={value}\n", help(&arg));
    }
    text
}

/// Returns the table of `docs/settings.md`.
pub(crate) fn settings_table() -> String {
    let mut text = String::from("| setting | default | |\n|---|---|---|\n");
    for (name, arg, has_file) in with_file_forms() {
        let file = if has_file { format!(", `{name}_FILE`") } else { String::new() };
        let value = default(&arg).map(|value| format!("`{value}`")).unwrap_or_default();
        let _ = writeln!(text, "| `{name}`{file} | {value} | {}. |", help(&arg));
    }
    text
}
