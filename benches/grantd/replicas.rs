//! Several servers on one Postgres database. They share the cores of this machine with the database and the load generator, so the
//! figures show the cost of one more server, not the gain of one more machine.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};

use crate::{
    Outcome, load,
    plan::Plan,
    report::{Figure, Report, median},
    servers::{Grantd, PASSWORD, Server, UNTHROTTLED, USERNAME},
    tokens,
};

/// Numbers of servers.
const COUNTS: [usize; 3] = [1, 2, 4];
/// Clients, which share the servers.
const CLIENTS: usize = 64;
const LOGINS: usize = 16;
/// How long servers without requests are watched.
const REST: Duration = Duration::from_secs(10);
/// An idle session of Postgres publishes its counters within 10 s.
const PUBLISHED: Duration = Duration::from_secs(12);
const TRANSACTIONS: &str = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";

/// Measures reads, logins and refreshes with one, two and four servers.
pub(crate) fn all(grantd: &Grantd, me: &[u8], plan: &Plan, report: &mut Report) -> Outcome<()> {
    for count in COUNTS {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(grantd.start_with(&UNTHROTTLED)?.0);
        }
        let login = load::login(USERNAME, PASSWORD);
        let (mut reads, mut logins, mut refreshes) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=plan.rounds {
            eprintln!("Postgres: {count} servers, round {round} of {}", plan.rounds);
            reads.push(sum(&servers, |address| load::per_second(address, me, CLIENTS / count, plan))?);
            logins.push(sum(&servers, |address| load::per_second(address, &login, LOGINS / count, plan))?);
            refreshes.push(sum(&servers, |address| tokens::refreshes(address, CLIENTS / count, plan))?);
        }
        let memory = servers.iter().filter_map(|server| server.process.memory()).map(|memory| memory.now).sum::<f64>();
        let mut add = |what: &str, value, unit| {
            report.add(Figure::new("Postgres", format!("{count} servers: {what}"), value, unit));
        };
        add("GET /users/me", median(&reads), "/s");
        add("logins", median(&logins), "/s");
        add("refreshes", median(&refreshes), "/s");
        add("memory of all", memory, "MiB");
        add("transactions without requests", at_rest(grantd.database())?, "/s");
    }
    Ok(())
}

/// Measures all servers at once, and returns the sum.
fn sum(servers: &[Server], rate: impl Fn(SocketAddr) -> Outcome<f64> + Sync) -> Outcome<f64> {
    thread::scope(|scope| {
        let rate = &rate;
        let threads: Vec<_> = servers.iter().map(|server| scope.spawn(move || rate(server.address))).collect();
        let rates = threads.into_iter().map(|thread| thread.join().map_err(|_| "the load generator panicked")?);
        rates.sum()
    })
}

/// Returns the transactions per second of servers without requests.
fn at_rest(database: &str) -> Outcome<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let transactions = async || -> Outcome<i64> {
        let mut conn = PgConnection::connect(database).await?;
        Ok(sqlx::query_scalar(TRANSACTIONS).fetch_one(&mut conn).await?)
    };
    thread::sleep(PUBLISHED);
    let (began, before) = (Instant::now(), runtime.block_on(transactions())?);
    thread::sleep(REST);
    let count = u32::try_from(runtime.block_on(transactions())? - before)?;
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}
