//! Settings that are wrong or unknown, and the set-up file.

use std::path::Path;

use super::{Check::Settings, Finding, Installation};
use crate::apply::{DesiredState, Options};

pub(super) fn check(installation: &Installation) -> Vec<Finding> {
    let wrong = installation.settings.problems.iter().map(|(setting, problem)| {
        let remedy = "Correct the setting; `grantd config` shows where its value comes from";
        Finding::failure(Settings, setting, format!("{problem}. The server does not start"), remedy)
    });
    let unknown = installation.unknown.iter().map(|(name, meant)| {
        let remedy = match meant {
            Some(meant) => format!("Did you mean {meant}? Else remove it"),
            None => "Correct or remove it; `grantd help settings` lists all settings".to_owned(),
        };
        Finding::warning(Settings, name, "no setting has this name, so it has no effect", remedy)
    });
    let file = installation.settings.apply.as_deref().and_then(set_up_file);
    let findings: Vec<_> = wrong.chain(unknown).chain(file).collect();
    if findings.is_empty() {
        let set = installation.in_force.iter().filter(|(.., source)| source != "default").count();
        return vec![Finding::ok(Settings, "all settings", format!("valid; {set} are not the default"))];
    }
    findings
}

/// Reads the set-up file as a start does, which applies it.
fn set_up_file(path: &Path) -> Option<Finding> {
    let options = Options { given_secrets: true, ..Options::default() };
    let error = DesiredState::read(path, options).err()?;
    let message = format!("{error}. The server does not start");
    Some(Finding::failure(
        Settings,
        "GRANTD_APPLY",
        message,
        "Correct the file; `grantd apply FILE --dry-run` checks it",
    ))
}
