//! The benchmark: what grantd does, beside the ceiling of the machine that it runs on.
//!
//! ```sh
//! cargo bench --bench grantd                        # twenty minutes; prints a table, writes benches/results/latest.json
//! cargo bench --bench grantd -- --quick             # a minute: to see that it works, not to compare
//! cargo bench --bench grantd -- --engine postgres   # one engine only
//! ```
//!
//! Figures of two runs differ by a tenth or more, so what is compared is measured within one run, in turn, several times,
//! and the medians count. Everything that answers is a process of its own with the same number of threads.
//!
//! - `plan.rs`: how long and how often; `measure.rs`: the measurements; `report.rs`: the table, the JSON, the targets
//! - `load.rs`: the load generator; `latency.rs`: how long answers take; `hashing.rs`: the bare hash
//! - `tokens.rs`: refreshes, introspections, and how fast the end of a session is known
//! - `users.rs`: very many users are made, and paged through
//! - `servers.rs`: grantd and the routes it is compared with; `process.rs`: programs that end when this one does;
//!   `postgres.rs`: a database of Postgres to measure on

mod hashing;
mod latency;
mod load;
mod measure;
mod plan;
mod postgres;
mod process;
mod report;
mod servers;
mod tokens;
mod users;

use std::process::ExitCode;

use crate::{measure::Engine, plan::Plan, report::Report};

/// What can go wrong here ends the benchmark, with its reason.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [servers::SERVE, kind, ref rest @ ..] => servers::serve(kind, rest),
        // `cargo bench` says so; `cargo test --benches` runs this too, and wants to know only that it can be built.
        _ if args.iter().any(|arg| arg == "--bench") => Plan::of(&args).and_then(|plan| bench(&plan)),
        _ => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(plan: &Plan) -> Outcome<()> {
    let mut report = Report::new(plan);
    if plan.sqlite {
        measure::all(&Engine::Sqlite, plan, &mut report)?;
    }
    if plan.postgres {
        match postgres::Database::open()? {
            Some(database) => measure::all(&Engine::Postgres(database), plan, &mut report)?,
            None => report.note(
                "Postgres was NOT measured: TEST_DATABASE_URL is not set, and there is neither `initdb` in PATH nor in \
                 /usr/lib/postgresql/*/bin.",
            ),
        }
    }
    report.finish()
}
