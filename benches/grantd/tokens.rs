//! Issued tokens: refreshes compared to the bare statement on the same database, introspections, and the propagation of the end of
//! a session.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use grantd_guard::{Guard, TokenError};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::{
    Outcome,
    load::{self, Connection},
    plan::Plan,
    servers::{ISSUER, PASSWORD, USERNAME},
};

/// Clients that refresh without a pause, each with its own session.
pub(crate) const CLIENTS: usize = 16;
/// grantd's default number of connections to Postgres.
const CONNECTIONS: usize = 10;
/// How long to wait for a guard, before it counts as not following.
const PATIENCE: Duration = Duration::from_secs(30);

/// The minimal statement of a refresh.
const BARE: &str = "UPDATE sessions SET counter = counter + 1 WHERE id = $1 RETURNING counter";
const SESSIONS: &str = "SELECT id FROM sessions ORDER BY id DESC LIMIT 16";

/// Access token and refresh token of a new session.
pub(crate) struct Session {
    pub(crate) access: String,
    refresh: String,
}

pub(crate) fn log_in(address: SocketAddr, username: &str) -> Outcome<Session> {
    let mut connection = Connection::open(address)?;
    session(connection.call(&load::login(username, PASSWORD))?)
}

fn session((status, body): (u16, &[u8])) -> Outcome<Session> {
    if status != 200 {
        return Err(format!("the answer is {status}: {}", String::from_utf8_lossy(body)).into());
    }
    let body: serde_json::Value = serde_json::from_slice(body)?;
    let text = |name: &str| Ok::<_, String>(body[name].as_str().ok_or(format!("no {name}"))?.to_owned());
    Ok(Session { access: text("access_token")?, refresh: text("refresh_token")? })
}

/// Returns the number of refreshes per second of some clients. Each sends the last token that it got.
pub(crate) fn refreshes(address: SocketAddr, count: usize, plan: &Plan) -> Outcome<f64> {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut current = log_in(address, USERNAME)?;
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        clients.push(thread::spawn(move || -> Outcome<()> {
            let mut connection = Connection::open(address)?;
            while !stop.load(Ordering::Relaxed) {
                let form = format!("grant_type=refresh_token&refresh_token={}", current.refresh);
                current = session(connection.call(&load::post("/token", "", &form))?)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }));
    }
    let rate = rate(&done, plan);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().map_err(|_| "a client that refreshed panicked")??;
    }
    Ok(rate)
}

fn rate(done: &AtomicU32, plan: &Plan) -> f64 {
    thread::sleep(plan.warm_up);
    let (began, before) = (Instant::now(), done.load(Ordering::Relaxed));
    thread::sleep(plan.window);
    f64::from(done.load(Ordering::Relaxed) - before) / began.elapsed().as_secs_f64()
}

/// Returns the ceiling: bare statements per second, on as many connections as grantd uses. On SQLite, that is one.
pub(crate) fn updates(database: &str, plan: &Plan) -> Outcome<f64> {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let count = if database.starts_with("sqlite") { 1 } else { CONNECTIONS };
    let mut threads = Vec::new();
    for nth in 0..count {
        let (database, stop, done) = (database.to_owned(), Arc::clone(&stop), Arc::clone(&done));
        threads.push(thread::spawn(move || -> Outcome<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(update(&database, nth, &stop, &done))
        }));
    }
    let rate = rate(&done, plan);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread that updated panicked")??;
    }
    Ok(rate)
}

async fn update(database: &str, nth: usize, stop: &AtomicBool, done: &AtomicU32) -> Outcome<()> {
    if database.starts_with("sqlite") {
        let mut conn = SqliteConnection::connect(database).await?;
        // As in grantd: commits are on disk before the response.
        sqlx::raw_sql("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000").execute(&mut conn).await?;
        let ids: Vec<(Vec<u8>,)> = sqlx::query_as(SESSIONS).fetch_all(&mut conn).await?;
        for (id,) in ids.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            sqlx::query_scalar::<_, i64>(BARE).bind(id).fetch_one(&mut conn).await?;
            done.fetch_add(1, Ordering::Relaxed);
        }
    } else {
        let mut conn = PgConnection::connect(database).await?;
        let ids: Vec<(uuid::Uuid,)> = sqlx::query_as(SESSIONS).fetch_all(&mut conn).await?;
        // A row for each connection, so that none waits for another's lock.
        let (id,) = ids.get(nth).ok_or("there are too few sessions")?;
        while !stop.load(Ordering::Relaxed) {
            sqlx::query_scalar::<_, i64>(BARE).bind(id).fetch_one(&mut conn).await?;
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Returns a request of a client that introspects an access token.
pub(crate) fn introspection(client_id: &str, secret: &str, token: &str) -> Vec<u8> {
    let basic = BASE64_STANDARD.encode(format!("{client_id}:{secret}"));
    load::post("/introspect", &format!("Authorization: Basic {basic}\r\n"), &format!("token={token}"))
}

/// Returns the times from the response of one server that a session has ended until a guard that follows another server refuses
/// its token.
pub(crate) fn propagation(
    ends: SocketAddr,
    of: SocketAddr,
    client: (&str, &str),
    times: usize,
) -> Outcome<Vec<Duration>> {
    let guard = guard(of, client)?;
    let sessions = (0..times).map(|_| log_in(ends, USERNAME)).collect::<Outcome<Vec<_>>>()?;
    let mut connection = Connection::open(ends)?;
    let mut took = Vec::new();
    for session in &sessions {
        guard.verify(&session.access, now()?)?;
        let (status, _) = connection.call(&load::post("/revoke", "", &format!("token={}", session.refresh)))?;
        if status != 200 {
            return Err(format!("/revoke answered {status}").into());
        }
        let began = Instant::now();
        while guard.verify(&session.access, now()?) != Err(TokenError::Revoked) {
            if began.elapsed() > PATIENCE {
                return Err("the guard does not follow".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        took.push(began.elapsed());
    }
    Ok(took)
}

/// Returns the guard of another service. The issuer's URL is not an address here, so the guard gets the keys directly, and the
/// benchmark polls the feed.
fn guard(of: SocketAddr, (client_id, secret): (&str, &str)) -> Outcome<Guard> {
    let mut connection = Connection::open(of)?;
    let jwks = serde_json::from_slice(connection.call(&load::get("/.well-known/jwks.json", None))?.1)?;
    let guard = Guard::builder(ISSUER).audience(ISSUER).max_staleness(PATIENCE).keys(&jwks)?;
    let basic = format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{client_id}:{secret}")));
    let (follower, mut after) = (guard.clone(), String::new());
    let mut poll = move |wait: u32, whole: bool| -> Outcome<()> {
        let after_it = if whole { String::new() } else { format!("&after={after}") };
        let request = load::get_with(&format!("/revocations?wait={wait}&limit=200{after_it}"), &basic);
        let page: serde_json::Value = serde_json::from_slice(connection.call(&request)?.1)?;
        page["next"].as_str().ok_or("no cursor")?.clone_into(&mut after);
        let items = page["items"].as_array().into_iter().flatten().map(|item| grantd_guard::Revocation {
            kind: grantd_guard::RevocationKind::Session,
            id: item["id"].as_str().unwrap_or_default().to_owned(),
            revoked_at: 0,
            expires_at: i64::MAX,
        });
        follower.apply_revocations(items.collect::<Vec<_>>(), whole);
        Ok(())
    };
    poll(0, true)?;
    thread::spawn(move || while poll(20, false).is_ok() {});
    Ok(guard)
}

fn now() -> Outcome<i64> {
    Ok(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_secs())?)
}
