//! `grantd user export`: all users, with their password hashes.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::{Outcome, confirm::count, output::Output};
use crate::{
    app::App,
    error::without_os_codes,
    names::{DisplayName, Email, RoleName, Username},
    store::pages::PAGE,
    users::{self, Login, User},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Write to this file, which only you can read; it must not exist
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A user record, as `grantd user import --from jsonl` reads it.
#[derive(Serialize)]
struct Record<'a> {
    username: &'a Username,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a DisplayName>,
    roles: &'a [RoleName],
    disabled: bool,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<String>,
}

pub(super) async fn run(arguments: &Arguments, app: &App, output: Output) -> Outcome {
    let Some(path) = &arguments.output else {
        let done = write(app, &mut BufWriter::new(io::stdout())).await;
        return match done {
            // A closed pipe, as of `| head`, is no error.
            Err(error) if is_broken_pipe(&*error) => Ok(()),
            done => done.map(drop),
        };
    };
    let file = create(path)?;
    match write(app, &mut BufWriter::new(&file)).await.and_then(|users| Ok(file.sync_all().map(|()| users)?)) {
        Ok(_) if output.json => output.done(""),
        Ok(users) => output.done(&format!("Exported {} to {}.", count(users, "user"), path.display())),
        Err(error) => {
            // Half a file would pass for a whole one.
            fs::remove_file(path)?;
            Err(error)
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn create(path: &Path) -> Result<File, String> {
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AlreadyExists => "it exists already".to_owned(),
            _ => without_os_codes(&error.to_string()),
        };
        format!("cannot create {}: {reason}", path.display())
    })
}

/// Writes all users, page by page, and returns their number.
async fn write(app: &App, out: &mut impl Write) -> Result<u64, Box<dyn Error>> {
    let (mut last, mut users) = (None, 0);
    loop {
        let page = users::list_logins(&mut app.store.read().await?, last, PAGE).await?;
        let Some(end) = page.last() else {
            out.flush()?;
            return Ok(users);
        };
        last = Some(end.user.id);
        for Login { user, password_hash, .. } in &page {
            let password_hash = app.passwords.exported(password_hash).await?;
            let User { username, roles, disabled, created_at, .. } = user;
            let (email, display_name) = (user.email.as_ref(), user.display_name.as_ref());
            let (disabled, created_at) = (*disabled, *created_at);
            let record = Record { username, email, display_name, roles, disabled, created_at, password_hash };
            // Written through a text: an error of the writer stays an error of the writer.
            writeln!(out, "{}", serde_json::to_string(&record)?)?;
            users += 1;
        }
    }
}
