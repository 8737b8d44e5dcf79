//! `grantd doctor`: prints the audit of an installation.

use actix_web::rt::System;
use clap::ArgMatches;

use super::{
    Outcome, Reported,
    output::{self, Output, harmless},
};
use crate::{
    clock::Clock,
    config::{self, DotEnv, Settings},
    doctor::{self, Finding, Installation, Severity},
};

pub(super) fn run(settings: &Settings, matches: &ArgMatches, dotenv: &DotEnv, output: Output) -> Outcome {
    let installation = Installation {
        settings: settings.audited(),
        in_force: config::in_force(matches, dotenv, settings.check().ok().as_ref()),
        unknown: config::unknown_variables(),
        clock: Clock::system(),
    };
    let findings = System::new().block_on(doctor::audit(&installation));
    if output.json {
        output.object(&serde_json::json!({"findings": findings}))?;
    } else {
        output::print(&text(&findings))?;
    }
    if count(&findings, Severity::Failure) > 0 { Err(Reported.into()) } else { Ok(()) }
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

/// The worst comes last, where a terminal shows it.
fn text(findings: &[Finding]) -> String {
    let of = |severity| findings.iter().filter(move |finding| finding.severity == severity);
    let mut lines: Vec<String> = of(Severity::Ok).map(ok).collect();
    for severity in [Severity::Warning, Severity::Failure] {
        lines.extend(of(severity).map(fault));
    }
    let (failures, warnings) = (count(findings, Severity::Failure), count(findings, Severity::Warning));
    let [failures, warnings] = [(failures, "failure"), (warnings, "warning")].map(|(number, what)| match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    });
    lines.push(format!("\n{} findings: {failures}, {warnings}.", findings.len()));
    lines.join("\n")
}

fn ok(finding: &Finding) -> String {
    let Finding { check, subject, message, remedy, .. } = finding;
    let line = format!("ok       {}: {}: {}", check.as_str(), harmless(subject), harmless(message));
    if remedy.is_empty() { line } else { format!("{line}\n         tip: {}", harmless(remedy)) }
}

fn fault(finding: &Finding) -> String {
    let Finding { check, severity, subject, message, remedy } = finding;
    let [subject, message, remedy] = [subject, message, remedy].map(|text| harmless(text));
    format!(
        "\n{:<8} {}: {subject}\n         {message}.\n         To mend it: {remedy}.",
        severity.as_str(),
        check.as_str()
    )
}
