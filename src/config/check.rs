//! Reads values and collects what is wrong with them.

use std::{fmt, path::Path, time::Duration};

use secrecy::SecretString;

/// Everything that is wrong with the settings.
#[derive(Debug, Default, thiserror::Error)]
pub struct ConfigErrors(Vec<(String, String)>);

impl ConfigErrors {
    pub(super) fn of(setting: &str, problem: String) -> Self {
        Self(vec![(setting.to_owned(), problem)])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = if self.0.len() == 1 { "one setting is" } else { "some settings are" };
        write!(f, "{settings} wrong (`grantd config` shows where values come from):")?;
        for (setting, problem) in &self.0 {
            write!(f, "\n  {setting}: {problem}")?;
        }
        Ok(())
    }
}

/// Collects problems while sections are read.
#[derive(Default)]
pub(super) struct Check(Vec<(String, String)>);

impl Check {
    /// Parses one value; a failure is reported with what was found and what is allowed.
    pub(super) fn value<T>(
        &mut self,
        setting: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                // A URL with a name may have a password, too.
                let found = if text.contains("://") && text.contains('@') {
                    "a URL with a name or a password (not shown)".to_owned()
                } else {
                    format!("{text:?}")
                };
                self.problem(setting, format!("found {found}; {allowed}"));
                None
            }
        }
    }

    /// Parses an optional value; an empty one counts as not set. Returns `None` if it is wrong, `Some(None)` if it is
    /// not set.
    #[expect(clippy::option_option, reason = "not set and wrong are two things, and wrong has been reported")]
    pub(super) fn optional<T>(
        &mut self,
        setting: &str,
        text: Option<&String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match text.filter(|text| !text.is_empty()) {
            Some(text) => self.value(setting, text, parse).map(Some),
            None => Some(None),
        }
    }

    /// Parses the values of a list and returns the valid ones; each of the others is reported. Empty ones are skipped.
    pub(super) fn list<T>(
        &mut self,
        setting: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        texts.filter_map(|text| self.value(setting, text, &parse)).collect()
    }

    /// Reports a problem.
    pub(super) fn problem(&mut self, setting: &str, problem: impl Into<String>) {
        self.0.push((setting.to_owned(), problem.into()));
    }

    /// Reads a secret from its variable, or from the file that `…_FILE` names (one line; the line's end is not part of it).
    /// Returns `None` if it is wrong, `Some(None)` if it is not set.
    #[expect(clippy::option_option, reason = "not set and wrong are two things, and wrong has been reported")]
    pub(super) fn secret(
        &mut self,
        setting: &str,
        value: Option<&String>,
        file: Option<&Path>,
    ) -> Option<Option<SecretString>> {
        let (value, file) = (value.filter(|text| !text.is_empty()), file.filter(|path| !path.as_os_str().is_empty()));
        match (value, file) {
            (Some(_), Some(_)) => {
                self.problem(setting, format!("set here and in {setting}_FILE; only one may be"));
                None
            }
            (Some(value), None) => Some(Some(value.clone().into())),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => Some(Some(text.trim_end_matches(['\n', '\r']).into())),
                Err(error) => {
                    self.problem(&format!("{setting}_FILE"), format!("cannot read {}: {error}", path.display()));
                    None
                }
            },
            (None, None) => Some(None),
        }
    }

    /// Returns what was reported: settings, and what is wrong with each.
    pub(super) fn problems(self) -> Vec<(String, String)> {
        self.0
    }

    /// Returns the value if nothing was reported. A section that returned nothing has reported why.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        value.filter(|_| self.0.is_empty()).ok_or(ConfigErrors(self.0))
    }
}

/// Parsers of single values; an error says what is allowed.
pub mod parse {
    use std::path::PathBuf;

    use super::Duration;
    use crate::config::Algorithm;

    /// Any path. An empty one counts as not set: so compose files leave things out.
    pub fn path(text: &str) -> Result<PathBuf, String> {
        Ok(text.into())
    }

    /// `15m`, `30d`; at least `1s`.
    pub fn duration(text: &str) -> Result<Duration, String> {
        let allowed = "allowed is a duration such as 90s, 15m, 12h or 30d, at least 1s";
        let duration = humantime::parse_duration(text).map_err(|_| allowed.to_owned())?;
        // So that a time in the far future is still a time that both databases can hold.
        let longest = Duration::from_hours(100 * 365 * 24);
        if (Duration::from_secs(1)..=longest).contains(&duration) { Ok(duration) } else { Err(allowed.to_owned()) }
    }

    /// `64KiB`, `19MiB`; a bare number is bytes.
    pub fn size(text: &str) -> Result<u64, String> {
        let allowed = "allowed is a size such as 64KiB, 19MiB or 1GiB";
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1_u64 << 30,
            _ => return Err(allowed.to_owned()),
        };
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(|| allowed.to_owned())
    }

    /// `ES256`, `RS256` or `EdDSA`.
    pub fn algorithm(text: &str) -> Result<Algorithm, String> {
        text.parse().map_err(|_| "allowed is ES256, RS256 or EdDSA".to_owned())
    }

    /// `true`, `yes` or `1`; `false`, `no` or `0`; in any case.
    pub fn boolean(text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(true),
            "false" | "no" | "0" => Ok(false),
            _ => Err("allowed is true or false (also yes, no, 1, 0)".to_owned()),
        }
    }

    /// A whole number within bounds.
    pub fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
        text.parse()
            .ok()
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| format!("allowed is a number from {least} to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse;

    #[test]
    fn durations_go_down_to_a_second() {
        assert_eq!(parse::duration("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(parse::duration("30d"), Ok(Duration::from_hours(30 * 24)));
        assert!(parse::duration("0s").is_err() && parse::duration("500ms").is_err() && parse::duration("15").is_err());
    }

    #[test]
    fn booleans_have_three_spellings() {
        assert!(["true", "yes", "1", "True", "YES"].iter().all(|text| parse::boolean(text) == Ok(true)));
        assert!(["false", "no", "0", "False"].iter().all(|text| parse::boolean(text) == Ok(false)));
        assert!(["", "maybe", "2", "yes "].iter().all(|text| parse::boolean(text).is_err()));
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse::size("19MiB"), Ok(19 << 20));
        assert_eq!(parse::size("64KiB"), Ok(64 << 10));
        assert!(parse::size("19MB").is_err() && parse::size("").is_err() && parse::size("99999999999GiB").is_err());
    }
}
