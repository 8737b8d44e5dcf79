//! `grantd user import`: users of another system.

use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;

use super::{
    Outcome,
    confirm::count,
    output::{Output, harmless},
};
use crate::{
    app::App,
    config::DatabaseUrl,
    error::without_os_codes,
    import::{self, FirebaseParameters, Format, Options, Refusal, Source, Summary, Told},
    names::RoleName,
};

#[derive(Args)]
pub(super) struct Arguments {
    /// File to import; `-` is standard input
    file: PathBuf,
    /// System that the file comes from: jsonl, csv, keycloak, django, auth0, firebase, supabase or kratos
    #[arg(long, value_name = "FORMAT", value_parser = str::parse::<Format>)]
    from: Format,
    /// Check the file and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the refused records to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Give users with the role or group FROM in the file the role TO; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = mapping)]
    role_map: Vec<(String, String)>,
    /// File with the signer key of the Firebase project, in base64
    #[arg(long, value_name = "FILE")]
    firebase_signer_key_file: Option<PathBuf>,
    /// Salt separator of the Firebase project, in base64
    #[arg(long, value_name = "TEXT", default_value = "Bw==")]
    firebase_salt_separator: String,
    /// Rounds of the Firebase project
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    firebase_rounds: u32,
    /// Memory cost of the Firebase project
    #[arg(long, value_name = "NUMBER", default_value_t = 14)]
    firebase_mem_cost: u32,
}

/// Parses `FROM=TO`. A name of another system may have an equals sign.
fn mapping(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.rsplit_once('=').filter(|(from, _)| !from.is_empty()).ok_or("must be FROM=TO")?;
    let to: RoleName = to.parse().map_err(|error: crate::error::FieldError| error.message)?;
    Ok((from.to_owned(), to.to_string()))
}

pub(super) async fn run(arguments: &Arguments, app: &App, output: Output) -> Outcome {
    let Arguments { file, from, report, .. } = arguments;
    let options = options(arguments, matches!(app.config.database.url, DatabaseUrl::Sqlite(_)))?;
    let source = Source::open(file).map_err(|error| cannot_read(file, &error))?;
    let mut report = report.as_deref().map(create_report).transpose()?;
    let progress = Progress::new(source.size);
    let told = |told: Told<'_>| match told {
        Told::Refused(refusal) => {
            progress.bar.suspend(|| eprintln!("{}", line(refusal)));
            report.as_mut().map_or(Ok(()), |report| write_line(report, refusal))
        }
        Told::Progress(summary, bytes) => {
            progress.show(summary, bytes);
            Ok(())
        }
    };
    let done = import::run(&app.store, &app.passwords, &app.clock, (source, *from, options), told).await;
    progress.bar.finish_and_clear();
    if let Some(mut report) = report {
        report.flush()?;
    }
    if output.json {
        output.object(&done.summary)?;
    } else {
        output.done(&sentences(&done.summary))?;
    }
    match done.error {
        Some(error) => Err(format!("{}: {error}", file.display()).into()),
        None if done.summary.refused > 0 => Err(format!("{} refused", count(done.summary.refused, "record")).into()),
        None => Ok(()),
    }
}

fn options(arguments: &Arguments, pause: bool) -> Result<Options, Box<dyn Error>> {
    let firebase = match &arguments.firebase_signer_key_file {
        None => None,
        Some(file) => {
            let key = fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
            Some(FirebaseParameters {
                signer_key: SecretString::from(key.trim()),
                salt_separator: arguments.firebase_salt_separator.clone(),
                rounds: arguments.firebase_rounds,
                mem_cost: arguments.firebase_mem_cost,
            })
        }
    };
    let role_map: HashMap<_, _> = arguments.role_map.iter().cloned().collect();
    let dry_run = arguments.dry_run;
    Ok(Options { role_map, firebase, dry_run, pause: pause && !dry_run })
}

fn cannot_read(file: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {}", file.display(), without_os_codes(&error.to_string()))
}

/// Creates the report, readable by this user only: it has names of people.
fn create_report(path: &Path) -> Result<BufWriter<File>, String> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let file =
        file.map_err(|error| format!("cannot write {}: {}", path.display(), without_os_codes(&error.to_string())))?;
    Ok(BufWriter::new(file))
}

fn write_line(report: &mut impl Write, refusal: &Refusal) -> io::Result<()> {
    serde_json::to_writer(&mut *report, refusal)?;
    report.write_all(b"\n")
}

fn line(refusal: &Refusal) -> String {
    let Refusal { record, user, field, reason } = refusal;
    let user = user.as_ref().map(|user| format!(" ({user})")).unwrap_or_default();
    let field = if field.is_empty() { String::new() } else { format!(" {field}") };
    harmless(&format!("record {record}{user}:{field} {reason}"))
}

fn sentences(summary: &Summary) -> String {
    let Summary { imported, skipped, refused, without_password, dropped_roles, dry_run } = summary;
    let verb = if *dry_run { "Would import" } else { "Imported" };
    let mut lines = vec![format!("{verb} {}, skipped {skipped}, refused {refused}.", count(*imported, "user"))];
    if *without_password > 0 {
        lines.push(format!("Without a password, and not able to log in until it is set: {without_password}."));
    }
    if !dropped_roles.is_empty() {
        let roles: Vec<_> = dropped_roles.iter().map(|(role, users)| format!("{role} ({users})")).collect();
        let roles = harmless(&roles.join(", "));
        lines.push(format!("Roles that do not exist here, and were dropped: {roles}. --role-map FROM=TO maps them."));
    }
    lines.join("\n")
}

/// A progress bar on standard error, if that is a terminal.
struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    fn new(size: Option<u64>) -> Self {
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), "{bar:30} {percent}% {msg}, {eta} left"),
            None => (ProgressBar::no_length(), "{spinner} {msg}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: bar.with_style(style), started: Instant::now() }
    }

    fn show(&self, summary: &Summary, bytes: u64) {
        let records = summary.imported + summary.skipped + summary.refused;
        let milliseconds = self.started.elapsed().as_millis().max(1);
        let rate = u128::from(records) * 1000 / milliseconds;
        self.bar.set_message(format!("{}, {rate}/s", count(records, "record")));
        self.bar.set_position(bytes);
    }
}
