//! The two statements of a refresh, which requests share: the session is read, and its token rotated.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;

use super::{
    Session,
    sql::{BATCH, BY_ID, BY_IDS, ROTATE, ROTATE_MANY, ROTATIONS, SessionRow},
};
use crate::{
    ids::SessionId,
    store::{
        Store, StoreError,
        batch::{Answers, Batch, Batcher},
        run,
    },
    users::User,
};

/// How often a rotation is tried when the engine asks to have it repeated.
const TRIES: usize = 5;
/// Sessions that are kept in memory: a few hundred bytes each.
const KEPT: usize = 10_000;

/// Reads sessions and rotates their refresh tokens, many with one statement.
#[derive(Debug)]
pub struct Sessions {
    reader: Batcher<ById>,
    rotations: Batcher<Rotation>,
    kept: Cache<SessionId, Kept>,
}

/// A session as it was when this server last gave a token for it, and its user as of then.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) session: Arc<Session>,
    pub(crate) user: Arc<User>,
    /// How often what roles give had been changed before the user was read.
    pub(crate) roles: i64,
}

/// What a rotation is based on, where it was not read just now: it is made only if none of it was changed.
#[derive(Clone, Copy)]
pub(crate) struct Basis {
    /// How often the user was changed.
    pub(crate) user: i64,
    /// How often clients were (see [`crate::changes`]), and what roles give.
    pub(crate) clients: i64,
    pub(crate) roles: i64,
}

/// The use of a refresh token.
pub(crate) struct Rotation {
    pub(crate) session: SessionId,
    /// Of the token that is retired.
    pub(crate) counter: i64,
    pub(crate) idle_expires_at: DateTime<Utc>,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// None: everything was read just now.
    pub(crate) basis: Option<Basis>,
    pub(crate) now: DateTime<Utc>,
}

impl Basis {
    fn numbers(basis: Option<Self>) -> [Option<i64>; 3] {
        [basis.map(|basis| basis.user), basis.map(|basis| basis.clients), basis.map(|basis| basis.roles)]
    }
}

impl Sessions {
    pub(crate) fn new(store: &Store) -> Self {
        Self { reader: Batcher::new(store.clone()), rotations: Batcher::new(store.clone()), kept: Cache::new(KEPT) }
    }

    /// A session as the database has it now, ended or not.
    pub(crate) async fn read(&self, id: SessionId) -> Result<Option<Arc<Session>>, StoreError> {
        self.reader.ask(id).await
    }

    /// A session as this server left it, where that is with this counter: as long as the database has the same one, nothing but
    /// its end can have changed, and a rotation finds out.
    pub(crate) fn kept(&self, id: SessionId, counter: u64) -> Option<Kept> {
        self.kept.get(&id).filter(|kept| kept.session.counter == counter)
    }

    /// Keeps a session as it is after a token was given for it.
    pub(crate) fn keep(&self, kept: Kept) {
        self.kept.insert(kept.session.id, kept);
    }

    /// Retires a refresh token in favour of the next; `false`: another request did so before, or the session has ended. Two that
    /// do so together have both done it: the answer of one might as well have been lost.
    pub(crate) async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError> {
        self.rotations.ask(rotation).await
    }
}

struct ById;

impl Batch for ById {
    type Asked = SessionId;
    type Key = SessionId;
    type Answer = Option<Arc<Session>>;
    const MOST: usize = BATCH;
    const AT_ONCE: [usize; 2] = [4, 2];

    fn key(asked: &SessionId) -> SessionId {
        *asked
    }

    async fn run(store: &Store, asked: Vec<SessionId>) -> Result<Answers<Self>, StoreError> {
        let mut conn = store.read().await?;
        let rows = match asked[..] {
            [id] => run::all!(conn, SessionRow, BY_ID, id)?,
            // The places that are left over repeat an id.
            _ => run::all_of!(conn, SessionRow, BY_IDS, asked.iter().cycle().take(BATCH), |id| [*id])?,
        };
        let found = rows.into_iter().map(|row| (row.id, Session::try_from(row).map(|session| Some(Arc::new(session)))));
        Ok(found.collect::<HashMap<_, _>>())
    }
}

impl Batch for Rotation {
    type Asked = Self;
    /// Who rotates the same token on another basis is told of their own.
    type Key = (SessionId, i64, [Option<i64>; 3]);
    type Answer = bool;
    const MOST: usize = ROTATIONS;
    /// SQLite has one that writes: while it does, the next ones gather. On Postgres one runs while the other waits for the disk.
    const AT_ONCE: [usize; 2] = [1, 2];

    fn key(asked: &Self) -> Self::Key {
        (asked.session, asked.counter, Basis::numbers(asked.basis))
    }

    async fn run(store: &Store, mut asked: Vec<Self>) -> Result<Answers<Self>, StoreError> {
        // So that servers that do so at the same time take the rows in one order; what was read just now comes first.
        asked.sort_by_key(|rotation| (rotation.session, rotation.basis.is_some()));
        let mut answers = HashMap::new();
        while !asked.is_empty() {
            // A statement changes a row once: the same token on another basis is for the next one.
            let mut seen = HashSet::new();
            let (now, later) = asked.into_iter().partition(|one| seen.insert((one.session, one.counter)));
            answers.extend(Self::run_some(store, now).await?);
            asked = later;
        }
        Ok(answers)
    }
}

impl Rotation {
    async fn run_some(store: &Store, asked: Vec<Self>) -> Result<Answers<Self>, StoreError> {
        for _ in 1..TRIES {
            match Self::run_once(store, &asked).await {
                Err(error) if error.asks_for_retry() => {}
                done => return done,
            }
        }
        Self::run_once(store, &asked).await
    }

    async fn run_once(store: &Store, asked: &[Self]) -> Result<Answers<Self>, StoreError> {
        let mut conn = store.write().await?;
        let rotated = if let [one] = asked {
            let Self { session, counter, idle_expires_at, address, user_agent, basis, now } = one;
            let [user, clients, roles] = Basis::numbers(*basis);
            run::all!(
                conn,
                (SessionId, i64),
                ROTATE,
                *session,
                *counter,
                *now,
                *idle_expires_at,
                address,
                user_agent,
                user,
                clients,
                roles
            )?
        } else {
            // The places that are left over repeat the last: a row is changed once.
            let all = asked.iter().chain(asked.last().into_iter().cycle()).take(ROTATIONS);
            run::all_of!(conn, (SessionId, i64), ROTATE_MANY, all, |one| [
                one.session,
                one.counter,
                one.now,
                one.idle_expires_at,
                one.address.as_deref(),
                one.user_agent.as_deref(),
                Basis::numbers(one.basis)[0],
                Basis::numbers(one.basis)[1],
                Basis::numbers(one.basis)[2],
            ])?
        };
        // The statement gives the counter that is new.
        let rotated: HashSet<_> = rotated.into_iter().map(|(session, counter)| (session, counter - 1)).collect();
        let mine = asked.iter().filter(|one| rotated.contains(&(one.session, one.counter)));
        Ok(mine.map(|one| (Self::key(one), Ok(true))).collect())
    }
}
