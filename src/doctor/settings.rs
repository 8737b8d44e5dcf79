//! Settings that are wrong or unknown.

use super::{Check::Settings, Finding, Installation};

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
    let findings: Vec<_> = wrong.chain(unknown).collect();
    if findings.is_empty() {
        let set = installation.in_force.iter().filter(|(.., source)| source != "default").count();
        return vec![Finding::ok(Settings, "all settings", format!("valid; {set} are not the default"))];
    }
    findings
}
