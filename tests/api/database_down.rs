//! A database that is unreachable, silent or locked: requests get 503, never 401, and succeed as soon as it is back.

use crate::harness::{ADMIN_PASSWORD, Database, Form, Proxy, TestServer, eventually};

/// Starts a server with a proxy to Postgres. `None`: there is no Postgres.
async fn start(flags: &[&str]) -> Option<(TestServer, Proxy, Database)> {
    let database = Database::postgres().await?;
    let proxy = Proxy::before(database.url());
    let clock = grantd::clock::Clock::manual(crate::harness::beginning());
    let server = TestServer::on(proxy.url(), &[&["--database-timeout", "1s"], flags].concat(), clock).await.unwrap();
    Some((server, proxy, database))
}

/// Checks that requests get 503 if they need the database, and succeed otherwise.
async fn is_down(server: &TestServer, token: &str) {
    for _ in 0..3 {
        let me = server.get("/users/me").bearer(token).send().await;
        me.problem(503, "unavailable");
        let ready = server.get("/readyz").send().await;
        ready.problem(503, "unavailable");
        let login = server.token(&Form::admin()).send().await;
        login.oauth_error(503, "temporarily_unavailable");
        let unknown = server.token(&Form::password("nobody", "wrong")).send().await;
        unknown.oauth_error(503, "temporarily_unavailable");
        for answer in [me, ready, login, unknown] {
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
            assert_eq!(answer.header("www-authenticate"), "");
        }
        // These need no database.
        assert_eq!(server.get("/healthz").send().await.status, 200);
        assert_eq!(server.get("/.well-known/jwks.json").send().await.status, 200);
        server.get("/users/me").bearer("a.b.c").send().await.problem(401, "invalid-token");
    }
}

async fn is_back(server: &TestServer, token: &str) {
    eventually("the database is back", async || server.get("/readyz").send().await.status == 200).await;
    eventually("accounts are read", async || server.get("/users/me").bearer(token).send().await.status == 200).await;
    eventually("tokens are issued", async || server.token(&Form::admin()).send().await.status == 200).await;
}

#[actix_web::test]
async fn connections_that_are_cut_and_restored() {
    let Some((server, proxy, _database)) = start(&[]).await else { return };
    let token = server.admin().await;
    for _ in 0..2 {
        proxy.cut();
        is_down(&server, &token).await;
        proxy.restore();
        is_back(&server, &token).await;
    }
}

#[actix_web::test]
async fn connections_that_are_silent() {
    let Some((server, proxy, _database)) = start(&["--database-connections", "2"]).await else { return };
    let token = server.admin().await;
    proxy.silence();
    is_down(&server, &token).await;
    proxy.restore();
    is_back(&server, &token).await;
}

#[actix_web::test]
async fn a_failover_that_leaves_connections_open() {
    let Some((server, proxy, _database)) = start(&["--database-connections", "2"]).await else { return };
    let token = server.admin().await;
    proxy.silence();
    is_down(&server, &token).await;
    // The old connections never get a response, and are never closed.
    proxy.abandon();
    is_back(&server, &token).await;
}

#[actix_web::test]
async fn connections_that_the_database_terminates() {
    let Some((server, _proxy, database)) = start(&[]).await else { return };
    let token = server.admin().await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(database.number(end).await > 0);
    // One request may fail, with 503: the server then trusts no connection that is older.
    eventually("new connections are opened", async || {
        let status = server.get("/users/me").bearer(&token).send().await.status;
        assert!([200, 503].contains(&status), "{status}");
        status == 200
    })
    .await;
    is_back(&server, &token).await;
}

#[actix_web::test]
async fn a_name_that_leads_to_a_standby() {
    use sqlx::{Connection as _, PgConnection, raw_sql};
    let Some((server, proxy, database)) = start(&[]).await else { return };
    let token = server.admin().await;
    let run = async |sql: &'static str| {
        let mut conn = PgConnection::connect(database.url()).await.unwrap();
        raw_sql("SET default_transaction_read_only = off").execute(&mut conn).await.unwrap();
        raw_sql(sql).execute(&mut conn).await.unwrap();
    };
    // New connections can read, and not write: their reads may be older than a revocation.
    run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
        .await;
    proxy.restore();
    is_down(&server, &token).await;
    run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$")
        .await;
    is_back(&server, &token).await;
}

#[actix_web::test]
async fn statements_that_the_database_cancels() {
    let Some((server, _proxy, database)) = start(&["--database-connections", "3"]).await else { return };
    let errors = server.app.store.errors();
    // The database itself cancels a statement that waits, even though nobody reads its result any more.
    let token = server.admin().await;
    let mut lock = crate::harness::Transaction::begin(&database).await;
    lock.run("LOCK TABLE users").await;
    let me = server.get("/users/me").bearer(&token).send().await;
    me.problem(503, "unavailable");
    let cancelled = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'grantd' AND wait_event_type = 'Lock'";
    eventually("the database has cancelled the statement", async || database.number(cancelled).await == 0).await;
    assert_eq!((errors.timeout.get() > 0, errors.unavailable.get()), (true, 0));
    lock.commit().await;
    is_back(&server, &token).await;
}

/// Logins that wait for the database leave half of the connections to others.
#[actix_web::test]
async fn logins_that_wait_have_half_of_the_connections() {
    let Some((server, _proxy, database)) = start(&["--database-connections", "2"]).await else { return };
    let token = server.admin().await;
    let mut lock = crate::harness::Transaction::begin(&database).await;
    lock.run("LOCK TABLE throttle").await;
    let logins: Vec<_> = (0..8)
        .map(|number| tokio::spawn(server.token(&Form::password(&format!("name-{number}"), "wrong")).send()))
        .collect();
    eventually("a login waits for the table", async || database.waiting_for_locks().await == 1).await;
    server.get("/users/me").bearer(&token).send().await.json_with(200);
    lock.commit().await;
    for login in logins {
        // 503: it waited for longer than the timeout.
        assert!([400, 503].contains(&login.await.unwrap().status));
    }
}

#[actix_web::test]
async fn a_caller_who_leaves_during_a_statement_of_a_login_returns_its_connection() {
    let Some((server, _proxy, database)) = start(&["--database-connections", "2"]).await else { return };
    for _ in 0..3 {
        let mut lock = crate::harness::Transaction::begin(&database).await;
        lock.run("LOCK TABLE users").await;
        let login = tokio::spawn(server.token(&Form::admin()).send());
        eventually("a login waits for the table", async || database.waiting_for_locks().await == 1).await;
        login.abort();
        assert!(login.await.unwrap_err().is_cancelled());
        lock.commit().await;
    }
    server.admin().await;
}

#[actix_web::test]
async fn a_login_that_loses_the_database_creates_no_session() {
    let Some((server, proxy, database)) = start(&["--hash-memory", "64MiB", "--hash-iterations", "5"]).await else {
        return;
    };
    let token = server.admin().await;
    let sessions = "SELECT count(*) FROM sessions";
    let before = database.number(sessions).await;
    for cut in [Proxy::cut, Proxy::silence] {
        let hashes = server.app.passwords.hashes_run();
        let login = tokio::spawn(server.token(&Form::password("admin", ADMIN_PASSWORD)).send());
        // At this point, the user was read, and the session is not yet written.
        eventually("the password is being hashed", async || server.app.passwords.hashes_run() > hashes).await;
        cut(&proxy);
        login.await.unwrap().oauth_error(503, "temporarily_unavailable");
        assert_eq!(database.number(sessions).await, before);
        proxy.restore();
        eventually("the database is back", async || server.get("/readyz").send().await.status == 200).await;
    }
    is_back(&server, &token).await;
}

#[actix_web::test]
async fn a_sqlite_file_that_another_process_has_locked() {
    use sqlx::{Connection as _, SqliteConnection};
    let server = TestServer::with(Database::sqlite(), &["--database-timeout", "1s"]).await;
    let token = server.admin().await;
    let mut other = SqliteConnection::connect(server.database().url()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for form in [Form::admin(), Form::password("nobody", "wrong")] {
        let answer = server.token(&form).send().await;
        answer.oauth_error(503, "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    // Reads still succeed.
    assert_eq!(server.get("/users/me").bearer(&token).send().await.status, 200);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    server.admin().await;
}
