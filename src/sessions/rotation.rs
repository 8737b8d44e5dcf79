//! Rotation of refresh tokens, with reuse detection and a grace period for retries (RFC 9700 §4.14.2). Each use issues
//! the next token and retires the previous one.
//!
//! Three rules:
//! - **Races.** A use is one conditional `UPDATE` of the session's row: `WHERE counter = … AND ended_at IS NULL`. Of
//!   concurrent requests with the same token, one rotates it. Requests of the same batch with the same key share its
//!   result. The others find another counter, read the session again, and are classified as a retry or as reuse.
//! - **Retries.** The previous refresh token, retried after a lost response, gets the current refresh token again and a
//!   new access token, as long as the current one was not used. For public clients this grace period ends `leeway` after
//!   the rotation, and retries do not extend it; for confidential clients it has no limit. A retry updates the row too,
//!   so that it cannot issue a token for a session that ended meanwhile, but it does not extend the session. Any older
//!   token is a replay: reuse detection ends the session.
//! - **Changes of the user or client.** Ending a session locks and updates its row. A use either comes before it, and its
//!   tokens are revoked, or after it, and finds the session ended. Scopes are computed at each use. A disabled client is
//!   noticed when the client is read; its revocation covers tokens that were issued until then.

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

/// The status of a refresh token within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The current token.
    Current,
    /// The previous token within its grace period: a retry after a lost response.
    Retry,
    /// A retired token after its grace period: a replay, probably of a stolen copy.
    Reused,
    /// A token with a counter that was not issued yet, such as after a restored backup.
    Unknown,
    /// A token of a session that has ended or expired.
    Over,
}

impl Session {
    /// Classifies a refresh token by its counter. `leeway`: the grace period of the previous token after the rotation;
    /// `None`: until the current token is used.
    pub(crate) fn standing(&self, counter: u64, leeway: Option<Duration>, now: DateTime<Utc>) -> Standing {
        if self.ended_at.is_some() || now >= self.idle_expires_at || now >= self.expires_at {
            return Standing::Over;
        }
        // From the rotation, which a retry does not change: a thief could otherwise extend the grace period without end.
        let in_time = |leeway| self.rotated_at.is_some_and(|rotated_at| now < rotated_at + leeway);
        match self.counter.checked_sub(counter) {
            // The token is newer than the row: a restored backup has lost a rotation. This is not reuse, so it does not
            // end the session.
            None => Standing::Unknown,
            Some(0) => Standing::Current,
            Some(1) if leeway.is_none_or(in_time) => Standing::Retry,
            Some(_) => Standing::Reused,
        }
    }
}

/// Reads sessions and uses their refresh tokens, in batches (group commit).
#[derive(Debug)]
pub struct Sessions {
    reader: Batcher<ById>,
    uses: Batcher<Update>,
}

/// A use of a refresh token.
pub(crate) struct Use {
    /// When the new access token expires.
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

    /// Returns a session, live or not. It is read from the database, not from a cache.
    pub(crate) async fn read(&self, id: SessionId) -> Result<Option<Arc<Session>>, StoreError> {
        self.reader.ask(id).await
    }

    /// Uses a refresh token of a session and returns the updated session. A current token is rotated, a retry is not.
    /// `None`: another request used or ended the session since it was read.
    pub(crate) async fn use_token(
        &self,
        session: &Session,
        standing: Standing,
        one: Use,
    ) -> Result<Option<Session>, StoreError> {
        let rotates = standing == Standing::Current;
        // The maximum session lifetime counts from the login: rotation never extends it.
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

/// The update of a session's row by a use.
struct Update {
    session: SessionId,
    /// The counter of the session as it was read, which the row must still have.
    counter: i64,
    /// Added to the counter. 1: the token is rotated; 0: it is a retry.
    step: i64,
    idle_expires_at: DateTime<Utc>,
    one: Use,
}

impl Batch for Update {
    type Request = Self;
    /// Session, counter, step, and the times of the access token. Requests with other times are separate uses: the row
    /// must have the expiry of every access token that is issued, so that a revocation is kept for long enough.
    type Key = (SessionId, i64, i64, i64, i64);
    type Answer = bool;
    const MAX: usize = USES;
    /// SQLite has one writer: while it writes, the next batch is collected. On Postgres one batch runs while another
    /// waits for the disk.
    const CONCURRENT: [usize; 2] = [1, 2];

    fn key(update: &Self) -> Self::Key {
        let (now, expires_at) = (update.one.now.timestamp(), update.one.access_expires_at.timestamp());
        (update.session, update.counter, update.step, now, expires_at)
    }

    async fn run(store: &Store, mut updates: Vec<Self>) -> Result<Answers<Self>, StoreError> {
        // Sorted by session, so that concurrent batches lock rows in about the same order and deadlocks are rare.
        // Postgres does not promise the order within a statement; `retried` repeats a batch that deadlocked.
        updates.sort_by_key(Self::key);
        let mut answers = Answers::<Self>::new();
        while !updates.is_empty() {
            // An UPDATE changes a row once, even if several values match it. Further uses of a session go to the next
            // statement, where they find a new counter.
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
            // Unused parameters repeat the last use. This is harmless, since a row is changed once.
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
        // A use won if its row came back with the counter that it wrote. The others lost the race and get the default,
        // `false`.
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
