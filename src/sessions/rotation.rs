//! Rotation of refresh tokens (RFC 9700 §4.14.2). Each use issues the next token and retires the one before.
//!
//! Three rules:
//! - **Who wins a race.** A use is one conditional `UPDATE` of the session's row: `WHERE counter = … AND ended_at IS NULL`. Of
//!   requests with the same token one changes the row. Those that share its statement share its answer; all others find
//!   another counter, read the session again, and are retries or reuse.
//! - **What a retry may do.** The previous refresh token, retried after a lost response, gets the current refresh token again
//!   and a new access token, as long as the current one was not used: for confidential clients without a limit in time, for
//!   public ones within the leeway, which counts from the rotation and is never renewed. A retry updates the row, too, so that
//!   it cannot issue a token for a session that has ended meanwhile; it does not prolong the session. Any older token is
//!   reuse, and ends the session.
//! - **What a change of the user or client does.** What ends sessions locks and updates their rows: a use comes before it,
//!   and its tokens are revoked, or after it, and finds the session ended. Scopes are computed anew at each use. A disabled
//!   client is noticed when the client is read, and its revocation reaches tokens that were issued until then.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    ById, Session,
    sql::{USE, USE_MANY, USES},
};
use crate::{
    ids::SessionId,
    store::{
        self, Store, StoreError,
        batch::{Answers, Batch, Batcher},
        conn,
    },
};

/// What a refresh token is to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The current one.
    Current,
    /// The previous one, whose successor was not used: a retry after a lost response.
    Retry,
    /// One that was retired before, or too long ago: somebody has a copy.
    Reused,
    /// One that was never issued, as after a restored backup.
    Unknown,
    /// One of a session that has ended or expired.
    Over,
}

impl Session {
    /// Returns what a refresh token with this counter is. `leeway`: how long a retry is accepted after the rotation; `None`:
    /// until the successor is used.
    pub(crate) fn standing(&self, counter: u64, leeway: Option<Duration>, now: DateTime<Utc>) -> Standing {
        if self.ended_at.is_some() || now >= self.idle_expires_at || now >= self.expires_at {
            return Standing::Over;
        }
        let in_time = |leeway| self.rotated_at.is_some_and(|rotated_at| now < rotated_at + leeway);
        match self.counter.checked_sub(counter) {
            None => Standing::Unknown,
            Some(0) => Standing::Current,
            Some(1) if leeway.is_none_or(in_time) => Standing::Retry,
            Some(_) => Standing::Reused,
        }
    }
}

/// Reads sessions and uses their refresh tokens, many with one statement.
#[derive(Debug)]
pub struct Sessions {
    reader: Batcher<ById>,
    uses: Batcher<Update>,
}

/// A use of a refresh token.
pub(crate) struct Use {
    /// When the access token that is issued expires.
    pub(crate) access_expires_at: DateTime<Utc>,
    /// The idle lifetime of refresh tokens.
    pub(crate) refresh_token_ttl: Duration,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) now: DateTime<Utc>,
}

impl Sessions {
    pub(crate) fn new(store: &Store) -> Self {
        Self { reader: Batcher::new(store.clone()), uses: Batcher::new(store.clone()) }
    }

    /// Returns a session as the database has it now, live or not.
    pub(crate) async fn read(&self, id: SessionId) -> Result<Option<Arc<Session>>, StoreError> {
        self.reader.ask(id).await
    }

    /// Uses a refresh token of a session as it was read, and returns the session after it. `standing`: current tokens are
    /// rotated, retries are not. `None`: the session has changed meanwhile, or has ended.
    pub(crate) async fn use_token(
        &self,
        session: &Session,
        standing: Standing,
        one: Use,
    ) -> Result<Option<Session>, StoreError> {
        let rotates = standing == Standing::Current;
        let idle_expires_at = (one.now + one.refresh_token_ttl).min(session.expires_at);
        let counter = i64::try_from(session.counter).unwrap_or(i64::MAX);
        let now = one.now;
        let update = Update { session: session.id, counter, step: i64::from(rotates), idle_expires_at, one };
        let done = self.uses.ask(update).await?;
        Ok(done.then(|| Session {
            counter: session.counter + u64::from(rotates),
            rotated_at: if rotates { Some(now) } else { session.rotated_at },
            idle_expires_at: if rotates { idle_expires_at } else { session.idle_expires_at },
            ..session.clone()
        }))
    }
}

/// What a use changes of the row.
struct Update {
    session: SessionId,
    counter: i64,
    /// 1: the token is retired; 0: it is a retry.
    step: i64,
    idle_expires_at: DateTime<Utc>,
    one: Use,
}

impl Batch for Update {
    type Request = Self;
    /// Requests share an answer if the access tokens that they issue have the same times, too.
    type Key = (SessionId, i64, i64, i64, i64);
    type Answer = bool;
    const MAX: usize = USES;
    /// SQLite has one writer: while it writes, the next uses gather. On Postgres one statement runs while another one waits for
    /// the disk.
    const CONCURRENT: [usize; 2] = [1, 2];

    fn key(update: &Self) -> Self::Key {
        let (now, expires_at) = (update.one.now.timestamp(), update.one.access_expires_at.timestamp());
        (update.session, update.counter, update.step, now, expires_at)
    }

    async fn run(store: &Store, mut updates: Vec<Self>) -> Result<Answers<Self>, StoreError> {
        // Servers that write at the same time lock the rows in one order.
        updates.sort_by_key(Self::key);
        let mut answers = Answers::<Self>::new();
        while !updates.is_empty() {
            // A statement changes a row once: other uses of the same session are for the next one.
            let mut sessions = HashSet::new();
            let (now, later): (Vec<_>, _) = updates.into_iter().partition(|update| sessions.insert(update.session));
            answers.extend(store::retried(|| Self::run_once(store, &now)).await?);
            updates = later;
        }
        Ok(answers)
    }
}

impl Update {
    async fn run_once(store: &Store, updates: &[Self]) -> Result<Answers<Self>, StoreError> {
        let mut conn = store.write().await?;
        let rows = if let [update] = updates {
            conn::all!(
                conn,
                (SessionId, i64),
                USE,
                update.session,
                update.counter,
                update.one.now,
                update.idle_expires_at,
                update.one.address.as_deref(),
                update.one.user_agent.as_deref(),
                update.one.access_expires_at,
                update.step
            )?
        } else {
            // The places that are left over repeat the last use: a row is changed once.
            let all = updates.iter().chain(updates.last().into_iter().cycle()).take(USES);
            conn::all_of!(conn, (SessionId, i64), USE_MANY, all, |update| [
                update.session,
                update.counter,
                update.one.now,
                update.idle_expires_at,
                update.one.address.as_deref(),
                update.one.user_agent.as_deref(),
                update.one.access_expires_at,
                update.step,
            ])?
        };
        let used: HashSet<_> = rows.into_iter().collect();
        let done = updates.iter().filter(|one| used.contains(&(one.session, one.counter + one.step)));
        Ok(done.map(|one| (Self::key(one), Ok(true))).collect::<HashMap<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ClientId;

    fn session(counter: u64, rotated_at: Option<i64>) -> Session {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        Session {
            id: [1; 16].into(),
            user_id: [2; 16].into(),
            client_id: ClientId::default_client(),
            scope: None,
            resource: None,
            secret: [3; 32],
            counter,
            rotated_at: rotated_at.map(at),
            created_at: at(0),
            idle_expires_at: at(1000),
            expires_at: at(5000),
            ended_at: None,
        }
    }

    #[test]
    fn a_token_is_what_its_counter_says() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let leeway = Some(Duration::from_secs(30));
        let rotated = session(5, Some(100));
        for (counter, leeway, now, expected) in [
            (5, leeway, 101, Standing::Current),
            (4, leeway, 129, Standing::Retry),
            (4, leeway, 130, Standing::Reused),
            (4, None, 999, Standing::Retry),
            (3, None, 101, Standing::Reused),
            (0, leeway, 101, Standing::Reused),
            (6, leeway, 101, Standing::Unknown),
            (5, leeway, 1000, Standing::Over),
            (0, leeway, 1000, Standing::Over),
        ] {
            assert_eq!(rotated.standing(counter, leeway, at(now)), expected, "{counter} at {now}");
        }
        let ended = Session { ended_at: Some(at(10)), ..rotated };
        assert_eq!(ended.standing(3, None, at(101)), Standing::Over);
        assert_eq!(session(0, None).standing(0, leeway, at(1)), Standing::Current);
    }
}
