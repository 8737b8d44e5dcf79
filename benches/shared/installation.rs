//! Where Postgres is installed, and the user that its servers run as.

use std::{fs, path::PathBuf};

use crate::Outcome;

/// Returns the directory of `initdb` and `postgres`: in PATH, or else the newest version of Debian's packages.
pub(crate) fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    debian.sort_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    let debian = debian.into_iter().rev().map(|version| version.path().join("bin"));
    std::env::split_paths(&path)
        .chain(debian)
        .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// Returns the user and group to run Postgres as if this process is root: `postgres`, or else `nobody`.
pub(crate) fn unprivileged_user() -> Outcome<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let mut fields = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    found.map(Some).ok_or_else(|| "neither a user `postgres` nor `nobody`, and root may not run Postgres".into())
}
