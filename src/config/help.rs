//! The list of settings that `grantd help settings` prints, and the variables that nothing reads.

use std::fmt::Write as _;

use clap::Arg;

use super::docs::{settings, variable};

/// What other servers call a setting, without its prefix.
const ALIASES: [(&str, &str); 7] = [
    ("PORT", "GRANTD_LISTEN"),
    ("HOST", "GRANTD_LISTEN"),
    ("BIND", "GRANTD_LISTEN"),
    ("ADDRESS", "GRANTD_LISTEN"),
    ("URL", "GRANTD_ISSUER"),
    ("DATABASE", "DATABASE_URL"),
    ("DATABASE_URL", "DATABASE_URL"),
];
/// The most edits between a misspelt variable and the setting that is suggested.
const EDITS: usize = 3;

/// Returns all settings with their variables and defaults, one line each, grouped by subject.
#[must_use]
pub fn settings_list() -> String {
    let mut text = String::from(
        "Each setting is an environment variable, a line of the file .env and a flag: GRANTD_LISTEN is --listen.\n\
         Flags override the environment, which overrides .env. `grantd config` prints the values in force.\n",
    );
    let all = settings();
    let width = all.iter().filter_map(variable).map(|name| name.len()).max().unwrap_or_default();
    let mut heading = None;
    for arg in &all {
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            let _ = write!(text, "\n{}:\n", heading.unwrap_or_default());
        }
        let (name, help) = (variable(arg).unwrap_or_default(), arg.get_help().map(ToString::to_string));
        let _ = writeln!(text, "  {name:width$}  {}{}", help.unwrap_or_default(), default(arg));
    }
    text
}

fn default(arg: &Arg) -> String {
    let value = arg.get_default_values().first().and_then(|value| value.to_str());
    value.map(|value| format!(" [default: {value}]")).unwrap_or_default()
}

/// Returns the variables that look like a setting and are none, each with the setting that was probably meant. Those
/// that Kubernetes sets for a service named `grantd` are left out.
#[must_use]
pub fn unknown_variables() -> Vec<(String, Option<String>)> {
    let known: Vec<String> = settings().iter().filter_map(variable).collect();
    let kubernetes = |name: &str, value: &std::ffi::OsStr| {
        name.contains("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.contains("_PORT_")
            || (name.ends_with("_PORT") && value.as_encoded_bytes().starts_with(b"tcp://"))
    };
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, value)| name.starts_with("GRANTD_") && !known.contains(name) && !kubernetes(name, value))
        .map(|(name, _)| {
            let meant = suggestion(&name, &known);
            (name, meant)
        })
        .collect()
}

fn suggestion(name: &str, known: &[String]) -> Option<String> {
    let alias = ALIASES.iter().find(|(alias, _)| name.strip_prefix("GRANTD_") == Some(alias));
    if let Some((_, meant)) = alias {
        return Some((*meant).to_owned());
    }
    let nearest = known.iter().map(|known| (strsim::osa_distance(name, known), known)).min();
    nearest.filter(|(distance, _)| *distance <= EDITS).map(|(_, known)| known.clone())
}

#[cfg(test)]
mod tests {
    use super::{settings, settings_list, suggestion, variable};

    #[test]
    fn the_list_has_one_line_for_each_setting() {
        let list = settings_list();
        for name in settings().iter().filter_map(variable) {
            let lines = list.lines().filter(|line| line.split_whitespace().next() == Some(name.as_str()));
            assert_eq!(lines.count(), 1, "{name}\n{list}");
        }
        let longest = list.lines().map(str::len).max();
        assert!(longest <= Some(120), "{longest:?}\n{list}");
    }

    #[test]
    fn the_setting_that_was_probably_meant_is_suggested() {
        let known: Vec<String> = settings().iter().filter_map(variable).collect();
        let meant = |name: &str| suggestion(name, &known);
        assert_eq!(meant("GRANTD_ISSUR").as_deref(), Some("GRANTD_ISSUER"));
        assert_eq!(meant("GRANTD_ACCES_TOKEN_TTL").as_deref(), Some("GRANTD_ACCESS_TOKEN_TTL"));
        assert_eq!(meant("GRANTD_PORT").as_deref(), Some("GRANTD_LISTEN"));
        assert_eq!(meant("GRANTD_DATABASE_URL").as_deref(), Some("DATABASE_URL"));
        assert_eq!(meant("GRANTD_COLOUR_OF_THE_LOGO"), None);
    }
}
