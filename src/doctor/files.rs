//! Modes and owners of the files of an installation, and where the master key is.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use reqwest::Url;
use rustix::process::geteuid;

use super::{
    Check::{FileModes, FileOwners, MasterKey},
    Finding, Installation,
};
use crate::config::{DatabaseUrl, MasterKeySource, only_ours, read_master_key};

/// Variables of `.env` whose values are secrets.
const SECRETS: [&str; 2] = ["GRANTD_MASTER_KEY", "GRANTD_ADMIN_PASSWORD"];
/// Mode bits of other users, and of the group.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
const GROUP_READS: u32 = 0o040;
/// In a directory with this bit, nobody replaces the files of others.
const STICKY: u32 = 0o1000;

/// Endings of the names of the files beside the database that the server writes.
const OF_DATABASE: [&str; 4] = ["-wal", "-shm", ".pid", ".lock"];

/// A file, and why others must not read it. `None`: they may.
struct Kept {
    path: PathBuf,
    secret: Option<&'static str>,
}

impl Kept {
    fn secret(path: impl Into<PathBuf>, secret: &'static str) -> Self {
        Self { path: path.into(), secret: Some(secret) }
    }

    fn public(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), secret: None }
    }
}

pub(super) fn check(installation: &Installation) -> Vec<Finding> {
    let found = kept(installation).into_iter().filter_map(|kept| Some((fs::metadata(&kept.path).ok()?, kept)));
    // A directory in the place of a file is a finding of the setting; its mode is none of ours.
    let found: Vec<_> = found.filter(|(metadata, _)| metadata.is_file()).collect();
    let mut findings: Vec<_> = found.iter().filter_map(|(metadata, kept)| mode(metadata, kept)).collect();
    findings.extend(directory(installation));
    if findings.is_empty() {
        findings.push(Finding::ok(
            FileModes,
            count(found.len()),
            "no other user can read the secrets or write the files",
        ));
    }
    findings.extend(owners(&found, installation));
    findings.extend(master_key(installation));
    findings
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// Returns the files of the installation, whether they exist or not.
fn kept(installation: &Installation) -> Vec<Kept> {
    let settings = &installation.settings;
    let dotenv = Path::new(".env");
    let mut all = vec![if has_secrets(dotenv) { Kept::secret(dotenv, "secrets") } else { Kept::public(dotenv) }];
    if let Some(database) = database(installation) {
        all.extend(["", "-wal", "-shm"].map(|ending| Kept::secret(beside(database, ending), "password hashes")));
        all.extend([".pid", ".lock"].map(|ending| Kept::public(beside(database, ending))));
    }
    if let Some(MasterKeySource::Beside(file) | MasterKeySource::Given { file: Some(file), .. }) = &settings.master_key
    {
        all.push(Kept::secret(file, "the master key"));
    }
    if let Some((chain, key)) = settings.tls.as_ref().and_then(|tls| tls.files.as_ref()) {
        all.extend([Kept::public(chain), Kept::secret(key, "the key of the certificate")]);
    }
    all.extend(settings.apply.iter().map(Kept::public));
    let blocklist = settings.passwords.as_ref().and_then(|rules| rules.blocklist.as_ref());
    all.extend(blocklist.map(Kept::public));
    // Secrets of Docker Compose are readable by everybody inside their container, so their mode is not a fault.
    let of_secrets =
        installation.in_force.iter().filter(|(name, value, _)| name.ends_with("_FILE") && !value.is_empty());
    all.extend(of_secrets.filter(|(name, ..)| name != "GRANTD_MASTER_KEY_FILE").map(|(_, path, _)| Kept::public(path)));
    all
}

/// Returns the path of the SQLite file.
fn database(installation: &Installation) -> Option<&Path> {
    match &installation.settings.database.as_ref()?.url {
        DatabaseUrl::Sqlite(path) => Some(path),
        DatabaseUrl::Postgres(_) => None,
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn has_secrets(dotenv: &Path) -> bool {
    let text = fs::read_to_string(dotenv).unwrap_or_default();
    text.lines().map(|line| line.trim_start().trim_start_matches("export ")).any(|line| {
        let (name, value) = line.split_once('=').unwrap_or_default();
        let (name, value) = (name.trim(), value.trim());
        !value.is_empty() && (SECRETS.contains(&name) || (name == "DATABASE_URL" && has_password(value)))
    })
}

fn has_password(url: &str) -> bool {
    let url = Url::parse(url.trim_matches(['"', '\'']));
    url.is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password"))
}

fn mode(metadata: &Metadata, kept: &Kept) -> Option<Finding> {
    let (mode, path) = (metadata.permissions().mode(), kept.path.display().to_string());
    let shown = format!("mode {:04o}", mode & 0o7777);
    if mode & OTHERS_WRITE != 0 {
        let message = format!("{shown}: every user of this machine can change it");
        return Some(Finding::failure(FileModes, &path, message, format!("Run `chmod o-rwx {path}`")));
    }
    if let Some(secret) = kept.secret.filter(|_| mode & OTHERS_READ != 0) {
        let message = format!("{shown}: every user of this machine can read it, and it holds {secret}");
        return Some(Finding::failure(FileModes, &path, message, format!("Run `chmod o-rwx {path}`")));
    }
    if mode & GROUP_WRITES != 0 {
        let message = format!("{shown}: every member of its group can change it");
        return Some(Finding::warning(FileModes, &path, message, format!("Run `chmod g-w {path}`")));
    }
    None
}

/// Whoever can write the directory of the database can replace the database and its key.
fn directory(installation: &Installation) -> Option<Finding> {
    let parent = database(installation)?.parent()?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let metadata = fs::metadata(parent).ok()?;
    let mode = metadata.permissions().mode();
    if mode & STICKY != 0 || mode & (OTHERS_WRITE | GROUP_WRITES) == 0 {
        return None;
    }
    let shown = format!("mode {:04o}", mode & 0o7777);
    if mode & OTHERS_WRITE != 0 {
        let message = format!("{shown}: every user of this machine can replace the database and its key");
        let remedy = format!("Run `chmod go-w {}`", parent.display());
        return Some(Finding::failure(FileModes, parent.display(), message, remedy));
    }
    // As the volumes of Kubernetes with `fsGroup`: the server itself is in the group.
    if metadata.uid() == 0 && !geteuid().is_root() {
        return None;
    }
    let message = format!("{shown}: every member of its group can replace the database and its key");
    let remedy = format!("Run `chmod g-w {}`", parent.display());
    Some(Finding::warning(FileModes, parent.display(), message, remedy))
}

/// The owner of the database owns everything, or root does what the server only reads.
fn owners(found: &[(Metadata, Kept)], installation: &Installation) -> Vec<Finding> {
    let database = database(installation);
    let of_database = found.iter().find(|(_, kept)| Some(kept.path.as_path()) == database);
    let owner = of_database.map_or(geteuid().as_raw(), |(metadata, _)| metadata.uid());
    let group = of_database.map(|(metadata, _)| metadata.gid());
    let mut findings = Vec::new();
    for (metadata, Kept { path, .. }) in found.iter().filter(|(metadata, _)| metadata.uid() != owner) {
        let user = if metadata.uid() == 0 { "root".to_owned() } else { format!("user {}", metadata.uid()) };
        let remedy = format!("Run `chown {owner} {}`", path.display());
        // Root can use the files of others.
        if let Some(why) = unusable(metadata, path, group, installation).filter(|_| owner != 0) {
            let message = format!("belongs to {user}, and the database to user {owner}: {why}");
            findings.push(Finding::failure(FileOwners, path.display(), message, remedy));
        } else if metadata.uid() != 0 {
            let message = format!("belongs to {user}, and grantd to user {owner}: {user} can change it");
            findings.push(Finding::warning(FileOwners, path.display(), message, remedy));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(FileOwners, count(found.len()), format!("owned by user {owner} or root")));
    }
    findings
}

/// Returns why the owner of the database cannot use a file of another user, such as a command of root leaves behind.
fn unusable(metadata: &Metadata, path: &Path, group: Option<u32>, installation: &Installation) -> Option<&'static str> {
    let database = database(installation)?;
    if OF_DATABASE.iter().any(|ending| beside(database, ending) == path) {
        return Some("the server cannot write it");
    }
    let of_group = group == Some(metadata.gid()) && metadata.permissions().mode() & GROUP_READS != 0;
    let is_key = matches!(&installation.settings.master_key, Some(MasterKeySource::Beside(key)) if key == path);
    (is_key && !of_group).then_some("the server cannot read it")
}

/// The default of SQLite, the key beside its database, is no fault: a server needs both. A backup must not have both.
fn master_key(installation: &Installation) -> Option<Finding> {
    let database = database(installation).map(Path::to_owned);
    let directory = |path: &Path| fs::canonicalize(path).ok()?.parent().map(Path::to_owned);
    let file = match installation.settings.master_key.as_ref()? {
        MasterKeySource::Given { file: None, .. } => {
            return Some(Finding::ok(MasterKey, "GRANTD_MASTER_KEY", "from the environment"));
        }
        MasterKeySource::Given { file: Some(file), .. } | MasterKeySource::Beside(file) => file,
    };
    if !file.exists() && database.as_ref().is_some_and(|path| !path.exists()) {
        return None;
    }
    // A key that others can read is a finding of its mode; the server refuses it too.
    only_ours(file).ok()?;
    if let Err(problem) = read_master_key(file) {
        let message = format!("the master key cannot be read: {problem}. The server does not start without it");
        let remedy = if file.exists() {
            "Put it back from your backup, if it is damaged; else correct its owner and mode, or run this command as the user \
             of the server"
        } else {
            "Put it back from your backup"
        };
        return Some(Finding::failure(MasterKey, file.display(), message, remedy));
    }
    let is_beside = database.as_deref().and_then(directory).is_some_and(|of| Some(of) == directory(file));
    Some(if is_beside {
        let advice = "Keep the key out of the backup of the database: who has both can sign any token (docs/backup.md)";
        Finding::ok(MasterKey, file.display(), "beside the database").with_advice(advice)
    } else {
        Finding::ok(MasterKey, file.display(), "apart from the database")
    })
}
