//! The benchmark: the performance of grantd, compared to the ceiling of the machine.
//!
//! ```sh
//! cargo bench --bench grantd                        # 20 minutes; prints a table, writes benches/results/latest.json
//! cargo bench --bench grantd -- --quick             # one minute; a smoke test, not for comparisons
//! cargo bench --bench grantd -- --engine postgres   # one engine only
//! cargo bench --bench grantd -- --only logins,flood  # only these measurements
//! ```
//!
//! Turn the kernel's autogroups off first (`sysctl kernel.sched_autogroup_enabled=0`): with them, the low priority of the hash threads
//! does not hold against Postgres, and its statements wait for a CPU for up to 200 ms.
//!
//! Figures of two runs differ by 10 % or more, so compared values are measured alternately within one run, and the medians are
//! reported. Each server is a process of its own, with the same number of threads.
//!
//! - `plan.rs`: durations and repetitions; `measure.rs`: the measurements; `report.rs`: the table, the JSON, the targets
//! - `load.rs`: the load generator; `latency.rs`: response times; `hashing.rs`: the bare hash
//! - `guessing.rs`: floods of guessed passwords
//! - `timing.rs`: response times of refused logins, by kind of user
//! - `limits.rs`: the cost of the rate limit
//! - `tokens.rs`: refreshes, introspections, and the propagation of the end of a session
//! - `replicas.rs`: several servers on one Postgres database
//! - `users.rs`: creation and lists of very many users; `import.rs`: their import
//! - `servers.rs`: grantd and the routes to compare it with; `process.rs`: child processes; `postgres.rs`: a Postgres database

mod guessing;
mod hashing;
mod import;
#[path = "../shared/installation.rs"]
mod installation;
mod latency;
mod limits;
mod load;
mod measure;
mod plan;
mod postgres;
mod process;
mod replicas;
mod report;
mod servers;
mod timing;
mod tokens;
mod users;

use std::process::ExitCode;

use crate::{measure::Engine, plan::Plan, report::Report};

/// Any error ends the benchmark.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [servers::SERVE, kind, ref rest @ ..] => servers::serve(kind, rest),
        // `cargo bench` passes this argument; `cargo test --benches` does not, and only checks that the benchmark builds.
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
