//! Statements of the hot paths use an index, in generic and in custom plans.

use std::fmt::Write as _;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::harness::{Database, TestServer};

/// Tables that grow with the number of users. The others are small and may be scanned.
const LARGE: [&str; 9] = [
    "api_keys",
    "users",
    "user_roles",
    "sessions",
    "audit_events",
    "audit_seals",
    "revocations",
    "client_assertions",
    "throttle",
];
/// The maximum number of pages that a statement may read. None below needs more than 14 pages for each of 16 rows (an API key
/// with its owner, roles and scopes); `sessions` has 1600.
const PAGES: u64 = 230;

/// Fills the tables, with enough rows that an index pays.
const FILL: [&str; 13] = [
    "INSERT INTO roles SELECT 'role-' || i, '', 'account', FALSE, FALSE, timestamptz '2026-01-01' FROM generate_series(1, 20) i",
    "INSERT INTO users SELECT lpad(to_hex(i), 32, '0')::uuid, 'user-' || i, 'user-' || i || '@example.com', NULL, \
     repeat('h', 100), i % 100 = 0, timestamptz '2026-01-01', timestamptz '2026-01-01', NULL, NULL FROM generate_series(1, 20000) i",
    // Most users have the same role, and few are administrators.
    "INSERT INTO user_roles SELECT lpad(to_hex(i), 32, '0')::uuid, 'role-1' FROM generate_series(1, 20000) i",
    "INSERT INTO user_roles SELECT lpad(to_hex(i * 10), 32, '0')::uuid, 'role-' || 2 + i % 19 FROM generate_series(1, 2000) i",
    "INSERT INTO user_roles SELECT lpad(to_hex(i), 32, '0')::uuid, 'admin' FROM generate_series(19990, 20000) i",
    "INSERT INTO clients SELECT 'client-' || i, 'A client', NULL, NULL, NULL, NULL, 'password', 'account', '', FALSE, NULL, NULL, \
     NULL, FALSE, FALSE, timestamptz '2026-01-01', timestamptz '2026-01-01' FROM generate_series(1, 500) i",
    // Some have ended or expired.
    "INSERT INTO sessions SELECT lpad(to_hex(i), 32, '0')::uuid, lpad(to_hex(1 + i * 7919 % 20000), 32, '0')::uuid, \
     'client-' || 1 + i % 500, NULL, NULL, decode(repeat('ab', 32), 'hex'), 1, NULL, t, t, t + interval '9 days', \
     t + interval '30 days', t + interval '15 minutes', CASE WHEN i % 10 = 0 THEN t + interval '1 hour' END, '192.0.2.1', 'curl' \
     FROM (SELECT i, timestamptz '2026-01-01' + i * interval '20 seconds' AS t FROM generate_series(1, 50000) i) AS times",
    "INSERT INTO api_keys SELECT lpad(to_hex(i), 32, '0')::uuid, lpad(to_hex(1 + i * 7919 % 20000), 32, '0')::uuid, 'a script', \
     decode(md5(i::text), 'hex'), 'account', '', timestamptz '2026-01-01', CASE WHEN i % 10 = 0 THEN timestamptz '2026-01-05' + i * interval '1 second' END, \
     NULL, NULL, NULL FROM generate_series(1, 50000) i",
    "INSERT INTO audit_events SELECT lpad(to_hex(i), 32, '0')::uuid, timestamptz '2026-01-01' + i * interval '20 seconds', \
     CASE WHEN i % 10 < 9 THEN 'login' ELSE 'kind-' || i % 170 END, 'success', lpad(to_hex(i % 20000), 32, '0'), \
     lpad(to_hex(i % 20000), 32, '0'), 'client-' || 1 + i % 500, '192.0.2.1', NULL, '{}' FROM generate_series(1, 50000) i",
    // The last span is closed and not sealed.
    "INSERT INTO audit_seals SELECT i, lpad(to_hex(i * 5), 32, '0')::uuid, 5, sha256(''), sha256(''), \
     CASE WHEN i < 9999 THEN sha256('') END, timestamptz '2026-01-01' FROM generate_series(0, 9999) i",
    "INSERT INTO revocations SELECT i, 'mark', 'session', lpad(to_hex(i), 32, '0'), t, t + interval '15 minutes' \
     FROM (SELECT i, timestamptz '2026-01-01' + i * interval '1 second' AS t FROM generate_series(1, 20000) i) AS times",
    "INSERT INTO client_assertions SELECT 'client-' || 1 + i % 500, decode(md5(i::text), 'hex'), \
     timestamptz '2026-01-01' + i * interval '1 second' FROM generate_series(1, 10000) i",
    "INSERT INTO throttle SELECT decode(md5(i::text), 'hex'), CASE WHEN i % 3 > 0 THEN lpad(to_hex(i), 32, '0')::uuid END, i % 20, \
     i * 1000000, 0, CASE WHEN i % 2 = 0 THEN i * 1000000 END FROM generate_series(1::bigint, 40000) i",
];

/// Returns types and values of the parameters of a statement.
fn parameters(name: &str) -> Vec<(&'static str, String)> {
    let text = |text: &str| ("text", format!("'{text}'"));
    let uuid = |number: u32| ("uuid", format!("'{number:032x}'"));
    let uuids = |first: u32| (0..16).map(|i| uuid(first + i * 100)).collect::<Vec<_>>();
    let time = |time: &str| ("timestamptz", format!("'2026-01-{time}Z'"));
    let int = |number: u64| ("bigint", number.to_string());
    let bool = |value: bool| ("boolean", value.to_string());
    let null = |kind: &'static str| (kind, "NULL".to_owned());
    let hash = ("bytea", r"'\xabcdef'".to_owned());
    let budget = |number: u32| ("bytea", format!("decode(md5('{number}'), 'hex')"));
    // In microseconds, after the failures.
    let now = || ("bigint", "50000000000".to_owned());
    let used = |session: u32| {
        let [now, idle, access] = ["10 12:00:00", "20 12:00:00", "10 12:15:00"].map(time);
        vec![uuid(session), int(1), now, idle, text("192.0.2.2"), text("curl"), access, int(1)]
    };
    let end_of_time = || ("uuid", format!("'{}'", "f".repeat(32)));
    // Before, limit, first id, since, subject, actor, kind.
    let events =
        |subject, actor, kind| vec![end_of_time(), int(10), uuid(0), null("timestamptz"), subject, actor, kind];
    match name {
        "users::sql::BY_ID" | "users::sql::LOGIN_BY_ID" | "sessions::sql::BY_ID" | "throttle::sql::UNLOCK" => {
            vec![uuid(777)]
        }
        "users::sql::BY_IDS" | "users::sql::LOGINS_BY_IDS" | "sessions::sql::BY_IDS" => uuids(777),
        "users::sql::LOGIN_BY_USERNAME" => vec![text("user-777")],
        "users::sql::LOGIN_BY_EMAIL" => vec![text("user-777@example.com")],
        "users::sql::LOGGED_IN" => vec![uuid(777), text(&"h".repeat(100)), time("10 12:00:00"), bool(false)],
        "users::sql::LIST" | "users::sql::LIST_LOGINS" => vec![uuid(0), int(10)],
        "users::sql::LIST_DISABLED" => vec![uuid(0), int(10), bool(true)],
        "users::sql::LIST_ROLE" => vec![uuid(0), int(10), text("role-7"), null("boolean")],
        "users::sql::LIST_USERNAME" | "users::sql::LIST_EMAIL" => {
            vec![text("user-77"), int(10), null("text"), null("boolean"), text("user-77~")]
        }
        "sessions::sql::INSERT" => vec![
            uuid(90000),
            uuid(777),
            text("client-7"),
            null("text"),
            null("text"),
            hash,
            int(0),
            time("10 12:00:00"),
            time("20 12:00:00"),
            time("30 12:00:00"),
            time("10 12:15:00"),
            text("192.0.2.1"),
            text("curl"),
        ],
        "sessions::sql::USE" => used(777),
        "sessions::sql::USE_MANY" => (0..8).flat_map(|i| used(777 + i * 100)).collect(),
        "sessions::sql::LIVE_OF_USER" => vec![uuid(777), time("05 12:00:00"), uuid(0), int(10)],
        "sessions::sql::END" | "api_keys::sql::COUNT_LIVE" => vec![uuid(777), time("10 12:00:00")],
        "sessions::sql::END_ALL_OF_USER" => vec![uuid(777), time("10 12:00:00"), null("uuid")],
        "sessions::sql::END_OF_WINDOW" => vec![uuid(20000), int(99)],
        "sessions::sql::DELETE_OVER" => vec![uuid(20000), uuid(20100), time("10 12:00:00")],
        "api_keys::sql::BY_HASH" => vec![hash],
        "api_keys::sql::BY_HASHES" => (0..16).map(|i| ("bytea", format!(r"decode(md5('{i}'), 'hex')"))).collect(),
        "api_keys::sql::OF_USER" => vec![uuid(777), uuid(0), int(10)],
        "api_keys::sql::USED" => vec![uuid(777), time("10 12:00:00"), time("10 11:59:00")],
        "roles::sql::ONE_ADMINISTRATOR" => vec![bool(false)],
        "clients::sql::BY_ID" => vec![text("client-7")],
        "clients::sql::BY_IDS" => (1..=16).map(|i| text(&format!("client-{i}"))).collect(),
        "clients::sql::USE_ASSERTION" => vec![text("client-7"), hash, time("10 12:00:00")],
        "clients::sql::DELETE_EXPIRED_ASSERTIONS"
        | "api_keys::sql::DELETE_EXPIRED"
        | "revocations::sql::DELETE_EXPIRED" => {
            vec![time("10 12:00:00"), int(10)]
        }
        "revocations::sql::AFTER" => vec![int(19000), time("01 00:00:00"), int(10)],
        "revocations::sql::MARK" => vec![int(777)],
        "audit::sql::LIST" => events(null("text"), null("text"), null("text")),
        "audit::sql::LIST_SUBJECT" => events(text(&format!("{:032x}", 777)), null("text"), null("text")),
        "audit::sql::LIST_ACTOR" => events(null("text"), text(&format!("{:032x}", 777)), null("text")),
        "audit::sql::LIST_KIND" => events(null("text"), null("text"), text("kind-9")),
        "audit::sql::DELETE_OLDEST" => vec![uuid(20000), int(10)],
        "audit::sql::INSERT" => {
            let texts = ["login", "success", "actor", "subject", "client", "address", "request", "{}"].map(text);
            [vec![uuid(90000), time("10 12:00:00")], texts.to_vec()].concat()
        }
        "audit::sql::DELETE_OLDEST_SEAL" => vec![uuid(20000)],
        "audit::sql::LAST_ID" => vec![uuid(20000), uuid(30000)],
        "audit::sql::NTH_ID" | "audit::sql::SPAN" => vec![uuid(20000), uuid(30000), int(10)],
        "audit::sql::NEWEST_SEAL" | "audit::sql::NEWEST_SEALED" | "audit::sql::OLDEST_SEAL" => vec![],
        "audit::sql::SEALS" => vec![int(777), int(10)],
        "audit::sql::SEAL" => vec![int(9999), int(5), hash.clone(), hash.clone(), hash, time("10 12:00:00")],
        "throttle::sql::RESERVE" => {
            let [free, window] = [int(10), int(3_600_000_000)];
            let keys = (1..=3).map(budget);
            let others = [uuid(777), now(), bool(false), int(0), free.clone(), window.clone(), free, window];
            keys.chain(others).collect()
        }
        "throttle::sql::GIVE_BACK" => vec![budget(1), budget(2), now()],
        "throttle::sql::SUCCEED" => {
            vec![budget(1), budget(2), budget(3), uuid(777), now(), now(), null("bytea")]
        }
        "throttle::sql::READ" => (1..=3).map(budget).collect(),
        "throttle::sql::DELETE_OLD" | "throttle::sql::DELETE_UNKNOWN" => vec![int(1_000_000_000), int(10)],
        _ => panic!("add the parameters of {name}"),
    }
}

fn hot_statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    grantd::hot_statements().map(|(name, sql)| (name.trim_start_matches("grantd::"), sql))
}

#[actix_web::test]
async fn postgres() {
    let Some(database) = Database::postgres().await else { return };
    let server = TestServer::start(database).await;
    let mut conn = PgConnection::connect(server.database().url()).await.unwrap();
    for sql in FILL {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    }
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut conn).await.unwrap();
    let mut failures = String::new();
    for (name, sql) in hot_statements() {
        let (types, values): (Vec<&str>, Vec<String>) = parameters(name).into_iter().unzip();
        // Without parameters there are no parentheses.
        let list =
            |items: Vec<String>| if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) };
        let (types, values) = (list(types.into_iter().map(str::to_owned).collect()), list(values));
        let prepare = format!("PREPARE hot {types} AS {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut conn)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        // Long-lived connections use generic plans.
        for mode in ["force_generic_plan", "force_custom_plan"] {
            let mut transaction = conn.begin().await.unwrap();
            let set = format!("SET LOCAL plan_cache_mode = {mode}");
            sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *transaction).await.unwrap();
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE hot {values}");
            let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *transaction).await.unwrap();
            transaction.rollback().await.unwrap();
            let plan = &plan[0]["Plan"];
            let pages = ["Shared Hit Blocks", "Shared Read Blocks"].map(|key| plan[key].as_u64().unwrap());
            let pages = pages.iter().sum::<u64>();
            if reads_whole(plan) || pages > PAGES {
                writeln!(failures, "{name} ({mode}) touches {pages} pages:\n{plan:#}").unwrap();
            }
        }
        sqlx::raw_sql("DEALLOCATE hot").execute(&mut conn).await.unwrap();
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Whether a node of the plan reads a large table, or an index of one, from one end to the other.
fn reads_whole(plan: &Value) -> bool {
    let is_large = LARGE.iter().any(|table| plan["Relation Name"] == *table);
    let whole = match plan["Node Type"].as_str() {
        Some("Seq Scan") => is_large,
        Some("Index Scan" | "Index Only Scan") => is_large && plan["Index Cond"].is_null(),
        _ => false,
    };
    whole || plan["Plans"].as_array().is_some_and(|plans| plans.iter().any(reads_whole))
}

#[actix_web::test]
async fn sqlite() {
    let server = TestServer::start(Database::sqlite()).await;
    let mut conn = SqliteConnection::connect(server.database().url()).await.unwrap();
    for (name, sql) in hot_statements() {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut conn).await.unwrap();
        // The small table of roles, and intermediate results.
        let whole = plan.iter().any(|(.., step)| {
            step.strip_prefix("SCAN ").is_some_and(|rest| {
                ![
                    "r",
                    "v",
                    "of_role",
                    "oldest",
                    "attempt",
                    "back",
                    "done",
                    "CONSTANT ROW",
                    "8 CONSTANT ROWS",
                    "8-ROW VALUES CLAUSE",
                ]
                .contains(&rest)
            })
        });
        assert!(!whole, "{name} scans a table: {plan:#?}");
    }
}
