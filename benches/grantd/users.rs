//! Very many users: creating and listing them, with the last page compared to the first.

use std::{net::SocketAddr, ops::Range, thread, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use grantd::{
    authority::Authority,
    clock::Clock,
    config::{DatabaseConfig, DatabaseUrl},
    error::Error,
    store::{Store, Transaction},
    users::{self, NewUser},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::{
    Outcome, latency,
    load::{self, Connection},
};

/// Users that one transaction creates.
const AT_ONCE: usize = 100;
/// One in this many users also has the role `reader`.
const READERS: usize = 10;
/// How often a page is requested.
const TIMES: usize = 50;
/// Users of a page, which is also the number of users on the last page.
const PAGE: usize = 50;
const LAST: usize = PAGE + 10;

fn name(nth: usize) -> String {
    format!("user{nth:07}")
}

/// Creates users as grantd does, except for the hash: they have no password. If the engine has several writers, `threads`
/// transactions run concurrently.
pub(crate) fn create(database: &str, all: Range<usize>, threads: usize) -> Outcome<()> {
    let writers = if database.starts_with("sqlite") { 1 } else { threads };
    let share = all.len().div_ceil(writers * AT_ONCE) * AT_ONCE;
    thread::scope(|scope| {
        let starts = all.clone().step_by(share);
        let threads: Vec<_> =
            starts.map(|start| scope.spawn(move || make_some(database, start..all.end.min(start + share)))).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread that makes users panicked")??;
        }
        Ok(())
    })
}

fn make_some(database: &str, some: Range<usize>) -> Outcome<()> {
    let url = match database.strip_prefix("sqlite://") {
        Some(file) => DatabaseUrl::Sqlite(file.into()),
        None => DatabaseUrl::Postgres(database.to_owned()),
    };
    let config = DatabaseConfig { url, connections: 1, timeout: Duration::from_secs(30) };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let store = Store::open(&config, Clock::system()).await?;
        for start in some.clone().step_by(AT_ONCE) {
            store.transact(async |tx| insert(tx, start..some.end.min(start + AT_ONCE)).await).await?;
        }
        store.close().await;
        Ok(())
    })
}

async fn insert(tx: &mut Transaction, some: Range<usize>) -> Result<(), Error> {
    let now = Clock::system().now();
    for nth in some {
        let roles = if nth % READERS == 0 { vec!["reader".parse()?] } else { Vec::new() };
        let new = NewUser {
            username: name(nth).parse()?,
            email: Some(format!("{}@example.com", name(nth)).parse()?),
            display_name: None,
            password_hash: "-".to_owned(),
            roles,
        };
        users::create(tx, &new, &Authority::system(), now).await?;
    }
    Ok(())
}

/// The first byte of cursors (`http/page.rs`): users ordered by id, and by name.
const USERS: u8 = 1;
const USERS_BY_USERNAME: u8 = 2;

fn cursor_of(list: u8, key: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([&[list][..], key].concat())
}

/// Analyzes the tables, and returns the cursors of the last pages: of all users, and of those with the role `reader`.
pub(crate) fn cursors(database: &str) -> Outcome<[String; 2]> {
    let of = |sql: &str| format!("{sql} DESC LIMIT 1 OFFSET {LAST}");
    let all = of("SELECT id FROM users ORDER BY id");
    let readers = of("SELECT user_id FROM user_roles WHERE role = 'reader' ORDER BY user_id");
    macro_rules! ask {
        ($connection:ty) => {{
            let mut conn = <$connection>::connect(database).await?;
            sqlx::raw_sql("ANALYZE").execute(&mut conn).await?;
            let mut cursors = [const { String::new() }; 2];
            for (cursor, sql) in cursors.iter_mut().zip([all, readers]) {
                let id: uuid::Uuid = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await?;
                *cursor = cursor_of(USERS, id.as_bytes());
            }
            Ok(cursors)
        }};
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { if database.starts_with("sqlite") { ask!(SqliteConnection) } else { ask!(PgConnection) } })
}

/// A list, with the response times of its first and its last page.
pub(crate) struct Pages {
    pub(crate) what: &'static str,
    pub(crate) first: Vec<Duration>,
    pub(crate) last: Vec<Duration>,
}

/// Measures the lists of this many users, with the [`cursors`] of their last pages.
pub(crate) fn pages(address: SocketAddr, token: &str, count: usize, cursors: &[String; 2]) -> Outcome<Vec<Pages>> {
    let [by_id, readers] = cursors;
    let by_name = cursor_of(USERS_BY_USERNAME, name(count - LAST).as_bytes());
    let mut connection = Connection::open(address)?;
    let mut all = Vec::new();
    for (what, query, cursor) in [
        ("all", "", by_id),
        ("q", "q=user&", &by_name),
        ("role", "role=reader&", readers),
        ("disabled=false", "disabled=false&", by_id),
        ("q and role", "q=user&role=reader&", &by_name),
    ] {
        let path = |cursor: &str| format!("/admin/users?{query}limit={PAGE}{cursor}");
        let (first, last) =
            (load::get(&path(""), Some(token)), load::get(&path(&format!("&cursor={cursor}")), Some(token)));
        let mut pages = Pages { what, first: Vec::new(), last: Vec::new() };
        for _ in 0..TIMES {
            pages.first.push(latency::of_one(&mut connection, &first, 200)?);
            pages.last.push(latency::of_one(&mut connection, &last, 200)?);
        }
        all.push(pages);
    }
    Ok(all)
}
