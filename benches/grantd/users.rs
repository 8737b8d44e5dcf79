//! Paging through very many users: the last page beside the first.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::{
    Outcome, latency,
    load::{self, Connection},
};

/// Users that one statement makes.
const AT_ONCE: usize = 100;
/// Every so many have the role `reader` too.
const READERS: usize = 10;
/// How often a page is asked for.
const TIMES: usize = 50;

/// Makes so many users, a few at a time, and says what the statements' planner may want to know.
pub(crate) fn make(database: &str, count: usize) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if database.starts_with("sqlite") {
            make_in_sqlite(&mut SqliteConnection::connect(database).await?, count).await
        } else {
            make_in_postgres(&mut PgConnection::connect(database).await?, count).await
        }
    })
}

/// Ids in the order of the names, and before any that the server makes.
fn id(nth: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0180_0000_0000_7000_8000_0000_0000_0000 + nth as u128)
}

fn name(nth: usize) -> String {
    format!("user{nth:07}")
}

fn values(rows: usize, columns: usize) -> String {
    let row = |nth: usize| {
        let places: Vec<_> = (1..=columns).map(|column| format!("${}", nth * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

macro_rules! make {
    ($name:ident, $connection:ty) => {
        async fn $name(conn: &mut $connection, count: usize) -> Outcome<()> {
            let users = format!(
                "INSERT INTO users (id, username, email, password_hash, disabled, created_at, updated_at) VALUES {}",
                values(AT_ONCE, 7)
            );
            let roles = format!("INSERT INTO user_roles (user_id, role) VALUES {}", values(AT_ONCE, 2));
            let now = chrono::DateTime::UNIX_EPOCH;
            let mut readers = Vec::new();
            for first in (0..count).step_by(AT_ONCE) {
                let mut transaction = conn.begin().await?;
                let mut query = sqlx::query(AssertSqlSafe(users.as_str()));
                for nth in first..first + AT_ONCE {
                    let email = format!("{}@example.com", name(nth));
                    query = query.bind(id(nth)).bind(name(nth)).bind(email).bind("-").bind(false).bind(now).bind(now);
                }
                query.execute(&mut *transaction).await?;
                let mut query = sqlx::query(AssertSqlSafe(roles.as_str()));
                for nth in first..first + AT_ONCE {
                    query = query.bind(id(nth)).bind("member");
                }
                query.execute(&mut *transaction).await?;
                readers.extend((first..first + AT_ONCE).step_by(READERS));
                if readers.len() == AT_ONCE {
                    let mut query = sqlx::query(AssertSqlSafe(roles.as_str()));
                    for nth in readers.drain(..) {
                        query = query.bind(id(nth)).bind("reader");
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
            sqlx::raw_sql("ANALYZE").execute(&mut *conn).await?;
            Ok(())
        }
    };
}
make!(make_in_sqlite, SqliteConnection);
make!(make_in_postgres, PgConnection);

/// A list, and how long its first and its last page of 50 take, in the middle.
pub(crate) struct Pages {
    pub(crate) what: &'static str,
    pub(crate) first: Vec<Duration>,
    pub(crate) last: Vec<Duration>,
}

/// The lists, of so many users.
pub(crate) fn pages(address: SocketAddr, token: &str, count: usize) -> Outcome<Vec<Pages>> {
    let by_id = BASE64_URL_SAFE_NO_PAD.encode(id(count - 60).as_bytes());
    let by_name = BASE64_URL_SAFE_NO_PAD.encode(name(count - 60));
    let readers = BASE64_URL_SAFE_NO_PAD.encode(id(count - 60 * READERS).as_bytes());
    let mut connection = Connection::open(address)?;
    let mut all = Vec::new();
    for (what, query, cursor) in [
        ("all", "", &by_id),
        ("q", "q=user&", &by_name),
        ("role", "role=reader&", &readers),
        ("disabled=false", "disabled=false&", &by_id),
        ("q and role", "q=user&role=reader&", &by_name),
    ] {
        let path = |cursor: &str| format!("/admin/users?{query}limit=50{cursor}");
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
