//! Faults under load: kills servers, the database and connections at random, under a load of logins, refreshes, logouts and
//! administrative changes, and checks every answer against a model of what may be.
//!
//! ```sh
//! tests/faults/run                                      # 20 s for each engine, as in CI, and the control
//! tests/faults/run --seconds 120                        # the real thing
//! tests/faults/run --engine postgres --seed 7 --seconds 60
//! tests/faults/run --engine forgetful                   # the control: must find a lie
//! ```
//!
//! - A *success* (2xx) must be true: it is the state of the model from then on, on every server, after every fault.
//! - A *refusal* (4xx) must be right: the model must know a reason.
//! - No answer, and 502 to 504, leave two possible states. What they were about is left alone until nothing of the request
//!   can be under way any more ([`model::HORIZON`]), and then observed: it must be one of the two, as a whole.
//! - 500 is never right.
//! - What has ended stays ended: the tokens and credentials of ended sessions, deleted users, API keys and clients, and disabled
//!   clients are used again until the end.
//! - A server ends by SIGKILL, or with 0 after SIGTERM. With 1 only on Postgres: after SIGTERM if its log says that requests were
//!   cut off, and at a start without the database. Any other end, and a panic in the log, fails the run.
//!
//! Each worker has its own accounts, API keys, clients and role, so that it knows the order of all changes to them. Requests of
//! the same account are concurrent only where a refresh token is used twice at once. At the end, the faults stop, and everything
//! is checked once more on each server, as is the audit log. A run with too few successes or faults, or with more 502 to 504 than
//! other answers, fails: it says nothing.
//!
//! The engine `forgetful` is the control of the checker: Postgres without synchronous commits, which forgets its last transactions
//! when it is stopped. A run that finds no lie fails.
//!
//! No run can find a missing sync on SQLite. Only the server is killed there, and the kernel keeps what a process has written; it
//! takes a power failure to lose that. The same holds for Postgres, which runs with `fsync=off`.
//!
//! - `cluster.rs`, `replica.rs`, `postgres.rs`: the servers and their database; `forwarder.rs`: the connections between them
//! - `chaos.rs`: the faults
//! - `http.rs`: the client; `worker.rs`: a thread of the load; `model.rs`: what may be
//! - `account.rs`, `session.rs`, `api_key.rs`, `registration.rs`, `role.rs`: the load on each kind of thing; `ended.rs`: what has ended

mod account;
mod api_key;
mod arguments;
mod chaos;
mod cluster;
mod counts;
mod ended;
mod environment;
mod forwarder;
mod http;
#[path = "../shared/installation.rs"]
mod installation;
mod model;
mod postgres;
mod process;
mod random;
mod registration;
mod replica;
mod role;
mod session;
mod worker;

use std::{
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    arguments::{Arguments, Engine},
    chaos::Chaos,
    cluster::Cluster,
    counts::Counts,
    worker::Worker,
};

/// Any error ends the run.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Threads of the load, each with one request at a time.
const WORKERS: u64 = 12;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match Arguments::parse(&args).and_then(|arguments| all(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all(arguments: &Arguments) -> Outcome<()> {
    for engine in &arguments.engines {
        match run(*engine, arguments) {
            Err(error) if *engine == Engine::Forgetful && error.to_string().starts_with(worker::LIE) => {
                println!("{engine}: a lie was found, as expected");
            }
            Ok(()) if *engine == Engine::Forgetful => return Err("no lie was found".into()),
            done => done.map_err(|error| format!("{error}\nseed {} on {engine}", arguments.seed))?,
        }
    }
    Ok(())
}

/// Runs load and faults on an engine, and checks everything at the end.
fn run(engine: Engine, arguments: &Arguments) -> Outcome<()> {
    println!("{engine}: {} s, seed {}", arguments.seconds, arguments.seed);
    let cluster = Arc::new(Cluster::start(engine)?);
    let checked = check(&cluster, engine, arguments);
    let error = match (checked, cluster.problem()) {
        (Ok(checked), None) => {
            println!("{engine}: {checked} answers checked, 0 lies");
            return Ok(());
        }
        (Ok(_), Some(problem)) => problem,
        // It may be the reason of a lie.
        (Err(error), Some(problem)) if error.to_string() != problem => format!("{error}\n{problem}"),
        (Err(error), _) => return Err(error),
    };
    Err(error.into())
}

/// Returns the number of answers that were checked.
fn check(cluster: &Arc<Cluster>, engine: Engine, arguments: &Arguments) -> Outcome<u64> {
    let &Arguments { seconds, seed, .. } = arguments;
    let workers = (0..WORKERS).map(|number| Worker::new(number, seed, Arc::clone(cluster)));
    let chaos = Chaos::start(Arc::clone(cluster), engine, seed);
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let workers = in_threads(workers, |worker| worker.run(end));
    let took = began.elapsed();
    let faults = chaos.stop()?;
    let workers = workers?;
    cluster.wait_until_ready()?;
    if let Some(problem) = cluster.problem() {
        return Err(problem.into());
    }
    // Concurrently, since each waits until what was in doubt can be observed.
    let (mut load, mut checks) = (Counts::default(), Counts::default());
    for [of_load, of_checks] in in_threads(workers, Worker::finish)? {
        load.add(&of_load);
        checks.add(&of_checks);
    }
    cluster.verify_audit_log()?;
    println!("{engine}: {faults}; at most {:.1} s from SIGTERM to the end", cluster.slowest_end().as_secs_f64());
    println!("{engine}: {load}, {} answers/s under load", load.answers() / took.as_secs().max(1));
    load.check(seconds)?;
    faults.check(seconds)?;
    Ok(load.answers() + checks.answers())
}

/// Runs workers, each in a thread. Returns the first error, if any.
fn in_threads<T: Send>(
    workers: impl IntoIterator<Item = Worker>,
    work: impl Fn(Worker) -> Outcome<T> + Copy + Send,
) -> Outcome<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || work(worker))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a worker panicked")?).collect()
    })
}
