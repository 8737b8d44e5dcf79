//! What the machine and this version set: open files, the age of the release.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rustix::process::{Resource, getrlimit};

use super::{
    Check::{OpenFiles, Version},
    Finding, span,
};

/// The date of the release, as CHANGELOG.md has it. `None`: not released. A constant, since a build that knows its own time
/// cannot be reproduced.
const RELEASED: Option<&str> = None;
const OLD: TimeDelta = TimeDelta::days(365);
/// A server with fewer refuses connections of callers that are no attack.
const LEAST_FILES: u64 = 4096;

pub(super) fn check(now: DateTime<Utc>) -> Vec<Finding> {
    // The server raises its limit to the maximum.
    vec![open_files(getrlimit(Resource::Nofile).maximum), version(RELEASED, now)]
}

fn open_files(most: Option<u64>) -> Finding {
    match most {
        Some(most) if most < LEAST_FILES => {
            let message = format!("{most}: each connection is one, so that a few idle callers keep out all others");
            let remedy = "Raise it: LimitNOFILE= of systemd, `ulimits` of Docker Compose";
            Finding::warning(OpenFiles, "limit of open files", message, remedy)
        }
        most => {
            Finding::ok(OpenFiles, "limit of open files", most.map_or("unlimited".to_owned(), |most| most.to_string()))
        }
    }
}

fn version(released: Option<&str>, now: DateTime<Utc>) -> Finding {
    let subject = concat!("grantd ", env!("CARGO_PKG_VERSION"));
    let date = released.and_then(|date| date.parse::<NaiveDate>().ok()).and_then(|date| date.and_hms_opt(0, 0, 0));
    let (Some(released), Some(date)) = (released, date) else {
        return Finding::ok(Version, subject, "not a release: its age is not known");
    };
    let age = now - date.and_utc();
    if age <= OLD {
        return Finding::ok(Version, subject, format!("released on {released}"));
    }
    let message = format!("released on {released}, {} ago: faults that were mended since are in it", span(age));
    Finding::warning(Version, subject, message, "Upgrade; docs/upgrades.md describes how")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_the_release_is_that_of_the_changelog() {
        let changelog = include_str!("../../CHANGELOG.md");
        let heading = concat!("## ", env!("CARGO_PKG_VERSION"), " (");
        let dated = changelog.lines().find_map(|line| line.strip_prefix(heading)?.strip_suffix(')'));
        assert_eq!(RELEASED, dated);
    }

    #[test]
    fn an_old_release_is_a_warning() {
        let now = DateTime::from_timestamp(1_769_860_800, 0).unwrap();
        let severity = |released| version(released, now).severity.as_str();
        assert_eq!(
            (severity(None), severity(Some("2025-06-01")), severity(Some("2024-06-01"))),
            ("ok", "ok", "warning")
        );
    }

    #[test]
    fn few_open_files_are_a_warning() {
        let severity = |most| open_files(most).severity.as_str();
        assert_eq!((severity(Some(1024)), severity(Some(4096)), severity(None)), ("warning", "ok", "ok"));
    }
}
