//! What the database engine knows of itself: integrity, indexes, connections, free space, clock.

use std::{fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::statvfs;

use super::{
    Check::{Clock, Connections, DiskSpace, Indexes, Integrity},
    Finding,
    database::settle,
    names, size, span, sql,
};
use crate::{
    config::{DatabaseConfig, DatabaseUrl},
    store::{Schema, Store, StoreError, conn},
};

/// A larger file takes too long to check beside a running server.
const MOST_CHECKED: u64 = 512 << 20;
/// Below this, SQLite may not be able to write.
const LITTLE: u64 = 100 << 20;
const ENOUGH: u64 = 1 << 30;
/// A write-ahead log is written into the database after 4 MiB, unless something keeps it from that.
const LARGE_WAL: u64 = 256 << 20;
/// Tables with fewer rows are read as a whole for good reasons.
const LARGE_TABLE: i64 = 10_000;
const SKEW: TimeDelta = TimeDelta::seconds(2);
const TOO_MUCH: TimeDelta = TimeDelta::seconds(30);

pub(super) async fn check(store: &Store, config: &DatabaseConfig, schema: &Schema, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let DatabaseUrl::Sqlite(path) = &config.url {
        findings.extend(settle(Integrity, integrity(store, path).await));
        findings.extend(disk(path));
    }
    findings.extend(settle(Indexes, indexes(store, schema).await));
    if store.is_postgres() {
        findings.extend(settle(Connections, connections(store, config).await));
        findings.extend(settle(Clock, clock(store).await));
    }
    findings.extend(settle(Clock, newest_event(store, now).await));
    findings
}

async fn integrity(store: &Store, path: &Path) -> Result<Vec<Finding>, StoreError> {
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > MOST_CHECKED {
        let ok = Finding::ok(Integrity, path.display(), format!("{}: too large to be checked here", size(length)));
        return Ok(vec![ok.with_advice("Run `sqlite3 FILE 'PRAGMA integrity_check'` on a backup")]);
    }
    let mut conn = store.read().await?;
    let remedy = "Stop the server, keep the file, and restore the newest backup (docs/backup.md)";
    let found = match conn::scalar!(conn, String, sql::QUICK_CHECK) {
        Ok(found) => found,
        // Some damage prevents the check itself.
        Err(StoreError::Other(error)) => error.to_string(),
        Err(error) => return Err(error),
    };
    if found != "ok" {
        let message = format!("the file is damaged: {}", found.replace('\n', " "));
        return Ok(vec![Finding::failure(Integrity, path.display(), message, remedy)]);
    }
    let broken = conn::all!(conn, sql::Name, sql::FOREIGN_KEY_CHECK)?;
    let broken: Vec<_> = broken.into_iter().map(|(table,)| table).collect();
    Ok(vec![if broken.is_empty() {
        Finding::ok(Integrity, path.display(), format!("{}, no damage", size(length)))
    } else {
        let message = format!(
            "rows of {} refer to rows that do not exist: the file was changed by another program",
            names(&broken)
        );
        Finding::failure(Integrity, path.display(), message, remedy)
    }])
}

/// A failed look is no finding: the database itself could be opened.
fn disk(path: &Path) -> Vec<Finding> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let wal = fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let free = statvfs(directory).ok().map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    let mut findings: Vec<_> = free.map(|free| space(directory, free)).into_iter().collect();
    findings.extend(large_wal(Path::new(&log), wal));
    findings
}

fn space(directory: &Path, free: u64) -> Finding {
    let message = format!("{} are free", size(free));
    let remedy = "Free space or enlarge the volume: logins fail once the database cannot grow";
    match free {
        free if free < LITTLE => Finding::failure(DiskSpace, directory.display(), message, remedy),
        free if free < ENOUGH => Finding::warning(DiskSpace, directory.display(), message, remedy),
        _ => Finding::ok(DiskSpace, directory.display(), message),
    }
}

fn large_wal(path: &Path, length: u64) -> Option<Finding> {
    if length < LARGE_WAL {
        return None;
    }
    let message = format!(
        "{}: something has kept a read open, so that the log is not written into the database; reads slow down",
        size(length)
    );
    let remedy = "Stop other programs that have the file open, or restart the server";
    Some(Finding::warning(DiskSpace, path.display(), message, remedy))
}

async fn indexes(store: &Store, schema: &Schema) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    let statement = if store.is_postgres() { sql::POSTGRES_INDEXES } else { sql::SQLITE_INDEXES };
    let existing = conn::all!(conn, sql::Name, statement)?;
    let expected = store.expected_indexes(schema);
    let missing = expected.iter().filter(|index| existing.iter().all(|(name,)| name != *index));
    let missing: Vec<_> = missing.map(ToString::to_string).collect();
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let message =
            "these indexes of the schema are missing: statements read whole tables, and names may not be unique";
        let remedy = "Create them again, as the files of migrations/ do";
        findings.push(Finding::failure(Indexes, names(&missing), message, remedy));
    }
    if store.is_postgres() {
        findings.extend(statistics(&mut conn).await?);
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Indexes, format!("{} indexes", expected.len()), "all there"));
    }
    Ok(findings)
}

async fn statistics(conn: &mut crate::store::Conn) -> Result<Vec<Finding>, StoreError> {
    let list = |rows: Vec<sql::Name>| rows.into_iter().map(|(name,)| name).collect::<Vec<_>>();
    let mut findings = Vec::new();
    let invalid = list(conn::all!(conn, sql::Name, sql::INVALID_INDEXES)?);
    if !invalid.is_empty() {
        let message = "invalid, because they could not be built: they are not used, and cost each change";
        let remedy = "Run REINDEX INDEX CONCURRENTLY for each";
        findings.push(Finding::failure(Indexes, names(&invalid), message, remedy));
    }
    let not_analyzed = list(conn::all!(conn, sql::Name, sql::NOT_ANALYZED, LARGE_TABLE)?);
    if !not_analyzed.is_empty() {
        let message = "never analyzed: Postgres guesses how many rows there are, and may read the whole tables";
        findings.push(Finding::warning(Indexes, names(&not_analyzed), message, "Run ANALYZE, and enable autovacuum"));
    }
    let scanned = list(conn::all!(conn, sql::Name, sql::SCANNED, LARGE_TABLE)?);
    if !scanned.is_empty() {
        let message = "read as a whole more often than over an index, which is slow";
        findings.push(Finding::warning(
            Indexes,
            names(&scanned),
            message,
            "Run ANALYZE; if that does not help, REINDEX",
        ));
    }
    Ok(findings)
}

async fn connections(store: &Store, config: &DatabaseConfig) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    let row = conn::optional!(conn, sql::ConnectionsRow, sql::CONNECTIONS)?;
    Ok(row.map(|row| room(&row, config.connections.into())).into_iter().collect())
}

fn room(row: &sql::ConnectionsRow, pool: i64) -> Finding {
    let sql::ConnectionsRow { most, own, others } = *row;
    let left = (most - others).max(0);
    let subject = "connections to Postgres";
    let used = format!("{own} of grantd and {others} of others, of {most}");
    let remedy =
        "Lower GRANTD_DATABASE_CONNECTIONS, raise max_connections of Postgres, or use PgBouncer in session mode";
    if pool > left {
        let message = format!(
            "{used}: a server may open {pool} (GRANTD_DATABASE_CONNECTIONS), for which there is no room. Requests fail under load"
        );
        return Finding::warning(Connections, subject, message, remedy);
    }
    if (own + others) * 10 >= most * 9 {
        return Finding::warning(Connections, subject, format!("{used}: nearly all are in use"), remedy);
    }
    let servers = left / pool.max(1);
    Finding::ok(Connections, subject, format!("{used}; there is room for {servers} servers with {pool} each"))
}

async fn clock(store: &Store) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    // The statement takes time: only what it cannot explain is a difference.
    let started = store.now();
    let there = conn::scalar!(conn, DateTime<Utc>, sql::NOW)?;
    let here = there.clamp(started, store.now().max(started));
    Ok(vec![difference("Postgres", there - here)])
}

fn difference(subject: &str, ahead: TimeDelta) -> Finding {
    let direction = if ahead < TimeDelta::zero() { "behind" } else { "ahead of" };
    let message = format!("its clock is {} {direction} this machine's", span(ahead.abs()));
    let remedy = "Run an NTP client, such as chrony, on each machine";
    match ahead.abs() {
        found if found > TOO_MUCH => Finding::failure(Clock, subject, message, remedy),
        found if found > SKEW => Finding::warning(Clock, subject, message, remedy),
        _ => Finding::ok(Clock, subject, "no difference to this machine"),
    }
}

/// Servers give events ids with the time of their clocks.
async fn newest_event(store: &Store, now: DateTime<Utc>) -> Result<Vec<Finding>, StoreError> {
    let mut conn = store.read().await?;
    let Some((newest,)) = conn::optional!(conn, sql::Event, sql::NEWEST_EVENT)? else { return Ok(Vec::new()) };
    let ahead = newest.time() - now.max(store.now());
    if ahead <= SKEW {
        return Ok(vec![Finding::ok(Clock, "servers", "no audit event is of the future")]);
    }
    let message = format!(
        "the newest audit event is {} in the future: the clock of a server was ahead, or this machine's is behind. Tokens are \
         refused, and revocations come late",
        span(ahead)
    );
    let remedy = "Run an NTP client, such as chrony, on each machine";
    let finding = if ahead > TOO_MUCH { Finding::failure } else { Finding::warning };
    Ok(vec![finding(Clock, "servers", message, remedy)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_and_large_logs() {
        let severity = |free| space(Path::new("data"), free).severity.as_str();
        assert_eq!((severity(50 << 20), severity(500 << 20), severity(5 << 30)), ("failure", "warning", "ok"));
        assert!(large_wal(Path::new("x"), 4 << 20).is_none() && large_wal(Path::new("x"), 1 << 30).is_some());
    }

    #[test]
    fn servers_need_room_for_their_connections() {
        let severity =
            |most, own, others, pool| room(&sql::ConnectionsRow { most, own, others }, pool).severity.as_str();
        assert_eq!(
            (severity(97, 10, 5, 10), severity(97, 0, 90, 10), severity(97, 85, 5, 10)),
            ("ok", "warning", "warning")
        );
    }

    #[test]
    fn clocks_are_compared() {
        let severity = |seconds| difference("x", TimeDelta::seconds(seconds)).severity.as_str();
        assert_eq!((severity(0), severity(-5), severity(60)), ("ok", "warning", "failure"));
    }
}
