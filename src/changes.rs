//! What a server keeps in memory of the database, and how it hears that it has changed: revocations, signing keys, clients, what roles give.
//!
//! All servers look at one row several times a second. Whoever changes something raises its number there, in the same
//! transaction.

use tokio::sync::{Mutex, watch};

use crate::{
    app::App,
    error::Error,
    keys::KeysError,
    revocations, roles,
    store::{Conn, Store, StoreError, run},
};

const READ: &str = "SELECT revocations, revocation_mark, signing_keys, clients, roles FROM changes WHERE id = 1";
const OF_KEYS: &str = "UPDATE changes SET signing_keys = signing_keys + 1 WHERE id = 1";
const OF_CLIENTS: &str = "UPDATE changes SET clients = clients + 1 WHERE id = 1";
const OF_ROLES: &str = "UPDATE changes SET roles = roles + 1 WHERE id = 1";

/// How far this server has followed.
#[derive(Debug)]
pub struct Changes {
    /// Held while it catches up, so that what is read last is what is kept.
    seen: Mutex<Option<Row>>,
    news: watch::Sender<Head>,
}

/// What those who wait for news look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the last revocation.
    pub(crate) revocations: i64,
    /// How often the signing keys were changed.
    pub(crate) signing_keys: i64,
    /// How often what roles give was changed.
    roles: i64,
}

/// The row.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) revocations: i64,
    pub(crate) revocation_mark: String,
    pub(crate) signing_keys: i64,
    clients: i64,
    roles: i64,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { seen: Mutex::new(None), news: watch::Sender::default() }
    }

    /// How many requests wait for news.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.news.receiver_count()
    }

    /// How often what roles give was changed, as far as is known: what is read from now on was read after that.
    pub(crate) fn of_roles(&self) -> i64 {
        self.news.borrow().roles
    }

    /// To be told when there is something new.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Head> {
        self.news.subscribe()
    }
}

/// The row as it is now.
pub(crate) async fn read(conn: &mut Conn) -> Result<Row, StoreError> {
    run::optional!(conn, Row, READ)?.ok_or_else(|| StoreError::impossible("changes", "1", "it is gone"))
}

/// Reads what is new. `store`: the app's, or one whose statements are not counted.
pub(crate) async fn catch_up(app: &App, store: &Store) -> Result<(), Error> {
    let mut seen = app.changes.seen.lock().await;
    let mut conn = store.read().await?;
    let row = read(&mut conn).await?;
    let after = match &*seen {
        // A database that was restored has another history.
        Some(before) if before.revocations < row.revocations => Some(before.revocations),
        Some(before) if before.revocation_mark == row.revocation_mark => Some(row.revocations),
        _ => None,
    };
    let news = if after == Some(row.revocations) {
        Vec::new()
    } else {
        revocations::all_after(&mut conn, after.unwrap_or(0), app.now()).await?
    };
    drop(conn);
    // Before anything else can fail.
    app.guard.hear_revocations(news, after.is_none());
    if seen.as_ref().is_none_or(|before| before.clients != row.clients) {
        app.clients.forget(row.clients);
    }
    if seen.as_ref().is_none_or(|before| before.signing_keys != row.signing_keys) {
        reload(app, store).await?;
    }
    let head = Head { revocations: row.revocations, signing_keys: row.signing_keys, roles: row.roles };
    // Last: what failed before, or was given up half way, is done again the next time.
    *seen = Some(row);
    app.changes.news.send_if_modified(|known| std::mem::replace(known, head) != head);
    Ok(())
}

/// Makes a change that other servers hear of, in one transaction, and hears of it first. Of these there is one at a time.
///
/// It leaves at least one enabled user with the scope `users:write`, where there was one.
pub(crate) async fn make<T>(app: &App, work: impl AsyncFn(&mut Conn) -> Result<T, Error>) -> Result<T, Error> {
    make_alongside(app, async |conn| roles::keeping_an_administrator(conn, &work).await).await
}

/// The same for what takes no scope from anybody: users look after their accounts without waiting for each other.
pub(crate) async fn make_alongside<T>(
    app: &App,
    work: impl AsyncFn(&mut Conn) -> Result<T, Error>,
) -> Result<T, Error> {
    let made = app.store.transact(work).await?;
    catch_up(app, &app.store).await?;
    Ok(made)
}

/// What a change would come to, which is not made.
pub(crate) async fn rehearse<T>(app: &App, work: impl AsyncFn(&mut Conn) -> Result<T, Error>) -> Result<T, Error> {
    app.store.rehearse(async |conn| roles::keeping_an_administrator(conn, &work).await).await
}

/// Reads the signing keys again, for what is signed and what is verified.
pub(crate) async fn reload_keys(app: &App, store: &Store) -> Result<(), Error> {
    let _one_at_a_time = app.changes.seen.lock().await;
    reload(app, store).await
}

async fn reload(app: &App, store: &Store) -> Result<(), Error> {
    app.keys.reload(store, &app.config, app.now()).await?;
    let replaced = app.guard.replace_keys(&app.keys.jwk_set());
    Ok(replaced.map_err(|error| KeysError::Make(error.to_string()))?)
}

/// Says that the signing keys have changed, in a transaction that is under way.
pub(crate) async fn of_keys(conn: &mut Conn) -> Result<(), StoreError> {
    run::execute!(conn, OF_KEYS)?;
    Ok(())
}

/// Says that clients have changed, in a transaction that is under way.
pub(crate) async fn of_clients(conn: &mut Conn) -> Result<(), StoreError> {
    run::execute!(conn, OF_CLIENTS)?;
    Ok(())
}

/// Says that what roles give has changed, in a transaction that is under way.
pub(crate) async fn of_roles(conn: &mut Conn) -> Result<(), StoreError> {
    run::execute!(conn, OF_ROLES)?;
    Ok(())
}
